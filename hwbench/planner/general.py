"""What software adds to a bare roofline where no fitted model applies: this machine's own ratio, or that of all published runs.

`predict_step` knows operators and messages but no software. A machine calibrated from its own training steps carries the ratio of measured
to predicted (`efficiency.step_factor`). Elsewhere the median over the published runs that can be expressed as a roofline stands for it, and
the interval is theirs, which is wide: an honest figure, and one that puts all clusters of a ranking on the same footing.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from hwbench.core.prediction import Part, Prediction
from hwbench.core.profile import ClusterProfile

from .basis import basis
from .search import Found

FACTOR, FACTOR_LOW, FACTOR_HIGH, FACTOR_ROWS = 1.33, 1.00, 2.05, 404
"""Measured over roofline time: median, 5th and 95th percentile over the dense published runs (tests/benchmarks/roofline_bias.py)."""
OPERATORS_SPREAD = 1.25
"""By which steps lie off the sum of their measured operators, either way: a judgement after the sessions of docs/calibration.md."""
PART = "software and scale"


class Factor(NamedTuple):
    """A step's time over its roofline: the middle and the 90 % interval, and where they come from."""

    middle: float
    low: float
    high: float
    why: str
    own: bool
    """Whether it was measured on this machine."""


def factor_of(profile: ClusterProfile) -> Factor:
    """The profile's own factor, none where it has measured operators but no steps, or that of published runs."""
    own = profile.efficiency.step_factor
    if own is None and profile.efficiency.operators:
        return Factor(1.0, 1 / OPERATORS_SPREAD, OPERATORS_SPREAD, "operators measured here, and no whole step beside them", True)
    if own is None:
        why = f"median of {FACTOR_ROWS} published training runs over this kind of roofline, 90 % of them {FACTOR_LOW:g} to {FACTOR_HIGH:g}"
        return Factor(FACTOR, FACTOR_LOW, FACTOR_HIGH, why, False)
    spread = profile.efficiency.step_factor_spread or FACTOR_HIGH / FACTOR
    return Factor(own, own / spread, own * spread, "measured over predicted steps of the run that calibrated this machine", True)


def with_software(found: Found, profile: ClusterProfile, *, why: str) -> Found:
    """A roofline search with software's share in every prediction; the order of its layouts stays."""
    factor = factor_of(profile)
    choices = tuple(choice._replace(prediction=_longer(choice.prediction, factor, profile)) for choice in found.shortlist)
    uncorrected = _uncorrected(factor, why)
    return found._replace(best=choices[0] if choices else None, shortlist=choices, uncorrected=uncorrected)


def longer(before: Prediction, profile: ClusterProfile, *, why: str) -> Prediction:
    """One roofline prediction with software's share, and what is not known of it among the assumptions."""
    factor = factor_of(profile)
    made = _longer(before, factor, profile)
    said = _uncorrected(factor, why)
    return replace(made, assumptions=(*made.assumptions, said)) if said else made


def _uncorrected(factor: Factor, why: str) -> str:
    return "" if factor.own else f"{why}: what software adds is the {factor.why}"


def _longer(before: Prediction, factor: Factor, profile: ClusterProfile) -> Prediction:
    step = before.step_time_s * factor.middle
    if factor.middle >= 1:
        parts = (*before.parts, Part(name=PART, time_s=step - before.step_time_s, why=factor.why))
    else:
        parts = tuple(replace(part, time_s=part.time_s * factor.middle) for part in before.parts)
    return replace(
        before,
        step_time_s=step,
        low_s=before.step_time_s * factor.low,
        high_s=before.step_time_s * factor.high,
        parts=tuple(part for part in parts if part.time_s > 0),
        basis=basis(profile),
        mfu_fraction=None if before.mfu_fraction is None else before.mfu_fraction / factor.middle,
        assumptions=(*before.assumptions, f"software: {factor.middle:.2f} times the roofline, {factor.why}"),
    )
