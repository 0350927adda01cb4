"""Peak memory of the fullest rank, by what it holds.

Sources: ZeRO, Rajbhandari et al. 2020 (arXiv:1910.02054); activations under tensor and sequence parallelism and selective
recomputation, Korthikanti et al. 2022 (arXiv:2205.05198).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from hwbench.core.layout import Layout
from hwbench.core.prediction import Memory
from hwbench.core.workload import DTYPE_BYTES, Block, Cost

from .pipeline import in_flight, on_fullest

Recompute = Literal["none", "selective", "full"]

REPLICATED_ACTIVATIONS_FRACTION = 10 / 34
"""Share of a layer's activations that tensor parallelism does not divide without sequence parallelism (arXiv:2205.05198, equation 2)."""
BUFFERS_BYTES = 2 * 2**30
"""CUDA context, NCCL channels, cuBLAS workspaces: what a process on an accelerator holds beside tensors."""
FRAGMENTATION_FRACTION = 0.04
"""Caching-allocator slack over the tensors."""


LIBRARIES_BYTES = 75 * 2**20
"""What torch 2.13 loads when DTensor first divides a module (torch._dynamo and its kind), on top of what a plain rank's process was
measured to hold: under tensor parallel and FSDP, and for replicas of a pipeline's stages, which are FSDP's too."""


class Held(NamedTuple):
    """Parameters of one rank: of the experts, which ep divides, and of all the rest."""

    dense: float
    experts: float

    @property
    def all(self) -> float:
        """Both together."""
        return self.dense + self.experts


def rank_parameters(cost: Cost, layout: Layout) -> Held:
    """Weights that the fullest rank computes with (before FSDP shards them), in parameters."""
    blocks = [(times, _block_parameters(block, layout)) for block, times in on_fullest(cost, layout)]
    return Held(sum(times * held.dense for times, held in blocks), sum(times * held.experts for times, held in blocks))


def kept_parameters(cost: Cost, layout: Layout, *, zero: bool = False) -> float:
    """Of these parameters those that the fullest rank keeps between its passes: FSDP shards them, the experts over ranks that ep leaves.

    With `zero` it shares what it keeps with the ranks that have the same.
    """
    held = rank_parameters(cost, layout)
    dense_copies, expert_copies = (layout.dp * layout.cp, layout.expert_copies) if zero else (1, 1)
    return held.dense / (layout.fsdp * dense_copies) + held.experts / (layout.expert_shards * expert_copies)


def _block_parameters(block: Block, layout: Layout) -> Held:
    divided = block.parameters - block.expert_parameters - block.undivided_parameters
    return Held(divided / layout.tp + block.undivided_parameters, block.expert_parameters / (layout.tp * layout.ep))


def rank_memory(cost: Cost, layout: Layout, *, micro_batches: int, recompute: Recompute, process_bytes: float | None = None) -> Memory:
    """Bytes of the fullest rank: weights, gradients, optimizer state by ZeRO stage or FSDP, activations by recomputation and pipeline.

    `process_bytes` is what the process holds beside tensors, BUFFERS_BYTES where None.
    """
    kept = kept_parameters(cost, layout)
    weight = DTYPE_BYTES.get(cost.dtype, 2.0) if cost.dtype not in ("fp8", "mxfp8", "fp4", "nvfp4", "int8") else 2.0
    gradient = min(weight, cost.parameter_state_bytes) if cost.training else 0.0
    state = max(0.0, cost.parameter_state_bytes - gradient) if cost.training else 0.0
    activations = _activations(cost, layout, micro_batches, recompute)
    whole, sharded = (number * (weight + gradient + state) for number in (rank_parameters(cost, layout).all, kept))
    return Memory(
        weights_bytes=kept * weight,
        gradients_bytes=kept_parameters(cost, layout, zero=layout.zero >= 2) * gradient,
        optimizer_bytes=kept_parameters(cost, layout, zero=layout.zero >= 1) * state,
        activations_bytes=activations,
        buffers_bytes=_process_bytes(layout, process_bytes)
        + _gathered(cost, layout, weight)
        + FRAGMENTATION_FRACTION * min(whole, sharded + activations),
    )


def _process_bytes(layout: Layout, measured: float | None) -> float:
    if measured is None:
        return BUFFERS_BYTES
    divides = max(layout.tp, layout.fsdp) > 1 or (layout.pp > 1 and layout.dp * layout.cp > 1)
    return measured + (LIBRARIES_BYTES if divides else 0)


def _gathered(cost: Cost, layout: Layout, weight: float) -> float:
    """FSDP holds two blocks whole at a time, one in use and one prefetched."""
    if layout.fsdp == 1:
        return 0.0
    return 2 * weight * max(_block_parameters(block, layout).all for block in cost.blocks)


def _activations(cost: Cost, layout: Layout, micro_batches: int, recompute: Recompute) -> float:
    if not cost.training:
        return max(block.activation_bytes + block.output_bytes for block in cost.blocks) / (layout.cp * layout.tp)
    whole = 1 / layout.tp if layout.sp else REPLICATED_ACTIVATIONS_FRACTION + (1 - REPLICATED_ACTIVATIONS_FRACTION) / layout.tp
    boundary = 1 / layout.tp if layout.sp else 1.0
    held = in_flight(layout, micro_batches)
    total = 0.0
    for block, times in on_fullest(cost, layout):
        repeated = block.count > 1
        kept = block.activation_bytes * whole
        if recompute == "full" and repeated:
            kept = block.output_bytes * boundary
        elif recompute == "selective" and repeated:
            kept -= min(kept, _attention_bytes(block) * whole)
        total += times * kept * (held if repeated or block in cost.blocks[1:-1] else 1.0)
    if recompute == "full":  # the block being recomputed is there in full
        total += max(block.activation_bytes for block in cost.blocks) * whole
    return total / layout.cp


def _attention_bytes(block: Block) -> float:
    """Activations that selective recomputation drops: what the attention core writes, forward."""
    return sum(op.bytes for op in block.operators if op.kind == "attention") / 2
