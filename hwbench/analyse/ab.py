"""Which of two versions is slower, from an interleaved session: verdict, interval, and what could have been seen.

docs/statistics.md says why each constant is what it is, and what was tried and left.
"""

import math
from typing import Final

import numpy as np
from scipy import special

from hwbench.core.comparison import CANT_TELL, Comparison, Verdict

from .cells import Cells, Clock, cells
from .estimators import Estimate, estimate
from .sessions import Session

THRESHOLD_FRACTION: Final = 0.02
"""Changes below this are nobody's concern: never called slower or faster; an interval within it is "same"."""
ALPHA: Final = 0.015
"""Two-sided error of a verdict, and what the interval leaves outside. Replays show fewer false alarms: docs/statistics.md."""
FEWEST_ROUNDS: Final = 6
FEWEST_PROCESSES: Final = 3
LOTTERY_MARGIN: Final = 4.0
"""Times the spread of processes that are draws of a lottery: a ratio beyond needs no more of them to be believed."""
POWER_FRACTION: Final = 0.8
_LARGEST_LOG: Final = 700.0
"""exp of more overflows."""


def judge_session(
    session: Session, *, clock: Clock = "cpu", threshold_fraction: float = THRESHOLD_FRACTION, alpha: float = ALPHA
) -> list[Comparison]:
    """One comparison a kernel, by name. `alpha` is a verdict's two-sided error (see `look_alphas` for one look of several)."""
    return [judge_kernel(session, kernel, clock, threshold_fraction, alpha) for kernel in range(len(session.kernel_names))]


def judge_kernel(session: Session, kernel: int, clock: Clock, threshold_fraction: float, alpha: float) -> Comparison:
    """B against A for `session.kernel_names[kernel]`; unusable samples give "can't tell" and a note, never an error."""
    name = session.kernel_names[kernel]
    found = cells(session, kernel, clock)
    if isinstance(found, str):
        return Comparison(kernel=name, verdict=CANT_TELL, note=found)
    return judge_cells(name, found, threshold_fraction=threshold_fraction, alpha=alpha)


def judge_cells(name: str, of: Cells, *, threshold_fraction: float = THRESHOLD_FRACTION, alpha: float = ALPHA) -> Comparison:
    """The verdict on one kernel's cells; `estimate` says how the ratio and its error are made."""
    rounds = len(of.round_low)
    if rounds < 2:
        return Comparison(kernel=name, verdict=CANT_TELL, note=f"{rounds} round with both sides: no telling how much rounds differ")
    found = estimate(of)
    verdict = _verdict(found, threshold_fraction, alpha)
    doubt = _doubt(of, found, alpha)
    reach = found.reach(alpha)
    return Comparison(
        kernel=name,
        verdict=CANT_TELL if doubt else verdict,
        ratio=math.exp(found.log_ratio),
        ratio_low=math.exp(max(found.log_ratio - reach, -_LARGEST_LOG)),
        ratio_high=math.exp(min(found.log_ratio + reach, _LARGEST_LOG)),
        minimum_detectable_effect=minimum_detectable_effect(found, threshold_fraction, alpha),
        p_value=2 * float(special.stdtr(found.freedom, -abs(found.log_ratio) / found.error)),
        note="; ".join(part for part in (doubt, of.note) if part),
    )


def minimum_detectable_effect(of: Estimate, threshold_fraction: float, alpha: float) -> float:
    """The smallest slowdown, as a fraction, that is called so with 80 % power: what must be exceeded, and t_0.8 errors more."""
    needed = max(math.log1p(threshold_fraction), of.reach(alpha))
    return math.expm1(min(needed + float(special.stdtrit(of.freedom, POWER_FRACTION)) * of.error, _LARGEST_LOG))


def _verdict(of: Estimate, threshold_fraction: float, alpha: float) -> Verdict:
    threshold = math.log1p(threshold_fraction)
    if abs(of.log_ratio) > max(threshold, of.reach(alpha)):
        return "slower" if of.log_ratio > 0 else "faster"
    return "same" if abs(of.log_ratio) + of.reach(alpha) <= threshold else CANT_TELL


def _doubt(of: Cells, found: Estimate, alpha: float) -> str:
    """Why no verdict may rest on these cells, however clear they look; empty where it may."""
    processes = len(np.unique(of.round_process))
    if len(of.round_low) < FEWEST_ROUNDS:
        return f"{len(of.round_low)} rounds with both sides: a verdict needs {FEWEST_ROUNDS}"
    if processes < FEWEST_PROCESSES:
        return f"{processes} respawned processes a side: a verdict needs {FEWEST_PROCESSES}, samples of one are not replicates"
    if processes < fewest_draws(alpha) and abs(found.log_ratio) < LOTTERY_MARGIN * found.lottery:
        apart = f"processes of the same code differ by {100 * math.expm1(found.lottery):.0f} %, more than their rounds do"
        return f"{apart}: a verdict needs {fewest_draws(alpha)} of them, here are {processes}; respawn more often"
    return ""


def fewest_draws(alpha: float) -> int:
    """Pairs of processes that all differ the same way by luck with a chance (two-sided) of no more than `alpha`: 2^(1-n)."""
    return math.ceil(1 - math.log2(alpha))
