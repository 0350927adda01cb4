"""Mixture-of-experts decoder, one training step: a Llama whose MLP is k of E experts a token, dropless, and a load-balancing loss.

Sources: Jiang et al. 2024 (Mixtral, arXiv 2401.04088), Fedus et al. 2021 (the balancing loss, arXiv 2101.03961), Dai et al. 2024 (the
shared expert, arXiv 2401.06066). Loss over all positions, gradient clipping, fused AdamW.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from hwbench.core.errors import UserError
from hwbench.core.value import Value
from hwbench.core.workload import Block, Context, Cost, Operator, Training, Workload

from ._count import INDEX_BYTES, Recompute, element_bytes, elementwise, need_divisor, need_positive, norm, product, residual, training_cost
from ._layers import STATISTIC_BYTES, Layer, attention_operators, embedding_block, head_block

if TYPE_CHECKING:
    from torch import Tensor, nn


class Config(Value):
    """The sizes of a mixture-of-experts decoder and its micro-batch. The defaults are a step that a laptop does in well under a second."""

    vocabulary: int = 8192
    """Token ids; Mixtral has 32,000."""
    hidden: int = 256
    """Width of the residual stream."""
    layers: int = 4
    """Transformer layers."""
    heads: int = 4
    """Query heads; they divide `hidden`, and hidden/heads is even (rotary positions turn pairs)."""
    kv_heads: int = 2
    """Key and value heads; they divide `heads`."""
    mlp: int = 512
    """Width inside an expert, a gated MLP."""
    experts: int = 8
    """Experts of a layer."""
    topk: int = 2
    """Experts that a token goes to."""
    shared_mlp: int = 0
    """Width inside an expert that every token goes to; 0 for none."""
    balance: float = 0.01
    """Weight of the load-balancing loss."""
    rope_theta: float = 1_000_000.0
    """Base of the rotary frequencies; it costs no time."""
    seq_len: int = 128
    """Tokens of a sequence."""
    micro_batch: int = 2
    """Sequences a step."""
    tied: bool = False
    """Whether the vocabulary projection is the token table."""
    distribution: Literal["uniform", "zipf", "text"] = "uniform"
    """How token ids are drawn over the vocabulary; `text` takes a real one's words (docs/workloads.md)."""
    accumulation: int = 1
    """Micro-batches whose gradients a step accumulates."""
    recompute: Recompute = "none"
    """What the backward pass computes again: nothing, attention, or whole layers."""


