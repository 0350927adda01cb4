import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwbench.analyse.stored import STORED_NOTE, compare_process_values

times = st.lists(st.floats(1e-9, 1e3), min_size=5, max_size=12)


def noisy(seed: int, level: float, count: int = 10) -> list[float]:
    return list(level * np.exp(0.01 * np.random.default_rng(seed).normal(size=count)))


def test_a_clear_change_is_called_and_its_limits_are_said() -> None:
    found = compare_process_values("gemm", noisy(1, 1.0), noisy(2, 1.2))
    assert found.verdict == "slower"
    assert found.ratio == pytest.approx(1.2, rel=0.02)
    assert found.note == STORED_NOTE
    assert compare_process_values("gemm", noisy(2, 1.2), noisy(1, 1.0)).verdict == "faster"
    assert compare_process_values("gemm", noisy(1, 1.0), noisy(3, 1.0)).verdict == "same"


def test_a_small_change_is_not_called() -> None:
    assert compare_process_values("gemm", noisy(1, 1.0), noisy(2, 1.03)).verdict in ("same", "can't tell")


@pytest.mark.parametrize(
    ("base", "candidate", "says"),
    [
        ([], [1.0] * 5, "base has no values"),
        ([1.0] * 5, [], "candidate has no values"),
        ([1.0] * 5, [0.0, 1.0], "1 of 2 values of candidate"),
        ([math.nan] * 5, [1.0] * 5, "5 of 5 values of base"),
        ([-1.0, 1.0], [1.0], "1 of 2 values of base"),
        ([1.0], [2.0], "1 and 1 processes"),
        ([1.0] * 9, [2.0] * 4, "9 and 4 processes"),
    ],
)
def test_bad_input_gives_cant_tell_and_a_word(base: list[float], candidate: list[float], says: str) -> None:
    found = compare_process_values("gemm", base, candidate)
    assert found.verdict == "can't tell"
    assert says in found.note


@settings(deadline=None)
@given(times, times)
def test_the_ratio_lies_in_its_interval_and_turns_over_with_the_sides(base: list[float], candidate: list[float]) -> None:
    found, back = compare_process_values("k", base, candidate), compare_process_values("k", candidate, base)
    assert found.ratio_low <= found.ratio * (1 + 1e-9)  # type: ignore[operator]
    assert found.ratio <= found.ratio_high * (1 + 1e-9)  # type: ignore[operator]
    assert found.ratio * back.ratio == pytest.approx(1)  # type: ignore[operator]


def test_false_alarms_of_exchangeable_processes_stay_below_alpha() -> None:
    rng = np.random.default_rng(5)
    alarms = sum(
        compare_process_values("k", list(np.exp(0.2 * rng.normal(size=6))), list(np.exp(0.2 * rng.normal(size=6)))).verdict
        in ("slower", "faster")
        for _ in range(1000)
    )
    assert alarms <= 15
