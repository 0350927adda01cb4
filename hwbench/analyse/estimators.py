"""How much slower B is than A, and how sure that is: five estimators over one kernel's cells, label swaps, processes left out.

docs/statistics.md says why each constant is what it is, and what was tried and left.
"""

import itertools
import math
import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from .cells import Cells
from .permutation import label_swaps

Array = NDArray[np.float64]

SYSTEMATIC_ERROR: Final = 0.002
"""Standard error (of a log ratio) that more rounds of one session don't lessen: clocks, and where memory happened to lie."""
ESTIMATOR_ERROR: Final = 0.002
"""Standard error added to each estimator's own before weighting: none is trusted alone because its swaps look quiet."""
LOTTERY_P: Final = 0.001
"""Chance that processes alike in truth are taken for draws of a lottery."""
MOST_SUBSETS: Final = 40
LOW_ROUNDS_FRACTION: Final = 0.25
LOW_BLOCKS_FRACTION: Final = 0.05
_SMALLEST_SCALE: Final = 1e-4
"""0.01 %: finer than any clock's repeatability; keeps equal values from dividing by zero."""


class Estimate(NamedTuple):
    """log(time of B / time of A), its standard error, and the degrees of freedom that the error is known with.

    `lottery` is the standard deviation of the processes' own log ratios where these differ more than their rounds do, else 0.
    """

    log_ratio: float
    error: float
    freedom: float
    lottery: float

    def reach(self, alpha: float) -> float:
        """Half the width of the interval that leaves `alpha` outside, on the logarithmic scale (Student's t)."""
        return float(special.stdtrit(self.freedom, 1 - alpha / 2)) * self.error


def estimate(of: Cells) -> Estimate:
    """B against A from five estimators, weighted by what label swaps make of each; at least two rounds.

    The data are first aligned (B divided by the ratio found), so that a true difference does not widen the swaps' spread.
    Weights are 1 / (swap variance + ESTIMATOR_ERROR^2). Rounds of one process may share what it brought; so where the
    variance over processes exceeds that of the weighted sum under the same swaps, the excess is added, and the degrees of
    freedom are Satterthwaite's (1946) for the two parts. SYSTEMATIC_ERROR joins in quadrature.
    """
    views, rounds, processes = _views(of), len(of.round_low), len(np.unique(of.round_process))
    estimates = _estimates([view.logs[None] for view in views])[:, 0]
    seed = zlib.crc32(np.sort(of.round_low, axis=1).tobytes())
    swaps = label_swaps(rounds, seed)
    swapped = _estimates([_swapped(view, shift, swaps) for view, shift in zip(views, estimates, strict=True)])
    weights = 1 / ((swapped**2).mean(axis=1) + ESTIMATOR_ERROR**2)
    weights /= weights.sum()
    between_rounds = float(((weights @ swapped) ** 2).mean())
    lottery = _lottery(of, views)
    between_processes = max(_process_variance(views, of.round_process, weights, seed), lottery**2 / processes)
    excess = max(0.0, between_processes - between_rounds)
    variance = between_rounds + excess + SYSTEMATIC_ERROR**2
    lost = between_rounds**2 / (rounds - 1) + excess**2 / max(processes - 1, 1)
    freedom = min(float(rounds - 1), variance**2 / lost) if lost > 0 else float(rounds - 1)
    return Estimate(float(weights @ estimates), math.sqrt(variance), freedom, lottery)


class _View(NamedTuple):
    """What one estimator looks at: log times [n, 2] (A, B), and the round that each row belongs to."""

    logs: Array
    round: NDArray[np.int64]


def _views(of: Cells) -> tuple[_View, ...]:
    low, mid = _View(of.block_low, of.pair_round), _View(of.block_mid, of.pair_round)
    return _View(of.round_low, np.arange(len(of.round_low))), low, low, mid, _quiet(low)


def _quiet(of: _View) -> _View:
    """The half of the pairs whose slower block was least disturbed. B is aligned first: else a slow B would choose for itself."""
    shift = float(student_location((of.logs[:, 1] - of.logs[:, 0])[None], freedom=0.5)[0])
    disturbed = np.maximum(of.logs[:, 0], of.logs[:, 1] - shift)
    chosen = disturbed <= np.median(disturbed)
    return _View(of.logs[chosen], of.round[chosen])


def _swapped(view: _View, shift: float, swaps: NDArray[np.bool_]) -> Array:
    """[swaps, n, 2]: B's times divided by exp(shift), then A and B changed over in the rounds that a swap names."""
    aligned = view.logs - np.array([0.0, shift])
    return np.asarray(np.where(swaps[:, view.round, None], aligned[:, ::-1], aligned))