def cost(config: Config, dtype: str) -> Cost:
    """Embedding, layers and head of one micro-batch; UserError for sizes that make no model."""
    need_positive(config, "vocabulary", "hidden", "layers", "heads", "kv_heads", "mlp", "experts", "topk", "seq_len", "micro_batch")
    need_divisor(config, "heads", "hidden")
    need_divisor(config, "kv_heads", "heads")
    if config.topk > config.experts:
        raise UserError(f"topk={config.topk} is more than experts={config.experts}")
    if (config.hidden // config.heads) % 2:
        raise UserError(f"hidden/heads = {config.hidden}/{config.heads}: rotary positions need an even head width")
    if config.shared_mlp < 0 or config.balance < 0 or config.rope_theta <= 0:
        said = f"shared_mlp={config.shared_mlp}, balance={config.balance}, rope_theta={config.rope_theta}"
        raise UserError(f"{said}: expected none below 0, and rope_theta more than 0")
    e, layer = element_bytes(dtype), _layer(config)
    blocks = (
        embedding_block(layer.tokens, config.vocabulary, config.hidden, e),
        _moe_block(config, layer, e),
        head_block(layer.tokens, config.vocabulary, config.hidden, e, tied=config.tied, biased_norm=False),
    )
    return training_cost(
        blocks,
        dtype,
        items=layer.tokens,
        micro_batch=config.micro_batch,
        accumulation=config.accumulation,
        recompute=config.recompute,
        whole=not config.shared_mlp,
    )


def _layer(config: Config) -> Layer:
    """The attention of a layer; its `mlp` is the shared expert."""
    return Layer(
        batch=config.micro_batch,
        seq_len=config.seq_len,
        hidden=config.hidden,
        heads=config.heads,
        kv_heads=config.kv_heads,
        head_dim=config.hidden // config.heads,
        mlp=config.shared_mlp,
        causal=True,
        gated=True,
        biased=False,
        rotary=True,
    )


def _moe_block(config: Config, layer: Layer, e: float) -> Block:
    h, experts = config.hidden, 3 * config.hidden * config.mlp * config.experts
    attention = h * layer.qkv_width + layer.heads * layer.head_dim * h
    return Block(
        name="layer",
        count=config.layers,
        parameters=attention + 2 * h + h * config.experts + 3 * h * config.shared_mlp + experts,
        expert_parameters=experts,
        undivided_parameters=2 * h + h * config.experts,  # two norms, and the router
        operators=(*attention_operators(layer, e), *_expert_operators(config, layer.tokens, e)),
        activation_bytes=_activation_bytes(config, layer, e),
        output_bytes=e * layer.tokens * h,
        carried_bytes=max(4.0, e),  # the balancing loss so far, fp32 at least
        tp_all_reduces=2,
        ep_all_to_alls=2,
    )


def _expert_operators(config: Config, n: int, e: float) -> Iterable[Operator]:
    """Norm, router, the experts' products on n·k rows together, permutations and the weighted sum, the shared expert, residual."""
    h, f, rows = config.hidden, config.mlp, n * config.topk
    yield norm("mlp_norm", n, h, e, function="rms_norm")
    yield product("router", n, config.experts, h, e)
    yield elementwise("permute", rows * h, e, moves=2, backward_moves=2)
    yield _expert_product("gate", config, rows, f, h, e)
    yield _expert_product("up", config, rows, f, h, e)
    yield elementwise("activation", rows * f, e, moves=3, backward_moves=5, division="expert", function="silu_gate")
    yield _expert_product("down", config, rows, h, f, e)
    yield elementwise("combine", rows * h, e, moves=4, backward_moves=5)  # put back, then weighted and summed
    if s := config.shared_mlp:
        yield product("shared_gate", n, s, h, e, division="column")
        yield product("shared_up", n, s, h, e, division="column")
        yield elementwise("shared_activation", n * s, e, moves=3, backward_moves=5, division="column", function="silu_gate")
        yield product("shared_down", n, h, s, e, division="row")
        yield residual("shared_sum", n, h, e)
    yield residual("mlp_residual", n, h, e)


def _expert_product(name: str, config: Config, rows: int, n: int, k: int, e: float) -> Operator:
    """E products of all rows together, (rows, k) by (k, n), each of its even share; exact where E does not divide the rows."""
    whole = product(name, rows, n, k, e, division="expert")
    weights = e * (config.experts - 1) * k * n  # the other experts' weights
    return msgspec.structs.replace(
        whole,
        m=max(1, round(rows / config.experts)),
        batch=config.experts,
        bytes=whole.bytes + weights,
        backward_bytes=whole.backward_bytes + 2 * weights,
    )


def _activation_bytes(config: Config, layer: Layer, e: float) -> float:
    """What torch's autograd keeps of one layer, elements a token:

    attention as in a Llama: norm in and out 2h, queries, keys, values, attention's output; the second norm's 2h; and of each of k experts
      2h  the copied token, and the expert's result before it is weighted
      4f  gate, up, silu(gate) and their product
    and 4f of a shared expert. In fp32 at least: probabilities (E), the k chosen ones, before and after division by their sum. Indices: the
    chosen experts, the order and its inverse (each kept once).
    """
    n, h, k = layer.tokens, layer.hidden, config.topk
    wide = max(4.0, e)
    elements = 4 * h + layer.qkv_width + layer.heads * layer.head_dim + k * (2 * h + 4 * config.mlp) + 4 * config.shared_mlp
    routing = wide * (config.experts + k + 1) + e * k + 3 * INDEX_BYTES * k
    return n * (e * elements + routing + STATISTIC_BYTES * (2 + layer.heads))


def _model(config: Config) -> "nn.Module":
    from . import _blocks
    from ._llama_blocks import GroupedAttention, RMSNorm, rotary_table
    from ._moe_blocks import BalancedHead, MixtureLayer, MixtureOfExperts

    h, head_dim = config.hidden, config.hidden // config.heads
    table = rotary_table(config.seq_len, head_dim, config.rope_theta)

    def one_layer() -> "nn.Module":
        attention = GroupedAttention(h, config.heads, config.kv_heads, head_dim, table)
        mixture = MixtureOfExperts(h, config.mlp, config.experts, config.topk, config.shared_mlp)
        return MixtureLayer(lambda: RMSNorm(h), attention, mixture, config.layers)

    embed = _blocks.TokenTable(config.vocabulary, h)
    head = BalancedHead(RMSNorm(h), h, config.vocabulary)
    if config.tied:
        head.projection.weight = embed.tokens.weight
    model = _blocks.LanguageModel(embed, (one_layer() for _ in range(config.layers)), head)
    _blocks.initialise(model)
    return model


def build(config: Config, context: Context) -> Training:
    """The model on the device and a batch of token ids drawn over the whole vocabulary."""
    from . import _tasks, _training

    def loss(module: "nn.Module", *inputs: "Tensor") -> "Tensor":
        """Cross entropy and the weighted balancing loss."""
        logits, balance = module(*inputs[:-1])
        added: Tensor = config.balance * balance
        return _training.mean_cross_entropy(logits, inputs[-1]) + added

    cost(config, context.dtype)
    return _training.training(config, context, model=_model, task=_tasks.NEXT_TOKEN, loss=loss)


WORKLOAD: Final = Workload(kind="training", config=Config, cost=cost, build=build)
