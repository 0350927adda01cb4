"""The step model over a whole table at once: parts that add up to each row's step time, and its memory.

    step = (micro-batches · slowest stage + bubble + gradient reduction + optimizer + fixed) · stragglers · kind of framework

One call with N rows costs a few hundred vector operations: more than 100,000 rows a second on one core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .constants import Constants
from .exchange import gather_exposed_s, gather_s, gathered_for, layer_exchange, logits_s, pipeline_s, reduction_s, stage_layers, weights
from .residency import Residency, residency
from .rows import Rows
from .transformer import embedding_s, head_s, host_s, layer, norm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .exchange import Weights

    Array = NDArray[np.float64]

OPTIMIZER_TRAFFIC = 30.0
"""Bytes Adam moves a parameter: reads gradient, master and moments, writes master, moments and the 16-bit weight."""
SELECTIVE_OP = 0.5
"""Share of a layer's products that operator-level selective recomputation repeats, beside everything element-wise: torchtitan keeps
every second product and the attention."""
EDGE = 0.75
"""Share of the head's time by which the last stage is the slowest; none where the layers don't divide and it holds fewer of them."""


class Steps(NamedTuple):
    """What the model says of every row: parts in seconds (they add up to `step_s`), and memory."""

    step_s: Array
    parts: dict[str, Array]
    memory: Residency


class _Stage(NamedTuple):
    """One layer of one micro-batch, both passes, by part."""

    forward: Array
    backward: Array
    again: Array
    tensor: Array
    expert: Array
    context: Array
    host: Array
    gather: Array

    def total(self) -> Array:
        """All parts."""
        return np.asarray(sum(self))


def evaluate(rows: Rows, k: Constants) -> Steps:
    """The predicted step of every row."""
    own = weights(rows)
    memory = residency(rows, own)
    one = _layer(rows, k, own, memory)
    per_stage = stage_layers(rows)
    head = head_s(rows, k) + logits_s(rows, k)
    even = rows.layers % (rows.stages * rows.chunks) == 0
    ends = np.where(rows.stages > 1, np.where(even, EDGE * head, 0.0), head + embedding_s(rows))
    send = pipeline_s(rows, k)
    average = (rows.layers * one.total() + head + embedding_s(rows)) / rows.stages + send
    count = rows.micro_batches
    parts = {name: count * per_stage * seconds for name, seconds in one._asdict().items()}
    parts |= {
        "head": count * ends,
        "pipeline": count * send,
        "bubble": (rows.stages - 1) / rows.chunks * average,
        "reduction": reduction_s(rows, k, own),
        "optimizer": _optimizer_s(rows, own),
        "fixed": np.full(len(rows), k.fixed_s),
    }
    kind = _kind(rows, k)
    parts = {name: seconds * kind for name, seconds in parts.items()}
    parts["stragglers"] = sum(parts.values()) * k.straggling * np.log2(np.maximum(1.0, rows.gpus / 8))
    return Steps(np.asarray(sum(parts.values())), parts, memory)


def step_s(rows: Rows, k: Constants) -> Array:
    """Only the step times, for fitting."""
    return evaluate(rows, k).step_s


def _layer(rows: Rows, k: Constants, own: Weights, memory: Residency) -> _Stage:
    parts = layer(rows, k)
    tensor, expert, context = layer_exchange(rows, k, parts)
    forward, backward = parts.forward, parts.backward
    passes = 2 + memory.recomputed
    again = k.again * memory.recomputed * forward
    again = np.where(rows.recompute_selective, parts.attention, again)
    again = np.where(rows.recompute_selective_op, SELECTIVE_OP * parts.products + parts.elementwise, again)
    device = forward + backward + again + (tensor + expert + context) * passes
    host = np.maximum(0.0, norm(device, host_s(rows, k)) - device)
    beside = gathered_for(rows)
    gather = gather_exposed_s(k, beside * (device + host), gather_s(rows, k, own)) / beside
    return _Stage(forward, backward, again, tensor * passes, expert * passes, context * passes, host, gather)


def _optimizer_s(rows: Rows, own: Weights) -> Array:
    """Adam over the parameters that a rank owns: all of them, or its share under ZeRO and FSDP."""
    ranks = rows.replicas * rows.context
    experts = own.stage_experts(rows)
    dense = (own.stage(rows) - experts) / np.where(rows.zero0, 1.0, ranks)
    sparse = experts / np.where(rows.zero0, 1.0, np.maximum(1.0, ranks / rows.expert_ranks))
    return np.asarray((dense + sparse) * OPTIMIZER_TRAFFIC / (rows.memory_rate * 0.8))


def _kind(rows: Rows, k: Constants) -> Array:
    return np.select([rows.is_fsdp, rows.is_xla], [np.full(len(rows), k.kind_fsdp), np.full(len(rows), k.kind_xla)], k.kind_megatron)
