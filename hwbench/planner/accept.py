"""A delivered cluster against the plan it was bought by: for each measurement what was promised, and whether it was kept.

A promise is the slowest acceptable time. For a training step that the fitted model covers it is the upper end of its 90 % interval; for
what measures one figure of the profile (a product, memory, attention, a collective) the time by that figure and its curve, and a tolerance.
A measurement passes when all of its interval keeps the promise and fails when none of it does; what lies across can't be told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from hwbench.core.prediction import Acceptance, Plan, PlanEntry, Verdict
from hwbench.core.record import Case
from hwbench.core.summary import Throughput
from hwbench.core.units import format_seconds

PASS, FAIL, UNSURE = "pass", "fail", "can't tell"
_ORDER = (FAIL, UNSURE, PASS)
SAME_FLOPS_FRACTION = 0.02
"""Within this the FLOPs of a measured step are those of a planned one: the same model and batch."""


class Measured(NamedTuple):
    """One case on one node, or on a group of nodes together."""

    row: Throughput
    hosts: tuple[str, ...]


class Unmeasured(NamedTuple):
    """A case that a node did not do, and why."""

    case: Case
    host: str
    why: str


class Promise(NamedTuple):
    """The slowest acceptable time of a step, or why there is none."""

    limit_s: float | None
    why: str


class Delivered(NamedTuple):
    """What the inventory of one node shows: how many accelerators, and the memory of the smallest."""

    host: str
    accelerators: int | None
    memory_bytes: float | None


PromiseOf = Callable[[Throughput], Promise]
"""What the plan's cluster promises for a measured case; the time is None where it promises nothing."""


def accept(
    plan: Plan,
    measured: Sequence[Measured],
    delivered: Sequence[Delivered],
    promise_of: PromiseOf,
    *,
    runs: tuple[str, ...],
    unmeasured: Sequence[Unmeasured] = (),
) -> Acceptance:
    """Every verdict, each node's outcome, and what nobody measured. Of what failed on a node nothing can be told."""
    judged = (*(_judged(plan, one, promise_of) for one in measured), *map(_failed, unmeasured))
    verdicts = (*_inventories(plan, delivered), *judged)
    alone = {one.host for one in delivered} | {one.host for one in unmeasured}
    hosts = sorted({host for one in measured for host in one.hosts} | alone)
    nodes = {host: worst(one.outcome for one in verdicts if host in one.node.split(", ")) for host in hosts}
    return Acceptance(
        cluster=plan.cluster,
        runs=runs,
        verdicts=tuple(sorted(verdicts, key=lambda one: (_ORDER.index(one.outcome), one.node, one.workload))),
        nodes=nodes,
        outcome=worst(one.outcome for one in verdicts),
        missing=tuple(_missing(plan, [one.row for one in measured], len(hosts))),
    )


def worst(outcomes: Iterable[str]) -> str:
    """The worst of outcomes; can't tell where there is none."""
    return min(outcomes, key=_ORDER.index, default=UNSURE)


def planned(plan: Plan, row: Throughput) -> PlanEntry | None:
    """The entry of the plan that a measured training step is: the same layout, dtype and FLOPs; None where there is none."""
    for entry in plan.entries:
        flops = entry.prediction.flops_per_step
        alike = abs(row.flops_per_step - flops) <= SAME_FLOPS_FRACTION * flops
        if alike and row.kind == "training" and row.dtype == plan.dtype and row.world_size == plan.accelerators:
            return entry
    return None


def _judged(plan: Plan, one: Measured, promise_of: PromiseOf) -> Verdict:
    row = one.row
    entry = planned(plan, row)
    if entry is not None and entry.prediction.high_s is not None:
        promise = Promise(entry.prediction.high_s, f"upper end of the plan's 90 % interval for {entry.layout.text}")
    else:
        promise = promise_of(row)
    low, high = _interval(row)
    outcome, why = _outcome(row, promise, low, high)
    figures = _figures(row, promise.limit_s, low, high)
    return Verdict(
        workload=row.workload,
        node=", ".join(one.hosts),
        what=" ".join(part for part in (row.layout, row.settings, row.dtype) if part),
        promised=figures.promised,
        measured=figures.measured,
        low=figures.low,
        high=figures.high,
        unit=figures.unit,
        outcome=outcome,
        why=why,
    )