def _process_variance(views: Sequence[_View], round_process: NDArray[np.int64], weights: Array, seed: int) -> float:
    """Variance of the weighted estimate over processes; 0 for one process.

    The jackknife that leaves out sqrt(n) of n processes (Shao and Wu 1989): leaving out one tells too little of medians and
    floors, which stay where the majority is.
    """
    processes = np.unique(round_process)
    if len(processes) < 2:
        return 0.0

    def estimates_of(chosen: NDArray[np.int64]) -> Array:
        return _estimates(_only(chosen, views, round_process))[:, 0]

    left_out = math.isqrt(len(processes))
    kept = len(processes) - left_out
    parts = np.array([weights @ estimates_of(chosen) for chosen in _subsets(processes, kept, seed)])
    return kept / left_out * float(((parts - weights @ estimates_of(processes)) ** 2).mean())


def _lottery(of: Cells, views: Sequence[_View]) -> float:
    """How far apart the processes' own ratios are, if that is more than chance; 0 if it isn't, or can't be known.

    Analysis of variance of the rounds' log ratios (the median over a round's pairs) by process, at LOTTERY_P: where a process's
    memory lies may decide its speed, and then each process is one draw, however many rounds it makes. The size is the middle one
    of the estimators' standard deviations over processes.
    """
    processes, group = np.unique(of.round_process, return_inverse=True)
    rounds = np.array([np.median(np.diff(of.block_low[of.pair_round == row])) for row in range(len(group))])
    between, within = len(processes) - 1, len(rounds) - len(processes)
    if between < 1 or within < 1:
        return 0.0
    counts = np.bincount(group)
    means = np.bincount(group, rounds) / counts
    residual = float(((rounds - means[group]) ** 2).sum()) / within + _SMALLEST_SCALE**2
    ratio = float((counts * (means - rounds.mean()) ** 2).sum()) / between / residual
    if special.fdtrc(between, within, ratio) >= LOTTERY_P:
        return 0.0
    own = [_estimates(_only(np.array([process]), views, of.round_process))[:, 0] for process in processes]
    return float(np.median(np.std(own, axis=0, ddof=1)))


def _subsets(processes: NDArray[np.int64], size: int, seed: int) -> list[NDArray[np.int64]]:
    """All subsets of `size`, or MOST_SUBSETS drawn at random where there are more."""
    if math.comb(len(processes), size) <= MOST_SUBSETS:
        return [np.array(chosen) for chosen in itertools.combinations(processes, size)]
    rng = np.random.default_rng(seed)
    return [rng.choice(processes, size, replace=False) for _ in range(MOST_SUBSETS)]


def _only(chosen: NDArray[np.int64], views: Sequence[_View], round_process: NDArray[np.int64]) -> list[Array]:
    """The views' log times [1, n, 2] of some processes; where these had no quiet pair, all their pairs stand in."""
    logs = [view.logs[None, np.isin(round_process[view.round], chosen)] for view in views]
    return logs if logs[-1].shape[1] else [*logs[:-1], logs[2]]


def _estimates(logs: Sequence[Array]) -> Array:
    """The five log ratios [5, k] of the five views' log times, each [k, n, 2]."""
    low, mid, quiet = (pairs[..., 1] - pairs[..., 0] for pairs in logs[2:])
    return np.stack(
        (
            _floor_ratio(logs[0], LOW_ROUNDS_FRACTION),
            _floor_ratio(logs[1], LOW_BLOCKS_FRACTION),
            student_location(low, freedom=0.5),
            student_location(mid, freedom=0.5),
            np.median(quiet, axis=1),
        )
    )


def _floor_ratio(logs: Array, fraction: float) -> Array:
    """Mean of the lowest `fraction` of each side, B less A: both sides' undisturbed moments, wherever in the session they were."""
    count = max(1, math.ceil(logs.shape[1] * fraction))
    lowest = np.partition(logs, count - 1, axis=1)[:, :count].mean(axis=1)
    return np.asarray(lowest[:, 1] - lowest[:, 0])


def student_location(values: Array, freedom: float, iterations: int = 12) -> Array:
    """Location of each row under Student's t with unknown scale, by expectation-maximisation (Lange, Little, Taylor 1989).

    For the log ratios of pairs: neighbours in time share their disturbances, and the ratio cancels them. With `freedom` of 1
    or less the core decides: pairs of which one half was disturbed count for next to nothing.
    """
    location = np.median(values, axis=1, keepdims=True)
    scale = np.maximum(np.median(np.abs(values - location), axis=1, keepdims=True), _SMALLEST_SCALE)
    for _ in range(iterations):
        weights = (freedom + 1) / (freedom + ((values - location) / scale) ** 2)
        location = (weights * values).sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True)
        scale = np.maximum(np.sqrt((weights * (values - location) ** 2).mean(axis=1, keepdims=True)), _SMALLEST_SCALE)
    return np.asarray(location[:, 0])
