"""Every legal layout of a training step at a world size, and the quickest that fits in memory.

What is tried: tp over the divisors of the scale-up domain (its all-reduces stand in the way of compute, so they stay on the
fastest tier), pp over the depths that share the layers out evenly, every data-parallel rest by dp, dp with ZeRO 1 or 2, fsdp or both
(hybrid sharding), interleaving, micro-batches of powers of two. Recomputation is the least that makes a layout fit: more only costs time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from msgspec.structs import replace

from hwbench.core.layout import Layout
from hwbench.core.parallel import Transfer
from hwbench.core.prediction import Memory, Misfit, Prediction
from hwbench.core.profile import ClusterProfile
from hwbench.core.units import format_bytes
from hwbench.core.workload import Cost

from .candidates import MAX_MICRO_BATCH, MAX_TP, shares_out
from .compute import missing
from .machine import scale_up_domain
from .memory import Recompute, rank_memory
from .step import predict_step

CostOf = Callable[[int], Cost]
"""The cost of one micro-batch of so many samples."""
Sends = Callable[[Cost, Layout], tuple[Transfer, ...]]
"""What one rank sends in a step under a layout, over all its axes."""

RECOMPUTE: tuple[Recompute, ...] = ("none", "selective", "full")
SHORTLIST = 512
"""How many of the quickest a search keeps, for a closer look."""
MAX_CHUNKS = 8
"""Most model chunks a pipeline stage is interleaved into."""


class Choice(NamedTuple):
    """One way to do the step that fits."""

    layout: Layout
    micro_batch: int
    recompute: str
    """none, selective, full, or 'full 3/12': 3 of the 12 layers of each model chunk."""
    prediction: Prediction
    software: str = ""


class Closest(NamedTuple):
    """The way that came nearest to fitting."""

    layout: Layout
    micro_batch: int
    memory: Memory
    recompute: str = "full"


class Found(NamedTuple):
    """What a search saw: the best, how many ways were tried and how many fitted, what the nearest miss needs."""

    best: Choice | None
    tried: int
    fitted: int
    closest: Closest | None
    misfits: tuple[Misfit, ...]
    """Why layouts were left out."""
    shortlist: tuple[Choice, ...] = ()
    """The quickest that fit, the best first."""
    uncorrected: str = ""
    """Why nothing is known of what software adds on such a device, where that is so."""


def search(
    cost_of: CostOf, sends: Sends, profile: ClusterProfile, *, accelerators: int, global_batch: int, framework: str | None = None
) -> Found:
    """The quickest layout of a step of `global_batch` samples on `accelerators` devices; `best` is None where none fits.

    UserError where the profile lacks a number that memory or time needs.
    """
    capacity = capacity_bytes(profile)
    choices: list[Choice] = []
    closest: Closest | None = None
    tried = 0
    illegal: Counter[str] = Counter()
    too_large = 0
    for base in layouts(cost_of(1), profile, accelerators=accelerators, global_batch=global_batch, illegal=illegal):
        for layout, micro_batch, cost in _micro_batches(base, cost_of, global_batch):
            tried += 1
            recompute, memory = lightest_recompute(cost, layout, capacity, process_bytes=profile.efficiency.process_bytes)
            if recompute is None:
                too_large += 1
                if closest is None or memory.total_bytes < closest.memory.total_bytes:
                    closest = Closest(layout, micro_batch, memory)
                continue
            predicted = predict(cost, layout, profile, sends, recompute, framework=framework)
            choices.append(Choice(layout, micro_batch, recompute, predicted, framework or ""))
    choices.sort(key=lambda choice: choice.prediction.step_time_s)
    choices = _best_of_each(choices)
    misfits = [Misfit(reason=reason, count=count, nearest="") for reason, count in illegal.most_common()]
    if closest is not None:
        misfits.insert(0, memory_misfit(closest, too_large, capacity))
    return Found(choices[0] if choices else None, tried, tried - too_large, closest, tuple(misfits), tuple(choices[:SHORTLIST]))


def _best_of_each(ranked: list[Choice]) -> list[Choice]:
    """The quickest of each combination of degrees and sharding, in the order given."""
    first: dict[tuple[int, ...], Choice] = {}
    for choice in ranked:
        one = choice.layout
        first.setdefault((one.dp, one.fsdp, one.tp, one.pp, one.cp, one.ep, one.zero), choice)
    return list(first.values())


def memory_misfit(nearest: Closest, count: int, capacity: float) -> Misfit:
    """Layouts that need more than `capacity` bytes, and the one that needs least."""
    need = nearest.memory.total_bytes
    return Misfit(
        reason=f"more memory than the {format_bytes(capacity)} of an accelerator",
        count=count,
        nearest=f"{nearest.layout.text}, micro-batch {nearest.micro_batch}, recompute {nearest.recompute}: {format_bytes(need)}, "
        f"{format_bytes(need - capacity)} short",
    )


def predict(
    cost: Cost, layout: Layout, profile: ClusterProfile, sends: Sends, recompute: Recompute, *, framework: str | None = None
) -> Prediction:
    """The predicted step, with the collectives of the forward pass done again where the forward pass is."""
    transfers = sends(cost, layout)
    if recompute == "full":
        transfers += tuple(replace(t, why=f"{t.why}, recomputed") for t in transfers if t.during == "forward")
    count = layout.microbatches
    return predict_step(cost, layout, profile, transfers=transfers, micro_batches=count, recompute=recompute, framework=framework)


def lightest_recompute(
    cost: Cost, layout: Layout, capacity: float, *, process_bytes: float | None = None
) -> tuple[Recompute | None, Memory]:
    """The least recomputation under which a rank's memory is within `capacity` bytes, or None and the memory of the most."""
    for recompute in RECOMPUTE:
        count = layout.microbatches * cost.accumulation
        memory = rank_memory(cost, layout, micro_batches=count, recompute=recompute, process_bytes=process_bytes)
        if memory.total_bytes <= capacity:
            return recompute, memory
    return None, memory


