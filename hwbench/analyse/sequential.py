"""Looking at an A/B comparison while it runs: what each look may spend of the error, Holm over kernels, when to stop, when to confirm."""

from collections.abc import Mapping
from typing import Final

import msgspec

from hwbench.core.comparison import CANT_TELL, Comparison
from hwbench.core.value import Value

from .ab import ALPHA
from .permutation import holm

LOOKS: Final = (1 / 8, 1 / 4, 1 / 2, 1.0)
"""Shares of a kernel's time after which its data are looked at. Time does not depend on what is found, so it may set the pace."""
SPENDING_POWER: Final = 1.5
"""Of Kim and DeMets' (1987) family, alpha t^rho: between Pocock's shape (1) and O'Brien and Fleming's (3)."""
CONFIRM_ALPHA: Final = 0.1
"""Two-sided; a slowdown is confirmed where the interval of fresh processes alone, at this error, lies above 1."""
CHANGES: Final = ("slower", "faster")


class Look(Value):
    """What the looks at one kernel have come to: `p_value` is paid for, so that it may be compared with the family's error."""

    comparison: Comparison
    spent_fraction: float
    """Share of the error that this look and the ones before may spend."""
    p_value: float
    looks: int
    changed: bool = False
    """Whether slower or faster was found, all looks and kernels paid for."""

    @property
    def settled(self) -> bool:
        """Whether more rounds would change nothing that is said."""
        return self.changed or self.comparison.verdict == "same"


def spent(time_fraction: float) -> float:
    """The share of the error that looks up to this share of the time may spend, 0..1."""
    return float(min(max(time_fraction, 0.0), 1.0) ** SPENDING_POWER)


def looked(comparison: Comparison, time_fraction: float, before: Look | None) -> Look:
    """The next look at a kernel.

    By Bonferroni's inequality over looks, p times (all there is to spend / what this look adds) may be compared with the whole error.
    A change found by an earlier look counts no more: only the data there are now do.
    """
    already = before.spent_fraction if before else 0.0
    now = max(spent(time_fraction), already)
    p_value = 1.0 if comparison.p_value is None or now <= already else min(1.0, comparison.p_value / (now - already))
    return Look(comparison=comparison, spent_fraction=now, p_value=p_value, looks=before.looks + 1 if before else 1)


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
    note = f"looks {of.verdict} at one look (p = {of.p_value:.2g}), but not with all looks and kernels paid for at {alpha:g}"
    return msgspec.structs.replace(of, verdict=CANT_TELL, note="; ".join(filter(None, (of.note, note))))


def confirmed(pooled: Comparison, fresh: Comparison) -> Comparison:
    """The pooled comparison, confirmed or not by that of fresh processes alone, which was judged at CONFIRM_ALPHA."""
    low, high = fresh.ratio_low, fresh.ratio_high
    agrees = low is not None and high is not None and (low > 1 if pooled.verdict == "slower" else high < 1)
    ratio = "no ratio" if fresh.ratio is None else f"{fresh.ratio:.3f}"
    if agrees and pooled.verdict in CHANGES:
        return msgspec.structs.replace(pooled, note="; ".join(filter(None, (pooled.note, f"confirmed in fresh processes: {ratio}"))))
    note = f"not confirmed in fresh processes: {ratio} there"
    return msgspec.structs.replace(pooled, verdict=CANT_TELL, note="; ".join(filter(None, (pooled.note, note))))
