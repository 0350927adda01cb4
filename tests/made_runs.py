"""Runs, records and sizings made by hand, for tests of analyse and of reports: deterministic, realistic, without torch."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hwbench.core.inventory import Cpu, Gap, Inventory, Limits, Machine, Memory, Software, Tuning
from hwbench.core.layout import parse_layout
from hwbench.core.prediction import Memory as MemoryNeed
from hwbench.core.prediction import Part, Prediction, Rejected, Sizing, SizingAnswer
from hwbench.core.record import Case, MachineState, Measurement, Record, Run, RunHeader, Samples
from hwbench.core.value import Value
from hwbench.core.workload import Check, Cost, Workload, WorkloadKind

START = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
CHECK = Check(name="output", error=1e-6, tolerance=1e-4, reference="float64 on the CPU")


class Config(Value):
    """Configuration of the made-up workloads."""

    size: int = 512
    batch: int = 8


def workload(kind: WorkloadKind) -> Workload:
    """A workload of a kind, with defaults to compare with; its functions are never called."""

    def cost(_config: Any, dtype: str) -> Cost:
        return Cost(blocks=(), dtype=dtype, items=1)

    def build(_config: Any, _context: Any) -> Any:
        raise NotImplementedError

    return Workload(kind=kind, config=Config, cost=cost, build=build)


KINDS: dict[str, WorkloadKind] = {
    "triad": "ceiling", "matmul": "ceiling", "embedding": "kernel", "attention": "kernel", "lstm": "training", "gpt": "training",
}  # fmt: skip
WORKLOADS = {name: workload(kind) for name, kind in KINDS.items()}


@dataclass(frozen=True)
class Shape:
    """What one call of a made-up workload does on one rank."""

    items: int
    unit: str
    flops: float
    bytes: float
    step_s: float
    parameters: int = 0


SHAPES = {
    "triad": Shape(items=2**24, unit="element", flops=2 * 2**24, bytes=12 * 2**24, step_s=0.0103),
    "matmul": Shape(items=1, unit="product", flops=2 * 1024.0**3, bytes=12 * 1024.0**2, step_s=0.0295),
    "embedding": Shape(items=16_384, unit="token", flops=0, bytes=2 * 16_384 * 512 * 4, step_s=0.0046),
    "attention": Shape(items=4_096, unit="token", flops=4.3e9, bytes=33.5e6, step_s=0.083),
    "lstm": Shape(items=2_240, unit="token", flops=38.6e9, bytes=0.62e9, step_s=0.71, parameters=5_985_000),
    "gpt": Shape(items=1_024, unit="token", flops=7.74e9, bytes=0.41e9, step_s=0.149, parameters=1_312_768),
}


def samples(step_s: float, *, count: int = 20, rank: int = 0, spread: float = 0.03, seed: int = 0, host: str = "bench-1") -> Samples:
    """One rank's samples around `step_s`, log-normal, with three slow warm-up calls."""
    dice = random.Random(f"{seed} {rank} {step_s}")
    walls = tuple(step_s * dice.lognormvariate(0, spread) for _ in range(count))
    return Samples(
        rank=rank,
        host=host,
        warmup_wall_s=(4 * step_s, 1.4 * step_s, 1.1 * step_s),
        wall_s=walls,
        cpu_s=tuple(0.99 * wall for wall in walls),
        involuntary_switches=(0,) * count,
        resident_peak_bytes=330_000_000 + 7_000_000 * rank,
    )


def measurement(shape: Shape, *, ranks: int = 1, slower: float = 1.0, spread: float = 0.03, seed: int = 0, count: int = 20) -> Measurement:
    """One process of a case: `ranks` ranks doing the work of `shape` each, `slower` times as slowly as alone."""
    return Measurement(
        ranks=tuple(samples(shape.step_s * slower, count=count, rank=rank, spread=spread, seed=seed) for rank in range(ranks)),
        items_per_step=shape.items * ranks,
        item_unit=shape.unit,
        flops_per_step=shape.flops * ranks,
        bytes_per_step=shape.bytes * ranks,
        parameters=shape.parameters,
        check=CHECK,
        first_loss=10.1 if shape.parameters else None,
        last_loss=9.4 if shape.parameters else None,
    )


