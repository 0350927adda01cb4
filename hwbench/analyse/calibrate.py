"""A run's measurements as a cluster profile of this machine, for the planner.

One accelerator is what one rank had: a share of the CPUs, or one device. Rates are those per rank with all measured ranks busy, since ranks
share memory bandwidth. What was not measured is absent, and a note says so; nothing comes from a datasheet. On CPUs times are CPU times
where records have them (`busy.py`): a profile is of the machine, and not of who else was running on it.
"""

from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple

from msgspec.structs import replace

from hwbench.core.accelerators import Accelerator as Device
from hwbench.core.errors import UserError
from hwbench.core.layout import parse_layout
from hwbench.core.profile import Accelerator, ClusterProfile, CurvePoint, Efficiency, Node, Tier
from hwbench.core.record import Record, Run
from hwbench.core.summary import Throughput
from hwbench.core.workload import DTYPE_BYTES

from . import network
from .busy import undisturbed, wall_floor_s
from .operators import OPERATOR, operator_times
from .roofline import COMPUTE_ROOF, MEMORY_ROOF
from .throughput import rows

NAME = "here"
"""Name of the calibrated profile, for `hwbench size --cluster here`."""
SHARED = "shared memory"
NETWORK = "network"
FEWEST_SIZES = 3
"""Sizes of gradients from which latency and bandwidth can be told apart."""


class _Case(NamedTuple):
    """One case of a run: its row, its configuration, and its wall time when least disturbed."""

    row: Throughput
    config: dict[str, Any]
    wall_s: float


class _Measured(NamedTuple):
    """What a run tells: the cases of one device, the ranks that were busy, and the run's name for sources."""

    cases: tuple[_Case, ...]
    device: str
    ranks: int
    source: str

    @property
    def rows(self) -> tuple[Throughput, ...]:
        """The cases' rows."""
        return tuple(case.row for case in self.cases)


