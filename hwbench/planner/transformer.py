"""Time of one transformer layer and of the head, for a whole table of rows at once.

Every product takes the p-norm of its time at the sustained rate and of its least memory traffic: that form fits gemm.csv's 1,107
measured products to 3-7 % with one ceiling a part and dtype. Everything else is memory traffic, launches or collectives.
All arrays have the shape (rows,); all times are seconds of one micro-batch on one rank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .constants import Constants
from .rows import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Amount = Array | float

NORM = 4.0
"""Exponent that joins compute and traffic of a product, and GPU and host of a layer: best on gemm.csv between 3 and 8."""
STREAM = 0.85
"""Share of the datasheet's memory bandwidth that element-wise kernels reach."""
PRODUCT_STREAM = 0.78
"""As above for a product's operands; gemm.csv: 0.70-0.85 over all parts."""
LAUNCH_S = 2e-6
"""Start of one product on the device; gemm.csv's smallest take 2-5 us."""
TILE = 128.0
"""Rows to which a grouped product pads every expert's tokens."""
HALVED_FLASH = 0.85
"""Share of a halved product rate that fused attention reaches at most: exponentials are quick beside it (GeForce)."""
COMPILED_LOGIT_SHARE = 10 / 22
"""A compiled loss keeps nothing in fp32: logits written, read twice, their gradient written and read, 2 B each."""
COMPILED_LOSS_YEAR = 2025.0
"""FSDP-like frameworks that compile their layers compile the loss too since about then (torchtitan)."""
WIDE_ARRAY = 256.0
"""Rows and columns of the newer TPUs' matrix units; the scores' products are as deep as a head is wide."""
EARLY_YEARS = 1.5
"""Time in which software catches up with a new accelerator, by a factor of e."""

GRAPHS_YEAR = 2026.4
"""Megatron Bridge 26.06: whole-step CUDA graphs for expert layers; its three MoE models run 1.2-1.5 times as fast as with 26.04."""

# DeepSeek-V2/V3's latent attention (arXiv:2412.19437 section 4.2): ranks and head sizes
_Q_RANK, _KV_RANK, _ROPE, _NOPE, _VALUE = 1536.0, 512.0, 64.0, 128.0, 128.0


class Layer(NamedTuple):
    """Parts of one layer, seconds."""

    products: Array
    attention: Array
    attention_backward: Array
    elementwise: Array
    quantise: Array
    permute: Array

    @property
    def forward(self) -> Array:
        """One forward pass."""
        return self.products + self.attention + self.elementwise + self.quantise + self.permute

    @property
    def backward(self) -> Array:
        """One backward pass: two products for each of the forward's, 1.6 times its traffic."""
        return 2 * self.products + self.attention_backward + 1.6 * self.elementwise + self.quantise + self.permute


def norm(left: Array, right: Array, exponent: float = NORM) -> Array:
    """The p-norm of two times: nearly the longer, a little more where they are alike."""
    return np.asarray((left**exponent + right**exponent) ** (1 / exponent))


def tokens(rows: Rows) -> Array:
    """Tokens of one micro-batch that one rank of the context-parallel group works on."""
    return np.asarray(rows.micro_batch * rows.sequence / rows.context)


def sustained(rows: Rows, k: Constants) -> Array:
    """Share of a microbenchmark's product rate that training sustains, by generation and by the age of the software."""
    generation = np.select(
        [rows.is_volta, rows.is_ampere, rows.is_hopper, rows.is_blackwell, rows.is_tpu, rows.is_cdna],
        [k.sustained_volta, k.sustained_ampere, k.sustained_hopper, k.sustained_blackwell, k.sustained_tpu, k.sustained_cdna],
        np.where(rows.halved, 1.0, k.sustained_other),
    )
    return np.asarray(generation * (1 - min(0.5, k.immature) * np.exp(-rows.age / EARLY_YEARS)))


def product_s(
    rows: Rows, rate: Array, m: Array, n: Array | float, depth: Array | float, element: Array, count: Array | float = 1.0
) -> Array:
    """Seconds of `count` products (m, depth) by (depth, n) at `rate` FLOP/s, operands of `element` bytes, the result in 16 bits."""
    traffic = element * (m + n) * depth + 2 * m * n
    return np.asarray(count * norm(2 * m * n * depth / rate, traffic / (rows.memory_rate * PRODUCT_STREAM)) + LAUNCH_S)


