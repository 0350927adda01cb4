"""Measuring one step: cold call, warm-up to steady state, samples until the median is known well enough or the time is over.

Every rank runs the same loop. After each sample `agree` carries rank 0's decision to the others; it is a barrier too, outside the
timed region, so that all ranks begin a sample together and take the same number of them.
"""

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from hwbench.core.record import Energy

from . import energy
from .clocks import Queue, Sample, time_calls

Agree: TypeAlias = Callable[[int], int]
"""Gives every rank the number that rank 0 passed, and waits for all ranks."""

SAMPLE_S: Final = 1e-3
"""Shortest sample: ten thousand times the cost of reading the clocks; shorter calls are timed together."""
WINDOW: Final = 5
"""Samples whose median is compared with the median of as many before them."""
SHORT_WINDOW: Final = 3
"""The same when the time for the warm-up is over: steps that take long never fill two windows."""
STEADY_TOLERANCE_FRACTION: Final = 0.02
WARMUP_SHARE_FRACTION: Final = 0.3
"""The warm-up may take this part of a case's time; then samples are taken all the same, with a warning."""
TARGET_WIDTH_FRACTION: Final = 0.01
"""Sampling ends early where the interval of the median is narrower than this part of it."""
WIDE_FRACTION: Final = 0.10
ENOUGH_SAMPLES: Final = 30
"""Fewest samples before the interval may end the sampling."""
FEWEST_SAMPLES: Final = 5
"""Fewest samples when the time is over, unless it is over twice."""
MOST_SAMPLES: Final = 2000


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is timed, and how ranks and devices are waited for."""

    run: Callable[[], object]
    loss: Callable[[object], float] | None = None
    """Reads the loss from what `run` returned, outside the timed region; None where there is none."""
    agree: Agree = int
    queue: Queue | None = None
    """The accelerator's; None on a CPU."""
    counters: Callable[[], energy.Reading] | None = None
    """Reads the energy counters; None where nobody asks."""
    renew: Callable[[], None] | None = None
    """Lays the next batch where `run` finds it, after each sample, outside the timed region; None where `run` repeats one batch."""
    fewest_calls: int = 0
    """Calls, warm-up and samples together, that are made beyond the case's share of time, within `longest_s`."""
    longest_s: float = math.inf
    """No sample begins later than this after the first call: a case that hits its time limit loses all of them."""
    compiles: bool = False
    """Whether the cold call compiles: then it comes on top of the case's share of time."""


@dataclass(kw_only=True)
class Taken:
    """What one rank saw of one step; times are of whole samples, `calls_per_sample` calls each, but for the warm-up's, which are of one."""

    calls_per_sample: int = 1
    warmup_wall_s: list[float] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    steady: bool = False
    energy: Energy | None = None
    """While the samples were taken."""
    span_s: float = 0.0
    """From the first warm-up call to the end of the last sample."""
    calls: int = 0
    """Calls made, warm-up included."""
    missing_calls: int = 0
    """Of the fewest that were asked for those for which no time was left."""
    losses: list[float] = field(default_factory=list)
    """After each warm-up call and each sample."""

    @property
    def walls(self) -> list[float]:
        """Wall seconds of the samples after the warm-up."""
        return [sample.wall_s for sample in self.samples]


def take_samples(step: Step, share_s: float, progress: Callable[[str, int], None]) -> Taken:
    """Measure `step` for at most about `share_s` seconds; `progress(phase, samples)` is called between samples."""
    taken = Taken()
    began_s = time.perf_counter()
    gc.collect()
    gc.disable()
    try:
        progress("compiling" if step.compiles else "warming up", 0)
        first_call_s = time.perf_counter()
        if step.compiles:
            taken.warmup_wall_s.append(_timed(step, 1, taken).wall_s)
            began_s = time.perf_counter()
        warm_up_end_s = began_s + WARMUP_SHARE_FRACTION * share_s
        _first_calls(step, taken, warm_up_end_s)
        _warm_up(step, taken, warm_up_end_s, progress)
        before, from_s = step.counters() if step.counters else None, time.perf_counter()
        _sample(step, taken, began_s, share_s, progress)
        if step.counters and before:
            taken.energy = energy.between(before, step.counters(), time.perf_counter() - from_s)
        taken.span_s = time.perf_counter() - first_call_s
    finally:
        gc.enable()
    return taken


def _first_calls(step: Step, taken: Taken, end_s: float) -> None:
    """The cold call and, where there is time, two more, timed one by one; they tell how many calls make a sample."""
    while len(taken.warmup_wall_s) < 3 and not step.agree(int(bool(taken.warmup_wall_s) and time.perf_counter() >= end_s)):
        taken.warmup_wall_s.append(_timed(step, 1, taken).wall_s)
    taken.calls_per_sample = step.agree(calls_per_sample(min(taken.warmup_wall_s)))


