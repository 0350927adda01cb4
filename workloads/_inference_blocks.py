"""What makes inference of the training models: a cache of keys and values behind `attend`, positions through `held`."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as sdpa

from hwbench.core.workload import Check, Context, Kernel

from . import _tensors, _training, gpt, llama
from ._blocks import LanguageModel
from ._inference import Decoder


class Cache(NamedTuple):
    """Keys and values of one layer: (b, H, L, d) each."""

    keys: Tensor
    values: Tensor

    def write(self, k: Tensor, v: Tensor, start: int) -> None:
        """Put keys and values (b, H, s, d) at the positions from `start` on."""
        self.keys[:, :, start : start + k.shape[2]] = k
        self.values[:, :, start : start + v.shape[2]] = v


class Served(NamedTuple):
    """A model and a cache for each of its layers."""

    model: LanguageModel
    caches: list[Cache]

    def run(self, tokens: Tensor, start: int) -> Tensor:
        """Logits (b, 1, V) of the last of the tokens (b, s), which stand at the positions from `start` on; fills the caches."""
        places = torch.arange(start, start + tokens.shape[1], device=tokens.device)
        for part in self.model.modules():
            if hasattr(part, "held"):
                part.held = {len(places): (places, self.caches[0].keys.shape[2])}  # type: ignore[assignment]  # an attribute, not a parameter
        for layer, cache in zip(self.model.layers, self.caches, strict=True):
            layer.attention.attend = _attend(cache, start)  # type: ignore[union-attr]
        x = self.model.embed(tokens)
        for layer in self.model.layers:
            x = layer(x)
        logits: Tensor = self.model.head(x[:, -1:])
        return logits


def _attend(cache: Cache, start: int) -> Callable[..., Tensor]:
    """Attention that writes its keys and values to the cache first: over them alone at the start, else over all the cache has."""

    def attend(q: Tensor, k: Tensor, v: Tensor, *, is_causal: bool, **settings: Any) -> Tensor:
        cache.write(k, v, start)
        if start == 0:
            return sdpa(q, k, v, is_causal=is_causal, **settings)
        end = start + k.shape[2]
        return sdpa(q, cache.keys[:, :, :end], cache.values[:, :, :end], **settings)

    return attend


def served(config: Decoder, context: Context, cached: int, dtype: torch.dtype) -> Served:
    """The decoder without gradients, and caches of `cached` positions of normal numbers."""
    shape = {key: getattr(config, key) for key in ("vocabulary", "hidden", "layers", "heads", "mlp", "tied")}
    model: Any
    if config.model == "gpt":
        model = _training.weighted(gpt.model, gpt.Config(**shape, seq_len=cached, positions=cached), context, dtype)
    else:
        model = _training.weighted(llama.model, llama.Config(**shape, kv_heads=config.kv_heads, seq_len=cached), context, dtype)
    size = (config.batch, config.kv_heads, cached, config.hidden // config.heads)

    def some() -> Tensor:
        return torch.randn(size, device=context.device, dtype=dtype)

    return Served(model.requires_grad_(False).eval(), [Cache(some(), some()) for _ in range(config.layers)])


def step(config: Decoder, context: Context, *, new: int, cached: int) -> Kernel:
    """`new` tokens a sequence, the last of `cached` positions, to the likeliest next token of each: (b, 1). It repeats in place.

    One sequence, two layers, at most 64 positions and 8,192 words of it are checked against float64 without a cache.
    """
    dtype = _tensors.begin(context)
    made = served(config, context, cached, dtype)
    tokens = torch.randint(config.vocabulary, (config.batch, new), device=context.device)
    start = cached - new

    def run() -> Tensor:
        with torch.inference_mode():
            return made.run(tokens, start).argmax(-1)

    return Kernel(run=run, check=lambda: _check(config, context, new, cached, dtype))


def _check(config: Decoder, context: Context, new: int, cached: int, dtype: torch.dtype) -> Check:
    """The last token's logits, read through the cache as the step does, against one float64 pass over all tokens without one.

    The forward half of a training step's roundings: 64u as there.
    """
    part = msgspec.structs.replace(config, batch=1, layers=min(2, config.layers), vocabulary=min(8192, config.vocabulary))
    length = min(cached, 64)
    before = length - 1 if new < cached else 0
    made = served(part, context, length, dtype)
    wide = copy.deepcopy(made.model).to("cpu", torch.float64)
    tokens = torch.randint(part.vocabulary, (1, length), device=context.device)
    with torch.inference_mode():
        if before:
            made.run(tokens[:, :before], 0)
        found = made.run(tokens[:, before:], before)
        wanted = wide(tokens.cpu())[:, -1:]
    error = _tensors.relative_distance([found], [wanted])
    tolerance = 64 * _tensors.unit_roundoff(context.dtype)
    return Check(name="logits of the last token", error=error, tolerance=tolerance, reference="float64 on the CPU, without a cache")