def layer(rows: Rows, k: Constants) -> Layer:
    """All parts of one layer."""
    share = sustained(rows, k)
    attention, backward = _attention(rows, k, share)
    return Layer(
        products=_projections(rows, share) + _mlp(rows, k, share),
        attention=attention,
        attention_backward=backward,
        elementwise=_elementwise(rows, k),
        quantise=_quantise(rows, k),
        permute=np.where(
            rows.moe, k.moe_traffic * (tokens(rows) * rows.topk * rows.hidden * 16 / (rows.memory_rate * STREAM) + 60e-6), 0.0
        ),
    )


def head_s(rows: Rows, k: Constants) -> Array:
    """The vocabulary projection, forward and backward, and the loss over a rank's logits: its part, or all where they are gathered."""
    count = tokens(rows)
    share = rows.vocabulary / rows.tensor
    product = product_s(rows, rows.half_ceiling * sustained(rows, k), count, share, rows.hidden, rows.element_bytes)
    share = np.where(compiled_loss(rows), COMPILED_LOGIT_SHARE, 1.0)
    return np.asarray(3 * product + share * k.logits * 22 * count * loss_vocabulary(rows) / (rows.memory_rate * STREAM))


def compiled_loss(rows: Rows) -> NDArray[np.bool_]:
    """Rows whose loss over the vocabulary is one compiled kernel."""
    return np.asarray(rows.compiled & (rows.date >= COMPILED_LOSS_YEAR))


def loss_vocabulary(rows: Rows) -> Array:
    """Entries of the vocabulary that one rank's loss reads: its own with a parallel loss, else all."""
    return np.asarray(rows.vocabulary / np.where(rows.loss_parallel, rows.tensor, 1.0))


def embedding_s(rows: Rows) -> Array:
    """Looking up the embedding and scattering its gradient: 12 B a unit at half of the bandwidth, the access is random."""
    return np.asarray(tokens(rows) * rows.hidden * 12 / (rows.memory_rate * 0.5))


def host_s(rows: Rows, k: Constants) -> Array:
    """Host time of one layer, forward and backward; compiled XLA programs have hardly any."""
    experts = (k.host_moe_s + k.host_expert_s * rows.experts / rows.expert_ranks) * trend(rows, k)
    own = np.where(rows.old, k.host_old_s, np.where(rows.moe, experts, k.host_s))
    return np.asarray(own * np.where(rows.is_xla, 0.05, 1.0))


def trend(rows: Rows, k: Constants) -> Array:
    """How expert kernels' time changes with the software's date, 1 in autumn 2025; held outside 2023.75-2027.25."""
    graphs = np.where(rows.date >= GRAPHS_YEAR, min(1.0, k.moe_graphs), 1.0)
    return np.asarray(graphs * np.exp(-k.moe_trend * np.clip(rows.date - 2025.75, -2, 1.5)))


def _projections(rows: Rows, share: Array) -> Array:
    """Query, key, value and output projections, plain or latent."""
    count, rate = tokens(rows), rows.product_ceiling * share
    element = rows.product_bytes
    width = (rows.heads + 2 * rows.kv_heads) * rows.head / rows.tensor
    plain = product_s(rows, rate, count, width, rows.hidden, element)
    plain = plain + product_s(rows, rate, count, rows.hidden, rows.heads * rows.head / rows.tensor, element)
    if not rows.latent.any():
        return plain
    heads = rows.heads / rows.tensor
    latent = product_s(rows, rate, count, _Q_RANK + _KV_RANK + _ROPE, rows.hidden, element)
    latent = latent + product_s(rows, rate, count, heads * (_NOPE + _ROPE), _Q_RANK, element)
    latent = latent + product_s(rows, rate, count, heads * (_NOPE + _VALUE), _KV_RANK, element)
    latent = latent + product_s(rows, rate, count, rows.hidden, heads * _VALUE, element)
    return np.where(rows.latent, latent, plain)


def _mlp(rows: Rows, k: Constants, share: Array) -> Array:
    """The MLP's products: dense, or the local experts' share of the tokens that their group sends them, padded to tiles."""
    count, rate, element = tokens(rows), rows.product_ceiling * share, rows.product_bytes
    width = rows.ffn / rows.tensor
    dense = product_s(rows, rate, count, (1 + rows.gated) * width, rows.hidden, element)
    dense = dense + product_s(rows, rate, count, rows.hidden, width, element)
    if not rows.moe.any():
        return dense
    local = rows.experts / rows.expert_ranks
    each = np.ceil(count * rows.topk / local / TILE) * TILE
    experts = product_s(rows, rate, each, (1 + rows.gated) * width, rows.hidden, element, local)
    experts = experts + product_s(rows, rate, each, rows.hidden, width, element, local)
    shared = rows.shared_ffn / rows.tensor
    always = product_s(rows, rate, count, (1 + rows.gated) * shared, rows.hidden, element)
    always = always + product_s(rows, rate, count, rows.hidden, shared, element)
    return np.where(rows.moe, experts * trend(rows, k) / k.grouped + np.where(shared > 0, always, 0.0), dense)


