"""T5 encoder-decoder, one training step: RMS pre-norm, relative position biases, ReLU, no biases of products, tied weights.

Source: Raffel et al. 2019 (arXiv 1910.10683, version 1.0). Loss over all target positions, gradient clipping, fused AdamW.
"""

from typing import TYPE_CHECKING, Final, Literal

from hwbench.core.errors import UserError
from hwbench.core.value import Value
from hwbench.core.workload import Context, Cost, Training, Workload

from ._count import Recompute, element_bytes, need_fraction, need_positive, training_cost
from ._translation import Shape, decoder_block, embedding_block, encoder_block, head_block, memory_block

if TYPE_CHECKING:
    from torch import nn


class Config(Value):
    """A T5's sizes and its micro-batch. The defaults are a step that a laptop does in well under a second."""

    vocabulary: int = 8192
    """Token ids; T5 has 32,128."""
    hidden: int = 256
    """Width of the residual stream."""
    layers: int = 2
    """Layers of the encoder, and of the decoder."""
    heads: int = 4
    """Attention heads."""
    head_dim: int = 64
    """Width of a head; T5's heads need not make up `hidden` together."""
    mlp: int = 1024
    """Width inside the MLP."""
    buckets: int = 32
    """Of relative positions, each with a bias a head; an even number."""
    farthest: int = 128
    """The distance from which on all share a bucket; more than `buckets`."""
    source_len: int = 64
    """Tokens of a source text."""
    target_len: int = 64
    """Tokens of a target text."""
    micro_batch: int = 4
    """Pairs of texts in a micro-batch."""
    dropout: float = 0.0
    """Dropout of embeddings, attention and residual branches."""
    distribution: Literal["uniform", "zipf", "text"] = "uniform"
    """How token ids are drawn over the vocabulary; `text`: a real one's words, and backwards."""
    accumulation: int = 1
    """Micro-batches whose gradients a step accumulates."""
    recompute: Recompute = "none"
    """What the backward pass computes again: nothing, attention, or whole layers."""


def cost(config: Config, dtype: str) -> Cost:
    """Embedding, both stacks and head of one micro-batch; an item is a source or a target token. UserError for sizes that make no model."""
    need_positive(config, "vocabulary", "hidden", "layers", "heads", "head_dim", "mlp", "source_len", "target_len", "micro_batch")
    need_fraction(config, "dropout")
    if config.buckets < 4 or config.buckets % 4 or config.farthest <= config.buckets:
        raise UserError(f"buckets={config.buckets}, farthest={config.farthest}: expected a multiple of 4, and a distance of more than that")
    e = element_bytes(dtype)
    shape = Shape(
        batch=config.micro_batch,
        source_len=config.source_len,
        target_len=config.target_len,
        vocabulary=config.vocabulary,
        hidden=config.hidden,
        heads=config.heads,
        head_dim=config.head_dim,
        mlp=config.mlp,
        layers=config.layers,
        biased=False,
        whole_scores=True,
        dropout=config.dropout,
    )
    blocks = (
        embedding_block(shape, e, parameters=2 * config.buckets * config.heads),
        encoder_block(shape, e),
        memory_block(shape, e, normed=True),
        decoder_block(shape, e),
        head_block(shape, e, normed=True),
    )
    return training_cost(
        blocks,
        dtype,
        items=shape.tokens,
        micro_batch=config.micro_batch,
        accumulation=config.accumulation,
        recompute=config.recompute,
        whole=bool(config.dropout),
    )


def _model(config: Config) -> "nn.Module":
    from . import _blocks
    from . import _translation_blocks as made
    from ._llama_blocks import RMSNorm

    h, inner = config.hidden, config.heads * config.head_dim
    parts = made.Parts(h, inner, config.heads, config.mlp, config.dropout, lambda: RMSNorm(h, 1e-6), made.biased_attention, modern=True)
    lengths = config.source_len, config.target_len
    embed = made.RelativeEmbedding(config.vocabulary, h, config.heads, lengths, config.buckets, config.farthest, config.dropout)
    head = made.ScaledHead(RMSNorm(h, 1e-6), h, config.vocabulary)
    head.projection.weight = embed.tokens.weight
    encoder = [*(made.EncoderLayer(parts) for _ in range(config.layers)), made.EncoderEnd(RMSNorm(h, 1e-6))]
    model = _blocks.LanguageModel(embed, [*encoder, *(made.DecoderLayer(parts) for _ in range(config.layers))], head)
    _blocks.initialise(model)
    return model


def build(config: Config, context: Context) -> Training:
    """The model on the device and a batch of pairs drawn over the whole vocabulary."""
    from . import _tasks, _training

    cost(config, context.dtype)
    return _training.training(config, context, model=_model, task=_tasks.TRANSLATION, loss=_training.token_loss)


WORKLOAD: Final = Workload(kind="training", config=Config, cost=cost, build=build)
