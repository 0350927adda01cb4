"""Inference steps of GPT and Llama decoders counted in closed form, without torch: one file a phase builds on this.

The letters: b sequences, n tokens worked on, L positions in the cache, e bytes an element.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

from hwbench.core.errors import UserError
from hwbench.core.value import Value
from hwbench.core.workload import Block, Cost, Operator

from ._count import INDEX_BYTES, element_bytes, elementwise, lookup, need_divisor, need_positive, norm, product
from ._layers import Layer, layer_block


class Decoder(Value):
    """A decoder's sizes. The defaults are a step that a laptop does in well under a second."""

    model: Literal["gpt", "llama"] = "llama"
    """GPT-2/3: learned positions, layer norm, GELU; or Llama: rotary positions, RMS norm, gated MLP."""
    vocabulary: int = 8192
    """Token ids."""
    hidden: int = 256
    """Width of the residual stream."""
    layers: int = 4
    """Transformer layers."""
    heads: int = 4
    """Query heads; they divide `hidden`."""
    kv_heads: int = 4
    """Key and value heads; they divide `heads`. A GPT has as many as heads."""
    mlp: int = 1024
    """Width inside the MLP."""
    tied: bool = False
    """Whether the vocabulary projection is the token table."""
    batch: int = 4
    """Sequences."""


def decoder_cost(config: Decoder, dtype: str, *, new: int, cached: int) -> Cost:
    """`new` tokens a sequence through all layers, their keys and values into the cache, logits of each sequence's last token.

    `cached` positions are in the cache afterwards; more than `new` of them means attention to earlier ones. UserError for sizes that make
    no model. An item is a token worked on.
    """
    need_positive(config, "vocabulary", "hidden", "layers", "heads", "kv_heads", "mlp", "batch")
    need_divisor(config, "heads", "hidden")
    need_divisor(config, "kv_heads", "heads")
    if config.model == "gpt" and config.kv_heads != config.heads:
        raise UserError(f"kv_heads={config.kv_heads}: a GPT has as many as heads={config.heads}", hint="or choose model=llama")
    if config.model == "llama" and (config.hidden // config.heads) % 2:
        raise UserError(f"hidden/heads = {config.hidden}/{config.heads}: rotary positions need an even head width")
    e = element_bytes(dtype)
    n = config.batch * new
    layer = _layer(config, new)
    blocks = (_embedding(config, n, cached, e), _cached_layer(layer, config, cached, e), _head(config, e))
    return Cost(blocks=blocks, dtype=dtype, items=n, micro_batch=config.batch)


def _layer(config: Decoder, new: int) -> Layer:
    modern = config.model == "llama"
    return Layer(
        batch=config.batch,
        seq_len=new,
        hidden=config.hidden,
        heads=config.heads,
        kv_heads=config.kv_heads,
        head_dim=config.hidden // config.heads,
        mlp=config.mlp,
        causal=True,
        gated=modern,
        biased=not modern,
        activation="gelu_tanh",
        rotary=modern,
    )


def _forward(operators: Iterable[Operator]) -> tuple[Operator, ...]:
    return tuple(msgspec.structs.replace(op, backward_flops=0.0, backward_bytes=0.0) for op in operators)


def _cached_layer(layer: Layer, config: Decoder, cached: int, e: float) -> Block:
    """The forward pass of a layer; keys and values are written to the cache, and attention reads the cache."""
    whole = layer_block(layer, config.layers, e)
    written = 2 * layer.tokens * layer.kv_heads * layer.head_dim
    parts = []
    for op in _forward(whole.operators):
        if op.kind == "attention":
            parts.append(elementwise("cache", written, e, moves=2, backward_moves=0, division="heads"))
            parts.append(op if cached == layer.seq_len else _attention_to_cache(op, layer, cached, e))
        else:
            parts.append(op)
    return msgspec.structs.replace(whole, operators=tuple(parts), activation_bytes=0.0)


def _attention_to_cache(op: Operator, layer: Layer, cached: int, e: float) -> Operator:
    """Each new query over L cached positions: 4·L·d FLOPs a head; reads queries and the cache, which all heads of a group share."""
    d, b = layer.head_dim, layer.batch
    queries, cache = layer.tokens * layer.heads * d, 2 * b * cached * layer.kv_heads * d
    flops = 4.0 * layer.tokens * layer.heads * d * cached
    return msgspec.structs.replace(
        op, flops=flops, bytes=e * (2 * queries + cache), n=cached, function="decode_attention", executed_fraction=1.0
    )


def _embedding(config: Decoder, n: int, cached: int, e: float) -> Block:
    """The token table, and a GPT's table of positions."""
    h, positions = config.hidden, cached if config.model == "gpt" else 0
    added = (elementwise("add_positions", n * h, e, moves=2, backward_moves=0, function="add"),) if positions else ()
    return Block(
        name="embedding",
        parameters=(config.vocabulary + positions) * h,
        operators=(lookup(n, config.vocabulary, h, e, backward=False), *added),
        output_bytes=e * n * h,
        tp_all_reduces=1,
    )


def _head(config: Decoder, e: float) -> Block:
    """Final norm, projection and the likeliest word of each sequence's last token."""
    b, h, v = config.batch, config.hidden, config.vocabulary
    modern = config.model == "llama"
    last = norm("final_norm", b, h, e, function="rms_norm" if modern else "layer_norm")
    projection = product("vocabulary", b, v, h, e, division="vocabulary")
    chosen = Operator(name="argmax", kind="memory", flops=0.0, bytes=b * (e * v + INDEX_BYTES), division="vocabulary")
    parameters = (1 if modern else 2) * h + (0 if config.tied else v * h)
    return Block(name="head", parameters=parameters, operators=(*_forward((last, projection)), chosen))
