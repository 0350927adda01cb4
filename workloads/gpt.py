"""GPT-2/3 decoder, one training step: learned positions, pre-norm, GELU, tied weights.

Sources: Radford et al. 2019 (GPT-2), Brown et al. 2020 (arXiv 2005.14165). Loss over all positions, gradient clipping, fused AdamW.
"""

from typing import TYPE_CHECKING, Final, Literal

from hwbench.core.errors import UserError
from hwbench.core.value import Value
from hwbench.core.workload import Context, Cost, Training, Workload

from ._count import Recompute, element_bytes, need_divisor, need_fraction, need_positive, training_cost
from ._layers import Layer, classes_of, embedding_block, head_block, layer_block, warnings_of

if TYPE_CHECKING:
    from torch import nn


class Config(Value):
    """A GPT's sizes and its micro-batch. The defaults are a step that a laptop does in well under a second."""

    vocabulary: int = 8192
    """Token ids; GPT-2 has 50,257."""
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
    micro_batch: int = 2
    """Sequences a step."""
    tied: bool = True
    """Whether the vocabulary projection is the token table."""
    dropout: float = 0.0
    """Dropout of embeddings, attention and residual branches. On a CPU torch has no flash attention with dropout."""
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
        kv_heads=config.heads,
        head_dim=config.hidden // config.heads,
        mlp=config.mlp or 4 * config.hidden,
        causal=True,
        activation="gelu_tanh",
        dropout=config.dropout,
    )


def cost(config: Config, dtype: str) -> Cost:
    """Embedding, layers and head of one micro-batch; UserError for sizes that make no model."""
    need_positive(config, "vocabulary", "hidden", "layers", "heads", "seq_len", "micro_batch")
    need_divisor(config, "heads", "hidden")
    need_fraction(config, "dropout")
    if config.mlp < 0 or config.positions < 0:
        raise UserError(f"mlp={config.mlp}, positions={config.positions}: expected 0 (choose for me) or more")
    positions = config.positions or config.seq_len
    if config.seq_len > positions:
        raise UserError(f"seq_len={config.seq_len} is more than positions={positions}", hint="raise positions, or leave it at 0")
    e, layer, classes = element_bytes(dtype), _layer(config), classes_of(config.head)
    rows, words = (config.micro_batch, classes) if classes else (layer.tokens, config.vocabulary)
    blocks = (
        embedding_block(layer.tokens, config.vocabulary, config.hidden, e, positions=positions, drop=config.dropout),
        layer_block(layer, config.layers, e),
        head_block(rows, words, config.hidden, e, tied=config.tied and not classes, biased_norm=True),
    )
    return training_cost(
        blocks,
        dtype,
        items=layer.tokens,
        micro_batch=config.micro_batch,
        accumulation=config.accumulation,
        recompute=config.recompute,
        whole=bool(config.dropout),
    )


def model(config: Config) -> "nn.Module":
    """The model with freshly drawn weights, on torch's default device."""
    from torch.nn import LayerNorm

    from . import _blocks
    from ._heads import LastHead

    layer, h = _layer(config), config.hidden

    def one_layer() -> "nn.Module":
        attention = _blocks.SelfAttention(h, config.heads, config.dropout, causal=True)
        return _blocks.PreNormLayer(lambda: LayerNorm(h), attention, _blocks.MLP(h, layer.mlp, "tanh"), config.dropout)

    embed = _blocks.Embedding(config.vocabulary, config.positions or config.seq_len, h, config.dropout)
    classes = classes_of(config.head)
    head = LastHead(LayerNorm(h), h, classes) if classes else _blocks.Head(LayerNorm(h), h, config.vocabulary)
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
