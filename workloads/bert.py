"""BERT encoder, one training step, masked language modelling or classification: post-norm, learned positions and segments, tied weights.

Source: Devlin et al. 2018 (arXiv 1810.04805). As in its own code the head predicts at the masked positions only, 15 % of them, so the
loss is over all positions that have one. Without next-sentence prediction (RoBERTa, arXiv 1907.11692, found it of no use).
"""

from typing import TYPE_CHECKING, Final, Literal

from hwbench.core.errors import UserError
from hwbench.core.value import Value
from hwbench.core.workload import Block, Context, Cost, Operator, Training, Workload

from ._count import (
    INDEX_BYTES,
    Recompute,
    cross_entropy,
    cross_entropy_saved_bytes,
    dropout,
    dropout_mask_bytes,
    element_bytes,
    elementwise,
    lookup,
    need_divisor,
    need_fraction,
    need_positive,
    norm,
    product,
    training_cost,
)
from ._layers import STATISTIC_BYTES, Layer, layer_block

if TYPE_CHECKING:
    from torch import nn

_SEGMENTS = 2
_STATISTICS = 2  # a layer norm keeps mean and reciprocal deviation of a row


class Config(Value):
    """A BERT's sizes and its micro-batch. The defaults are a step that a laptop does in well under a second."""

    vocabulary: int = 8192
    """Token ids; BERT (uncased) has 30,522."""
    hidden: int = 256
    """Width of the residual stream."""
    layers: int = 4
    """Transformer layers."""
    heads: int = 4
    """Attention heads; they divide `hidden`."""
    mlp: int = 0
    """Width inside the MLP; 0 means 4·hidden."""
    positions: int = 0
    """Rows of the table of positions; 0 means seq_len."""
    seq_len: int = 128
    """Tokens of a sequence."""
    micro_batch: int = 4
    """Sequences a step."""
    task: Literal["mlm", "classification"] = "mlm"
    """Masked language modelling, or classification of the sequence from its first position."""
    classes: int = 2
    """Classes of a classification."""
    masked_fraction: float = 0.15
    """Share of a sequence's positions to predict; rounded to a whole number, at least one."""
    dropout: float = 0.0
    """Dropout of embeddings, attention and residual branches. On a CPU torch has no flash attention with dropout."""
    distribution: Literal["uniform", "zipf", "text"] = "uniform"
    """How token ids are drawn over the vocabulary; `text` takes a real one's words (docs/workloads.md)."""
    accumulation: int = 1
    """Micro-batches whose gradients a step accumulates."""
    recompute: Recompute = "none"
    """What the backward pass computes again: nothing, attention, or whole layers."""


def _layer(config: Config) -> Layer:
    return Layer(
        batch=config.micro_batch,
        seq_len=config.seq_len,
        hidden=config.hidden,
        heads=config.heads,
        kv_heads=config.heads,
        head_dim=config.hidden // config.heads,
        mlp=config.mlp or 4 * config.hidden,
        causal=False,
        dropout=config.dropout,
    )


def _masked(config: Config) -> int:
    """Positions to predict in one sequence."""
    return max(1, round(config.masked_fraction * config.seq_len))


def cost(config: Config, dtype: str) -> Cost:
    """Embedding, layers and head of one micro-batch; UserError for sizes that make no model."""
    need_positive(config, "vocabulary", "hidden", "layers", "heads", "seq_len", "micro_batch", "classes")
    need_divisor(config, "heads", "hidden")
    need_fraction(config, "dropout")
    need_fraction(config, "masked_fraction")
    if config.mlp < 0 or config.positions < 0:
        raise UserError(f"mlp={config.mlp}, positions={config.positions}: expected 0 (choose for me) or more")
    if config.seq_len > (positions := config.positions or config.seq_len):
        raise UserError(f"seq_len={config.seq_len} is more than positions={positions}", hint="raise positions, or leave it at 0")
    e, layer = element_bytes(dtype), _layer(config)
    head = _head(config, e) if config.task == "mlm" else _classifier(config, e)
    blocks = (_embedding(config, positions, e), layer_block(layer, config.layers, e), head)
    return training_cost(
        blocks,
        dtype,
        items=layer.tokens,
        micro_batch=config.micro_batch,
        accumulation=config.accumulation,
        recompute=config.recompute,
        whole=True,
    )