def calibrate(run: Run) -> ClusterProfile:
    """The profile `here` of the machine a run was measured on. UserError where the run has no matrix product to take a rate from.

    Peak: the fastest matrix product of a dtype, FLOP/s a rank. Memory bandwidth: the triad of the largest working set. Efficiency by size:
    the others against these. Memory: what this process may use, shared out. Network: what a dp step takes longer than the same step alone.
    """
    seen = _select(run)
    peaks = _peaks(seen)
    if not peaks:
        hint = "run `hwbench run --suite calibrate`, then calibrate from it"
        raise UserError(f"run {run.header.id}: no matrix product was measured", hint=hint)
    memory = _memory_bytes(run, seen)
    bandwidth, memory_curve = _streaming(seen)
    hosts = _hosts(seen)
    tiers = _tiers(seen, seen.ranks // hosts)
    profile = ClusterProfile(
        name=NAME,
        description=f"this machine: {seen.ranks} × {_what(run, seen)}, calibrated from run {run.header.id}",
        accelerator=Accelerator(
            name=_what(run, seen),
            vendor=_vendor(run, seen),
            memory_bytes=memory / seen.ranks if memory is not None and _on_cpu(seen) else memory,
            memory_bandwidth_bytes_per_s=bandwidth,
            peak_flops_per_s=peaks,
        ),
        node=Node(accelerators=seen.ranks // hosts, memory_bytes=memory if _on_cpu(seen) else None, cpus=run.header.inventory.cpu.model),
        tiers=tiers,
        efficiency=Efficiency(
            matmul={dtype: _product_curve(seen, dtype, peak) for dtype, peak in peaks.items()},
            memory=memory_curve,
            attention_fraction=_attention(seen, peaks),
            operators=operator_times((case.row, case.config) for case in seen.cases),
            process_bytes=_process_bytes(seen),
        ),
        nodes=hosts,
        sources={},
    )
    return replace(profile, sources=_sources(profile, seen), notes=_notes(run, seen, profile))


def _select(run: Run) -> _Measured:
    """The rows of the device with the quickest matrix product, and the most ranks that ran anything at the same time.

    Where no ceiling was measured, as in a run that ended early, an operator stands for it: a product, the addition of two tensors.
    """
    found = [case for case in _cases(run) if not case.row.check.startswith("failed")]
    for ceiling, function in ((COMPUTE_ROOF, "linear"), (MEMORY_ROOF, "add")):
        if not any(case.row.workload == ceiling for case in found):
            operators = [case for case in found if case.row.workload == OPERATOR and case.config.get("function") == function]
            found += [case._replace(row=replace(case.row, workload=ceiling)) for case in operators]
    products = [case.row for case in found if case.row.workload == COMPUTE_ROOF]
    device = max(products, key=lambda row: row.flops_per_s).device if products else "cpu"
    mine = tuple(case for case in found if case.row.device == device)
    ranks = max((case.row.world_size for case in mine), default=1)
    return _Measured(mine, device, ranks, f"measured here, run {run.header.id}")


def _cases(run: Run) -> Iterable[_Case]:
    """Each case's row, by CPU time where that is known."""
    groups: dict[str, list[Record]] = {}
    for record in run.records:
        groups.setdefault(record.case.key, []).append(record)
    for group in groups.values():
        for row in rows(group, run=run.header.id):
            done = [record for record in group if record.outcome == "done"]
            yield _Case(undisturbed(row, done), group[0].case.config, wall_floor_s(done))


def _ceilings(seen: _Measured, workload: str, dtype: str | None) -> list[Throughput]:
    """Rows of a ceiling at the most ranks it was measured on: of a dtype, or of all where None."""
    mine = [row for row in seen.rows if row.workload == workload and dtype in (None, row.dtype)]
    most = max((row.world_size for row in mine), default=0)
    return [row for row in mine if row.world_size == most]


def _peaks(seen: _Measured) -> dict[str, float]:
    """The fastest matrix product of each dtype that was measured with as many ranks busy as any was, FLOP/s a rank."""
    ceilings = {dtype: _ceilings(seen, COMPUTE_ROOF, dtype) for dtype in _dtypes(seen)}
    most = max((mine[0].world_size for mine in ceilings.values()), default=1)
    busy = {dtype: mine for dtype, mine in ceilings.items() if mine[0].world_size == most}
    return {dtype: max(row.flops_per_s / row.world_size for row in mine) for dtype, mine in busy.items()}


def _dtypes(seen: _Measured) -> list[str]:
    return sorted({row.dtype for row in seen.rows if row.workload == COMPUTE_ROOF})


def _product_curve(seen: _Measured, dtype: str, peak: float) -> tuple[CurvePoint, ...]:
    """Share of the fastest product by FLOPs of one product."""
    return _curve(
        (row.flops_per_step / row.world_size, row.flops_per_s / row.world_size / peak) for row in _ceilings(seen, COMPUTE_ROOF, dtype)
    )


def _streaming(seen: _Measured) -> tuple[float | None, tuple[CurvePoint, ...]]:
    """Bytes a second of a rank's triad over the largest working set, and the share that smaller ones reach.

    A smaller working set that is quicker was in a cache: it is no measure of memory and is left out.
    """
    triads = _ceilings(seen, MEMORY_ROOF, None)
    if not triads:
        return None, ()
    largest = max(triads, key=lambda row: row.bytes_per_step)
    rate = largest.bytes_per_s / largest.world_size
    points = ((row.bytes_per_step / row.world_size, row.bytes_per_s / row.world_size / rate) for row in triads)
    return rate, _curve((size, share) for size, share in points if share <= 1)


def _process_bytes(seen: _Measured) -> float | None:
    """What a rank's process holds beside tensors, on a CPU: the least that any case needed."""
    sizes = [row.resident_peak_bytes for row in seen.rows if row.resident_peak_bytes]
    return float(min(sizes)) if sizes and _on_cpu(seen) else None


def _curve(points: Iterable[tuple[float, float]]) -> tuple[CurvePoint, ...]:
    """The best share at each size, ascending."""
    best: dict[float, float] = {}
    for size, share in points:
        best[size] = max(best.get(size, 0.0), share)
    return tuple(CurvePoint(size=size, fraction=share) for size, share in sorted(best.items()))


def _attention(seen: _Measured, peaks: dict[str, float]) -> float | None:
    """The attention kernel's rate over the peak of its dtype, the median of what was measured; None where it was not, or counts more."""
    shares = [
        row.flops_per_s / row.world_size / peaks[row.dtype]
        for row in seen.rows
        if row.workload == "attention" and row.dtype in peaks and row.flops_per_s
    ]
    return min(1.0, median(shares)) if shares else None


def _hosts(seen: _Measured) -> int:
    """Over how many hosts the most ranks ran."""
    return max((len({rank.host for rank in row.ranks}) for row in seen.rows if row.world_size == seen.ranks), default=1) or 1


def _tiers(seen: _Measured, a_node: int) -> tuple[Tier, ...]:
    """Ranks of one host: by dp steps, which hold a layout's own overhead too, else by collectives. Between hosts: by collectives."""
    inside = _tier(seen) or network.tier(SHARED, a_node, _timed(seen, several=False))
    between = network.tier(NETWORK, None, _timed(seen, several=True))
    return tuple(tier for tier in (inside, between) if tier is not None)


def _timed(seen: _Measured, *, several: bool) -> Iterator[network.Timed]:
    """The collectives measured within a host, or over several, by wall time: waiting for a network takes no CPU time."""
    for row, config, wall_s in seen.cases:
        if row.kind == "collective" and (len({rank.host for rank in row.ranks}) > 1) == several:
            yield network.Timed(config["collective"], row.world_size, config["message_bytes"], wall_s)


def _tier(seen: _Measured) -> Tier | None:
    """What ranks exchange: the latency and bus bandwidth that explain why a dp step takes longer than the same step alone.

    dp step - single step = 2·latency + 2(n-1)/n · gradient bytes / bandwidth, fitted over training workloads: effective figures that hold
    the collective, what it takes from compute, and the layout's own overhead; so a collective reaches all of it. Where too few sizes
    of gradients were measured to tell the two apart, the bandwidth alone: the median.
    """
    alone = {(row.workload, row.settings, row.dtype, row.threads): row.step_time_s for row in seen.rows if row.layout == "single"}
    found = []
    for row in seen.rows:
        base = alone.get((row.workload, row.settings, row.dtype, row.threads))
        if base is None or not row.parameters or parse_layout(row.layout).dp != row.world_size or row.world_size < 2:
            continue
        if len({rank.host for rank in row.ranks}) > 1:
            continue  # what a network takes is no CPU time
        longer, ranks = row.step_time_s - base, row.world_size
        if longer > 0:
            found.append((2 * (ranks - 1) / ranks * row.parameters * DTYPE_BYTES.get(row.dtype, 4.0), longer))
    if not found:
        return None
    latency_s, bandwidth = _exchange(found)
    whole = (CurvePoint(size=1.0, fraction=1.0),)
    return Tier(
        name=SHARED, accelerators=seen.ranks // _hosts(seen), bandwidth_bytes_per_s=bandwidth, latency_s=latency_s, efficiency=whole,
        hidden=not _on_cpu(seen),
    )  # fmt: skip


def _exchange(found: Sequence[tuple[float, float]]) -> tuple[float | None, float]:
    """(latency of one of the two ways, bytes a second) from (bytes, seconds) of several exchanges: least squares of relative errors."""
    median_rate = median(size / seconds for size, seconds in found)
    if len({size for size, _ in found}) < FEWEST_SIZES:
        return None, median_rate
    from scipy.optimize import nnls

    fixed_s, per_byte_s = nnls([[1 / seconds, size * 1e-9 / seconds] for size, seconds in found], [1.0] * len(found))[0]
    if per_byte_s <= 0:
        return None, median_rate
    return float(fixed_s) / 2 or None, 1e9 / float(per_byte_s)


def _memory_bytes(run: Run, seen: _Measured) -> float | None:
    """Memory of the node on CPUs (host memory or a control group's limit, whichever is less), else of the smallest device."""
    if _on_cpu(seen):
        return run.header.inventory.limits.effective_memory_bytes
    return min((device.memory_total_bytes for device in _devices(run) if device.memory_total_bytes is not None), default=None)


def _devices(run: Run) -> Sequence[Device]:
    found = run.header.inventory.accelerators
    return () if found is None else found.devices


def _on_cpu(seen: _Measured) -> bool:
    return seen.device.startswith("cpu")


def _vendor(run: Run, seen: _Measured) -> str:
    """Who made the device or the CPU, as the inventory spells it."""
    known = run.header.inventory.cpu.vendor if _on_cpu(seen) else next((device.vendor for device in _devices(run)), None)
    return known or "unknown"


def _what(run: Run, seen: _Measured) -> str:
    """One accelerator in words."""
    if not _on_cpu(seen):
        names = [device.name for device in _devices(run) if device.name]
        return names[0] if names else seen.device
    threads = max((row.threads for row in seen.rows), default=1)
    return f"{threads} thread{'s' if threads > 1 else ''} of {run.header.inventory.cpu.model or 'a CPU of unknown model'}"


def _notes(run: Run, seen: _Measured, profile: ClusterProfile) -> tuple[str, ...]:
    """What a reader of the profile must know: what is absent and why, and what the figures do not cover."""
    device = profile.accelerator
    usable, threads = run.header.inventory.limits.effective_cpus, max((row.threads for row in seen.rows), default=1)
    noisy = sum(row.noisy for row in seen.rows)
    said = ["Price and power are not measured: give them with --price-usd-per-hour and --set node.power_w=…"]
    if device.memory_bytes is None:
        said.append("Memory is unknown: the run's inventory has no limit of it.")
    if device.memory_bandwidth_bytes_per_s is None:
        said.append("Memory bandwidth is unknown: no triad was measured.")
    if not profile.tiers:
        said.append("What ranks can exchange is unknown: no dp layout was slower than the same step alone.")
    if _on_cpu(seen) and usable is not None and usable > seen.ranks * threads:
        said.append(f"{usable:g} CPUs are usable, {seen.ranks} ranks ({threads} thread each) were measured; the others are not counted.")
    if noisy:
        said.append(f"{noisy} of the {len(seen.rows)} figures it rests on are noisy: see the run's report.")
    return (*said, *_product_notes(seen, profile), *_training_notes(seen, profile))


def _training_notes(seen: _Measured, profile: ClusterProfile) -> Iterable[str]:
    """How far the run's own training steps stay below its products: what a sizing from products alone can't know."""
    peaks = profile.accelerator.peak_flops_per_s
    steps = [row for row in seen.rows if row.kind == "training" and row.world_size == 1 and row.dtype in peaks]
    shares = sorted(row.flops_per_s / peaks[row.dtype] for row in steps)
    if shares:
        reached = f"{shares[0]:.0%}" if len(shares) == 1 else f"{shares[0]:.0%} to {shares[-1]:.0%}"
        yield f"Training steps of the run itself reached {reached} of the product rate: a sizing's MFU above that is too hopeful."


def _product_notes(seen: _Measured, profile: ClusterProfile) -> Iterable[str]:
    """Dtypes measured on fewer ranks than others, or at one size only."""
    for dtype in _dtypes(seen):
        if dtype not in profile.accelerator.peak_flops_per_s:
            ranks = _ceilings(seen, COMPUTE_ROOF, dtype)[0].world_size
            yield f"{dtype} products were measured on {ranks} of {seen.ranks} ranks only: together they may be slower, so no rate is given."
    if profile.accelerator.peak_flops_per_s and max(row.world_size for row in seen.rows if row.workload == COMPUTE_ROOF) < seen.ranks:
        yield f"No product was measured with all {seen.ranks} ranks busy: the rate of one rank may be too high."
    for dtype, curve in profile.efficiency.matmul.items():
        if len(curve) == 1:
            yield f"{dtype} products were measured at one size, {curve[0].size:.2g} FLOPs: smaller ones reach less."


def _of_tier(tier: Tier) -> str:
    by_steps = tier.name == SHARED and len(tier.efficiency) == 1
    return "dp steps against the same steps alone" if by_steps else "collectives over message sizes, the lower quartile of calls"


def _sources(profile: ClusterProfile, seen: _Measured) -> dict[str, str]:
    """Where each number that is there comes from."""
    device, efficiency = profile.accelerator, profile.efficiency
    memory = "the least of host memory and control group limits, shared by the ranks" if _on_cpu(seen) else "the driver's figure"
    bandwidth = "triad of the largest working set, a rank's share"
    known = {
        "accelerator.memory_bytes": (device.memory_bytes, memory),
        "accelerator.memory_bandwidth_bytes_per_s": (device.memory_bandwidth_bytes_per_s, bandwidth),
        "accelerator.peak_flops_per_s": (device.peak_flops_per_s, "the fastest matmul of each dtype, a rank's share"),
        "node.accelerators": (profile.node.accelerators, "the most ranks that ran at the same time"),
        "node.memory_bytes": (profile.node.memory_bytes, "the least of host memory and control group limits"),
        "nodes": (profile.nodes, "as many machines were measured"),
        **{f"tiers.{tier.name}": (tier, _of_tier(tier)) for tier in profile.tiers},
        "efficiency.matmul": (efficiency.matmul or None, "matmul by size against the fastest"),
        "efficiency.memory": (efficiency.memory or None, "triad by size against the largest"),
        "efficiency.operators": (efficiency.operators or None, "operators with cold operands, forward and backward"),
        "efficiency.process_bytes": (efficiency.process_bytes, "the least resident size of any case's ranks"),
        "efficiency.attention_fraction": (efficiency.attention_fraction, "attention against the fastest matmul"),
    }
    return {key: f"{seen.source}: {text}" for key, (value, text) in known.items() if value is not None}
