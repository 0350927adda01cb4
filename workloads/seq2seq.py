"""Sequence-to-sequence LSTM, one training step: an encoder whose last state is the decoder's first, vocabulary projection.

Source: Sutskever et al. 2014 (arXiv 1409.3215), without its depth of four. Loss over all target positions, gradient clipping, fused AdamW.
"""

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from hwbench.core.value import Value
from hwbench.core.workload import Block, Context, Cost, Training, Workload

from ._count import INDEX_BYTES, element_bytes, lookup, need_positive, training_cost
from ._recurrent import recurrent_block, recurrent_head_block

if TYPE_CHECKING:
    from torch import nn


class Config(Value):
    """The model's sizes and its micro-batch."""

    vocabulary: int = 10_000
    """Words of either language."""
    embedding: int = 256
    """Width of a word's vector."""
    hidden: int = 128
    """Units of an LSTM layer."""
    layers: int = 1
    """LSTM layers of the encoder, and of the decoder."""
    source_len: int = 20
    """Words of a source sentence."""
    target_len: int = 20
    """Words of a target sentence."""
    micro_batch: int = 64
    """Pairs of sentences in a micro-batch."""
    distribution: Literal["uniform", "zipf", "text"] = "zipf"
    """How words are drawn over the vocabularies; `text`: a real one's words, and backwards."""
    accumulation: int = 1
    """Micro-batches whose gradients a step accumulates."""


def cost(config: Config, dtype: str) -> Cost:
    """Two tables, both stacks and head of one micro-batch; an item is a source or a target word. UserError for sizes that make no model."""
    need_positive(config, "vocabulary", "embedding", "hidden", "layers", "source_len", "target_len", "micro_batch")
    e, b = element_bytes(dtype), config.micro_batch
    blocks = (
        _embedding(config, e),
        *_stack("encoder", config, config.source_len, e),
        *_stack("decoder", config, config.target_len, e),
        recurrent_head_block(b * config.target_len, config.hidden, config.vocabulary, e),
    )
    items = b * (config.source_len + config.target_len)
    return training_cost(blocks, dtype, items=items, micro_batch=b, accumulation=config.accumulation)


def _embedding(config: Config, e: float) -> Block:
    """A table for each language."""
    b, v, width = config.micro_batch, config.vocabulary, config.embedding
    source, target = (lookup(b * length, v, width, e) for length in (config.source_len, config.target_len))
    n = b * (config.source_len + config.target_len)
    return Block(
        name="embedding",
        parameters=2 * v * width,
        operators=(msgspec.structs.replace(source, name="source"), msgspec.structs.replace(target, name="target")),
        activation_bytes=INDEX_BYTES * n,
        output_bytes=e * n * width,
    )


def _stack(name: str, config: Config, length: int, e: float) -> tuple[Block, ...]:
    widths = (config.embedding, *[config.hidden] * (config.layers - 1))
    return tuple(
        recurrent_block("lstm", f"{name}_{i}", config.micro_batch, length, width, config.hidden, e) for i, width in enumerate(widths)
    )


def _model(config: Config) -> "nn.Module":
    from . import _seq2seq_blocks as made
    from ._recurrent_blocks import RecurrentHead, initialise

    shape = config.embedding, config.hidden, config.layers
    head = RecurrentHead(config.hidden, config.vocabulary, 0.0)
    model = made.TranslationModel(made.TwoTables(config.vocabulary, config.embedding), [made.Encoder(*shape), made.Decoder(*shape)], head)
    initialise(model)
    return model


def build(config: Config, context: Context) -> Training:
    """The model on the device and a batch of pairs drawn over both vocabularies."""
    from . import _tasks, _training

    cost(config, context.dtype)
    return _training.training(config, context, model=_model, task=_tasks.TRANSLATION, loss=_training.token_loss)


WORKLOAD: Final = Workload(kind="training", config=Config, cost=cost, build=build)
