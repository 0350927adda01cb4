"""A run's records to measured ceilings: bandwidth, latency, products, collectives, copies, disk; and why something is missing."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from hwbench.core.ceilings import MEMORY, Ceilings, Disk, Exchange, Latency, Product, Stream, Transfer
from hwbench.core.cpulist import parse_cpu_list
from hwbench.core.inventory import Gap, Inventory
from hwbench.core.layout import parse_layout
from hwbench.core.record import Case, Record, Run, fault
from hwbench.core.summary import Throughput
from hwbench.core.value import Value

from .collectives import algorithm_bandwidth_bytes_per_s, bus_bandwidth_bytes_per_s
from .throughput import rows


class _Measured(Value):
    """One case over all its processes."""

    case: Case
    row: Throughput
    warnings: tuple[str, ...]

    @property
    def config(self) -> dict[str, Any]:
        return self.case.config

    @property
    def bytes_rates(self) -> dict[str, Any]:
        """The fields that every figure in bytes a second has."""
        row = self.row
        return {"bytes_per_s": row.bytes_per_s, "best_bytes_per_s": row.bytes_per_step / row.step_best_s, "noisy": row.noisy}


def ceilings(run: Run) -> Ceilings:
    """Everything about ceilings that a run holds; other workloads' records are left alone. A run without any gives gaps only."""
    measured = _measured(run)
    machine = run.header.inventory
    return Ceilings(
        run=run.header.id,
        streams=tuple(_stream(one, machine) for one in _of(measured, "bandwidth")),
        latencies=tuple(_latency(one, machine) for one in _of(measured, "latency")),
        products=_efficiencies(_product(one) for one in _of(measured, "matmul")),
        exchanges=tuple(_exchange(one) for one in _of(measured, "collective")),
        transfers=tuple(_transfer(one) for one in _of(measured, "transfer")),
        disks=tuple(_disk(one) for one in _of(measured, "disk")),
        gaps=(*_gaps(run), *_nodes_without_cpus(machine)),
        warnings=tuple(dict.fromkeys(warning for one in measured for warning in one.warnings)),
    )


def _measured(run: Run) -> tuple[_Measured, ...]:
    """The usable records of ceilings by case, in the order of the plan."""
    by_case: dict[str, list[Record]] = {}
    for record in run.records:
        if _is_ceiling(record.case) and record.outcome == "done" and not fault(record):
            by_case.setdefault(record.case.key, []).append(record)
    order = {case.key: place for place, case in enumerate(sorted(run.header.cases, key=_reading_order))}
    found = sorted(by_case.values(), key=lambda records: order.get(records[0].case.key, len(order)))
    return tuple(_one(records, run.header.id) for records in found)


_SETTINGS: Final[Mapping[str, frozenset[str]]] = {
    "bandwidth": frozenset({"kernel", "working_set_bytes", "threads", "cpus", "pages"}),
    "latency": frozenset({"working_set_bytes", "hops", "pages"}),
    "matmul": frozenset({"m", "n", "k"}),
    "collective": frozenset({"collective", "message_bytes"}),
    "transfer": frozenset({"direction", "pinned", "message_bytes"}),
    "disk": frozenset({"direction", "file_bytes", "folder"}),
}
"""What a case of each workload must tell of itself to be placed; one of the same name from elsewhere (an import) may not."""


def _is_ceiling(case: Case) -> bool:
    return case.workload in _SETTINGS and _SETTINGS[case.workload] <= case.config.keys()


def _one(records: list[Record], run: str) -> _Measured:
    (row,) = rows(records, run=run)
    about = [f"{_name(records[0].case)}: {warning}" for record in records for warning in record.warnings if "STREAM's rule" in warning]
    return _Measured(case=records[0].case, row=row, warnings=tuple(dict.fromkeys(about)))


def _name(case: Case) -> str:
    return f"{case.workload} {case.config.get('kernel', '')}".strip()


def _reading_order(case: Case) -> tuple[Any, ...]:
    """By workload, and within one by whatever is a number, so that sizes rise."""
    numbers = [case.config[key] for key in ("threads", "working_set_bytes", "message_bytes", "m", "n", "k") if key in case.config]
    return case.workload, case.device, parse_layout(case.layout).world_size, case.dtype, numbers, sorted(map(str, case.config.values()))


def _of(measured: Sequence[_Measured], workload: str) -> Iterable[_Measured]:
    return (one for one in measured if one.case.workload == workload)


def _stream(one: _Measured, machine: Inventory) -> Stream:
    config = one.config
    return Stream(
        kernel=config["kernel"],
        dtype=one.case.dtype,
        working_set_bytes=config["working_set_bytes"],
        level=level(config["working_set_bytes"], config["threads"], machine),
        threads=config["threads"],
        cpus=config["cpus"],
        node=_node(config["cpus"], machine),
        pages=config["pages"],
        warnings=one.warnings,
        **one.bytes_rates,
    )


