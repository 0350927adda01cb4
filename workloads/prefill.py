"""Inference of a GPT or Llama decoder, reading the prompt: all its tokens at once, keys and values into the cache, the first new token.

No gradients. Limited by arithmetic; `decode` is the other phase.
"""

from typing import Final

from hwbench.core.workload import Context, Cost, Kernel, Workload

from ._count import need_positive
from ._inference import Decoder, decoder_cost


class Config(Decoder):
    """A decoder's sizes and its prompts."""

    seq_len: int = 128
    """Tokens of a prompt."""


def cost(config: Config, dtype: str) -> Cost:
    """One forward pass; the projection works on each prompt's last token. An item is a token of a prompt."""
    need_positive(config, "seq_len")
    return decoder_cost(config, dtype, new=config.seq_len, cached=config.seq_len)


def build(config: Config, context: Context) -> Kernel:
    """The decoder and prompts of uniform token ids, on the device."""
    from . import _inference_blocks

    cost(config, context.dtype)
    return _inference_blocks.step(config, context, new=config.seq_len, cached=config.seq_len)


WORKLOAD: Final = Workload(kind="inference", config=Config, cost=cost, build=build)