def _warm_up(step: Step, taken: Taken, end_s: float, progress: Callable[[str, int], None]) -> None:
    walls = taken.warmup_wall_s
    cold = 1 if taken.calls_per_sample == 1 else len(walls)  # batches and single calls are not comparable
    while True:
        over = time.perf_counter() >= end_s
        steady = is_steady(walls[cold:], SHORT_WINDOW if over else WINDOW)
        if step.agree(int(steady or over)):
            taken.steady = steady
            return
        walls.append(_timed(step, taken.calls_per_sample, taken).wall_s / taken.calls_per_sample)
        progress("warming up", 0)


def _sample(step: Step, taken: Taken, began_s: float, share_s: float, progress: Callable[[str, int], None]) -> None:
    while True:
        elapsed_s = time.perf_counter() - began_s
        late = bool(taken.samples) and elapsed_s >= step.longest_s
        if step.agree(int(late or (taken.calls >= step.fewest_calls and is_enough(taken.walls, elapsed_s, share_s)))):
            taken.missing_calls = max(0, step.fewest_calls - taken.calls)
            return
        taken.samples.append(_timed(step, taken.calls_per_sample, taken))
        progress("measuring", len(taken.samples))


def _timed(step: Step, calls: int, taken: Taken) -> Sample:
    """One sample; what the calls returned is let go before the next one, so that memory is what the step itself needs."""
    sample, result = time_calls(step.run, calls, step.queue)
    taken.calls += calls
    if step.loss:
        taken.losses.append(step.loss(result))
    if step.renew:
        step.renew()
    return sample


def calls_per_sample(call_s: float) -> int:
    """How many calls make a sample of at least SAMPLE_S."""
    return max(1, math.ceil(SAMPLE_S / call_s)) if call_s > 0 else 1000


def is_steady(walls: Sequence[float], window: int = WINDOW) -> bool:
    """Whether the last two windows, of so many samples each, show one level.

    Their medians differ by less than the tolerance, or each lies within the other window's range: noise, not a trend.
    """
    if len(walls) < 2 * window:
        return False
    before, last = walls[-2 * window : -window], walls[-window:]
    level_before, level = statistics.median(before), statistics.median(last)
    if abs(level - level_before) <= STEADY_TOLERANCE_FRACTION * level:
        return True
    return min(last) <= level_before <= max(last) and min(before) <= level <= max(before)


def is_enough(walls: Sequence[float], elapsed_s: float, share_s: float) -> bool:
    """Whether sampling may end: the median is known well enough, the time is over, or there are as many samples as are kept."""
    count = len(walls)
    if count >= MOST_SAMPLES:
        return True
    if elapsed_s >= share_s:
        return count >= FEWEST_SAMPLES or (count >= 1 and elapsed_s >= 2 * share_s)
    return count >= ENOUGH_SAMPLES and count % 10 == 0 and median_width_fraction(walls) <= TARGET_WIDTH_FRACTION


def median_width_fraction(walls: Sequence[float]) -> float:
    """Width of the 95 % interval of the median over the median; infinite for fewer than six samples.

    Between order statistics n/2 ± 0.98·√n (normal approximation of the binomial). Samples of one process aren't replicates:
    this says when to stop and what to mark, not how sure a figure is.
    """
    count = len(walls)
    if count < 6:
        return math.inf
    ordered = sorted(walls)
    reach = 0.98 * math.sqrt(count)
    low = ordered[max(0, math.floor(count / 2 - reach))]
    high = ordered[min(count - 1, math.ceil(count / 2 + reach))]
    return (high - low) / statistics.median(ordered)


def warnings_of(taken: Taken) -> tuple[str, ...]:
    """What a reader of these samples should know, one sentence each."""
    found: list[str] = []
    if not taken.steady:
        found.append(f"no steady state in a warm-up of {len(taken.warmup_wall_s)}: the first samples may still belong to it")
    if taken.missing_calls:
        found.append(f"{taken.calls} of {taken.calls + taken.missing_calls} calls were made before the time limit: raise --time-limit")
    count, width = len(taken.walls), median_width_fraction(taken.walls)
    if math.isinf(width):
        found.append(f"only {count} samples: too few for an interval of the median; give the case more time")
    elif width > WIDE_FRACTION:
        found.append(f"the interval of the median is {100 * width:.0f} % wide ({count} samples): give more time, or a quieter machine")
    return tuple(found)
