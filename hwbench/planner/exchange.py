"""Communication of a table of rows: tensor, expert, context, pipeline and data parallel, with what overlaps and what is exposed.

Ring collectives after nccl-tests: an all-reduce moves 2(n-1)/n of its message over every link, the others (n-1)/n. A ring through k ranks
of each node uses k of its network ports. All arrays have the shape (rows,).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .constants import Constants
from .rows import Rows
from .transformer import Layer, norm, tokens, trend

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

RING_S = 15e-6
"""Latency of one collective inside a scale-up domain; collectives.csv: 10-25 us for 4-8 ranks."""
NETWORK_S = 40e-6
"""What a collective across nodes takes in addition."""
HOP_S = 10e-6
"""Latency of one step of a collective's tree over many nodes."""


def stage_layers(rows: Rows) -> Array:
    """Layers of the fullest stage: model chunks differ by one layer where they can't be alike."""
    chunks = rows.stages * rows.chunks
    return np.asarray(np.ceil(rows.layers / chunks) * rows.chunks)


class Weights(NamedTuple):
    """Parameters that one rank computes with."""

    layer: Array
    experts: Array
    """The experts' part of `layer`."""
    head: Array

    def stage(self, rows: Rows) -> Array:
        """All of one pipeline stage: the average with the head on it, or the fullest of uneven ones if that is more."""
        average = rows.layers * self.layer / rows.stages + self.head
        return np.asarray(np.maximum(average, stage_layers(rows) * self.layer))

    def stage_experts(self, rows: Rows) -> Array:
        """The experts of one pipeline stage."""
        return np.asarray(rows.layers * self.experts / rows.stages)


def weights(rows: Rows) -> Weights:
    """Parameters of one layer and of the head on one rank, after tensor and expert parallelism."""
    hidden = rows.hidden
    plain = hidden * rows.head * 2 * (rows.heads + rows.kv_heads)
    latent = hidden * (1536 + 576) + 1536 * rows.heads * 192 + 512 * rows.heads * 256 + rows.heads * 128 * hidden
    attention = np.where(rows.latent, latent, plain)
    mlp = (2 + rows.gated) * hidden * rows.ffn
    shared = (2 + rows.gated) * hidden * rows.shared_ffn
    experts = np.where(rows.moe, mlp * rows.experts / (rows.tensor * rows.expert_ranks), 0.0)
    dense = (attention + np.where(rows.moe, shared, mlp)) / rows.tensor
    return Weights(dense + experts, experts, rows.vocabulary * hidden / rows.tensor)


def gradient_bytes(rows: Rows) -> Array:
    """Bytes of a reduced gradient: Megatron sums in fp32 but for old and sharded ones, the others in 16 bits."""
    return np.where(rows.is_megatron & ~rows.old & ~rows.sharded, 4.0, rows.element_bytes)


def scale_up(rows: Rows, k: Constants) -> Array:
    """Bandwidth of a ring inside a scale-up domain."""
    return np.asarray(rows.scale_up * min(1.0, k.scale_up))


def network(rows: Rows, k: Constants) -> Array:
    """Bandwidth of one accelerator's share of the network."""
    return np.asarray(rows.network * min(1.0, k.network))


def ring_rate(rows: Rows, k: Constants, span: Array, local: Array) -> Array:
    """Bus bandwidth of a ring whose ranks span `span` accelerators, `local` of them in each domain."""
    inside = scale_up(rows, k)
    outside = np.minimum(inside, network(rows, k) * np.maximum(1.0, local))
    return np.where(span > rows.domain, outside, inside)


def tensor_s(rows: Rows, k: Constants) -> Array:
    """Exposed time of one pass' two tensor-parallel all-reduces (or gathers and scatters) of a layer."""
    degree = rows.tensor
    rate = ring_rate(rows, k, degree, np.minimum(degree, rows.domain))
    message = tokens(rows) * rows.hidden * rows.element_bytes
    crossing = np.where(degree > rows.domain, NETWORK_S, 0.0)
    each = 2 * (degree - 1) / degree * message / rate + RING_S + crossing
    overlapped = (rows.date >= 2024) & ~rows.old & rows.sequence_parallel
    exposed = np.where(overlapped, k.tp_exposed_overlap, k.tp_exposed)
    return np.where(degree > 1, 2 * each * exposed, 0.0)


def logits_s(rows: Rows, k: Constants) -> Array:
    """Gathering the logits of one micro-batch from the tp ranks, where the loss is not parallel; their gradient is cut out, not sent."""
    degree = rows.tensor
    rate = ring_rate(rows, k, degree, np.minimum(degree, rows.domain))
    message = tokens(rows) * rows.vocabulary * rows.element_bytes
    each = (degree - 1) / degree * message / rate + RING_S + np.where(degree > rows.domain, NETWORK_S, 0.0)
    return np.where(rows.loss_parallel | (degree == 1), 0.0, each)


def expert_s(rows: Rows, k: Constants) -> Array:
    """Time of one pass' dispatch and combination of tokens among expert ranks of a layer.

    Inside a domain every token goes to each of its experts; between nodes one copy goes to each node that holds one (DeepEP).
    """
    degree = rows.expert_ranks
    nodes = np.maximum(1.0, degree * rows.tensor / rows.domain)
    inside = np.minimum(degree, np.maximum(1.0, rows.domain / rows.tensor))
    routed = np.where(rows.latent, np.minimum(rows.topk, 4.0), rows.topk)
    remote = (nodes - 1) * (1 - (1 - 1 / nodes) ** routed)
    payload = np.where(rows.low & rows.latent, 1.5, rows.element_bytes)
    message = tokens(rows) * rows.hidden * payload / np.where(rows.sequence_parallel, rows.tensor, 1.0)
    near = rows.topk * (1 - 1 / inside) / (rows.scale_up * min(1.0, k.all_to_all))
    far = remote * k.all_to_all_remote / network(rows, k)
    return np.where(rows.moe & (degree > 1), 2 * message * trend(rows, k) * (near + far), 0.0)