def capacity_bytes(profile: ClusterProfile) -> float:
    """Memory of one accelerator; UserError names the key where the profile lacks it."""
    if profile.accelerator.memory_bytes is None:
        raise missing(profile, "accelerator.memory_bytes", found="null")
    return profile.accelerator.memory_bytes


def layouts(
    cost: Cost, profile: ClusterProfile, *, accelerators: int, global_batch: int, illegal: Counter[str] | None = None
) -> Iterator[Layout]:
    """Layouts of exactly `accelerators` ranks whose data ranks divide `global_batch`, without micro-batches yet.

    `illegal` counts, by reason, what was left out.
    """
    refused: Counter[str] = Counter() if illegal is None else illegal
    recurrent = any(op.kind == "recurrent" for block in cost.blocks for op in block.operators)
    for tp in tensor_degrees(cost, profile):
        for pp in pipeline_degrees(cost):
            if accelerators % (tp * pp):
                continue
            data = accelerators // (tp * pp)
            if global_batch % data:
                refused[f"{data} data ranks do not divide the global batch of {global_batch}"] += 1
                continue
            base = Layout(tp=tp, pp=pp, sp=tp > 1 and not recurrent, loss="parallel" if tp > 1 else "full")
            yield from _sharded(base, data, scale_up_domain(profile))


def tensor_degrees(cost: Cost, profile: ClusterProfile) -> list[int]:
    """Degrees of tensor parallelism that divide the scale-up domain (so that no group straddles two), every matrix and all heads."""
    domain = scale_up_domain(profile)
    return [tp for tp in range(1, min(domain, MAX_TP) + 1) if domain % tp == 0 and tensor_divides(cost, tp)]


def tensor_divides(cost: Cost, tp: int) -> bool:
    """Whether every divided dimension is a multiple of `tp`; the vocabulary is padded, so it always is."""
    if tp == 1:
        return True
    dimensions: list[int | None] = []
    for block in cost.blocks:
        for op in block.operators:
            heads = op.batch // cost.micro_batch if op.kind == "attention" else None
            divided = {"column": op.k if op.kind == "recurrent" else op.n, "row": op.k, "heads": heads}
            dimensions.append(divided.get(op.division))
    known = [dimension for dimension in dimensions if dimension is not None]
    return bool(known) and all(dimension % tp == 0 for dimension in known)


def pipeline_degrees(cost: Cost) -> list[int]:
    """Depths that share the layers out evenly; powers of two also with embedding and head counted as layers (Llama 3, arXiv:2407.21783)."""
    layers = layer_count(cost)
    return [pp for pp in range(1, layers + 1) if shares_out(layers, pp)]


def layer_count(cost: Cost) -> int:
    """Blocks of the kind that repeats most."""
    return max((block.count for block in cost.blocks), default=1)


def _sharded(base: Layout, data: int, domain: int) -> Iterator[Layout]:
    """The ways to keep `data` replicas: whole, optimizer sharded, all sharded, or sharded within the scale-up domain only."""
    if data == 1:
        yield base
        return
    yield replace(base, dp=data)
    yield replace(base, dp=data, zero=1)
    if base.pp > 1:  # a pipeline would gather every weight again for each micro-batch
        return
    yield replace(base, dp=data, zero=2)
    yield replace(base, fsdp=data)
    near = domain // base.tp
    if 1 < near < data and data % near == 0:
        yield replace(base, fsdp=near, dp=data // near)


def _micro_batches(base: Layout, cost_of: CostOf, global_batch: int) -> Iterator[tuple[Layout, int, Cost]]:
    """A layout with each micro-batch size that divides a data rank's share, interleaved where stages and micro-batches allow it."""
    share = global_batch // base.data_ranks
    size = 1
    while size <= min(share, MAX_MICRO_BATCH) and share % size == 0:
        cost, count = cost_of(size), share // size
        for chunks in _chunks(base, cost, count):
            schedule = "interleaved" if chunks > 1 else "1f1b"
            yield replace(base, microbatches=count, vpp=chunks, schedule=schedule), size, cost
        size *= 2


def _chunks(base: Layout, cost: Cost, micro_batches: int) -> list[int]:
    """Model chunks a stage: 1, and more where they share out its layers and the stages share out the micro-batches (arXiv:2104.04473)."""
    if base.pp == 1 or micro_batches % base.pp:
        return [1]
    stage = -(-layer_count(cost) // base.pp)
    return [chunks for chunks in range(1, min(stage, MAX_CHUNKS) + 1) if stage % chunks == 0 and layer_count(cost) >= base.pp * chunks]
