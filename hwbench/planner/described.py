"""Rows of the table model as predictions: parts by name with their reason, memory by what it holds, the bottleneck in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwbench.core.layout import Layout
from hwbench.core.prediction import Memory, Part, Prediction
from hwbench.core.profile import ClusterProfile
from hwbench.core.workload import Cost

from .basis import basis
from .compute import peak_flops_per_s
from .exchange import data_ranks, shard_ranks
from .machine import YEAR, is_listed
from .ranked import Detail
from .residency import CONTEXT_BYTES, OPTIMIZER_BYTES, USABLE

PARTS = {
    "forward": "forward",
    "backward": "backward",
    "again": "recompute",
    "tensor": "tp communication",
    "expert": "ep communication",
    "context": "cp communication",
    "host": "host",
    "gather": "fsdp communication",
    "head": "head",
    "pipeline": "pp communication",
    "bubble": "pipeline bubble",
    "reduction": "dp communication",
    "optimizer": "optimizer",
    "fixed": "fixed",
    "stragglers": "stragglers",
}
"""The model's parts -> names people read."""
WIDE_GRADIENTS_UNTIL = 2024.0
"""Until then Megatron kept gradients in 32 bits, as residency counts them."""
COMPUTE = ("forward", "backward", "recompute", "head")
"""Parts that are one thing when the bottleneck is named."""


def prediction(found: Detail, place: int, layout: Layout, cost: Cost, profile: ClusterProfile, recompute: str) -> Prediction:
    """One of a detail's rows; `cost` is one micro-batch of one data rank."""
    step = float(found.steps.step_s[place])
    parts = _parts(found, place, layout)
    flops = (cost.flops - sum(op.flops for op in cost.optimizer_operators)) * layout.microbatches * layout.data_ranks
    return Prediction(
        layout=layout.text,
        step_time_s=step,
        parts=parts,
        low_s=float(found.low_s[place]),
        high_s=float(found.high_s[place]),
        basis=basis(profile, fitted=True, listed=is_listed(profile)),
        memory=memory(found, place),
        memory_capacity_bytes=profile.accelerator.memory_bytes,
        flops_per_step=flops,
        tokens_per_step=cost.items * layout.microbatches * layout.data_ranks,
        mfu_fraction=flops / step / (peak_flops_per_s(profile, cost.dtype) * layout.world_size),
        bottleneck=bottleneck(parts, step),
        assumptions=(
            f"recomputation: {recompute}",
            f"software: {found.softwares[place]} as of {_date(found, place)}",
            *(("experts evenly loaded",) if layout.ep > 1 else ()),
        ),
    )


def memory(found: Detail, place: int) -> Memory:
    """What one row's fullest rank holds; the sum is what must fit. Buffers hold the allocator's slack, logits and gathered weights."""
    rows, held = found.rows, found.steps.memory
    states = float(held.states[place])
    ranks = float(np.maximum(1.0, data_ranks(rows))[place])
    sharded = bool(rows.sharded[place])
    each = ranks if not bool(rows.zero0[place]) and not sharded else 1.0
    element = float(rows.element_bytes[place])
    wide = bool(rows.is_megatron[place]) and float(rows.date[place]) < WIDE_GRADIENTS_UNTIL
    bytes_each = (
        element,
        (4.0 if wide else element) / (ranks if bool(rows.zero2[place]) else 1.0),
        OPTIMIZER_BYTES / each,
    )
    weights, gradients, optimizer = (states * part / sum(bytes_each) for part in bytes_each)
    other = float(held.logits[place]) + float(held.gathered[place]) + CONTEXT_BYTES
    activations = float(held.activations[place])
    slack = float(held.total_bytes[place]) / USABLE - states - activations - other
    return Memory(
        weights_bytes=weights,
        gradients_bytes=gradients,
        optimizer_bytes=optimizer,
        activations_bytes=activations,
        buffers_bytes=other + slack,
    )


def bottleneck(parts: Sequence[Part], step: float) -> str:
    """The largest part in words, compute taken together."""
    sums: dict[str, float] = {}
    for part in parts:
        group = "compute" if part.name in COMPUTE else part.name
        sums[group] = sums.get(group, 0.0) + part.time_s
    name, seconds = max(sums.items(), key=lambda item: item[1])
    return f"{name}: {100 * seconds / step:.0f} % of the step"


def _parts(found: Detail, place: int, layout: Layout) -> tuple[Part, ...]:
    seconds = {name: float(values[place]) for name, values in found.steps.parts.items()}
    why = _reasons(layout, int(shard_ranks(found.rows)[place]))
    return tuple(Part(name=PARTS.get(name, name), time_s=time, why=why.get(name, "")) for name, time in seconds.items() if time > 0)


def _reasons(layout: Layout, shards: int) -> dict[str, str]:
    return {
        "forward": f"{layout.microbatches} micro-batches through the slowest stage",
        "tensor": f"two exchanges a layer and pass among {layout.tp} ranks",
        "expert": f"tokens to their experts and back among {layout.ep} ranks",
        "context": f"keys and values around {layout.cp} ranks",
        "host": "launches that the device waits for",
        "gather": f"weights and gradients of each layer among {shards} ranks, what compute does not hide",
        "head": "vocabulary projection, loss and embedding",
        "pipeline": "activations between stages and their gradients",
        "bubble": f"pp={layout.pp}, vpp={layout.vpp}, {layout.schedule}",
        "reduction": f"gradients among {layout.data_ranks * layout.cp} ranks, what the backward pass does not hide",
        "fixed": "data, clipping, logging",
        "stragglers": "the slowest of many ranks",
    }


def _date(found: Detail, place: int) -> str:
    """The software's date: as its name says, or the year that is assumed, and how to say another."""
    date = float(found.rows.date[place])
    if abs(date - (int(YEAR) + 0.5)) > 1e-6:
        return f"{date:.1f}"
    return (
        f"{YEAR}, which is assumed: its date moves a step by up to 2 times, and --framework '{found.softwares[place]} 22.05' says May 2022"
    )
