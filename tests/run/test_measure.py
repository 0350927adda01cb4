"""The sampling loop: steady state, when to stop, and that ranks decide alike."""

import gc
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.run import clocks, measure

times = st.floats(1e-6, 10.0)


def quiet(_phase: str, _samples: int) -> None:
    """No progress."""


def busy(duration_s: float) -> None:
    end = time.perf_counter() + duration_s
    while time.perf_counter() < end:
        pass


def test_every_call_is_counted_and_the_cold_one_is_kept_apart() -> None:
    calls: list[float] = []

    def step() -> None:
        calls.append(0.05 if not calls else 0.002)
        busy(calls[-1])

    taken = measure.take_samples(measure.Step(run=step), 0.3, quiet)
    assert taken.warmup_wall_s[0] >= 0.05
    assert len(taken.samples) >= measure.FEWEST_SAMPLES
    assert taken.calls_per_sample == 1
    assert len(calls) == len(taken.warmup_wall_s) + len(taken.samples)
    assert all(sample.wall_s >= 0.002 for sample in taken.samples)
    assert all(0 < sample.cpu_s <= sample.wall_s * 1.5 for sample in taken.samples)


def test_short_calls_are_timed_together() -> None:
    calls = 0

    def step() -> None:
        nonlocal calls
        calls += 1

    taken = measure.take_samples(measure.Step(run=step), 0.2, quiet)
    assert taken.calls_per_sample > 10
    timed = len(taken.warmup_wall_s) + len(taken.samples)
    alone = [n for n in (1, 2, 3) if calls == n + taken.calls_per_sample * (timed - n)]
    assert len(alone) == 1, "at most three calls are timed alone"


def test_a_step_longer_than_its_share_is_measured_once_or_little_more() -> None:
    taken = measure.take_samples(measure.Step(run=lambda: busy(0.05)), 0.02, quiet)
    assert len(taken.warmup_wall_s) == 1
    assert len(taken.samples) == 1
    assert not taken.steady
    assert len(measure.warnings_of(taken)) == 2


def test_a_loss_is_read_after_every_warm_up_call_and_sample() -> None:
    calls = 0

    def step() -> int:
        nonlocal calls
        calls += 1
        busy(0.002)
        return calls

    taken = measure.take_samples(measure.Step(run=step, loss=lambda result: float(str(result))), 0.05, quiet)
    assert taken.calls == calls
    assert taken.losses == [float(call) for call in range(1, calls + 1)]
    assert len(taken.losses) == len(taken.warmup_wall_s) + len(taken.samples)


def test_a_batch_is_renewed_between_samples_and_never_within_one() -> None:
    seen: list[str] = []

    def call() -> None:
        busy(0.0002)
        seen.append("call")

    taken = measure.take_samples(measure.Step(run=call, renew=lambda: seen.append("renewed")), 0.05, quiet)
    text = " ".join(seen)
    assert taken.calls_per_sample > 1
    assert text.endswith(f"renewed {'call ' * taken.calls_per_sample}renewed")
    assert seen.count("call") == taken.calls
    assert seen.count("renewed") == len(taken.warmup_wall_s) + len(taken.samples)


def test_as_many_calls_as_were_asked_for_are_made_however_long_they_take() -> None:
    taken = measure.take_samples(measure.Step(run=lambda: busy(0.002), fewest_calls=60), 0.02, quiet)
    assert taken.calls == 60


def test_calls_for_which_no_time_is_left_are_told_and_not_waited_for() -> None:
    taken = measure.take_samples(measure.Step(run=lambda: busy(0.002), fewest_calls=10**6, longest_s=0.1), 0.02, quiet)
    assert taken.samples
    assert taken.calls + taken.missing_calls == 10**6
    assert any(f"{taken.calls} of 1000000 calls were made before the time limit" in said for said in measure.warnings_of(taken))


