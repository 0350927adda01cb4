"""Sequence-to-sequence LSTM, one training step: an encoder whose last state is the decoder's first, vocabulary projection.

Source: Sutskever et al. 2014 (arXiv 1409.3215), without its depth of four. Loss over all target positions, gradient clipping, fused AdamW.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from hwbench.core.value import Value
from hwbench.core.workload import Block, Context, Cost, Training, Workload

from ._count import element_bytes, need_positive, training_cost
from ._layers import embedding_block
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
        embedding_block(b * config.source_len, config.vocabulary, config.embedding, e),
        *_encoder(config, e),
        *_decoder(config, e),
        recurrent_head_block(b * config.target_len, config.hidden, config.vocabulary, e),
    )
    items = b * (config.source_len + config.target_len)
    return training_cost(blocks, dtype, items=items, micro_batch=b, accumulation=config.accumulation)


def _encoder(config: Config, e: float) -> Iterator[Block]:
    """Layers over the source. What goes on are the last states of all of them so far, and from the last one nothing else."""
    for i, block in enumerate(_stack("encoder", config, config.source_len, e)):
        states, last = _state_bytes(config, e, i + 1), i == config.layers - 1
        handed = {"output_bytes": states} if last else {"carried_bytes": states}
        yield msgspec.structs.replace(block, carried_divided_bytes=states, **handed)


def _decoder(config: Config, e: float) -> Iterator[Block]:
    """Layers over the target, the first with its table of words. What goes on beside the output are the states of layers to come."""
    table = embedding_block(config.micro_batch * config.target_len, config.vocabulary, config.embedding, e)
    for i, block in enumerate(_stack("decoder", config, config.target_len, e, continued=True)):
        first, states = i == 0, _state_bytes(config, e, config.layers - 1 - i)
        yield msgspec.structs.replace(
            block,
            parameters=block.parameters + (table.parameters if first else 0),
            operators=(*(table.operators if first else ()), *block.operators),
            activation_bytes=block.activation_bytes + (table.activation_bytes if first else 0.0),
            carried_bytes=states,
            carried_divided_bytes=states,
        )


def _state_bytes(config: Config, e: float, layers: int) -> float:
    """Hidden states of so many layers, which every rank has whole; their cells, of which a rank has its units', are as many."""
    return e * layers * config.micro_batch * config.hidden


def _stack(name: str, config: Config, length: int, e: float, *, continued: bool = False) -> Iterator[Block]:
    widths = (config.embedding, *[config.hidden] * (config.layers - 1))
    for i, width in enumerate(widths):
        yield recurrent_block("lstm", f"{name}_{i}", config.micro_batch, length, width, config.hidden, e, continued=continued)


def _model(config: Config) -> "nn.Module":
    from torch.nn import Embedding

    from ._blocks import LanguageModel, TokenTable
    from ._recurrent_blocks import RecurrentHead, initialise, stacked
    from ._seq2seq_blocks import Decoder, Encoder

    shape = config.embedding, config.hidden, config.layers
    embed, table = TokenTable(config.vocabulary, config.embedding), Embedding(config.vocabulary, config.embedding)
    head = RecurrentHead(config.hidden, config.vocabulary, 0.0)
    model = LanguageModel(embed, [Encoder(stacked(*shape)), Decoder(table, stacked(*shape))], head)
    initialise(model)
    return model


def build(config: Config, context: Context) -> Training:
    """The model on the device and a batch of pairs drawn over both vocabularies."""
    from . import _tasks, _training

    cost(config, context.dtype)
    return _training.training(config, context, model=_model, task=_tasks.TRANSLATION, loss=_training.token_loss)


WORKLOAD: Final = Workload(kind="training", config=Config, cost=cost, build=build)
