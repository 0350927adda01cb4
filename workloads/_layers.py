"""Blocks of a Transformer counted in closed form, without torch: embedding, one layer, head.

The letters: b sequences of s positions, n = b·s tokens, h hidden width, f width of the MLP, V vocabulary, e bytes an element.
"""

import re
from collections.abc import Iterable

from hwbench.core.errors import UserError
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

STATISTIC_BYTES = 4.0
"""Row statistics (mean, reciprocal deviation, log-sum of a softmax) are kept in fp32, whatever the dtype."""


class Layer(Value):
    """The shape of one Transformer layer: attention and an MLP, each with a norm and a residual connection."""

    batch: int
    seq_len: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    causal: bool
    gated: bool = False
    """Gated MLP (three products, silu(gate)·up) instead of up, GELU, down."""
    biased: bool = True
    """Whether products have biases, and norms are LayerNorm with bias; otherwise RMS norms without."""
    activation: str = "gelu"
    """Of a plain MLP: gelu, or gelu_tanh for its approximation; a gated one has silu."""
    rotary: bool = False
    dropout: float = 0.0

    @property
    def tokens(self) -> int:
        """n = b·s."""
        return self.batch * self.seq_len

    @property
    def qkv_width(self) -> int:
        """Columns of the query, key and value projections together."""
        return (self.heads + 2 * self.kv_heads) * self.head_dim


def layer_parameters(layer: Layer) -> int:
    """Weights of the four or five projections and the two norms, with a bias for each column where the layer has biases."""
    h, f, wide = layer.hidden, layer.mlp, layer.heads * layer.head_dim
    weights = h * layer.qkv_width + wide * h + (3 if layer.gated else 2) * h * f
    biases = layer.qkv_width + h + f + h if layer.biased else 0
    return weights + biases + 2 * (2 if layer.biased else 1) * h


def layer_block(layer: Layer, count: int, e: float) -> Block:
    """`count` such layers; Megatron's division: two all-reduces a layer forward, two backward (arXiv 1909.08053, section 3)."""
    return Block(
        name="layer",
        count=count,
        parameters=layer_parameters(layer),
        undivided_parameters=(6 if layer.biased else 2) * layer.hidden,  # two norms, with biases and those of two row products
        operators=(*attention_operators(layer, e), *mlp_operators(layer, e)),
        activation_bytes=_layer_activation_bytes(layer, e),
        output_bytes=e * layer.tokens * layer.hidden,
        tp_all_reduces=2,
    )


def attention_operators(layer: Layer, e: float) -> Iterable[Operator]:
    """Norm, projections, attention and the residual connection of one layer."""
    n, h, wide = layer.tokens, layer.hidden, layer.heads * layer.head_dim
    yield norm("attention_norm", n, h, e, function="layer_norm" if layer.biased else "rms_norm")
    yield product("qkv", n, layer.qkv_width, h, e, division="column")
    if layer.rotary:  # queries and keys are read, turned, written; the same backward
        turned = n * (layer.heads + layer.kv_heads) * layer.head_dim
        yield elementwise("rotary", turned, e, moves=2, backward_moves=2, division="heads", function="rotary")
    yield attention(layer.batch, layer.heads, layer.kv_heads, layer.seq_len, layer.head_dim, e, causal=layer.causal)
    yield product("attention_out", n, h, wide, e, division="row")
    yield from dropout("attention_dropout", n * h, e, layer.dropout)
    yield residual("attention_residual", n, h, e)


def mlp_operators(layer: Layer, e: float) -> Iterable[Operator]:
    """Norm, products, activation and the residual connection of one MLP."""
    n, h, f = layer.tokens, layer.hidden, layer.mlp
    yield norm("mlp_norm", n, h, e, function="layer_norm" if layer.biased else "rms_norm")
    if layer.gated:
        yield product("gate", n, f, h, e, division="column")
    yield product("up", n, f, h, e, division="column")
    # GELU: x in, y out; x and dy in, dx out. silu(g)·u: g and u in, y out; g, u and dy in, dg and du out.
    moves, backward_moves, function = (3, 5, "silu_gate") if layer.gated else (2, 3, layer.activation)
    yield elementwise("activation", n * f, e, moves=moves, backward_moves=backward_moves, division="column", function=function)
    yield product("down", n, h, f, e, division="row")
    yield from dropout("mlp_dropout", n * h, e, layer.dropout)
    yield residual("mlp_residual", n, h, e)


