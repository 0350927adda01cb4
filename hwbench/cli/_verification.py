"""Predictions for what a run measured: the calibrated machine, the workload's cost and the layout's messages, put together."""

from collections.abc import Mapping, Sequence
from statistics import median

from msgspec.structs import replace

from hwbench.core.errors import UserError
from hwbench.core.layout import parse_layout
from hwbench.core.prediction import Prediction
from hwbench.core.profile import ClusterProfile
from hwbench.core.record import Case, Record, Run
from hwbench.core.registry import load
from hwbench.core.summary import Verified
from hwbench.core.workload import Workload

from ._planning import sends

SINGLE = "single"
LEAST_SPREAD = 1.15
"""A few steps agree better with each other than a step of another model will."""


def verified(runs: Sequence[Run], workloads: Mapping[str, Workload]) -> tuple[Verified, ...]:
    """Every training step of the runs beside its prediction; nothing for a run without the ceilings that calibration needs."""
    from hwbench.analyse.calibrate import calibrate
    from hwbench.analyse.verify import verify

    found: list[Verified] = []
    for run in runs:
        try:
            profile = with_layout_work(calibrate(run), run)
        except UserError:  # no matrix product was measured
            continue
        found += verify(run, lambda case, here=profile: _predict(case, here, workloads), fitted=_fitted, workloads=workloads)  # type: ignore[misc]
    return tuple(found)


def _predict(case: Case, profile: ClusterProfile, workloads: Mapping[str, Workload]) -> Prediction:
    return predicted(case, profile, workloads[case.workload])


def predicted(case: Case, profile: ClusterProfile, workload: Workload) -> Prediction:
    """A training case by the profile's operators and messages, without what whole steps take beside them. UserError as for the planner."""
    from hwbench.planner.search import predict
    from hwbench.run.cases import config_of_rank

    config = config_of_rank(case, workload)
    return predict(workload.cost(config, case.dtype), parse_layout(case.layout), profile, sends, getattr(config, "recompute", "none"))


def _fitted(case: Case) -> bool:
    """Calibration takes the cost of communication from training steps that several ranks share."""
    return case.layout != SINGLE


def with_layout_work(profile: ClusterProfile, run: Run) -> ClusterProfile:
    """The profile with what layouts do themselves for each message they send, from the run's training steps divided along one axis.

    Of the CPU time of such a step is left what the same step alone takes for this rank's share of computing, and the collectives; what is
    still left, over the number of messages. The median of an axis' steps. Steps of dp are what the tier itself comes from. Without a step
    alone beside it a step tells nothing, nor on an accelerator, where this work is the host's and may be hidden.
    """
    from hwbench.analyse.busy import floor_s

    groups: dict[str, list[Record]] = {}
    for record in run.records:
        if record.outcome == "done":
            groups.setdefault(record.case.key, []).append(record)
    times = {case.key: (case, floor_s(group)) for group in groups.values() for case in (group[0].case,)}
    found: dict[str, list[float]] = {}
    for case, took_s in times.values():
        axes = parse_layout(case.layout).axes()
        alone_s = times.get(replace(case, layout=SINGLE).key, (case, None))[1]
        if took_s is None or alone_s is None or len(axes) != 1 or axes[0] in (SINGLE, "dp"):
            continue
        own_s = _own_s(case, profile, took_s, alone_s)
        if own_s is not None:
            found.setdefault(axes[0], []).append(own_s)
    if not found:
        return profile
    message_s = {axis: own_s for axis, seconds in sorted(found.items()) if (own_s := median(seconds)) > 0}
    source = f"measured here, run {run.header.id}: steps of one axis without what they compute and what collectives take"
    sources = profile.sources | {f"efficiency.message_s.{axis}": source for axis in message_s}
    return replace(profile, efficiency=replace(profile.efficiency, message_s=message_s), sources=sources)


def _own_s(case: Case, profile: ClusterProfile, took_s: float, alone_s: float) -> float | None:
    """What of a divided step is neither computing nor collectives, a message; None where the profile can't tell."""
    from hwbench.planner.step import rank_work_s
    from hwbench.run.cases import config_of_rank

    layout = parse_layout(case.layout)
    try:
        workload = load("workloads", case.workload, Workload)
        cost, whole = (workload.cost(config_of_rank(one, workload), case.dtype) for one in (case, replace(case, layout=SINGLE)))
        transfers = sends(cost, layout)
        compute_s, sending_s = rank_work_s(cost, layout, profile, transfers, layout.microbatches)
        undivided_s, _ = rank_work_s(whole, parse_layout(SINGLE), profile, (), 1)
    except UserError:  # a workload that is not here, or a profile without a message
        return None
    messages = sum(one.count for one in transfers if one.ranks > 1)
    return (took_s - alone_s * compute_s / undivided_s - sending_s) / messages if messages else None


def with_step_factor(profile: ClusterProfile, run: Run) -> ClusterProfile:
    """The profile with what software added to the run's own training steps: the median of measured over predicted, one rank each.

    At least 1: a step that beats its ceilings tells that they were measured while the machine was busy. `verified` goes on predicting
    without it, so that the error it reports is that of a prediction and not of a fit.
    """
    from .report import installed_workloads

    steps = [one for one in verified([run], installed_workloads([run])) if one.layout == SINGLE and one.predicted_s > 0]
    if not steps:
        return profile
    ratios = sorted(one.measured_s / one.predicted_s for one in steps)
    factor = max(1.0, median(ratios))
    spread = max(LEAST_SPREAD, ratios[-1] / factor, factor / min(factor, ratios[0])) if len(ratios) > 1 else None
    names = ", ".join(sorted({one.workload for one in steps}))
    source = f"measured here, run {run.header.id}: training steps of {names} over their predictions from the ceilings"
    keys = ["efficiency.step_factor", *(["efficiency.step_factor_spread"] if spread is not None else [])]
    count = "1 training step" if len(steps) == 1 else f"{len(steps)} training steps"
    took = f"{count} of this run ({names}) took {median(ratios):.2f} times the prediction from its ceilings"
    odd = "; below 1 the ceilings were disturbed, measure them again" if median(ratios) < 1 else "; a sizing multiplies by that"
    return replace(
        profile,
        efficiency=replace(profile.efficiency, step_factor=factor, step_factor_spread=spread),
        sources=profile.sources | dict.fromkeys(keys, source),
        notes=(*(one for one in profile.notes if not one.startswith("Training steps of the run itself")), f"{took}{odd}."),
    )
