"""A recurrent cell with sigmoid, h_t = sigmoid(W[h, x] + b), over a sequence: forward, or forward and backward.

The cell of Elman's network with one matrix for state and input, as in textbooks' word-level language models.
"""

from typing import TYPE_CHECKING, Final, Literal

from hwbench.core.value import Value
from hwbench.core.workload import Block, Context, Cost, Kernel, Operator, Workload

from ._count import element_bytes, elementwise, need_positive, product

if TYPE_CHECKING:
    from torch import Tensor, nn


class Config(Value):
    """The sizes of the cell and of its input."""

    batch: int = 64
    """Sequences worked on at once."""
    seq_len: int = 16
    """Steps of a sequence."""
    input_size: int = 300
    """Width of the input."""
    hidden: int = 100
    """Units."""
    variant: Literal["fused", "per_step"] = "fused"
    """fused: the inputs of all steps are multiplied at once; per_step: one product of the joined state and input a step."""
    passes: Literal["forward", "forward_backward"] = "forward_backward"
    """Whether the gradients of the input, the first state and the weights are computed too."""


def cost(config: Config, dtype: str) -> Cost:
    """W is (h, h + width), b is h; an item is one step of one sequence. Kept: the input (joined, per step) and the output."""
    need_positive(config, "batch", "seq_len", "input_size", "hidden")
    b, s, width, h, e = config.batch, config.seq_len, config.input_size, config.hidden, element_bytes(dtype)
    n, backward = b * s, config.passes == "forward_backward"
    if config.variant == "fused":
        products: tuple[Operator, ...] = (
            product("input", n, h, width, e, backward=backward),
            product("recurrent", b, h, h, e, batch=s, kind="recurrent", backward=backward, function="rnn"),
        )
        kept = width + h
    else:
        products = (product("joined", b, h, h + width, e, batch=s, kind="recurrent", backward=backward, function="rnn"),)
        kept = width + 2 * h
    block = Block(
        name="cell",
        parameters=h * (h + width) + h,
        operators=(*products, elementwise("sigmoid", n * h, e, moves=2, backward_moves=3 if backward else 0, function="sigmoid")),
        activation_bytes=e * n * kept if backward else 0.0,
        output_bytes=e * n * h,
    )
    return Cost(blocks=(block,), dtype=dtype, items=n, micro_batch=b)


def module(config: Config) -> "nn.Module":
    """(b, s, width) and a first state (b, h) to the states of all steps (b, s, h)."""
    import torch
    from torch import nn

    from ._rnn_blocks import SigmoidLayer

    class PerStep(nn.Module):
        """One linear layer over state and input, then sigmoid."""

        def __init__(self) -> None:
            super().__init__()
            self.joined = nn.Linear(config.hidden + config.input_size, config.hidden)

        def forward(self, x: "Tensor", h: "Tensor") -> "Tensor":
            states = []
            for step in x.unbind(1):
                h = torch.sigmoid(self.joined(torch.cat((h, step), 1)))
                states.append(h)
            return torch.stack(states, 1)

    return SigmoidLayer(config.input_size, config.hidden) if config.variant == "fused" else PerStep()


def build(config: Config, context: Context) -> Kernel:
    """The cell with torch's initial weights, an input, a first state and a gradient of the states, on the device.

    Checked on two sequences of at most 8 steps. sigmoid's slope is at most 1/4, so what a step rounds fades: 64u as for the layers.
    """
    import torch

    from . import _kernels, _tensors

    dtype = _tensors.begin(context)
    flops = cost(config, context.dtype).flops
    with torch.device(context.device):
        made = module(config).to(dtype)
        x = torch.randn(config.batch, config.seq_len, config.input_size, dtype=dtype)
        h = torch.rand(config.batch, config.hidden, dtype=dtype)
        upstream = torch.randn(config.batch, config.seq_len, config.hidden, dtype=dtype)

    def part(inputs: _kernels.Inputs, gradient: "Tensor | None") -> "tuple[_kernels.Inputs, Tensor | None]":
        return [inputs[0][:2, :8], inputs[1][:2]], None if gradient is None else gradient[:2, :8]

    return _kernels.of_module(
        "rnn_cell", context, made, [x, h], upstream, flops=flops, backward=config.passes == "forward_backward", part=part, roundings=64
    )


WORKLOAD: Final = Workload(kind="kernel", config=Config, cost=cost, build=build)
