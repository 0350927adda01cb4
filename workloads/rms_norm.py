"""RMS norm with a weight (Llama): forward, or forward and backward.

torch's fused kernel on accelerators; on a CPU the function of `_llama_blocks.py`, in two thirds of the time of torch's seven operators.
"""

from typing import TYPE_CHECKING, Final

from hwbench.core.workload import Context, Cost, Kernel, Workload

from ._rowwise import RowConfig, row_cost, row_kernel

if TYPE_CHECKING:
    from torch import nn


class Config(RowConfig):
    """Tokens and the width of their vectors."""


def cost(config: Config, dtype: str) -> Cost:
    """x in, y out; backward x and dy in, dx out. Kept: x, and the reciprocal root of the mean square of a row in fp32."""
    return row_cost("rms_norm", config, dtype, parameters=config.width, statistics=1)


def module(config: Config) -> "nn.Module":
    """The norm that the Llama workload has: (rows, width) -> (rows, width)."""
    from ._llama_blocks import RMSNorm

    return RMSNorm(config.width)


def _reference(config: Config) -> "nn.Module":
    from torch import nn

    return nn.RMSNorm(config.width, eps=1e-5)


def build(config: Config, context: Context) -> Kernel:
    """A matrix of normal numbers on the device; checked against torch's own RMS norm."""
    cost(config, context.dtype)
    return row_kernel("rms_norm", config, context, lambda: module(config), reference=lambda: _reference(config))


WORKLOAD: Final = Workload(kind="kernel", config=Config, cost=cost, build=build)
