"""Softmax of rows, as of attention's scores or a router's: forward, or forward and backward."""

from typing import TYPE_CHECKING, Final

from hwbench.core.workload import Context, Cost, Kernel, Workload

from ._rowwise import RowConfig, row_cost, row_kernel

if TYPE_CHECKING:
    from torch import nn


class Config(RowConfig):
    """A matrix of scores; the default is 4,096 rows of attention over 1,024 positions."""


def cost(config: Config, dtype: str) -> Cost:
    """Scores in, probabilities out (and kept); backward probabilities and their gradient in, the scores' gradient out."""
    return row_cost("softmax", config, dtype, parameters=0, statistics=0)


def module(config: Config) -> "nn.Module":  # noqa: ARG001  # the same for every size
    """torch's softmax over the last dimension: (rows, width) -> (rows, width)."""
    from torch import nn

    return nn.Softmax(-1)


def build(config: Config, context: Context) -> Kernel:
    """A matrix of normal numbers on the device."""
    cost(config, context.dtype)
    return row_kernel("softmax", config, context, lambda: module(config))


WORKLOAD: Final = Workload(kind="kernel", config=Config, cost=cost, build=build)
