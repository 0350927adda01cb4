"""Inference of a GPT or Llama decoder, one new token a sequence, with a cache of the keys and values of all earlier ones.

No gradients. Limited by the bytes of weights and cache; `prefill` is the other phase. Each step writes the same position again.
"""

from typing import Final

from hwbench.core.errors import UserError
from hwbench.core.workload import Context, Cost, Kernel, Workload

from ._inference import Decoder, decoder_cost


class Config(Decoder):
    """A decoder's sizes and the length of its cache."""

    cache_len: int = 512
    """Positions in the cache, the new token's included."""


def cost(config: Config, dtype: str) -> Cost:
    """One token a sequence through all layers, attention over the whole cache. An item is a new token."""
    if config.cache_len < 2:
        raise UserError(f"cache_len={config.cache_len}: expected at least 2, an earlier token and the new one")
    return decoder_cost(config, dtype, new=1, cached=config.cache_len)


def build(config: Config, context: Context) -> Kernel:
    """The decoder, a cache of normal numbers and uniform token ids, on the device."""
    from . import _inference_blocks

    cost(config, context.dtype)
    return _inference_blocks.step(config, context, new=1, cached=config.cache_len)


WORKLOAD: Final = Workload(kind="inference", config=Config, cost=cost, build=build)
