import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwbench.analyse.statistics import floor_reached, interval, noise_warnings, relative_width, steady_state_start
from hwbench.core.errors import UserError

times = st.floats(1e-9, 1e6)


def test_one_process_has_no_interval() -> None:
    found = interval([2.0])
    assert (found.median, found.low, found.high) == (2.0, None, None)
    assert relative_width(found) is None
    assert "no interval" in found.method


def test_ten_processes_give_the_second_smallest_and_largest() -> None:
    found = interval(range(1, 11))
    assert (found.median, found.low, found.high) == (5.5, 2.0, 9.0)  # binomial: 1 - 2 * 11 / 1024 = 97.9 %
    assert relative_width(found) == pytest.approx(7 / 5.5)


def test_six_are_the_fewest_without_an_assumption() -> None:
    assert "order statistics" in interval([1, 2, 3, 4, 5, 6]).method
    assert "Student" in interval([1, 2, 3, 4, 5]).method


@settings(deadline=None)
@given(st.lists(times, min_size=2, max_size=40))
def test_an_interval_holds_its_median(values: list[float]) -> None:
    found = interval(values)
    assert found.low is not None
    assert found.high is not None
    assert found.low * (1 - 1e-9) <= found.median <= found.high * (1 + 1e-9)


@pytest.mark.parametrize("count", [3, 8, 20])
def test_intervals_cover_the_median_of_skewed_noise(count: int) -> None:
    rng = np.random.default_rng(count)
    covered = 0
    for _ in range(400):
        found = interval(list(np.exp(rng.normal(0, 0.1, count))))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 1.0 <= found.high
    assert covered / 400 >= 0.93


@pytest.mark.parametrize("values", [[], [0.0, 1.0], [-1.0], [math.nan, 1.0], [math.inf]])
def test_what_no_process_can_take_is_refused(values: list[float]) -> None:
    with pytest.raises(UserError, match="positive, finite"):
        interval(values)


def test_warm_up_ends_where_the_level_is_reached() -> None:
    rng = np.random.default_rng(1)
    assert steady_state_start([5, 3, 2, *(1 + 0.01 * rng.normal(size=40))]) == 3
    assert steady_state_start([2.0, *[1.0] * 9]) == 1
    assert steady_state_start([1.0] * 10) == 0


def test_samples_that_never_settle_have_no_steady_state() -> None:
    assert steady_state_start(list(np.linspace(2, 1, 50))) is None
    assert steady_state_start([1.0, 1.0]) is None
    assert steady_state_start([1.0, math.nan, 1.0, 1.0, 1.0]) is None


def test_steady_noise_is_seldom_taken_for_a_warm_up() -> None:
    rng = np.random.default_rng(2)
    starts = [steady_state_start(list(np.exp(0.05 * np.abs(rng.normal(size=30))))) for _ in range(300)]
    assert sum(start == 0 for start in starts) >= 260


def test_the_floor_is_reached_where_the_faster_half_agrees() -> None:
    assert floor_reached([1.0, 1.01, 1.3, 1.5])
    assert not floor_reached([1.0, 1.05, 1.3, 1.5])
    assert not floor_reached([1.0, 1.0])


def test_warnings_name_what_disturbed() -> None:
    calm = noise_warnings([1.0, 1.001, 1.002, 1.003], wall_s=1.0, cpu_s=0.99, load_avg_1min=1.0, cores=2, steal_fraction=0.0)
    assert calm == ()
    found = noise_warnings(
        [1.0, 1.2, 1.3, 1.4],
        wall_s=2.0,
        cpu_s=1.0,
        load_avg_1min=8.0,
        cores=2,
        steal_fraction=0.05,
        involuntary_switches_per_call=3.0,
    )
    assert [w.split()[0] for w in found] == ["the", "the", "load", "the", "3.0"]
    assert "50 %" in found[1]
    assert "one process" in noise_warnings([1.0])[0]
