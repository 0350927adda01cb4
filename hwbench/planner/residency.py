"""Peak memory of a table of rows, and the recomputation that makes a row fit where its table does not say.

Sources: activations 34·s·b·h a layer under flash attention and sequence parallelism, Korthikanti et al. 2022 (arXiv:2205.05198); ZeRO's
2 + 2 (or 4) + 12 bytes a parameter, Rajbhandari et al. 2020 (arXiv:1910.02054). All arrays have the shape (rows,).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .exchange import Weights, data_ranks, shard_ranks
from .rows import Rows
from .transformer import compiled_loss, loss_vocabulary, tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

CONTEXT_BYTES = 3e9
"""Driver context, collective buffers, workspaces: what a process holds beside tensors."""
RESERVED = 1.05
"""What a caching allocator holds over the tensors that come and go in a step; published peaks are of what it holds."""
USABLE = 0.94
"""Share of memory that a run fills at most before it is out of memory: fragmentation takes the rest."""
LOGIT_BYTES = 6.0
"""Logits in 16 bits and their fp32 copy for the loss, whose gradient takes its place (fused cross-entropy)."""
EAGER_LOGIT_BYTES = 12.0
"""PyTorch's own cross entropy in fp32: log-probabilities, their gradient and the logits' gradient are there at once, 4 B each."""
COMPILED_LOGIT_BYTES = 4.0
"""A compiled cross entropy: logits and their gradient in 16 bits, nothing between."""
OPTIMIZER_BYTES = 12.0
"""fp32 master weight and two moments."""
SELECTIVE_OP = 0.5
"""Share of a layer's activations that operator-level selective recomputation keeps: the matrix products' outputs, every second one."""


class Residency(NamedTuple):
    """Bytes by what they hold, the share of layers that are recomputed, and the peak."""

    states: Array
    activations: Array
    logits: Array
    gathered: Array
    recomputed: Array

    @property
    def total_bytes(self) -> Array:
        """The peak of the fullest rank, as its allocator reserves it."""
        return np.asarray(self.states + RESERVED * (self.activations + self.logits + self.gathered) + CONTEXT_BYTES)


def residency(rows: Rows, own: Weights) -> Residency:
    """Memory of every row, recomputation inferred where it is unknown: the least that fits, none where activations can be offloaded."""
    states = state_bytes(rows, own)
    held = in_flight(rows) * rows.layers / rows.stages  # stages with a layer less come first: they hold most micro-batches
    one = layer_activation_bytes(rows) + _gathered_activation_bytes(rows)
    boundary = tokens(rows) * rows.hidden * rows.element_bytes / np.where(rows.sequence_parallel, rows.tensor, 1.0)
    eager = np.where(compiled_loss(rows), COMPILED_LOGIT_BYTES, EAGER_LOGIT_BYTES)
    each = np.where(rows.is_fsdp, eager, LOGIT_BYTES)
    logits = np.where(rows.stages > 1, 0.0, tokens(rows) * loss_vocabulary(rows) * each)
    gathered = np.where(rows.sharded, _gathered_weight_bytes(rows, own), 0.0)
    whole, kept = one * held, boundary * held + one
    room = rows.memory_bytes * USABLE - CONTEXT_BYTES - states - logits - gathered
    least = np.clip((whole - room) / np.maximum(whole - kept, 1.0), 0.0, 1.0)
    recomputed = _recomputed(rows, least)
    activations = whole + (kept - whole) * recomputed
    activations = np.where(rows.recompute_selective, whole - _core_bytes(rows) * held, activations)
    activations = np.where(rows.recompute_selective_op, SELECTIVE_OP * whole, activations)
    return Residency(states, activations, logits, gathered, recomputed)


def state_bytes(rows: Rows, own: Weights) -> Array:
    """Weights, gradients and optimizer of the fullest stage."""
    experts = own.stage_experts(rows)
    dense = own.stage(rows) - experts
    return np.asarray(_states(rows, dense, data_ranks(rows)) + _states(rows, experts, data_ranks(rows) / rows.expert_ranks))


def layer_activation_bytes(rows: Rows) -> Array:
    """What the forward pass of one layer keeps: inputs of norms and products, the activation's, fused or unfused attention."""
    ranks = np.where(rows.sequence_parallel, rows.tensor, 1.0)
    ffn = np.where(rows.moe, rows.topk * rows.ffn, rows.ffn)
    units = 10 * rows.hidden / ranks + 2 * (rows.heads + 2 * rows.kv_heads) * rows.head / rows.tensor
    units = units + 2 * (2 + rows.gated) * ffn / rows.tensor + np.where(rows.moe, 4 * rows.topk * rows.hidden, 0.0)
    return np.asarray(tokens(rows) * units * rows.element_bytes / 2 + _core_bytes(rows))