def _failed(one: Unmeasured) -> Verdict:
    case = one.case
    return Verdict(
        workload=case.workload, node=one.host, what=f"{case.layout} {case.dtype}", promised=0.0, measured=0.0, low=0.0, high=0.0, unit="",
        outcome=UNSURE, why=f"not measured, {one.why}",
    )  # fmt: skip


def _interval(row: Throughput) -> tuple[float, float]:
    """Of the step time: over processes, or with one process the middle 90 % of its samples."""
    if row.step_interval_s is not None:
        return row.step_interval_s.low, row.step_interval_s.high
    half = row.spread_fraction or 0.0
    return row.step_time_s * max(0.0, 1 - half), row.step_time_s * (1 + half)


def _outcome(row: Throughput, promise: Promise, low: float, high: float) -> tuple[str, str]:
    if row.check.startswith("failed"):
        return FAIL, f"its correctness check {row.check}"
    if promise.limit_s is None:
        return UNSURE, promise.why
    limit = f"at most {format_seconds(promise.limit_s)}: {promise.why}"
    if high <= promise.limit_s:
        return PASS, limit
    if low > promise.limit_s:
        return FAIL, f"{row.step_time_s / promise.limit_s:.2f} times the limit; {limit}"
    return UNSURE, f"the measurement's interval lies across the limit: measure more processes; {limit}"


class _Figures(NamedTuple):
    """A promise and a measurement in one unit; a promise of 0 is none."""

    promised: float
    measured: float
    low: float
    high: float
    unit: str


def _figures(row: Throughput, limit_s: float | None, low: float, high: float) -> _Figures:
    """Promise and measurement in the unit people judge the case by: a rate of one rank where there is one, seconds else."""
    amount = {"FLOP/s": row.flops_per_step, "B/s": row.bytes_per_step}.get(row.rate_unit, 0.0) / max(1, row.world_size)
    if amount <= 0:
        return _Figures(limit_s or 0.0, row.step_time_s, low, high, "s")
    slowest = 0.0 if limit_s is None else amount / limit_s
    fastest = amount / low if low > 0 else amount / row.step_best_s
    return _Figures(slowest, amount / row.step_time_s, amount / high, fastest, row.rate_unit)


def _inventories(plan: Plan, delivered: Sequence[Delivered]) -> list[Verdict]:
    """The number of accelerators of each node and their memory, as its inventory shows them."""
    found = []
    for one in delivered:
        promised = {
            "accelerators": (float(plan.profile.node.accelerators), one.accelerators, ""),
            "memory of an accelerator": (plan.profile.accelerator.memory_bytes, one.memory_bytes, "B"),
        }
        for what, (least, seen, unit) in promised.items():
            if least is not None and seen is not None:
                outcome = PASS if seen >= least else FAIL
                found.append(
                    Verdict(
                        workload="inventory", node=one.host, what=what, promised=least, measured=float(seen), low=float(seen),
                        high=float(seen), unit=unit, outcome=outcome, why="at least what the plan's cluster has",
                    )
                )  # fmt: skip
    return found


def _missing(plan: Plan, rows: Sequence[Throughput], nodes: int) -> Iterable[str]:
    """What the plan promises and nobody measured."""
    if nodes < plan.nodes:
        yield f"{plan.nodes - nodes} of the plan's {plan.nodes} nodes: no run has them"
    measured = {row.workload for row in rows}
    if not any(row.workload == "matmul" and row.dtype == plan.dtype for row in rows):
        yield f"the {plan.dtype} product rate: run the suite `ceilings`"
    if not measured & {"triad", "bandwidth"}:
        yield "memory bandwidth: run the suite `ceilings`"
    if plan.profile.tiers and "collective" not in measured:
        yield f"the network, {', '.join(tier.name for tier in plan.profile.tiers)}: run the workload `collective`"
    if plan.entries and not any(planned(plan, row) for row in rows):
        yield f"the planned training step itself: {plan.model}, {plan.entries[0].layout.text}"