def record(
    name: str = "gpt",
    *,
    layout: str = "single",
    process: int = 0,
    slower: float = 1.0,
    spread: float = 0.03,
    at_s: float = 0.0,
    **case: Any,
) -> Record:
    """A done record of a made-up workload; `case` overrides fields of its Case."""
    ranks = parse_layout(layout).world_size
    measured = measurement(SHAPES[name], ranks=ranks, slower=slower, spread=spread, seed=process)
    fields: dict[str, Any] = {"workload": name, "config": {"size": 512, "batch": 8}, "layout": layout, "process": process} | case
    return Record(
        case=Case(**fields),
        outcome="done",
        started_at=(START + timedelta(seconds=at_s)).isoformat(),
        duration_s=1.1 * sum(measured.ranks[0].wall_s),
        measurement=measured,
        state=MachineState(load_1min=1.1, cpu_pressure_fraction=0.02, steal_fraction=0.001),
    )


def failed(name: str, reason: str, *, layout: str = "single", process: int = 0) -> Record:
    """A record of a case that failed."""
    case = Case(workload=name, config={"size": 512, "batch": 8}, layout=layout, process=process)
    return Record(case=case, outcome="failed", reason=reason, started_at=START.isoformat(), duration_s=3.0)


def inventory(**machine: Any) -> Inventory:
    """A small virtual machine whose container may use half of it."""
    return Inventory(
        cpu=Cpu(
            architecture="x86_64", vendor="AuthenticAMD", model="AMD EPYC 7763 64-Core Processor", online_count=4, online_list="0-3",
            physical_cores=2, sockets=1, threads_per_core=(2,), isa_highlights=("AVX2", "FMA"),
        ),
        limits=Limits(
            host_cpus=4, host_memory_bytes=16_777_216_000, cgroup_version="2", cpu_quota=2.0, memory_limit_bytes=8 * 2**30,
            effective_cpu_list="0-3", effective_cpus=2.0, effective_memory_bytes=8 * 2**30,
        ),
        memory=Memory(total_bytes=16_777_216_000, swap_total_bytes=0),
        machine=Machine(**({"host_name": "bench-1", "product_name": "KVM Virtual Machine", "virtualization": "kvm"} | machine)),
        software=Software(kernel_release="6.1.0-28-amd64", os="Debian GNU/Linux 12", python="3.11.2", torch="2.13.0", blas="mkl"),
        tuning=Tuning(governors=None, turbo=None, transparent_huge_pages="always", load_average=(0.4, 0.3, 0.2), autogroup=True),
        gaps=(
            Gap(path="tuning.governors", reason="/sys/devices/system/cpu/cpu0/cpufreq: not there (virtual machine)"),
            Gap(path="memory.dimms", reason="/sys/firmware/dmi/entries: permission denied"),
        ),
    )  # fmt: skip


def run(records: tuple[Record, ...] = (), *, id: str = "20261120-093000", cases: tuple[Case, ...] | None = None, **other: Any) -> Run:
    """A finished run of these records on `inventory()`; `other` overrides fields of Run, `machine=` the inventory's machine."""
    header = RunHeader(
        id=id,
        started_at=(START - timedelta(seconds=9)).isoformat(),
        hwbench_version="0.1.0",
        command=("hwbench", "run", "--suite", "quick", "--processes", "3"),
        suite="quick",
        cases=cases if cases is not None else tuple(record.case for record in records),
        inventory=inventory(**other.pop("machine", {})),
        versions={"torch": "2.13.0+cpu", "python": "3.11.2"},
        commit="4f2c81d",
    )
    fields: dict[str, Any] = {"path": f"hwbench-results/{id}", "header": header, "records": records, "finished": True}
    return Run(**(fields | other))


DP2_SLOWDOWN = {"triad": 1.35, "matmul": 1.04, "embedding": 1.22, "attention": 1.07, "lstm": 1.31, "gpt": 1.16}
SPREAD = {"triad": 0.02, "matmul": 0.015, "embedding": 0.05, "attention": 0.02, "lstm": 0.16, "gpt": 0.03}