def in_flight(rows: Rows) -> Array:
    """Micro-batches whose activations the first stage holds, in whole-stage units: 1F1B and interleaved (arXiv:2104.04473); GPipe all."""
    deep = np.where(rows.all_in_flight, rows.micro_batches, rows.stages) * (
        1 + np.where(rows.chunks > 1, (rows.stages - 1) / (rows.stages * rows.chunks), 0.0)
    )
    return np.where(rows.stages > 1, np.minimum(rows.micro_batches, deep), 1.0)


def _gathered_weight_bytes(rows: Rows, own: Weights) -> Array:
    """What FSDP holds whole: two layers, or in PyTorch's pipelines the whole stage, with the fp32 sum of its gradients over micro-batches.

    There parameters stay gathered between micro-batches, and gradients are scattered once a step (torch.distributed.pipelining).
    """
    two = 2 * rows.element_bytes * own.layer
    return np.asarray(np.where(rows.is_fsdp & (rows.stages > 1), (rows.element_bytes + 4.0) * own.stage(rows), two))


def _gathered_activation_bytes(rows: Rows) -> Array:
    """Sequence parallel by DTensor: the gathered inputs of attention and MLP are kept, and one gradient of them is there at a time.

    Megatron gathers them again in the backward pass instead (arXiv:2205.05198, section 4.2.2).
    """
    kept = rows.is_fsdp & rows.sequence_parallel & (rows.tensor > 1)
    return np.asarray(np.where(kept, 3 * tokens(rows) * rows.hidden * rows.element_bytes, 0.0))


def _core_bytes(rows: Rows) -> Array:
    """Scores that unfused attention keeps: softmax output, dropout mask and output, 5 B each (arXiv:2205.05198), only the first in
    models with a gated MLP, which drop nothing out.

    XLA recomputes them in the backward pass rather than keep them.
    """
    each = np.where(rows.gated > 0, 2.0, 5.0)
    return np.where(rows.fused_attention | rows.is_xla, 0.0, each * rows.heads / rows.tensor * rows.sequence * tokens(rows))


def _states(rows: Rows, parameters: Array, ranks: Array) -> Array:
    ranks = np.maximum(1.0, ranks)
    gradient = np.where(rows.main_gradients, 4.0, rows.element_bytes)
    gradient = gradient + np.where(rows.deepspeed & (rows.brain > 0), rows.element_bytes, 0.0)  # its bf16 optimizer keeps both
    sharded = (rows.element_bytes + gradient + OPTIMIZER_BYTES) / np.minimum(shard_ranks(rows), ranks)
    optimizer = OPTIMIZER_BYTES / np.where(rows.zero0, 1.0, ranks)
    plain = rows.element_bytes + gradient / np.where(rows.zero2, ranks, 1.0) + optimizer
    return np.asarray(parameters * np.where(rows.sharded, sharded, plain))


def _recomputed(rows: Rows, least: Array) -> Array:
    inferred = np.where(rows.offload, 0.0, least)
    given = np.where(rows.recompute_full, rows.again_share, np.where(rows.recompute_selective_layer, 0.5, 0.0))
    return np.where(rows.recompute_unknown, inferred, given)
