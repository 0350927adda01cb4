"""A run's measurements as a cluster profile of this machine, for the planner.

One accelerator is what one rank had: a share of the CPUs, or one device. Rates are those per rank with all measured ranks busy, since ranks
share memory bandwidth. What was not measured is absent, and a note says so; nothing comes from a datasheet.
"""

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import NamedTuple

from msgspec.structs import replace

from hwbench.core.accelerators import Accelerator as Device
from hwbench.core.errors import UserError
from hwbench.core.layout import parse_layout
from hwbench.core.profile import Accelerator, ClusterProfile, CurvePoint, Efficiency, Node, Tier
from hwbench.core.record import Run
from hwbench.core.summary import Throughput
from hwbench.core.workload import DTYPE_BYTES

from .roofline import COMPUTE_ROOF, MEMORY_ROOF
from .throughput import rows

NAME = "here"
"""Name of the calibrated profile, for `hwbench size --cluster here`."""
SHARED = "shared memory"
NO_PRICE = "Price and power are not measured: give them with --price-usd-per-hour and --set node.power_w=…"


class _Measured(NamedTuple):
    """What a run tells: the rows of one device, the ranks that were busy, and the run's name for sources."""

    rows: tuple[Throughput, ...]
    device: str
    ranks: int
    source: str


def calibrate(run: Run) -> ClusterProfile:
    """The profile `here` of the machine a run was measured on. UserError where the run has no matrix product to take a rate from.

    Peak: the fastest matrix product of a dtype, FLOP/s a rank. Efficiency by size: products and triads against the fastest.
    Memory: what this process may use, shared out. Network: what a dp step takes longer than the same step alone.
    """
    seen = _select(run)
    peaks = _best(seen, COMPUTE_ROOF, lambda row: row.flops_per_s, by_dtype=True)
    bandwidth = _best(seen, MEMORY_ROOF, lambda row: row.bytes_per_s, by_dtype=False).get("")
    if not peaks:
        raise UserError(
            f"run {run.header.id}: no matrix product was measured", hint="run `hwbench run --suite ceilings`, then calibrate from it"
        )
    memory, memory_source = _memory_bytes(run, seen)
    tier = _tier(seen)
    notes = [*_notes(run, seen), *([] if bandwidth else ["No triad was measured: memory bandwidth is unknown."])]
    notes += [] if tier else ["No dp layout was measured beside single: what ranks can exchange is unknown."]
    profile = ClusterProfile(
        name=NAME,
        description=f"this machine: {seen.ranks} × {_what(run, seen)}, calibrated from run {run.header.id}",
        accelerator=Accelerator(
            name=_what(run, seen),
            vendor=run.header.inventory.cpu.vendor or "unknown",
            memory_bytes=None if memory is None else memory / (seen.ranks if _on_cpu(seen) else 1),
            memory_bandwidth_bytes_per_s=bandwidth,
            peak_flops_per_s=peaks,
        ),
        node=Node(accelerators=seen.ranks, memory_bytes=memory if _on_cpu(seen) else None, cpus=run.header.inventory.cpu.model),
        tiers=() if tier is None else (tier,),
        efficiency=Efficiency(
            matmul={dtype: _curve(seen, COMPUTE_ROOF, dtype, peak) for dtype, peak in peaks.items()},
            memory=_curve(seen, MEMORY_ROOF, None, bandwidth) if bandwidth else (),
            attention_fraction=_attention(seen, peaks),
        ),
        nodes=1,
        sources={},
        notes=tuple(notes),
    )
    return _with_sources(profile, seen, memory_source)


def _select(run: Run) -> _Measured:
    """The rows of the device with the quickest matrix product, and the most ranks that ran one."""
    found = [row for row in rows(run.records, run=run.header.id) if not row.check.startswith("failed")]
    products = [row for row in found if row.workload == COMPUTE_ROOF]
    device = max(products, key=lambda row: row.flops_per_s).device if products else "cpu"
    mine = tuple(row for row in found if row.device == device)
    ranks = max((row.world_size for row in mine if row.workload in (COMPUTE_ROOF, MEMORY_ROOF)), default=1)
    return _Measured(mine, device, ranks, f"measured here, run {run.header.id}")


def _ceilings(seen: _Measured, workload: str, dtype: str | None) -> list[Throughput]:
    """Rows of a ceiling at the most ranks it was measured on: of a dtype, or of all where None."""
    mine = [row for row in seen.rows if row.workload == workload and dtype in (None, row.dtype)]
    most = max((row.world_size for row in mine), default=0)
    return [row for row in mine if row.world_size == most]


def _best(seen: _Measured, workload: str, rate: Callable[[Throughput], float], *, by_dtype: bool) -> dict[str, float]:
    """The highest rate a rank reached: by dtype, or the one of all under ''."""
    dtypes: Iterable[str | None] = sorted({row.dtype for row in seen.rows if row.workload == workload}) if by_dtype else [None]
    ceilings = {dtype: _ceilings(seen, workload, dtype) for dtype in dtypes}
    return {dtype or "": max(rate(row) / row.world_size for row in mine) for dtype, mine in ceilings.items() if mine}