def level(working_set_bytes: int, threads: int, machine: Inventory) -> str:
    """The nearest cache that can hold a working set divided over so many threads on neighbouring CPUs; 'memory' where none can, or none
    is known.
    """
    caches = sorted((cache for cache in machine.cpu.caches or () if cache.kind != "instruction"), key=lambda cache: cache.level)
    for cache in caches:
        reached = math.ceil(threads / max(cache.cpus_per_instance, default=1))
        if working_set_bytes <= cache.size_bytes * max(1, min(cache.instances, reached)):
            return f"L{cache.level}"
    return MEMORY


def _node(cpus: str, machine: Inventory) -> int | None:
    """The one NUMA node that all of these CPUs belong to."""
    wanted = parse_cpu_list(cpus)
    homes = [node.id for node in machine.memory.numa_nodes or () if wanted and wanted <= parse_cpu_list(node.cpu_list or "")]
    return homes[0] if len(homes) == 1 else None


def _latency(one: _Measured, machine: Inventory) -> Latency:
    size, loads = one.config["working_set_bytes"], one.config["hops"]
    return Latency(
        working_set_bytes=size,
        level=level(size, 1, machine),
        pages=one.config["pages"],
        latency_s=one.row.step_time_s / loads,
        best_latency_s=one.row.step_best_s / loads,
        noisy=one.row.noisy,
    )


def _product(one: _Measured) -> Product:
    row = one.row
    return Product(
        dtype=row.dtype,
        device=row.device,
        layout=row.layout,
        ranks=row.world_size,
        **{axis: one.config[axis] for axis in ("m", "n", "k")},
        flops_per_s=row.flops_per_s,
        best_flops_per_s=row.flops_per_step / row.step_best_s,
        efficiency_fraction=1.0,
        noisy=row.noisy,
    )


def _efficiencies(products: Iterable[Product]) -> tuple[Product, ...]:
    """Each product's best rate over the best of its dtype, device and layout."""
    found = tuple(products)
    best: dict[tuple[str, ...], float] = {}
    for product in found:
        best[_curve(product)] = max(best.get(_curve(product), 0.0), product.best_flops_per_s)
    return tuple(
        msgspec.structs.replace(product, efficiency_fraction=product.best_flops_per_s / best[_curve(product)]) for product in found
    )


def _curve(product: Product) -> tuple[str, ...]:
    return product.dtype, product.device, product.layout


def _exchange(one: _Measured) -> Exchange:
    row, name, size = one.row, one.config["collective"], one.config["message_bytes"]
    return Exchange(
        collective=name,
        device=row.device,
        layout=row.layout,
        ranks=row.world_size,
        message_bytes=size,
        time_s=row.step_time_s,
        best_time_s=row.step_best_s,
        algbw_bytes_per_s=algorithm_bandwidth_bytes_per_s(size, row.step_time_s),
        busbw_bytes_per_s=bus_bandwidth_bytes_per_s(name, size, row.step_time_s, row.world_size),
        noisy=row.noisy,
    )


def _transfer(one: _Measured) -> Transfer:
    config = one.config
    settings = {key: config[key] for key in ("direction", "pinned", "message_bytes")}
    return Transfer(device=one.row.device, **settings, **one.bytes_rates)


def _disk(one: _Measured) -> Disk:
    return Disk(**{key: one.config[key] for key in ("direction", "file_bytes", "folder")}, **one.bytes_rates)


def _gaps(run: Run) -> Iterable[Gap]:
    """What was not measured, by workload, with the reason; equal reasons once, with the number of cases."""
    settled = {(record.case.key, record.case.process) for record in run.records}
    done = {record.case.key for record in run.records if record.outcome == "done" and not fault(record)}
    lost = [(record.case, record.reason or fault(record)) for record in run.records]
    lost += [(case, "not reached") for case in run.header.cases if (case.key, case.process) not in settled]
    reasons: dict[tuple[str, str], set[str]] = {}
    for case, reason in lost:
        if case.workload in _SETTINGS and case.key not in done:
            reasons.setdefault((case.workload, reason), set()).add(case.key)
    for (workload, reason), cases in reasons.items():
        yield Gap(path=f"ceilings.{workload}", reason=f"{reason}{f' ({len(cases)} cases)' if len(cases) > 1 else ''}")


def _nodes_without_cpus(machine: Inventory) -> Iterable[Gap]:
    for node in machine.memory.numa_nodes or ():
        if node.kind in ("memory", "gpu"):
            yield Gap(path="ceilings.bandwidth", reason=f"NUMA node {node.id} has no CPU: only streams from a node's own CPUs are measured")
