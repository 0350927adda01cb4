"""What a plan's cluster promises for the cases of a run: the planner's predictions for what was measured."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from hwbench.core import codec
from hwbench.core.errors import UserError
from hwbench.core.inventory import Inventory
from hwbench.core.layout import parse_layout
from hwbench.core.parallel import Collective, Transfer
from hwbench.core.prediction import Plan
from hwbench.core.profile import ClusterProfile
from hwbench.core.record import Case, Record, Run
from hwbench.core.summary import Throughput
from hwbench.core.workload import Workload
from hwbench.planner.accept import Delivered, Measured, Promise, Unmeasured
from hwbench.store import NodeRecords

from ._planning import sends, shape_of

FIGURES = ("matmul", "triad", "bandwidth", "attention")
"""Workloads that measure one figure of a cluster profile."""
SOFTWARE = "PyTorch FSDP"
"""hwbench's own training steps are eager PyTorch, whatever the plan assumes."""


class Folder(NamedTuple):
    """A run's folder: the run, and what each of its nodes wrote."""

    run: Run
    nodes: tuple[NodeRecords, ...]


Groups = dict[tuple[str, tuple[str, ...]], list[tuple[str, Record]]]
"""Case and hosts -> the run of each record, and the record."""


def measured(folders: Sequence[Folder], workloads: Mapping[str, Workload]) -> list[tuple[Measured, Case]]:
    """Every case on every set of hosts, over all its processes and runs: a repetition in a later run is one more process."""
    from hwbench.analyse.throughput import rows

    groups: Groups = {}
    for folder in folders:
        for node in folder.nodes:
            for record in node.records:
                hosts = _hosts(record)
                if record.outcome == "done" and hosts:
                    groups.setdefault((record.case.key, hosts), []).append((folder.run.header.id, record))
    found = []
    for (_, hosts), records in groups.items():
        apart = [replace(record, case=replace(record.case, process=nth)) for nth, (_, record) in enumerate(records)]
        runs = ", ".join(dict.fromkeys(run for run, _ in records))
        found += [(Measured(row, hosts), records[0][1].case) for row in rows(apart, run=runs, workloads=workloads)]
    return found


def unmeasured(folders: Sequence[Folder], cases: Sequence[tuple[Measured, Case]]) -> list[Unmeasured]:
    """Cases that a node tried and never did, in any of the runs, with why."""
    done = {(case.key, host) for one, case in cases for host in one.hosts}
    found: dict[tuple[str, str], Unmeasured] = {}
    for folder in folders:
        for node in folder.nodes:
            for record in (one for one in node.records if one.outcome != "done"):
                for host in _tried(folder.run, record) or (node.host,):
                    if (record.case.key, host) not in done:
                        found[record.case.key, host] = Unmeasured(record.case, host, f"{record.outcome}: {record.reason}")
    return list(found.values())


def _tried(run: Run, record: Record) -> tuple[str, ...]:
    """The nodes of a run on several whose own ranks did not do a case, else all that took part; empty for a run on one machine."""
    took = {
        node.header.host: [rank.outcome for outcome in node.outcomes if outcome.case_key == record.case.key for rank in outcome.ranks]
        for node in run.nodes
    }
    guilty = tuple(host for host, outcomes in took.items() if any(outcome != "done" for outcome in outcomes))
    return guilty or tuple(host for host, outcomes in took.items() if outcomes)


def delivered(runs: Sequence[Run]) -> list[Delivered]:
    """What the inventories of the runs show of each node's accelerators, once; a machine without any is left out."""
    inventories: list[tuple[str, Inventory]] = []
    for run in runs:
        inventories.append((run.header.inventory.machine.host_name or run.header.id, run.header.inventory))
        inventories += [(node.header.host, node.header.inventory) for node in run.nodes]
    return list(dict.fromkeys(_delivered(host, inventory) for host, inventory in inventories if _has_accelerators(inventory)))


def _has_accelerators(inventory: Inventory) -> bool:
    return inventory.accelerators is not None and bool(inventory.accelerators.devices)


def _delivered(host: str, inventory: Inventory) -> Delivered:
    devices = inventory.accelerators.devices if inventory.accelerators is not None else ()
    sizes = [one.memory_total_bytes for one in devices if one.memory_total_bytes is not None]
    return Delivered(host, len(devices), float(min(sizes)) if sizes else None)


