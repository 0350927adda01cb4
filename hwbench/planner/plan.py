"""A ranked plan: every way to split a step over so many accelerators of one cluster, and why the others can't."""

from __future__ import annotations

from hwbench.core.errors import NoPlanError, UserError
from hwbench.core.layout import Schedule
from hwbench.core.prediction import Plan, PlanEntry
from hwbench.core.profile import ClusterProfile
from hwbench.core.units import format_count

from .explore import DEFAULT_SCHEDULES, Model, Wanted, explore
from .question import training_dtype
from .search import Found, Sends

TOP = 10
"""How many combinations of degrees a plan lists unless asked otherwise."""


def plan(
    model: Model,
    profile: ClusterProfile,
    sends: Sends,
    *,
    accelerators: int,
    global_batch: int,
    dtype: str | None = None,
    framework: str | None = None,
    schedules: tuple[Schedule, ...] = DEFAULT_SCHEDULES,
    top: int = TOP,
) -> Plan:
    """Every legal layout tried, the quickest `top` combinations of degrees listed. UserError for numbers that make no sense."""
    for name, value in (("gpus", accelerators), ("global_batch", global_batch), ("top", top)):
        if value < 1:
            raise UserError(f"{name}={value}: expected a whole number of at least 1")
    per_node = profile.node.accelerators
    if accelerators > per_node and accelerators % per_node:
        low = accelerators // per_node * per_node
        raise UserError(
            f"gpus={accelerators}: {profile.name} has nodes of {per_node}, and {accelerators} is no multiple of that",
            hint=f"give {low} or {low + per_node}, or at most one node's {per_node}",
        )
    most = profile.nodes * per_node if profile.nodes is not None else None
    if most is not None and accelerators > most:
        raise UserError(f"gpus={accelerators}: {profile.name} has {most} in {profile.nodes} nodes")
    chosen = dtype or training_dtype(profile)
    wanted = Wanted(accelerators, global_batch, chosen, framework, schedules, quick=False, top=top)
    found = explore(model, sends, profile, wanted)
    return Plan(
        model=model.name,
        cluster=profile.name,
        accelerators=accelerators,
        nodes=-(-accelerators // per_node),
        global_batch=global_batch,
        dtype=chosen,
        entries=tuple(
            PlanEntry(
                layout=one.layout,
                micro_batch=one.micro_batch,
                recompute=one.recompute,
                software=one.software,
                prediction=one.prediction,
            )
            for one in found.shortlist[:top]
        ),
        tried=found.tried,
        fitted=found.fitted,
        misfits=found.misfits,
        gaps=_gaps(found),
        notes=profile.notes,
        profile=profile,
    )


def no_layout(made: Plan) -> NoPlanError:
    """The error for a plan without an entry: every reason with its nearest miss in one line."""
    where = f"{made.model} on {made.accelerators} accelerators of {made.cluster} with a global batch of {made.global_batch}"
    reasons = "; ".join(f"{one.reason} ({format_count(float(one.count))} cut; nearest: {one.nearest or 'none'})" for one in made.misfits)
    return NoPlanError(f"{where}: nothing fits: {reasons}", hint="give more accelerators, or a global batch that more numbers divide")


def _gaps(found: Found) -> tuple[str, ...]:
    return (found.uncorrected,) if found.uncorrected else ()