def demo_run(*, processes: int = 3, slower: float = 1.0, **other: Any) -> Run:
    """Six workloads under two layouts in three processes each, and one case that failed."""
    dice, records, at_s = random.Random(7), [], 0.0
    for process in range(processes):
        for name in SHAPES:
            for layout in ("single", "dp=2"):
                pace = slower * dice.lognormvariate(0, SPREAD[name] / 2) * (DP2_SLOWDOWN[name] if layout == "dp=2" else 1.0)
                if (name, layout) == ("lstm", "dp=2"):
                    records.append(failed(name, "rank 1 ended by signal 9 after 4.1 s: out of memory?", layout=layout, process=process))
                else:
                    records.append(record(name, layout=layout, process=process, slower=pace, spread=SPREAD[name], at_s=at_s))
                at_s += records[-1].duration_s + 0.8
    return run(tuple(records), **other)


def sizing(cluster: str, *, nodes: int, layout: str, scale: float, usd: float | None, days: float) -> Sizing:
    """One cluster's answer for GPT-3 175B; `scale` stretches the step."""
    parts = (
        Part(name="matrix products", time_s=21.3 * scale, why="6 N FLOPs a token at 62 % of the peak"),
        Part(name="attention", time_s=2.1 * scale, why="quadratic in the sequence"),
        Part(name="tensor-parallel all-reduce", time_s=3.9 * scale, why="4 a layer within the node"),
        Part(name="pipeline bubble", time_s=2.6 * scale, why="(pp - 1) / microbatches"),
        Part(name="data-parallel all-reduce", time_s=1.4 * scale, why="gradients over the network, after overlap"),
        Part(name="optimizer", time_s=0.3 * scale, why="bytes of the states over memory bandwidth"),
    )
    step_s = sum(part.time_s for part in parts)
    return Sizing(
        cluster=cluster,
        model="gpt3-175b",
        nodes=nodes,
        accelerators=nodes * 8,
        layout=parse_layout(layout),
        micro_batch=1,
        global_batch=1536,
        prediction=Prediction(
            layout=layout, step_time_s=step_s, parts=parts, low_s=0.85 * step_s, high_s=1.2 * step_s,
            basis="datasheet rates, efficiency curves assumed",
            memory=MemoryNeed(
                weights_bytes=10.9e9, gradients_bytes=10.9e9, optimizer_bytes=32.8e9, activations_bytes=9.4e9, buffers_bytes=2.0e9
            ),
            memory_capacity_bytes=80e9, flops_per_step=3.3e18, tokens_per_step=3_145_728, mfu_fraction=0.41,
            bottleneck="matrix products", assumptions=("no overlap of pipeline and data-parallel communication",),
        ),
        tokens=300e9,
        train_time_s=days * 86400,
        cost_usd=usd,
        energy_j=nodes * 10.2e3 * days * 86400,
        meets_deadline=days <= 30,
        gaps=() if usd is not None else ("price: usd_per_node_hour is not in the profile",),
    )  # fmt: skip


def sizing_answer() -> SizingAnswer:
    """Four clusters: two that meet the deadline, one that is late and has no price, one that can't."""
    return SizingAnswer(
        question={"model": "gpt3-175b", "tokens": 300e9, "deadline_s": 30 * 86400},
        sizings=(
            sizing("h100-sxm-ib", nodes=96, layout="dp=12,tp=8,pp=8,microbatches=128", scale=0.33, usd=4_310_000.0, days=26.4),
            sizing("a100-sxm-ib", nodes=192, layout="dp=24,tp=8,pp=8,microbatches=64", scale=0.61, usd=6_020_000.0, days=29.1),
            sizing("mi250x-slingshot", nodes=128, layout="dp=16,tp=8,pp=8,microbatches=96", scale=0.92, usd=None, days=41.8),
        ),
        rejected=(
            Rejected(
                name="this machine (2 ranks, cpu)",
                reason="needs 66.0 GB a rank under the best layout, has 4.3 GB; 175 B parameters take 2.8 TB with Adam's states",
            ),
        ),
    )