def promises(
    plan: Plan, cases: Sequence[tuple[Measured, Case]], workloads: Mapping[str, Workload], tolerance: float
) -> Callable[[Throughput], Promise]:
    """What the plan's cluster promises for each measured row."""
    by_row = {id(one.row): (one.hosts, case) for one, case in cases}

    def promise_of(row: Throughput) -> Promise:
        hosts, case = by_row[id(row)]
        as_run = replace(plan, profile=_spread(plan.profile, row.world_size, len(hosts)))
        try:
            return _promise(as_run, row, case, workloads, tolerance)
        except UserError as error:
            return Promise(None, error.message)

    return promise_of


def _spread(profile: ClusterProfile, ranks: int, hosts: int) -> ClusterProfile:
    """The profile for ranks that lie on several hosts: a tier within a node joins only those of one host."""
    if hosts < 2:
        return profile
    each = max(1, ranks // hosts)
    tiers = tuple(
        replace(tier, accelerators=min(tier.accelerators, each))
        if tier.accelerators is not None and tier.accelerators <= profile.node.accelerators
        else tier
        for tier in profile.tiers
    )
    return replace(profile, tiers=tiers)


def _promise(plan: Plan, row: Throughput, case: Case, workloads: Mapping[str, Workload], tolerance: float) -> Promise:
    from hwbench.planner.machine import is_known

    if row.device.startswith("cpu") and is_known(plan.profile):
        return Promise(None, f"measured on the CPU, the plan is for {plan.profile.accelerator.name}")
    if row.workload not in workloads:
        return Promise(None, f"workload {row.workload} is not installed here")
    if row.workload == "collective":
        return _collective(plan, row, case.config, tolerance)
    if row.workload in FIGURES:
        return _figure(plan, case, workloads[row.workload], tolerance)
    if row.kind == "training":
        return _training(plan, case, workloads[row.workload])
    return Promise(None, "the plan's cluster promises nothing for this kernel")


def _figure(plan: Plan, case: Case, workload: Workload, tolerance: float) -> Promise:
    """A product, a stream or an attention by the profile's rate and its curve."""
    from hwbench.planner.step import predict_step

    if case.workload == "attention" and plan.profile.efficiency.attention_fraction is None:
        return Promise(None, "the plan's cluster promises no rate of attention")
    cost = workload.cost(codec.convert(case.config, workload.config, source=case.workload), case.dtype)
    layout = parse_layout(case.layout)
    step = predict_step(cost, layout, plan.profile, transfers=(), micro_batches=1).step_time_s
    return Promise(step * (1 + tolerance), f"the plan's cluster by its own figures, and {100 * tolerance:g} %")


def _collective(plan: Plan, row: Throughput, config: dict[str, Any], tolerance: float) -> Promise:
    from hwbench.planner.communication import transfer_time_s

    kind: Collective = config["collective"]
    layout = parse_layout(row.layout)
    axis = next(iter(layout.axes()))
    transfer = Transfer(collective=kind, axis=axis, ranks=row.world_size, message_bytes=float(config["message_bytes"]), count=1)
    step = transfer_time_s(plan.profile, layout, transfer)
    return Promise(step * (1 + tolerance), f"the network tier that {row.world_size} ranks span, and {100 * tolerance:g} %")


def _training(plan: Plan, case: Case, workload: Workload) -> Promise:
    """A whole step: the upper end of the 90 % interval."""
    from hwbench.planner.explore import Model, by_table, predict_layout

    config = codec.convert(case.config, workload.config, source=case.workload)
    plain, layout = codec.to_builtins(config), parse_layout(case.layout)
    accumulated = plain.get("accumulation", 1)
    layout = replace(layout, microbatches=layout.microbatches * accumulated)
    one = codec.convert(plain | ({"accumulation": 1} if accumulated > 1 else {}), workload.config, source=case.workload)
    model = Model(name=case.workload, cost_of=lambda _, dtype: workload.cost(one, dtype), shape=shape_of(case.workload, plain))
    software = SOFTWARE if by_table(model, plan.profile) else None
    micro, again = plain.get("micro_batch", 1), plain.get("recompute", "none")
    made = predict_layout(model, sends, plan.profile, layout, micro_batch=micro, recompute=again, dtype=case.dtype, framework=software)
    return Promise(
        made.high_s,
        f"upper end of the 90 % interval with {SOFTWARE}" if software else f"upper end of the roofline's 90 % interval; {made.basis}",
    )


def _hosts(record: Record) -> tuple[str, ...]:
    return () if record.measurement is None else tuple(sorted({rank.host for rank in record.measurement.ranks}))
