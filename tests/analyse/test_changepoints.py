import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwbench.analyse.changepoints import YOUNG_POINTS, change_points, confirmed
from hwbench.analyse.segmentation import SHORTEST_SEGMENT


def noisy(levels: list[tuple[int, float]], noise: float = 0.02, seed: int = 0) -> list[float]:
    """So many points at each level, with log-normal noise."""
    values = np.concatenate([np.full(count, level) for count, level in levels])
    return list(values * np.exp(noise * np.random.default_rng(seed).normal(size=len(values))))


def test_a_step_is_found_with_its_size_and_its_place() -> None:
    (change,) = change_points(noisy([(40, 100.0), (30, 110.0)]))
    assert change.index == pytest.approx(40, abs=1)
    assert change.index_low <= 40 <= change.index_high
    assert change.ratio == pytest.approx(1.1, abs=0.01)
    assert change.before == pytest.approx(100, rel=0.01)
    assert change.after == pytest.approx(110, rel=0.01)
    assert change.explanation.startswith("slower by")
    assert not change.suspect


def test_slower_then_recovered_stays_listed_and_says_so() -> None:
    first, second = change_points(noisy([(30, 100.0), (20, 120.0), (30, 100.0)]))
    assert first.recovered
    assert "then recovered from point" in first.explanation
    assert (second.ratio < 1, second.recovered) == (True, False)


def test_a_staircase_is_found_step_by_step() -> None:
    found = change_points(noisy([(25, 100.0), (25, 115.0), (25, 130.0)]))
    assert [change.index for change in found] == pytest.approx([25, 50], abs=2)
    assert not any(change.recovered for change in found)


@pytest.mark.parametrize("places", [[20], [10, 30, 31], [59]])
def test_spikes_are_no_changes(places: list[int]) -> None:
    values = noisy([(60, 100.0)])
    for place in places:
        values[place] *= 2
    assert confirmed(change_points(values)) == []


def test_a_change_of_the_newest_few_points_is_a_suspect_apart() -> None:
    found = change_points(noisy([(60, 100.0), (3, 120.0)]))
    assert confirmed(found) == []
    (suspect,) = found
    assert suspect.index >= 63 - YOUNG_POINTS
    assert suspect.ratio > 1.1
    assert "too young" in suspect.explanation


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0] * 3, [5.0] * 50, [1e-300] * 20])
def test_too_few_or_equal_points_have_no_changes(values: list[float]) -> None:
    assert change_points(values) == []


def test_a_noiseless_step_is_found() -> None:
    (change,) = change_points([1.0] * 10 + [2.0] * 10)
    assert (change.index, round(change.ratio, 2)) == (10, 2.0)


def test_changes_below_the_size_asked_for_are_not_listed() -> None:
    values = noisy([(50, 100.0), (50, 106.0)], noise=0.005)
    assert len(change_points(values)) == 1
    assert change_points(values, smallest_change_fraction=0.1) == []


def test_a_long_series_is_searched_from_its_newest_thousand_points_on() -> None:
    values = noisy([(500, 100.0), (900, 110.0), (100, 120.0)])
    (change,) = change_points(values)
    assert change.index == pytest.approx(1400, abs=3)


def noise_kinds(kind: str, rng: np.random.Generator, count: int) -> np.ndarray:
    white = rng.normal(size=count)
    if kind == "autocorrelated":
        for i in range(1, count):
            white[i] += 0.4 * white[i - 1]
        return 0.1 * white
    if kind == "two modes":
        return np.where(rng.random(count) < 0.3, 0.35, 0.0) + 0.02 * white
    if kind == "right tail":
        return 0.1 * rng.exponential(size=count)
    return 0.1 * white


@pytest.mark.parametrize("kind", ["white", "autocorrelated", "two modes", "right tail"])
def test_quiet_series_of_the_kinds_of_noise_seen_raise_few_alarms(kind: str) -> None:
    rng = np.random.default_rng(7)
    alarmed = sum(bool(confirmed(change_points(list(np.exp(noise_kinds(kind, rng, 80)))))) for _ in range(60))
    assert alarmed <= 3  # 5 %


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(1e-6, 1e6), max_size=60))
def test_any_positive_series_is_cut_in_order_and_into_long_enough_parts(values: list[float]) -> None:
    found = change_points(values)
    places = [change.index for change in found]
    assert places == sorted(places)
    assert all(0 <= c.index_low <= c.index <= c.index_high < len(values) and c.ratio > 0 for c in found)
    assert all(c.index >= SHORTEST_SEGMENT - 3 for c in found)
    assert found == change_points(values)
