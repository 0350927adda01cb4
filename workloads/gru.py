"""GRU layers over a sequence: forward, or forward and backward.

torch's own layers, fused (cuDNN on NVIDIA, oneDNN on a CPU where it has them) or one cell a step.
"""

from typing import TYPE_CHECKING, Final

from hwbench.core.workload import Context, Cost, Kernel, Workload

from ._recurrent_kernels import LayersConfig, layers_cost, layers_kernel, layers_module

if TYPE_CHECKING:
    from torch import nn


class Config(LayersConfig):
    """The sizes of a stack of GRU layers and of its input."""


def cost(config: Config, dtype: str) -> Cost:
    """One block a layer; an item is one step of one sequence (a token)."""
    return layers_cost("gru", config, dtype)


def module(config: Config) -> "nn.Module":
    """(b, s, width) and the first states to the last layer's outputs (b, s, h)."""
    return layers_module("gru", config)


def build(config: Config, context: Context) -> Kernel:
    """The layers, an input, first states and a gradient of the output, on the device."""
    return layers_kernel("gru", config, context)


WORKLOAD: Final = Workload(kind="kernel", config=Config, cost=cost, build=build)
