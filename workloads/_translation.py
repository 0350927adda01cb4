"""Encoder-decoder Transformers counted in closed form, without torch.

The letters: b pairs of sequences, s source and t target positions, h hidden width, f width of the MLP, w = heads·head_dim, e bytes an
element.
"""

from collections.abc import Iterable

import msgspec

from hwbench.core.value import Value
from hwbench.core.workload import Block, Operator

from ._count import (
    INDEX_BYTES,
    attention,
    cross_entropy,
    cross_entropy_saved_bytes,
    dropout,
    dropout_mask_bytes,
    elementwise,
    lookup,
    norm,
    product,
    residual,
)
from ._layers import STATISTIC_BYTES, Layer, attention_operators, layer_parameters, mlp_operators


class Shape(Value):
    """The shape of both stacks of a translation model."""

    batch: int
    source_len: int
    target_len: int
    vocabulary: int
    hidden: int
    heads: int
    head_dim: int
    mlp: int
    layers: int
    """Of each stack."""
    biased: bool
    """Whether products and norms have biases (the Transformer of 2017) or not (T5)."""
    whole_scores: bool
    """Whether attention keeps the matrix of its probabilities and computes its masked half (T5, whose scores have a learned bias)."""
    dropout: float

    @property
    def inner(self) -> int:
        """w: columns of all heads together."""
        return self.heads * self.head_dim

    @property
    def tokens(self) -> int:
        """Source and target tokens."""
        return self.batch * (self.source_len + self.target_len)


def _self_layer(shape: Shape, length: int, *, causal: bool) -> Layer:
    return Layer(
        batch=shape.batch,
        seq_len=length,
        hidden=shape.hidden,
        heads=shape.heads,
        kv_heads=shape.heads,
        head_dim=shape.head_dim,
        mlp=shape.mlp,
        causal=causal and not shape.whole_scores,
        biased=shape.biased,
        activation="relu",
        dropout=shape.dropout,
    )


def _norm_width(shape: Shape) -> int:
    """Parameters of a norm, and statistics it keeps of a row, in vectors: LayerNorm two, RMS norm one."""
    return 2 if shape.biased else 1


def _bias_bytes(shape: Shape, e: float, *lengths: int) -> float:
    """T5's biases of positions for scores of stacks of these lengths, (1, H, n, n) each: they go from the embedding to all layers."""
    return sum(e * shape.heads * n * n for n in lengths) if shape.whole_scores else 0.0


def encoder_block(shape: Shape, e: float) -> Block:
    """Self-attention and MLP over the source. The message to the next block has the target's embeddings with it."""
    layer = _self_layer(shape, shape.source_len, causal=False)
    kept = _attention_kept(shape, shape.source_len, shape.source_len, e) + _mlp_kept(shape, shape.source_len, e)
    return Block(
        name="encoder",
        count=shape.layers,
        parameters=layer_parameters(layer),
        undivided_parameters=(6 if shape.biased else 2) * shape.hidden,  # norms, and biases of row products
        operators=_as_done(shape, (*attention_operators(layer, e), *mlp_operators(layer, e))),
        activation_bytes=kept,
        output_bytes=e * shape.tokens * shape.hidden,
        carried_divided_bytes=_bias_bytes(shape, e, shape.source_len, shape.target_len),
        tp_all_reduces=2,
    )


def decoder_block(shape: Shape, e: float) -> Block:
    """Causal self-attention, attention to the source, and MLP, over the target."""
    layer, h, w = _self_layer(shape, shape.target_len, causal=True), shape.hidden, shape.inner
    cross = 4 * h * w + (3 * w + h if shape.biased else 0) + _norm_width(shape) * h
    kept = _attention_kept(shape, shape.target_len, shape.target_len, e) + _attention_kept(shape, shape.target_len, shape.source_len, e)
    return Block(
        name="decoder",
        count=shape.layers,
        parameters=layer_parameters(layer) + cross,
        undivided_parameters=(9 if shape.biased else 3) * h,
        operators=_as_done(shape, (*attention_operators(layer, e), *_cross_operators(shape, e), *mlp_operators(layer, e))),
        activation_bytes=kept + _mlp_kept(shape, shape.target_len, e),
        output_bytes=e * shape.tokens * h,
        carried_divided_bytes=_bias_bytes(shape, e, shape.target_len),
        tp_all_reduces=3,
    )


def _as_done(shape: Shape, operators: Iterable[Operator]) -> tuple[Operator, ...]:
    """The operators, attention named for how it is done: fused, or by products and a softmax between them."""
    plain = [msgspec.structs.replace(op, function="plain_attention") if op.kind == "attention" else op for op in operators]
    return tuple(plain) if shape.whole_scores else tuple(operators)