def _attention(rows: Rows, k: Constants, share: Array) -> tuple[Array, Array]:
    """The attention core, forward and backward: fused (causal half of the FLOPs, 2.5 times in the backward
    pass) or unfused (all of them, and the scores through memory).
    """
    count = tokens(rows)
    head = np.where(rows.latent, (_NOPE + _ROPE + _VALUE) / 2, rows.head)
    flops = 4 * rows.sequence * count * rows.heads * head / rows.tensor
    half_windowed = 0.5 + 0.5 * np.minimum(1.0, 2 * rows.window / rows.sequence)
    flops = flops * np.where(rows.window > 0, half_windowed, 1.0)
    fused = 0.5 * flops / (rows.half_rate * rows.power * flash_fraction(rows, k)) * ring_growth(rows, k)
    scores = rows.heads / rows.tensor * rows.sequence * count
    stream = rows.memory_rate * STREAM
    products = flops / (rows.half_rate * rows.power * 0.45 * share)
    unfused = products + 16 * k.unfused_attention * scores / stream
    unfused_backward = 2 * products + 20 * k.unfused_attention * scores / stream
    return np.where(rows.fused_attention, fused, unfused), np.where(rows.fused_attention, 2.5 * fused, unfused_backward)


def ring_growth(rows: Rows, k: Constants) -> Array:
    """What PyTorch's context parallelism makes of attention: a call per step of the ring, merged with the others'."""
    return np.where(rows.is_fsdp & ~rows.vendor_flash, 1 + k.eager_ring * (1 - 1 / rows.context), 1.0)


def flash_fraction(rows: Rows, k: Constants) -> Array:
    """Fused attention's rate over the 16-bit peak, by generation, kernel, head size and length."""
    head = np.where(rows.latent, _ROPE + _NOPE, rows.head)
    ampere = np.where(rows.second_flash, k.flash2_ampere, k.flash1_ampere)
    hopper = np.where(rows.second_flash, np.where(rows.vendor_flash, k.flash3_hopper, k.flash2_hopper), k.flash1_hopper)
    known = [rows.is_ampere, rows.is_hopper, rows.is_blackwell]
    best = np.select(known, [ampere, hopper, np.full(len(rows), k.flash_blackwell)], k.flash_other)
    best = np.where(rows.halved, np.minimum(HALVED_FLASH, 2 * best), best)
    best = best * np.where(rows.wide_arrays, np.minimum(1.0, head / WIDE_ARRAY), 1.0)
    return np.asarray(best * np.where(rows.head <= 64, k.narrow_heads, 1.0) * rows.sequence / (rows.sequence + 400.0))


def _elementwise(rows: Rows, k: Constants) -> Array:
    """Norms, residuals, activation, rotary embedding and bias of the forward pass, as memory traffic."""
    gated = np.where(rows.gated > 0, k.eager_gated, 1.0)
    eager = np.where(rows.compiled, k.elementwise_compiled, k.elementwise_eager * gated)
    eager = np.where(rows.fused_kernels, k.elementwise_megatron, eager)
    kind = np.select([rows.is_fsdp, rows.is_xla], [eager, np.full(len(rows), k.elementwise_xla)], k.elementwise_megatron)
    ranks = np.where(rows.sequence_parallel, rows.tensor, 1.0)
    activation = np.where(rows.odd_activation, k.odd_activation, k.expert_activation)
    act = np.where(rows.moe, activation * trend(rows, k) * rows.topk, 1.0) * rows.ffn
    each = 28 * rows.hidden / ranks + (4 + 2 * rows.gated) * act / rows.tensor
    each = each + 4 * (rows.heads + rows.kv_heads) * rows.head / rows.tensor
    return np.asarray(kind * tokens(rows) * each * rows.element_bytes / 2 / (rows.memory_rate * STREAM))


def _quantise(rows: Rows, k: Constants) -> Array:
    """Casting the inputs of low-precision products, in one pass."""
    ffn = np.where(rows.moe, rows.topk * rows.ffn, rows.ffn)
    each = ((rows.heads + 2 * rows.kv_heads) * rows.head + (2 + rows.gated) * ffn) / rows.tensor + 2 * rows.hidden
    return np.where(rows.low, 6 * k.cast * tokens(rows) * each / (rows.memory_rate * STREAM), 0.0)