def test_the_collector_rests_while_sampling_and_works_again_after_an_error() -> None:
    states = []

    def step() -> None:
        states.append(gc.isenabled())
        if len(states) == 2:
            raise ValueError

    with pytest.raises(ValueError):
        measure.take_samples(measure.Step(run=step), 1.0, quiet)
    assert states == [False, False]
    assert gc.isenabled()


def test_what_rank_0_decided_holds_for_a_rank_that_would_decide_otherwise() -> None:
    decisions: list[int] = []

    def record(number: int) -> int:
        decisions.append(number)
        return number

    first = measure.take_samples(measure.Step(run=lambda: busy(0.002), agree=record), 0.1, quiet)
    replay = iter(decisions)
    second = measure.take_samples(measure.Step(run=lambda: busy(0.02), agree=lambda _: next(replay)), 0.1, quiet)
    assert next(replay, None) is None
    assert len(second.samples) == len(first.samples)
    assert second.calls_per_sample == first.calls_per_sample


@given(times, st.integers(10, 50))
def test_a_constant_is_steady_and_exactly_known(value: float, count: int) -> None:
    assert measure.is_steady([value] * count)
    assert measure.median_width_fraction([value] * count) == 0


@given(times, st.floats(0.03, 0.5))
def test_a_trend_is_not_steady(first: float, growth: float) -> None:
    assert not measure.is_steady([first * (1 + growth) ** -i for i in range(2 * measure.WINDOW)])


def test_noise_without_a_trend_is_steady() -> None:
    assert measure.is_steady([1.0, 1.3, 0.8, 1.1, 0.9, 1.2, 0.7, 1.3, 1.0, 1.15])


@given(st.lists(times, min_size=6, max_size=200), st.floats(1e-3, 1e3))
def test_the_width_of_the_interval_has_no_unit(walls: list[float], factor: float) -> None:
    width = measure.median_width_fraction(walls)
    assert width >= 0
    assert math.isclose(measure.median_width_fraction([wall * factor for wall in walls]), width, rel_tol=1e-6, abs_tol=1e-9)


@given(st.lists(times, max_size=100), st.floats(0, 100), st.floats(0.5, 50))
def test_sampling_ends_when_its_time_is_over_twice(walls: list[float], elapsed_s: float, share_s: float) -> None:
    enough = measure.is_enough(walls, elapsed_s, share_s)
    if walls and elapsed_s >= 2 * share_s:
        assert enough
    if len(walls) < measure.ENOUGH_SAMPLES and elapsed_s < share_s:
        assert not enough


@given(st.floats(1e-9, 10.0))
def test_samples_are_long_enough_for_the_clock(call_s: float) -> None:
    calls = measure.calls_per_sample(call_s)
    assert calls * call_s >= measure.SAMPLE_S * (1 - 1e-9)
    assert calls == 1 or (calls - 1) * call_s < measure.SAMPLE_S * (1 + 1e-9)


def test_a_clock_that_did_not_move_means_a_very_short_call() -> None:
    assert measure.calls_per_sample(0.0) > 1


def test_the_peak_of_the_resident_size_is_of_this_case_only() -> None:
    before = clocks.resident_peak_bytes()
    if before is None or not clocks.reset_resident_peak():
        pytest.skip("this system does not tell or reset the peak of the resident size")
    block = bytearray(b"x") * (64 << 20)
    high = clocks.resident_peak_bytes()
    del block
    clocks.reset_resident_peak()
    low = clocks.resident_peak_bytes()
    assert high is not None
    assert low is not None
    assert high - low > 48 << 20


def test_an_accelerators_time_is_what_its_events_say() -> None:
    log: list[str] = []

    class Event:
        def record(self) -> None:
            log.append("event")

        def elapsed_time(self, other: object) -> float:
            return 12.5

    queue = clocks.Queue(lambda: log.append("synchronize"), Event)
    sample, result = clocks.time_calls(lambda: log.append("call"), 2, queue)
    assert log == ["synchronize", "event", "call", "call", "event", "synchronize"]
    assert sample.wall_s == 0.0125
    assert result is None
