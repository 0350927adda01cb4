"""Looking at an A/B comparison while it runs: what each look may spend of the error, Holm over kernels, when to stop, when to confirm."""

import math
from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np
from scipy import special

from hwbench.core.comparison import CANT_TELL, Comparison
from hwbench.core.value import Value

from .ab import ALPHA, judge_cells
from .cells import Cells, Clock, cells
from .permutation import holm
from .sessions import Session

LOOKS: Final = (1 / 8, 1 / 4, 1 / 2, 1.0)
"""Shares of a kernel's time after which its data are looked at. Time does not depend on what is found, so it may set the pace."""
SPENDING_POWER: Final = 1.5
"""Of Kim and DeMets' (1987) family, alpha t^rho: between Pocock's shape (1) and O'Brien and Fleming's (3)."""
FEWEST_ROUNDS_FOR_CHANGE: Final = 12
"""With six to eight rounds, recorded on a crowded machine, 3 % of label swaps passed for a change; with twelve none of 240 did."""
PROCESS_ALPHA: Final = 0.2
"""What the plain t-test over pairs of processes has to reach as well: robust estimators may settle on the few that stand out. Not less:
on a crowded machine a disturbed pair widens the t-test's error, and true slowdowns of 5 % were missed at 0.05."""
CONFIRM_ALPHA: Final = 0.1
"""Two-sided; a slowdown is confirmed where the interval of fresh processes alone, at this error, lies above 1."""
CHANGES: Final = ("slower", "faster")


class Judgement(Value):
    """One look's comparison, and what its processes say of it: `doubt` is why no change may be called yet, empty where one may."""

    comparison: Comparison
    doubt: str = ""


class Look(Value):
    """What the looks at one kernel have come to: `p_value` is paid for, so that it may be compared with the family's error."""

    comparison: Comparison
    spent_fraction: float
    """Share of the error that this look and the ones before may spend."""
    p_value: float
    looks: int
    doubt: str = ""
    changed: bool = False
    """Whether slower or faster was found, all looks and kernels paid for."""

    @property
    def settled(self) -> bool:
        """Whether more rounds would change nothing that is said."""
        return self.changed or self.comparison.verdict == "same"


def spent(time_fraction: float) -> float:
    """The share of the error that looks up to this share of the time may spend, 0..1."""
    return float(min(max(time_fraction, 0.0), 1.0) ** SPENDING_POWER)


def judged(session: Session, kernel: int, *, clock: Clock, threshold_fraction: float, alpha: float = ALPHA) -> Judgement:
    """One kernel as `judge_kernel` judges it, and whether there are rounds enough, and processes that agree, for a change."""
    name = session.kernel_names[kernel]
    found = cells(session, kernel, clock)
    if isinstance(found, str):
        return Judgement(comparison=Comparison(kernel=name, verdict=CANT_TELL, note=found))
    comparison = judge_cells(name, found, threshold_fraction=threshold_fraction, alpha=alpha)
    rounds, p_value = len(found.round_low), process_p_value(found)
    if rounds < FEWEST_ROUNDS_FOR_CHANGE:
        return Judgement(comparison=comparison, doubt=f"{rounds} rounds: a change needs {FEWEST_ROUNDS_FOR_CHANGE}")
    if p_value > PROCESS_ALPHA:
        return Judgement(comparison=comparison, doubt=f"the pairs of processes don't agree on it (p = {p_value:.2g})")
    return Judgement(comparison=comparison)


def process_p_value(of: Cells) -> float:
    """Student's t-test, two-sided, that the mean over pairs of processes of each pair's median log ratio is 0; 1 for fewer than two."""
    logs, made_by = of.block_low[:, 1] - of.block_low[:, 0], of.round_process[of.pair_round]
    medians = np.array([np.median(logs[made_by == process]) for process in np.unique(made_by)])
    if len(medians) < 2:
        return 1.0
    error = float(medians.std(ddof=1)) / math.sqrt(len(medians))
    if error == 0:
        return 0.0 if medians.mean() else 1.0
    return 2 * float(special.stdtr(len(medians) - 1, -abs(float(medians.mean())) / error))


def looked(judgement: Judgement, time_fraction: float, before: Look | None) -> Look:
    """The next look at a kernel.

    By Bonferroni's inequality over looks, p times (all there is to spend / what this look adds) may be compared with the whole error.
    A change found by an earlier look counts no more: only the data there are now do.
    """
    already = before.spent_fraction if before else 0.0
    now = max(spent(time_fraction), already)
    one = judgement.comparison.p_value
    p_value = 1.0 if one is None or now <= already or judgement.doubt else min(1.0, one / (now - already))
    looks = before.looks + 1 if before else 1
    return Look(comparison=judgement.comparison, spent_fraction=now, p_value=p_value, looks=looks, doubt=judgement.doubt)


def paid(looks: Mapping[str, Look], kernels: int, alpha: float = ALPHA) -> dict[str, Look]:
    """The looks with `changed` set where Holm's procedure over all `kernels` kernels, those not looked at yet included, rejects."""
    names = list(looks)
    waiting = [1.0] * (kernels - len(names))
    adjusted = holm([*(looks[name].p_value for name in names), *waiting])
    return {
        name: msgspec.structs.replace(looks[name], changed=p <= alpha and looks[name].comparison.verdict in CHANGES)
        for name, p in zip(names, adjusted[: len(names)], strict=True)
    }


def concluded(look: Look, alpha: float = ALPHA) -> Comparison:
    """What is said in the end: a change that one look would have shown, but not once all looks and kernels are paid for, is none."""
    of = look.comparison
    if of.verdict not in CHANGES or look.changed:
        return of
    paying = f"not with all looks and kernels paid for at {alpha:g}"
    note = f"looks {of.verdict} at one look (p = {of.p_value:.2g}), but {look.doubt or paying}"
    return msgspec.structs.replace(of, verdict=CANT_TELL, note="; ".join(filter(None, (of.note, note))))


def agrees(change: Comparison, fresh: Comparison) -> bool:
    """Whether the interval of fresh processes alone lies where the change's verdict says."""
    low, high = fresh.ratio_low, fresh.ratio_high
    if low is None or high is None or change.verdict not in CHANGES:
        return False
    return low > 1 if change.verdict == "slower" else high < 1


def confirmed(change: Comparison, pooled: Comparison, fresh: Comparison) -> Comparison:
    """The comparison of all processes, confirmed or not: `change` was found first, `fresh` by the new processes alone."""
    ratio = "no ratio" if fresh.ratio is None else f"{fresh.ratio:.3f}"
    if agrees(change, fresh) and pooled.verdict == change.verdict:
        return msgspec.structs.replace(pooled, note="; ".join(filter(None, (pooled.note, f"confirmed in fresh processes: {ratio}"))))
    note = f"{change.verdict} in the first processes, but not confirmed in fresh ones: {ratio} there"
    return msgspec.structs.replace(pooled, verdict=CANT_TELL, note="; ".join(filter(None, (pooled.note, note))))
