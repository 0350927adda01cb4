"""Two stored runs of one kernel: what values of separate processes, not interleaved, can tell."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy import special

from hwbench.core.comparison import CANT_TELL, Comparison, Verdict

from .ab import POWER_FRACTION

STORED_THRESHOLD_FRACTION: Final = 0.05
"""Above an interleaved session's: the machine itself drifts by more than 2 % between runs."""
FEWEST_STORED_PROCESSES: Final = 5
"""A side: with fewer, no arrangement of the labels is rarer than 1 %."""
STORED_ALPHA: Final = 0.01
"""Two-sided error of a verdict, were the machine the same in both runs."""
STORED_NOTE: Final = "stored runs were not interleaved: a machine that changed between them looks the same; `hwbench ab` can tell"


def compare_process_values(
    kernel: str,
    base: Sequence[float],
    candidate: Sequence[float],
    *,
    threshold_fraction: float = STORED_THRESHOLD_FRACTION,
    alpha: float = STORED_ALPHA,
) -> Comparison:
    """CANDIDATE against BASE from one value per process (a time: lower is better), in any unit, the same on both sides.

    Give each process's median, not its minimum: between two halves of recorded sessions of identical code, medians raised 1 %
    false alarms and minima 13 %, as whether the floor is reached depends on the hour.

    The ratio is Hodges and Lehmann's (the median of all log ratios) with the distribution-free interval that belongs to the
    Mann-Whitney test (Hollander and Wolfe, 4.3); a verdict needs the whole interval beyond 1 and the ratio beyond the
    threshold. Values that no process can take, or too few, give "can't tell" and a note. The note always says what is missing.
    """
    for side, values in (("base", base), ("candidate", candidate)):
        bad = sum(not (math.isfinite(value) and value > 0) for value in values)
        if bad:
            return Comparison(kernel=kernel, verdict=CANT_TELL, note=f"{bad} of {len(values)} values of {side} are not positive numbers")
        if len(values) == 0:
            return Comparison(kernel=kernel, verdict=CANT_TELL, note=f"{side} has no values of it (missing, or renamed?)")
    ratios = np.sort(np.subtract.outer(np.log(np.asarray(candidate)), np.log(np.asarray(base))), axis=None)
    log_ratio = float(np.median(ratios))
    if min(len(base), len(candidate)) < FEWEST_STORED_PROCESSES:
        few = f"{len(base)} and {len(candidate)} processes: a verdict needs {FEWEST_STORED_PROCESSES} a side"
        return Comparison(kernel=kernel, verdict=CANT_TELL, ratio=math.exp(log_ratio), note=f"{few}; {STORED_NOTE}")
    rank = _interval_rank(len(base), len(candidate), alpha)
    low, high = float(ratios[rank]), float(ratios[-1 - rank])
    reach = (high - low) / 2
    power = reach * float(special.ndtri(POWER_FRACTION) / special.ndtri(1 - alpha / 2))
    return Comparison(
        kernel=kernel,
        verdict=_verdict(log_ratio, low, high, math.log1p(threshold_fraction)),
        ratio=math.exp(log_ratio),
        ratio_low=math.exp(low),
        ratio_high=math.exp(high),
        minimum_detectable_effect=math.expm1(max(reach, math.log1p(threshold_fraction)) + power),
        note=STORED_NOTE,
    )


def _interval_rank(base: int, candidate: int, alpha: float) -> int:
    """How many of the sorted ratios lie outside at each end: the normal approximation to Mann-Whitney's U, rounded down."""
    centre, spread = base * candidate / 2, math.sqrt(base * candidate * (base + candidate + 1) / 12)
    return max(0, math.floor(centre - float(special.ndtri(1 - alpha / 2)) * spread))


def _verdict(log_ratio: float, low: float, high: float, threshold: float) -> Verdict:
    if log_ratio > threshold and low > 0:
        return "slower"
    if log_ratio < -threshold and high < 0:
        return "faster"
    return "same" if -threshold <= low and high <= threshold else CANT_TELL
