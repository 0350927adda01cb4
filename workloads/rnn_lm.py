"""Word-level RNN language model, one training step: embedding, one layer with the sigmoid cell, vocabulary projection.

The simple recurrent network of Mikolov et al. 2010 (Interspeech), h_t = sigmoid(W·[h_{t−1}, x_t] + b), with back-propagation through all
steps. Loss over all positions, gradient clipping, fused AdamW. The state starts at zero in each step.
"""

from typing import TYPE_CHECKING, Final, Literal

from hwbench.core.value import Value
from hwbench.core.workload import Block, Context, Cost, Training, Workload

from ._count import element_bytes, elementwise, need_positive, product, training_cost
from ._layers import embedding_block
from ._recurrent import recurrent_head_block

if TYPE_CHECKING:
    from torch import nn


class Config(Value):
    """The model's sizes and its micro-batch."""

    vocabulary: int = 10_000
    """Words."""
    embedding: int = 300
    """Width of a word's vector."""
    hidden: int = 100
    """Units of the recurrent layer."""
    seq_len: int = 20
    """Words of a sequence: the steps that the gradient goes back through."""
    micro_batch: int = 64
    """Sequences in a micro-batch."""
    distribution: Literal["uniform", "zipf", "text"] = "zipf"
    """How words are drawn over the vocabulary; `text` takes a real one's words (docs/workloads.md)."""
    accumulation: int = 1
    """Micro-batches whose gradients a step accumulates."""


def cost(config: Config, dtype: str) -> Cost:
    """Embedding, the recurrent layer and head of one micro-batch; UserError for sizes that make no model."""
    need_positive(config, "vocabulary", "embedding", "hidden", "seq_len", "micro_batch")
    e, n = element_bytes(dtype), config.micro_batch * config.seq_len
    blocks = (
        embedding_block(n, config.vocabulary, config.embedding, e),
        _layer(config, e),
        recurrent_head_block(n, config.hidden, config.vocabulary, e),
    )
    return training_cost(blocks, dtype, items=n, micro_batch=config.micro_batch, accumulation=config.accumulation)


def _layer(config: Config, e: float) -> Block:
    """x_t·W of all steps in one product; h_{t−1}·W one step after the other, not in the first, whose state is zero.

    Sigmoid: pre-activation in, state out; backward state and its gradient in, the pre-activation's out. Kept: the input and the states.
    """
    b, s, h, width = config.micro_batch, config.seq_len, config.hidden, config.embedding
    return Block(
        name="layer",
        parameters=h * (h + width) + h,
        operators=(
            product("input", b * s, h, width, e, division="column"),
            product("recurrent", b, h, h, e, batch=s - 1, kind="recurrent", division="column", function="rnn"),
            elementwise("sigmoid", b * s * h, e, moves=2, backward_moves=3, division="column", function="sigmoid"),
        ),
        activation_bytes=e * b * s * (width + h),
        output_bytes=e * b * s * h,
    )


def _model(config: Config) -> "nn.Module":
    from ._blocks import LanguageModel, TokenTable
    from ._recurrent_blocks import RecurrentHead, initialise
    from ._rnn_blocks import SigmoidLayer

    embed = TokenTable(config.vocabulary, config.embedding)
    head = RecurrentHead(config.hidden, config.vocabulary, 0.0)
    model = LanguageModel(embed, [SigmoidLayer(config.embedding, config.hidden)], head)
    initialise(model)
    return model


def build(config: Config, context: Context) -> Training:
    """The model on the device and a batch of word ids drawn over the whole vocabulary."""
    from . import _tasks, _training

    cost(config, context.dtype)
    return _training.training(config, context, model=_model, task=_tasks.NEXT_TOKEN, loss=_training.token_loss)


WORKLOAD: Final = Workload(kind="training", config=Config, cost=cost, build=build)
