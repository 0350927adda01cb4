"""Layer norm with weight and bias (GPT, BERT): forward, or forward and backward."""

from typing import TYPE_CHECKING, Final

from hwbench.core.workload import Context, Cost, Kernel, Workload

from ._rowwise import RowConfig, row_cost, row_kernel

if TYPE_CHECKING:
    from torch import nn


class Config(RowConfig):
    """Tokens and the width of their vectors."""


def cost(config: Config, dtype: str) -> Cost:
    """x in, y out; backward x and dy in, dx out. Kept: x, and mean and reciprocal deviation of a row in fp32."""
    return row_cost("layer_norm", config, dtype, parameters=2 * config.width, statistics=2)


def module(config: Config) -> "nn.Module":
    """torch's layer norm over the last dimension: (rows, width) -> (rows, width)."""
    from torch import nn

    return nn.LayerNorm(config.width)


def build(config: Config, context: Context) -> Kernel:
    """A matrix of normal numbers on the device."""
    cost(config, context.dtype)
    return row_kernel("layer_norm", config, context, lambda: module(config))


WORKLOAD: Final = Workload(kind="kernel", config=Config, cost=cost, build=build)
