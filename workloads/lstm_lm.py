"""Word-level LSTM language model, one training step: embedding, two LSTM layers, vocabulary projection.

After Zaremba et al. 2014 (arXiv 1409.2329): dropout on every connection but the recurrent ones. Loss over all positions, gradient
clipping, fused AdamW. The state starts at zero in each step.
"""

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from hwbench.core.value import Value
from hwbench.core.workload import Block, Context, Cost, Training, Workload

from ._count import (
    dropout,
    dropout_mask_bytes,
    element_bytes,
    need_fraction,
    need_positive,
    training_cost,
)
from ._layers import embedding_block
from ._recurrent import recurrent_block, recurrent_head_block

if TYPE_CHECKING:
    from torch import nn


class Config(Value):
    """The model's sizes and its micro-batch."""

    vocabulary: int = 25_000
    """Words."""
    embedding: int = 100
    """Width of a word's vector."""
    hidden: int = 128
    """Units of an LSTM layer."""
    layers: int = 2
    """LSTM layers."""
    dropout: float = 0.5
    """Dropout of the embedding and of each layer's output."""
    seq_len: int = 10
    """Words of a sequence: the steps that the gradient goes back through."""
    micro_batch: int = 64
    """Sequences a step."""
    distribution: Literal["uniform", "zipf", "text"] = "zipf"
    """How words are drawn over the vocabulary; `text` takes a real one's words (docs/workloads.md)."""
    accumulation: int = 1
    """Micro-batches whose gradients a step accumulates."""


def cost(config: Config, dtype: str) -> Cost:
    """Embedding, each LSTM layer and head of one micro-batch; UserError for sizes that make no model."""
    need_positive(config, "vocabulary", "embedding", "hidden", "layers", "seq_len", "micro_batch")
    need_fraction(config, "dropout")
    e, n = element_bytes(dtype), config.micro_batch * config.seq_len
    widths = (config.embedding, *[config.hidden] * (config.layers - 1))
    blocks = (
        embedding_block(n, config.vocabulary, config.embedding, e, drop=config.dropout),
        *(_layer(config, i, width, e) for i, width in enumerate(widths)),
        recurrent_head_block(n, config.hidden, config.vocabulary, e),
    )
    return training_cost(blocks, dtype, items=n, micro_batch=config.micro_batch, accumulation=config.accumulation)


def _layer(config: Config, index: int, width: int, e: float) -> Block:
    """An LSTM layer and the dropout of its output."""
    block = recurrent_block("lstm", f"layer_{index}", config.micro_batch, config.seq_len, width, config.hidden, e)
    outputs = config.micro_batch * config.seq_len * config.hidden
    return msgspec.structs.replace(
        block,
        operators=(*block.operators, *dropout("output_dropout", outputs, e, config.dropout)),
        activation_bytes=block.activation_bytes + dropout_mask_bytes(outputs, config.dropout),
    )


def _model(config: Config) -> "nn.Module":
    from ._blocks import LanguageModel, TokenTable
    from ._recurrent_blocks import LSTMLayers, RecurrentHead, initialise, stacked

    embed = TokenTable(config.vocabulary, config.embedding, config.dropout)
    layers = LSTMLayers(stacked(config.embedding, config.hidden, config.layers, config.dropout), config.dropout)
    model = LanguageModel(embed, [layers], RecurrentHead(config.hidden, config.vocabulary, config.dropout))
    initialise(model)
    return model


def build(config: Config, context: Context) -> Training:
    """The model on the device and a batch of word ids drawn over the whole vocabulary."""
    from . import _tasks, _training

    cost(config, context.dtype)
    return _training.training(config, context, model=_model, task=_tasks.NEXT_TOKEN, loss=_training.token_loss)


WORKLOAD: Final = Workload(kind="training", config=Config, cost=cost, build=build)
