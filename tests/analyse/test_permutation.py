import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwbench.analyse.permutation import SWAPS, holm, label_swaps, look_alphas


def test_few_rounds_are_swapped_in_every_way_once() -> None:
    swaps = label_swaps(4, seed=1)
    assert swaps.shape == (8, 4)
    assert len({tuple(row) for row in swaps}) == 8
    assert not swaps[0].any()


def test_many_rounds_are_swapped_at_random_and_reproducibly() -> None:
    swaps = label_swaps(20, seed=3)
    assert swaps.shape == (SWAPS, 20)
    assert (swaps == label_swaps(20, seed=3)).all()
    assert 0.45 < swaps.mean() < 0.55


def test_holm_in_a_known_case() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(values: list[float]) -> None:
    adjusted = holm(values)
    assert all(a >= p and a <= 1 for a, p in zip(adjusted, values, strict=True))
    order = sorted(range(len(values)), key=lambda i: values[i])
    assert [adjusted[i] for i in order] == sorted(adjusted)


def test_looks_spend_alpha_and_no_more_early_ones_little() -> None:
    spent = look_alphas((10, 20, 40), 0.01)
    assert sum(spent) == pytest.approx(0.01)
    assert spent[0] < spent[1] < spent[2]
    assert look_alphas((20,), 0.01) == pytest.approx([0.01])