def _embedding(config: Config, positions: int, e: float) -> Block:
    """Three tables and a norm with bias. Kept: ids and the norm's input; its output is the first layer's to count."""
    n, h = config.micro_batch * config.seq_len, config.hidden
    return Block(
        name="embedding",
        parameters=(config.vocabulary + positions + _SEGMENTS + 2) * h,
        undivided_parameters=(positions + _SEGMENTS + 2) * h,
        operators=(
            lookup(n, config.vocabulary, h, e),
            elementwise("add_positions", n * h, e, moves=2, backward_moves=1, function="add"),
            norm("norm", n, h, e),
            *dropout("embedding_dropout", n * h, e, config.dropout),
        ),
        activation_bytes=n * (INDEX_BYTES + e * h + STATISTIC_BYTES * _STATISTICS) + dropout_mask_bytes(n * h, config.dropout),
        output_bytes=e * n * h,
        tp_all_reduces=1,
    )


def _head(config: Config, e: float) -> Block:
    """Dense h·h, norm, and the tied projection with a bias of its own, on r masked rows.

    Kept: the rows' indices, and the rows, the dense product's result, GELU's and the norm's (4h a row), beside what the loss keeps.
    """
    n, r, h, v = config.micro_batch * config.seq_len, config.micro_batch * _masked(config), config.hidden, config.vocabulary
    gather = Operator(name="gather", kind="memory", flops=0.0, bytes=2 * e * r * h, backward_bytes=e * (r + n) * h)
    return Block(
        name="head",
        parameters=h * h + h + 2 * h + v,
        undivided_parameters=h * h + h + 2 * h,
        operators=(
            gather,
            product("dense", r, h, h, e),
            elementwise("activation", r * h, e, moves=2, backward_moves=3, function="gelu"),
            norm("norm", r, h, e),
            product("vocabulary", r, v, h, e, division="vocabulary"),
            cross_entropy(r, v, e),
            elementwise("tied_gradient", v * h, e, moves=0, backward_moves=3, division="vocabulary", function="add"),
        ),
        activation_bytes=r * (INDEX_BYTES + 4 * e * h + STATISTIC_BYTES * _STATISTICS) + cross_entropy_saved_bytes(r, v, e),
    )


def _classifier(config: Config, e: float) -> Block:
    """Pooler h·h with tanh on the b first positions, dropout, projection to classes. Kept: the layers' result, tanh's and dropout's."""
    b, h, c = config.micro_batch, config.hidden, config.classes
    return Block(
        name="head",
        parameters=h * h + h + h * c + c,
        undivided_parameters=h * h + h + h * c + c,
        operators=(
            product("dense", b, h, h, e),
            elementwise("activation", b * h, e, moves=2, backward_moves=3, function="tanh"),
            *dropout("head_dropout", b * h, e, config.dropout),
            product("classes", b, c, h, e),
            cross_entropy(b, c, e),
        ),
        activation_bytes=e * config.seq_len * b * h
        + e * b * h
        + dropout_mask_bytes(b * h, config.dropout)
        + cross_entropy_saved_bytes(b, c, e),
    )


def _model(config: Config) -> "nn.Module":
    from torch.nn import LayerNorm

    from . import _bert_blocks, _blocks
    from ._heads import PooledHead

    layer, h = _layer(config), config.hidden

    def one_layer() -> "nn.Module":
        attention = _blocks.SelfAttention(h, config.heads, config.dropout, causal=False)
        mlp = _blocks.MLP(h, layer.mlp, "none")
        return _bert_blocks.PostNormLayer(lambda: LayerNorm(h, _bert_blocks.EPSILON), attention, mlp, config.dropout)

    embed = _bert_blocks.SegmentedEmbedding(config.vocabulary, config.positions or config.seq_len, h, config.dropout)
    head: nn.Module
    if config.task == "mlm":
        head = _bert_blocks.MaskedHead(h, config.vocabulary)
        head.projection.weight = embed.tokens.weight
    else:
        head = PooledHead(h, config.classes, config.dropout)
    model = _blocks.LanguageModel(embed, (one_layer() for _ in range(config.layers)), head)
    _blocks.initialise(model)
    return model


def build(config: Config, context: Context) -> Training:
    """The model on the device and a batch of token ids drawn over the whole vocabulary, some of them masked."""
    from . import _tasks, _training

    cost(config, context.dtype)
    task = _tasks.masking(_masked(config)) if config.task == "mlm" else _tasks.classifying(config.classes, "first")
    return _training.training(config, context, model=_model, task=task, loss=_training.token_loss)


WORKLOAD: Final = Workload(kind="training", config=Config, cost=cost, build=build)