def _curve(seen: _Measured, workload: str, dtype: str | None, peak: float) -> tuple[CurvePoint, ...]:
    """Share of the best rate by size: FLOPs of a product, bytes of a triad."""
    by_size: dict[float, float] = {}
    for row in _ceilings(seen, workload, dtype):
        amount, rate = (row.flops_per_step, row.flops_per_s) if dtype else (row.bytes_per_step, row.bytes_per_s)
        size = amount / row.world_size
        by_size[size] = max(by_size.get(size, 0.0), rate / row.world_size / peak)
    return tuple(CurvePoint(size=size, fraction=share) for size, share in sorted(by_size.items()))


def _attention(seen: _Measured, peaks: dict[str, float]) -> float | None:
    """The attention kernel's rate over the peak of its dtype, the median of what was measured; None where it was not, or counts more."""
    shares = [
        row.flops_per_s / row.world_size / peaks[row.dtype]
        for row in seen.rows
        if row.workload == "attention" and row.dtype in peaks and row.flops_per_s
    ]
    return min(1.0, median(shares)) if shares else None


def _tier(seen: _Measured) -> Tier | None:
    """What ranks exchange: the bus bandwidth that explains why a dp step takes longer than the same step alone.

    bandwidth = 2(n-1)/n · gradient bytes / (dp step - single step), the median over training workloads: an effective figure that holds the
    collective, what it takes from compute, and the layout's own overhead.
    """
    alone = {(row.workload, row.settings, row.dtype, row.threads): row.step_time_s for row in seen.rows if row.layout == "single"}
    rates = []
    for row in seen.rows:
        base = alone.get((row.workload, row.settings, row.dtype, row.threads))
        if base is None or not row.parameters or parse_layout(row.layout).dp != row.world_size or row.world_size < 2:
            continue
        longer, ranks = row.step_time_s - base, row.world_size
        if longer > 0:
            rates.append(2 * (ranks - 1) / ranks * row.parameters * DTYPE_BYTES.get(row.dtype, 4.0) / longer)
    return Tier(name=SHARED, accelerators=seen.ranks, bandwidth_bytes_per_s=median(rates)) if rates else None


def _memory_bytes(run: Run, seen: _Measured) -> tuple[float | None, str]:
    """Memory of the node (on CPUs) or of one device, and where it was read."""
    if _on_cpu(seen):
        return (
            run.header.inventory.limits.effective_memory_bytes,
            "the least of host memory and cgroup limits (limits.effective_memory_bytes)",
        )
    sizes = [device.memory_total_bytes for device in _devices(run) if device.memory_total_bytes is not None]
    return (min(sizes) if sizes else None), "the driver's figure for the device"


def _devices(run: Run) -> Sequence[Device]:
    found = run.header.inventory.accelerators
    return () if found is None else found.devices


def _on_cpu(seen: _Measured) -> bool:
    return seen.device.startswith("cpu")


def _what(run: Run, seen: _Measured) -> str:
    """One accelerator in words."""
    if not _on_cpu(seen):
        names = [device.name for device in _devices(run) if device.name]
        return names[0] if names else seen.device
    threads = max((row.threads for row in seen.rows), default=1)
    return f"{threads} thread{'s' if threads > 1 else ''} of {run.header.inventory.cpu.model or 'a CPU of unknown model'}"


def _notes(run: Run, seen: _Measured) -> list[str]:
    """What a reader of the profile must know."""
    said = [NO_PRICE]
    usable = run.header.inventory.limits.effective_cpus
    threads = max((row.threads for row in seen.rows), default=1)
    if _on_cpu(seen) and usable is not None and usable > seen.ranks * threads:
        said.append(f"{usable:g} CPUs are usable, {seen.ranks} ranks of {threads} were measured; the others are not counted.")
    fewer = [row.dtype for row in seen.rows if row.workload == COMPUTE_ROOF]
    for dtype in sorted(set(fewer)):
        ranks = _ceilings(seen, COMPUTE_ROOF, dtype)[0].world_size
        if ranks < seen.ranks:
            said.append(f"{dtype} products were measured on {ranks} of {seen.ranks} ranks.")
    noisy = sum(row.noisy for row in seen.rows)
    if noisy:
        said.append(f"{noisy} of {len(seen.rows)} figures it rests on are noisy: see the run's report.")
    return said


def _with_sources(profile: ClusterProfile, seen: _Measured, memory_source: str) -> ClusterProfile:
    """The profile with where each of its numbers comes from."""
    what = {
        "accelerator.memory_bytes": (profile.accelerator.memory_bytes, memory_source + (", shared by the ranks" if _on_cpu(seen) else "")),
        "accelerator.memory_bandwidth_bytes_per_s": (profile.accelerator.memory_bandwidth_bytes_per_s, "triad, a rank's share"),
        "accelerator.peak_flops_per_s": (profile.accelerator.peak_flops_per_s, "the fastest matmul of each dtype, a rank's share"),
        "node.accelerators": (profile.node.accelerators, "the most ranks that ran a ceiling"),
        "node.memory_bytes": (profile.node.memory_bytes, memory_source),
        "nodes": (profile.nodes, "one machine was measured"),
        f"tiers.{SHARED}": (profile.tiers or None, "dp steps against the same steps alone"),
        "efficiency.matmul": (profile.efficiency.matmul or None, "matmul by size against the fastest"),
        "efficiency.memory": (profile.efficiency.memory or None, "triad by size against the fastest"),
        "efficiency.attention_fraction": (profile.efficiency.attention_fraction, "attention against the fastest matmul"),
    }
    sources = {key: f"{seen.source}: {text}" for key, (value, text) in what.items() if value is not None}
    return replace(profile, sources=sources)