def context_s(rows: Rows, k: Constants, attention: Array) -> Array:
    """What attention cannot hide of one pass' ring of keys and values among context-parallel ranks."""
    degree = rows.context
    rate = ring_rate(rows, k, degree * rows.tensor, np.maximum(1.0, rows.domain / rows.tensor))
    message = 2 * tokens(rows) * rows.kv_heads * rows.head / rows.tensor * rows.element_bytes
    total = (degree - 1) * (message / rate + RING_S)
    return np.where(degree > 1, norm(attention, total, 2.0) - attention, 0.0)


def pipeline_s(rows: Rows, k: Constants) -> Array:
    """Exposed time of one micro-batch's send and receive between stages, all chunks, both passes."""
    message = tokens(rows) * rows.hidden * rows.element_bytes / rows.tensor
    each = message / network(rows, k) + RING_S
    return np.where(rows.stages > 1, 2 * rows.chunks * each * k.pp_exposed, 0.0)


def gathering(rows: Rows) -> NDArray[np.bool_]:
    """Rows whose parameters or gradients move in every micro-batch: FSDP, and ZeRO 2 in FSDP-like frameworks."""
    return np.asarray(rows.sharded | (rows.zero2 & rows.is_fsdp))


def gathered_for(rows: Rows) -> Array:
    """Micro-batches that one gather and scatter serve: one, but all of a step where a pipeline sums gradients before it shards them."""
    return np.asarray(np.where(rows.zero2 & (rows.stages > 1), rows.micro_batches, 1.0))


def data_ranks(rows: Rows) -> Array:
    """Ranks that share one copy of the dense weights' work: data and context parallel."""
    return np.asarray(rows.replicas * rows.context)


def shard_ranks(rows: Rows) -> Array:
    """Ranks over which FSDP shards: all data ranks, or for hybrid sharding the group that is asked for, else those of one domain."""
    ranks = data_ranks(rows)
    domain = np.maximum(1.0, np.minimum(ranks, rows.domain / rows.tensor))
    inside = np.where(rows.shards > 0, rows.shards * rows.context, domain)
    return np.where(rows.sharded_in_node, inside, ranks)


def gather_s(rows: Rows, k: Constants, own: Weights) -> Array:
    """Gathering a layer's parameters twice and scattering its gradients, one micro-batch, as if nothing overlapped.

    Hybrid sharding adds an all-reduce of each shard's gradients among its copies on the other nodes.
    """
    ranks = shard_ranks(rows)
    local = np.clip(rows.domain / rows.tensor, 1.0, ranks)
    rate = ring_rate(rows, k, ranks * rows.tensor, local) * np.where(rows.deepspeed, min(1.0, k.zero3_old), 1.0)
    again = np.where(rows.sharded, rows.element_bytes, 0.0)
    moved = own.layer * (ranks - 1) / ranks * (rows.element_bytes + again + gradient_bytes(rows))
    copies = data_ranks(rows) / ranks
    across = ring_rate(rows, k, data_ranks(rows) * rows.tensor, rows.domain / rows.tensor / ranks)
    mirrored = 2 * own.layer / ranks * (1 - 1 / copies) * gradient_bytes(rows) / across
    return np.where(gathering(rows), moved / rate + mirrored + 3 * HOP_S * np.log2(np.maximum(ranks, 2.0)), 0.0)


def gather_exposed_s(k: Constants, compute: Array, gather: Array) -> Array:
    """What compute cannot hide of a gather, and what the gather takes from compute."""
    return np.asarray(np.where(gather > 0, norm(compute, gather) - compute + k.fsdp_contention * np.minimum(compute, gather), 0.0))


def reduction_s(rows: Rows, k: Constants, own: Weights) -> Array:
    """Exposed time of a step's gradient reduction (and of ZeRO's gather of parameters) among data ranks."""
    ranks = data_ranks(rows)
    experts = own.stage_experts(rows)
    gradient = gradient_bytes(rows)
    moved = gradient + np.where(rows.zero0, gradient, rows.element_bytes)
    rate = ring_rate(rows, k, ranks * rows.tensor, np.clip(rows.domain / rows.tensor, 1.0, ranks))
    dense = (own.stage(rows) - experts) * (ranks - 1) / ranks * moved / rate
    copies = ranks / rows.expert_ranks
    expert_rate = ring_rate(rows, k, ranks * rows.tensor, rows.domain / rows.tensor / rows.expert_ranks)
    sparse = np.where(copies > 1, experts * (1 - 1 / np.maximum(copies, 1.0)) * moved / expert_rate, 0.0)
    exposed = np.where((rows.date >= 2023) & ~rows.old, min(1.0, k.dp_exposed), 1.0)
    return np.where(gathering(rows), 0.0, np.where(ranks > 1, dense + sparse, 0.0) * exposed)


def layer_exchange(rows: Rows, k: Constants, parts: Layer) -> tuple[Array, Array, Array]:
    """Exposed tensor, expert and context communication of one pass of a layer."""
    return tensor_s(rows, k), expert_s(rows, k), context_s(rows, k, parts.attention)
