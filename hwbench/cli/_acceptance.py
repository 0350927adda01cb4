"""What a plan's cluster promises for the cases of a run: the planner's predictions for what was measured."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from hwbench.core import codec
from hwbench.core.errors import UserError
from hwbench.core.layout import parse_layout
from hwbench.core.parallel import Collective, Transfer
from hwbench.core.prediction import Plan
from hwbench.core.record import Case, Record, Run
from hwbench.core.summary import Throughput
from hwbench.core.workload import Workload
from hwbench.planner.accept import Delivered, Measured, Promise

from ._planning import sends, shape_of

FIGURES = ("matmul", "triad", "bandwidth", "attention")
"""Workloads that measure one figure of a cluster profile."""
SOFTWARE = "PyTorch FSDP"
"""hwbench's own training steps are eager PyTorch, whatever the plan assumes."""


def measured(runs: Sequence[Run], workloads: Mapping[str, Workload]) -> list[tuple[Measured, Case]]:
    """Every case on every set of hosts, over all its processes and runs."""
    from hwbench.analyse.throughput import rows

    groups: dict[tuple[str, tuple[str, ...]], list[tuple[str, Record]]] = {}
    for run in runs:
        for record in run.records:
            hosts = _hosts(record)
            if record.outcome == "done" and hosts:
                groups.setdefault((record.case.key, hosts), []).append((run.header.id, record))
    found = []
    for (_, hosts), records in groups.items():
        run_id = records[0][0]
        made = rows([record for id_, record in records if id_ == run_id], run=run_id, workloads=workloads)
        found += [(Measured(row, hosts), records[0][1].case) for row in made]
    return found


def delivered(runs: Sequence[Run]) -> Iterator[Delivered]:
    """What the inventories of the runs show of their accelerators; a machine without any is left out."""
    for run in runs:
        seen = run.header.inventory.accelerators
        if seen is not None and seen.devices:
            sizes = [one.memory_total_bytes for one in seen.devices if one.memory_total_bytes is not None]
            host = run.header.inventory.machine.host_name or run.header.id
            yield Delivered(host, len(seen.devices), float(min(sizes)) if sizes else None)


def promises(
    plan: Plan, cases: Sequence[tuple[Measured, Case]], workloads: Mapping[str, Workload], tolerance: float
) -> Callable[[Throughput], Promise]:
    """What the plan's cluster promises for each measured row."""
    by_row = {id(one.row): case for one, case in cases}

    def promise_of(row: Throughput) -> Promise:
        try:
            return _promise(plan, row, by_row[id(row)], workloads, tolerance)
        except UserError as error:
            return Promise(None, error.message)

    return promise_of


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
    model = Model(name=case.workload, cost_of=lambda _, dtype: workload.cost(config, dtype), shape=shape_of(case.workload, plain))
    software = SOFTWARE if by_table(model, plan.profile) else None
    micro, again = plain.get("micro_batch", 1), plain.get("recompute", "none")
    made = predict_layout(model, sends, plan.profile, layout, micro_batch=micro, recompute=again, dtype=case.dtype, framework=software)
    return Promise(
        made.high_s,
        f"upper end of the 90 % interval with {SOFTWARE}" if software else f"upper end of the roofline's 90 % interval; {made.basis}",
    )


def _hosts(record: Record) -> tuple[str, ...]:
    return () if record.measurement is None else tuple(sorted({rank.host for rank in record.measurement.ranks}))