def _cross_operators(shape: Shape, e: float) -> Iterable[Operator]:
    b, s, t, h, w = shape.batch, shape.source_len, shape.target_len, shape.hidden, shape.inner
    yield norm("cross_norm", b * t, h, e, function="layer_norm" if shape.biased else "rms_norm")
    yield product("cross_query", b * t, w, h, e, division="column")
    yield product("cross_memory", b * s, 2 * w, h, e, division="column")
    yield _cross_attention(shape, e)
    yield product("cross_out", b * t, h, w, e, division="row")
    yield from dropout("cross_dropout", b * t * h, e, shape.dropout)
    yield residual("cross_residual", b * t, h, e)


def _cross_attention(shape: Shape, e: float) -> Operator:
    """t queries over s keys: 4·s·t·d FLOPs a head; reads Q (t), K and V (s), writes O (t); backward those, dO, and their gradients."""
    square = attention(shape.batch, shape.heads, shape.heads, shape.target_len, shape.head_dim, e, causal=False)
    flops = square.flops * shape.source_len / shape.target_len
    query, memory = (e * shape.batch * length * shape.inner for length in (shape.target_len, shape.source_len))
    return msgspec.structs.replace(
        square,
        name="cross_attention",
        flops=flops,
        backward_flops=2 * flops,
        bytes=2 * query + 2 * memory,
        backward_bytes=4 * query + 4 * memory,
        n=shape.source_len,
    )


def _attention_kept(shape: Shape, queries: int, keys: int, e: float) -> float:
    """What autograd keeps of an attention with its norm and residual: the norm's input and output, Q, K, V and attention's result,

    the norm's statistics, and a log-sum a query and head, or else all probabilities.
    """
    b, h, w = shape.batch, shape.hidden, shape.inner
    elements = b * (queries * (2 * h + 2 * w) + keys * 2 * w)
    scores = e * b * shape.heads * queries * keys if shape.whole_scores else STATISTIC_BYTES * b * shape.heads * queries
    return e * elements + scores + STATISTIC_BYTES * b * queries * _norm_width(shape) + dropout_mask_bytes(b * queries * h, shape.dropout)


def _mlp_kept(shape: Shape, length: int, e: float) -> float:
    """The norm's input and output, and ReLU's output, which is all that its own backward pass needs."""
    n = shape.batch * length
    elements = n * (2 * shape.hidden + shape.mlp)
    return e * elements + STATISTIC_BYTES * n * _norm_width(shape) + dropout_mask_bytes(n * shape.hidden, shape.dropout)


def embedding_block(shape: Shape, e: float, *, parameters: int) -> Block:
    """One table for source and target, to which constant positions are added, or none; `parameters` are those of position biases."""
    n, h = shape.tokens, shape.hidden
    return Block(
        name="embedding",
        parameters=shape.vocabulary * h + parameters,
        operators=(
            lookup(n, shape.vocabulary, h, e),
            elementwise("add_positions", n * h, e, moves=2, backward_moves=1, function="add"),
            *dropout("embedding_dropout", n * h, e, shape.dropout),
        ),
        activation_bytes=INDEX_BYTES * n + dropout_mask_bytes(n * h, shape.dropout),
        output_bytes=e * n * h,
        carried_divided_bytes=_bias_bytes(shape, e, shape.source_len, shape.target_len),
        tp_all_reduces=1,
    )


def memory_block(shape: Shape, e: float, *, normed: bool) -> Block:
    """The encoder's result, kept once for all decoder layers, and T5's norm before it."""
    n, h = shape.batch * shape.source_len, shape.hidden
    return Block(
        name="memory",
        parameters=_norm_width(shape) * h if normed else 0,
        undivided_parameters=_norm_width(shape) * h if normed else 0,
        operators=(norm("memory_norm", n, h, e, function="rms_norm"),) if normed else (),
        activation_bytes=e * n * h * (2 if normed else 1) + (STATISTIC_BYTES * n if normed else 0.0),
        output_bytes=e * shape.tokens * h,
        carried_divided_bytes=_bias_bytes(shape, e, shape.target_len),
    )


def head_block(shape: Shape, e: float, *, normed: bool) -> Block:
    """The tied projection of the target positions, T5's norm before it, and the loss."""
    n, h, v = shape.batch * shape.target_len, shape.hidden, shape.vocabulary
    return Block(
        name="head",
        parameters=_norm_width(shape) * h if normed else 0,
        undivided_parameters=_norm_width(shape) * h if normed else 0,
        operators=(
            *((norm("final_norm", n, h, e, function="rms_norm"),) if normed else ()),
            product("vocabulary", n, v, h, e, division="vocabulary"),
            cross_entropy(n, v, e),
            elementwise("tied_gradient", v * h, e, moves=0, backward_moves=6, division="vocabulary", function="add"),
        ),
        activation_bytes=e * n * h * (2 if normed else 1) + (STATISTIC_BYTES * n if normed else 0.0) + cross_entropy_saved_bytes(n, v, e),
    )
