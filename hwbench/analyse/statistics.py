"""Small statistics for reports: a median with its interval over processes, the end of the warm-up, what disturbed a run."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from hwbench.core.comparison import Interval
from hwbench.core.errors import UserError

MAD_TO_SIGMA: Final = 1.4826
"""Median absolute deviation to standard deviation, for normal data (1 / Phi^-1(3/4))."""
SMALLEST_ORDER_INTERVAL: Final = 6
"""Fewest values whose extremes hold the median with 95 % confidence: 1 - 2 / 2^6 = 0.969."""
FLOOR_SPREAD_FRACTION: Final = 0.02
"""The floor counts as reached where the faster half of the per-process minima agree this well."""
WARM_UP_TOLERANCE_FRACTION: Final = 0.01
"""Levels that differ by less than this are one level: the noise of a good machine."""


def interval(process_values: Sequence[float], *, confidence_fraction: float = 0.95) -> Interval:
    """The median of one positive value per process, with an interval over processes.

    Six values or more (at 95 %) give the distribution-free interval between two order statistics (binomial; see Hahn and
    Meeker, Statistical Intervals, 5.3). Two to five give Student's t over the logarithms, widened to hold the median: an
    assumption, named in `method`. One gives no interval. Samples of one process are not replicates: never pass them here.
    Raises UserError for no values, or any that are not positive and finite.
    """
    values = np.sort(_positive(process_values))
    count, median = len(values), float(np.median(values))
    if count == 1:
        return _no_interval(median, confidence_fraction)
    rank = _symmetric_rank(count, confidence_fraction)
    if rank >= 1:
        low, high, method = float(values[rank - 1]), float(values[count - rank]), "order statistics over processes"
    else:
        logs = np.log(values)
        reach = float(special.stdtrit(count - 1, (1 + confidence_fraction) / 2) * logs.std(ddof=1) / np.sqrt(count))
        low, high = float(np.exp(logs.mean() - reach)), float(np.exp(logs.mean() + reach))
        low, high, method = min(low, median), max(high, median), f"Student's t over the logarithms of {count} processes"
    return Interval(median=median, low=low, high=high, processes=count, confidence_fraction=confidence_fraction, method=method)


def relative_width(of: Interval) -> float | None:
    """(high - low) / median, dimensionless; None where there is no interval."""
    if of.low is None or of.high is None:
        return None
    return (of.high - of.low) / of.median


def steady_state_start(samples: Sequence[float], *, window: int = 5) -> int | None:
    """Index of the first sample after the warm-up, in the order they were taken; None where the samples never settle.

    The steady level and its noise are the median and the MAD of the second half. Warm-up ends where the median of the next
    `window` samples first agrees with that level within three standard errors (or 1 %). None where that is not in the
    first half, where the last two quarters still differ (a drift), or with fewer than four samples: too few to know.
    """
    values = np.asarray(samples, dtype=np.float64)
    if len(values) < 4 or not np.isfinite(values).all():
        return None
    half = len(values) // 2
    tail = values[half:]
    level = float(np.median(tail))
    sigma = MAD_TO_SIGMA * float(np.median(np.abs(tail - level)))
    width = min(window, half)
    if _drifts(tail, level):
        return None
    medians = np.median(np.lib.stride_tricks.sliding_window_view(values, width)[: half + 1], axis=1)
    settled = np.flatnonzero(np.abs(medians - level) <= _tolerance(level, sigma, width))
    return int(settled[0]) + _cold_samples(values[settled[0] : settled[0] + width], level, sigma) if len(settled) else None


def floor_reached(process_minima: Sequence[float]) -> bool:
    """Whether the faster half of the per-process minima agree within 2 %: only then is their floor the machine's."""
    values = np.sort(_positive(process_minima))
    lower = values[: (len(values) + 1) // 2]
    return len(values) >= 4 and bool(lower[-1] <= lower[0] * (1 + FLOOR_SPREAD_FRACTION))


def noise_warnings(
    process_minima: Sequence[float],
    *,
    wall_s: float | None = None,
    cpu_s: float | None = None,
    threads: int = 1,
    load_avg_1min: float | None = None,
    cores: int | None = None,
    steal_fraction: float | None = None,
    involuntary_switches_per_call: float | None = None,
) -> tuple[str, ...]:
    """What disturbed a measurement, one plain sentence each; empty where nothing is known to have.

    `process_minima`: the smallest time of each process; `wall_s` and `cpu_s`: totals of the timed region; the rest is the
    machine's state. What is None is not judged. Raises UserError for minima that are not positive and finite.
    """
    found: list[str] = []
    if len(process_minima) == 1:
        found.append("one process: no interval, and no telling how much processes differ")
    elif len(process_minima) >= 4 and not floor_reached(process_minima):
        found.append("the floor was not reached: the faster half of the processes differ by more than 2 %")
    if wall_s and cpu_s and wall_s * threads > 1.1 * cpu_s:
        found.append(f"the processor was given for only {100 * cpu_s / (wall_s * threads):.0f} % of the wall time: others were running")
    if load_avg_1min is not None and cores and load_avg_1min > 1.5 * cores:
        found.append(f"load {load_avg_1min:.1f} on {cores} cores: others were running")
    if steal_fraction is not None and steal_fraction > 0.01:
        found.append(f"the hypervisor took {100 * steal_fraction:.1f} % of the processor time away")
    if involuntary_switches_per_call is not None and involuntary_switches_per_call > 0.5:
        found.append(f"{involuntary_switches_per_call:.1f} involuntary context switches a call: the kernel was interrupted")
    return tuple(found)


def _positive(values: Sequence[float]) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all() or (array <= 0).any():
        raise UserError("an interval needs one positive, finite value per process", hint="leave out failed processes and zero times")
    return array


def _symmetric_rank(count: int, confidence_fraction: float) -> int:
    """Largest r such that the r-th smallest and r-th largest hold the median with this confidence; 0 where none do."""
    ranks = np.arange(count // 2 + 1)
    outside = 2 * special.bdtr(ranks - 1.0, count, 0.5)  # P(median below the r-th smallest or above the r-th largest)
    outside[0] = 0.0
    return int(ranks[outside <= 1 - confidence_fraction][-1])


def _no_interval(median: float, confidence_fraction: float) -> Interval:
    method = "one process: no interval"
    return Interval(median=median, low=None, high=None, processes=1, confidence_fraction=confidence_fraction, method=method)


def _tolerance(level: float, sigma: float, count: int) -> float:
    """Three standard errors of a median of `count` (1.2533 sigma / sqrt(n)), but no less than 1 % of the level."""
    return max(3 * 1.2533 * sigma / math.sqrt(count), WARM_UP_TOLERANCE_FRACTION * abs(level))


def _drifts(tail: NDArray[np.float64], level: float) -> bool:
    """Whether the two halves of `tail` have different medians beyond both halves' error.

    The noise comes from successive differences (sigma of a difference is sqrt(2) sigma), which a slow drift does not widen.
    """
    middle = len(tail) // 2
    steps = np.abs(np.diff(tail))
    sigma = MAD_TO_SIGMA * float(np.median(steps)) / math.sqrt(2) if len(steps) else 0.0
    apart = abs(float(np.median(tail[:middle])) - float(np.median(tail[middle:])))
    return apart > math.sqrt(2) * _tolerance(level, sigma, middle)


def _cold_samples(window: NDArray[np.float64], level: float, sigma: float) -> int:
    """How many samples at the window's start are still cold: a median over the window doesn't see its first one or two."""
    cold = np.abs(window - level) > max(4 * sigma, 5 * WARM_UP_TOLERANCE_FRACTION * abs(level))
    return len(window) if bool(cold.all()) else int(np.argmin(cold))