def _layer_activation_bytes(layer: Layer, e: float) -> float:
    """What torch's autograd keeps of one layer without recomputation, with flash attention (no s² matrix).

    Elements a token, each kept once though several operators need it:
      2h  the input of each norm (the residual stream)
      2h  the output of each norm, the operand of the products behind it
      qkv width: queries, keys and values
      wide  attention's output, also the operand of its projection
      2f  GELU's input and output; 4f for a gated MLP: gate, up, silu(gate) and their product
    With h = wide, f = 4h, no grouping and 2 bytes: 16h·2 = 32 bytes a token and unit, the 34 of Korthikanti et al. (arXiv 2205.05198,
    equation 1) less 2 for the dropout masks, which are added here where there is dropout. Statistics in fp32: 2 a norm
    (1 for an RMS norm), and a log-sum a query head.
    """
    n, h, f = layer.tokens, layer.hidden, layer.mlp
    elements = n * (4 * h + layer.qkv_width + layer.heads * layer.head_dim + (4 if layer.gated else 2) * f)
    statistics = n * (2 * (2 if layer.biased else 1) + layer.heads)
    return e * elements + STATISTIC_BYTES * statistics + 2 * dropout_mask_bytes(n * h, layer.dropout)


def embedding_block(n: int, vocabulary: int, hidden: int, e: float, *, positions: int = 0, drop: float = 0.0) -> Block:
    """Token table, and a learned table of `positions` where there is one. Divided by vocabulary it sends one all-reduce."""
    added = (elementwise("add_positions", n * hidden, e, moves=2, backward_moves=1, function="add"),) if positions else ()
    return Block(
        name="embedding",
        parameters=(vocabulary + positions) * hidden,
        undivided_parameters=positions * hidden,
        operators=(lookup(n, vocabulary, hidden, e), *added, *dropout("embedding_dropout", n * hidden, e, drop)),
        activation_bytes=INDEX_BYTES * n + dropout_mask_bytes(n * hidden, drop),
        output_bytes=e * n * hidden,
        tp_all_reduces=1,
    )


def classes_of(head: str) -> int:
    """How many classes the last position is to predict: N for `classes:N@last`, 0 for `tokens`; UserError for anything else."""
    if head == "tokens":
        return 0
    found = re.fullmatch(r"classes:([1-9][0-9]*)@last", head)
    if found is None:
        raise UserError(f"head={head!r}: expected tokens, or classes:N@last with a number N of classes")
    return int(found[1])


def warnings_of(head: str) -> tuple[str, ...]:
    """What a record has to say of a head that is no language model's."""
    if not classes_of(head):
        return ()
    return (f"head={head}: one prediction a sequence and no vocabulary projection; this is not a language model's training step",)


def head_block(n: int, vocabulary: int, hidden: int, e: float, *, tied: bool, biased_norm: bool) -> Block:
    """Final norm, vocabulary projection without bias, and the loss over all n positions. Tied weights are the embedding's parameters.

    The log-probabilities, not the logits, are kept: log-softmax needs only its output.
    """
    norm_parameters = (2 if biased_norm else 1) * hidden
    added = elementwise("tied_gradient", vocabulary * hidden, e, moves=0, backward_moves=3, division="vocabulary", function="add")
    tie = (added,) if tied else ()
    return Block(
        name="head",
        parameters=norm_parameters + (0 if tied else vocabulary * hidden),
        undivided_parameters=norm_parameters,
        operators=(
            norm("final_norm", n, hidden, e, function="layer_norm" if biased_norm else "rms_norm"),
            product("vocabulary", n, vocabulary, hidden, e, division="vocabulary"),
            cross_entropy(n, vocabulary, e),
            *tie,
        ),
        activation_bytes=2 * e * n * hidden + STATISTIC_BYTES * n * (2 if biased_norm else 1) + cross_entropy_saved_bytes(n, vocabulary, e),
    )
