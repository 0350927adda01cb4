"""Encoder-decoder Transformer of 2017 for translation, one training step: post-norm, sinusoids, ReLU, one table for all words.

Source: Vaswani et al. 2017 (arXiv 1706.03762). Loss over all target positions (without label smoothing), gradient clipping, fused AdamW.
"""

from typing import TYPE_CHECKING, Final, Literal

from hwbench.core.value import Value
from hwbench.core.workload import Context, Cost, Training, Workload

from ._count import Recompute, element_bytes, need_divisor, need_fraction, need_positive, training_cost
from ._translation import Shape, decoder_block, embedding_block, encoder_block, head_block, memory_block

if TYPE_CHECKING:
    from torch import nn


class Config(Value):
    """A Transformer's sizes and its micro-batch. The defaults are a step that a laptop does in well under a second."""

    vocabulary: int = 8192
    """Word pieces of both languages together; the paper has about 37,000."""
    hidden: int = 256
    """Width of the residual stream."""
    layers: int = 2
    """Layers of the encoder, and of the decoder."""
    heads: int = 4
    """Attention heads; they divide `hidden`."""
    mlp: int = 1024
    """Width inside the MLP."""
    source_len: int = 64
    """Tokens of a source sentence."""
    target_len: int = 64
    """Tokens of a target sentence."""
    micro_batch: int = 4
    """Pairs of sentences in a micro-batch."""
    dropout: float = 0.0
    """Dropout of embeddings, attention and residual branches. On a CPU torch has no flash attention with dropout."""
    distribution: Literal["uniform", "zipf", "text"] = "uniform"
    """How token ids are drawn over the vocabulary; `text`: a real one's words, and backwards."""
    accumulation: int = 1
    """Micro-batches whose gradients a step accumulates."""
    recompute: Recompute = "none"
    """What the backward pass computes again: nothing, attention, or whole layers."""


def cost(config: Config, dtype: str) -> Cost:
    """Embedding, both stacks and head of one micro-batch; an item is a source or a target token. UserError for sizes that make no model."""
    need_positive(config, "vocabulary", "hidden", "layers", "heads", "mlp", "source_len", "target_len", "micro_batch")
    need_divisor(config, "heads", "hidden")
    need_fraction(config, "dropout")
    e = element_bytes(dtype)
    shape = Shape(
        batch=config.micro_batch,
        source_len=config.source_len,
        target_len=config.target_len,
        vocabulary=config.vocabulary,
        hidden=config.hidden,
        heads=config.heads,
        head_dim=config.hidden // config.heads,
        mlp=config.mlp,
        layers=config.layers,
        biased=True,
        whole_scores=False,
        dropout=config.dropout,
    )
    blocks = (
        embedding_block(shape, e, parameters=0),
        encoder_block(shape, e),
        memory_block(shape, e, normed=False),
        decoder_block(shape, e),
        head_block(shape, e, normed=False),
    )
    return training_cost(
        blocks,
        dtype,
        items=shape.tokens,
        micro_batch=config.micro_batch,
        accumulation=config.accumulation,
        recompute=config.recompute,
        whole=True,
    )


def _model(config: Config) -> "nn.Module":
    from torch.nn import Identity, LayerNorm
    from torch.nn.functional import scaled_dot_product_attention

    from . import _blocks
    from . import _translation_blocks as made

    h = config.hidden
    parts = made.Parts(h, h, config.heads, config.mlp, config.dropout, lambda: LayerNorm(h), scaled_dot_product_attention, modern=False)
    embed = made.SinusoidEmbedding(config.vocabulary, max(config.source_len, config.target_len), h, config.dropout)
    head = made.TargetHead(Identity(), h, config.vocabulary)
    head.projection.weight = embed.tokens.weight
    encoder = (made.EncoderLayer(parts) for _ in range(config.layers))
    model = _blocks.LanguageModel(embed, [*encoder, *(made.DecoderLayer(parts) for _ in range(config.layers))], head)
    _blocks.initialise(model)
    return model


def build(config: Config, context: Context) -> Training:
    """The model on the device and a batch of pairs drawn over the whole vocabulary."""
    from . import _tasks, _training

    cost(config, context.dtype)
    return _training.training(config, context, model=_model, task=_tasks.TRANSLATION, loss=_training.token_loss)


WORKLOAD: Final = Workload(kind="training", config=Config, cost=cost, build=build)
