"""A series cut into levels: the noise's density from the series itself, and the likeliest segments under it.

docs/statistics.md says why each constant is what it is, and what was tried and left.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SHORTEST_SEGMENT: Final = 4
"""Points that make a level; fewer are spikes, or too young to confirm."""
PENALTY: Final = 10.0
"""Gain of log likelihood that a change must bring, times the square root of the noise's autocorrelation factor."""
BANDWIDTH_FACTOR: Final = 2.5
"""Times Silverman's: a smooth density is not drawn to the accidents of a short series."""
OUTLIER_FRACTION: Final = 0.08
NARROWEST_TAIL: Final = 0.02
INITIAL_SPLITS: Final = 2
_GRID_STEPS: Final = 200
_SMALLEST_DENSITY: Final = 1e-12


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """`sums[j, m] - sums[i, m]` is the log likelihood of points i..j-1 at level `levels[m]`; `inflation` is that of autocorrelation."""

    sums: Array
    levels: Array
    inflation: float

    def best(self, start: int, stop: int) -> tuple[float, float]:
        """Largest log likelihood of points start..stop-1 at one level, and that level."""
        row = self.sums[stop] - self.sums[start]
        place = int(row.argmax())
        return float(row[place]), float(self.levels[place])


def fitted(logs: Array) -> tuple[Likelihood, list[int]]:
    """The likelihood of `logs` and its cuts. A second round takes the noise from the first one's segments where it found several."""
    initial = _absolute_splits(logs, INITIAL_SPLITS)
    likelihood = _likelihood(logs, _residuals(logs, initial))
    cuts = cuts_of(likelihood, PENALTY, SHORTEST_SEGMENT)
    if len(cuts) < INITIAL_SPLITS:
        return likelihood, cuts
    levels = np.empty_like(logs)
    for start, stop in _segments(cuts, len(logs)):
        levels[start:stop] = likelihood.best(start, stop)[1]
    likelihood = _likelihood(logs, logs - levels)
    return likelihood, cuts_of(likelihood, PENALTY, SHORTEST_SEGMENT)


def _segments(cuts: Sequence[int], count: int) -> list[tuple[int, int]]:
    edges = [0, *cuts, count]
    return list(itertools.pairwise(edges))


def _residuals(logs: Array, cuts: Sequence[int]) -> Array:
    return np.concatenate([logs[start:stop] - np.median(logs[start:stop]) for start, stop in _segments(cuts, len(logs))])


def _absolute_splits(logs: Array, count: int) -> list[int]:
    """So many splits, each the best left for the sum of absolute deviations, wanted or not: their residuals are noise."""
    levels = np.quantile(logs, np.linspace(0.02, 0.98, 49))
    sums = np.vstack((np.zeros(len(levels)), np.cumsum(-np.abs(logs[:, None] - levels), axis=0)))
    cuts: list[int] = []
    for _ in range(count):
        options = []
        for start, stop in _segments(cuts, len(logs)):
            if stop - start >= 2 * SHORTEST_SEGMENT:
                gain = gains(sums, start, stop)
                options.append((float(gain.max()), start + int(gain.argmax())))
        if not options:
            break
        cuts = sorted([*cuts, max(options)[1]])
    return cuts


def gains(sums: Array, start: int, stop: int) -> Array:
    """What a cut at each place start..stop gains over none; minus infinity where a part would be too short."""
    inner = sums[start : stop + 1]
    gain = (inner - sums[start]).max(axis=1) + (sums[stop] - inner).max(axis=1) - (sums[stop] - sums[start]).max()
    gain[:SHORTEST_SEGMENT] = -np.inf
    gain[len(gain) - SHORTEST_SEGMENT :] = -np.inf
    return np.asarray(gain)


def _likelihood(logs: Array, residuals: Array) -> Likelihood:
    """Each point's log likelihood at each of `_GRID_STEPS` levels, summed over points; the density is that of `residuals`."""
    step = float(np.ptp(logs)) / _GRID_STEPS
    levels = logs.min() + step * np.arange(_GRID_STEPS + 1)
    reach = _GRID_STEPS + 2
    table = _log_density(residuals, step, reach)
    places = np.clip(np.round((logs[:, None] - levels) / step).astype(np.int64) + reach, 0, 2 * reach)
    sums = np.vstack((np.zeros(len(levels)), np.cumsum(table[places], axis=0)))
    return Likelihood(sums=sums, levels=levels, inflation=_inflation(residuals))


def _log_density(residuals: Array, step: float, reach: int) -> Array:
    """Log density at -reach*step..reach*step: a Gaussian kernel estimate, with a Laplace share so that no outlier decides."""
    sigma = 1.4826 * float(np.median(np.abs(residuals - np.median(residuals))))
    spread = float(np.subtract(*np.quantile(residuals, (0.75, 0.25)))) / 1.349
    bandwidth = max(BANDWIDTH_FACTOR * 0.9 * min(sigma, spread) * len(residuals) ** -0.2, 0.7 * step)
    wide = max(2 * sigma, float(residuals.std()), NARROWEST_TAIL)
    counts = np.bincount(np.clip(np.round(residuals / step).astype(np.int64) + reach, 0, 2 * reach), minlength=2 * reach + 1)
    half = min(reach, math.ceil(6 * bandwidth / step))
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) * step / bandwidth) ** 2)
    core = np.convolve(counts / len(residuals), kernel / kernel.sum(), mode="same") / step
    tails = np.exp(-np.abs(np.arange(-reach, reach + 1) * step) / wide) / (2 * wide)
    return np.asarray(np.log((1 - OUTLIER_FRACTION) * core + OUTLIER_FRACTION * tails + _SMALLEST_DENSITY))


def _inflation(residuals: Array) -> float:
    """How much the variance of a mean exceeds that of independent points: 1 + 2 r1 + r2, with r of the ranks, none below 0."""
    ranks = np.argsort(np.argsort(residuals, kind="stable"), kind="stable") - (len(residuals) - 1) / 2
    total = float((ranks**2).sum())
    first, second = (max(0.0, float((ranks[:-lag] * ranks[lag:]).sum()) / total) for lag in (1, 2))
    return 1 + 2 * first + second


def cuts_of(of: Likelihood, penalty: float, shortest: int) -> list[int]:
    """Starts of the second and later segments of the best segmentation (optimal partitioning, Jackson et al. 2005)."""
    count, price = len(of.sums) - 1, penalty * math.sqrt(of.inflation)
    best = np.full(count + 1, -np.inf)
    best[0] = 0.0
    previous = np.zeros(count + 1, dtype=np.int64)
    for stop in range(shortest, count + 1):
        starts = np.concatenate(([0], np.arange(shortest, stop - shortest + 1)))
        value = best[starts] + (of.sums[stop] - of.sums[starts]).max(axis=1) - price
        chosen = int(value.argmax())
        best[stop], previous[stop] = value[chosen], starts[chosen]
    cuts: list[int] = []
    stop = int(previous[count])
    while stop > 0:
        cuts.append(stop)
        stop = int(previous[stop])
    return cuts[::-1]
