"""Llama-style decoder, one training step: RMS norm, rotary positions, gated MLP, grouped-query attention.

Source: Grattafiori et al. 2024 (arXiv 2407.21783), Meta's model code. Loss over all positions, gradient clipping, fused AdamW.
"""

from typing import TYPE_CHECKING, Final, Literal

from hwbench.core.errors import UserError
from hwbench.core.value import Value
from hwbench.core.workload import Context, Cost, Training, Workload

from ._count import Recompute, element_bytes, need_divisor, need_positive, training_cost
from ._layers import Layer, classes_of, embedding_block, head_block, layer_block, warnings_of

if TYPE_CHECKING:
    from torch import nn


class Config(Value):
    """A Llama's sizes and its micro-batch. The defaults are a step that a laptop does in well under a second."""

    vocabulary: int = 8192
    """Token ids; Llama 3 has 128,256."""
    hidden: int = 256
    """Width of the residual stream."""
    layers: int = 4
    """Transformer layers."""
    heads: int = 4
    """Query heads; they divide `hidden`, and hidden/heads is even (rotary positions turn pairs)."""
    kv_heads: int = 2
    """Key and value heads; they divide `heads`."""
    mlp: int = 768
    """Width inside the gated MLP."""
    rope_theta: float = 500_000.0
    """Base of the rotary frequencies; it costs no time."""
    seq_len: int = 128
    """Tokens of a sequence."""
    micro_batch: int = 2
    """Sequences a step."""
    tied: bool = False
    """Whether the vocabulary projection is the token table."""
    head: str = "tokens"
    """What is predicted: every next token, or `classes:N@last`: N classes at the last position, to compare with figures of that kind."""
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
        kv_heads=config.kv_heads,
        head_dim=config.hidden // config.heads,
        mlp=config.mlp,
        causal=True,
        gated=True,
        biased=False,
        rotary=True,
    )


def cost(config: Config, dtype: str) -> Cost:
    """Embedding, layers and head of one micro-batch; UserError for sizes that make no model."""
    need_positive(config, "vocabulary", "hidden", "layers", "heads", "kv_heads", "mlp", "seq_len", "micro_batch")
    need_divisor(config, "heads", "hidden")
    need_divisor(config, "kv_heads", "heads")
    e, layer, classes = element_bytes(dtype), _layer(config), classes_of(config.head)
    rows, words = (config.micro_batch, classes) if classes else (layer.tokens, config.vocabulary)
    if layer.head_dim % 2:
        raise UserError(f"hidden/heads = {config.hidden}/{config.heads} = {layer.head_dim}: rotary positions need an even head width")
    if config.rope_theta <= 0:
        raise UserError(f"rope_theta={config.rope_theta}: expected more than 0")
    blocks = (
        embedding_block(layer.tokens, config.vocabulary, config.hidden, e),
        layer_block(layer, config.layers, e),
        head_block(rows, words, config.hidden, e, tied=config.tied and not classes, biased_norm=False),
    )
    return training_cost(
        blocks,
        dtype,
        items=layer.tokens,
        micro_batch=config.micro_batch,
        accumulation=config.accumulation,
        recompute=config.recompute,
    )


def model(config: Config) -> "nn.Module":
    """The model with freshly drawn weights, on torch's default device."""
    from . import _blocks
    from ._heads import LastHead
    from ._llama_blocks import GatedMLP, GroupedAttention, RMSNorm, rotary_table

    h, head_dim = config.hidden, config.hidden // config.heads
    table = rotary_table(config.seq_len, head_dim, config.rope_theta)

    def one_layer() -> "nn.Module":
        attention = GroupedAttention(h, config.heads, config.kv_heads, head_dim, table)
        return _blocks.PreNormLayer(lambda: RMSNorm(h), attention, GatedMLP(h, config.mlp))

    embed = _blocks.TokenTable(config.vocabulary, h)
    classes = classes_of(config.head)
    head = LastHead(RMSNorm(h), h, classes) if classes else _blocks.Head(RMSNorm(h), h, config.vocabulary)
    if config.tied and not classes:
        head.projection.weight = embed.tokens.weight
    made = _blocks.LanguageModel(embed, (one_layer() for _ in range(config.layers)), head)
    _blocks.initialise(made)
    return made


def build(config: Config, context: Context) -> Training:
    """The model on the device and a batch of token ids drawn over the whole vocabulary."""
    from . import _tasks, _training

    cost(config, context.dtype)
    classes = classes_of(config.head)
    task = _tasks.classifying(classes, "last") if classes else _tasks.NEXT_TOKEN
    said = warnings_of(config.head)
    return _training.training(config, context, model=model, task=task, loss=_training.token_loss, warnings=said)


WORKLOAD: Final = Workload(kind="training", config=Config, cost=cost, build=build)
