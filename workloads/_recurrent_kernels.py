"""Recurrent layers as kernels: counted without torch, and built, fused or step by step, in one way for RNN, LSTM and GRU."""

from typing import TYPE_CHECKING, Any, Literal

from hwbench.core.value import Value
from hwbench.core.workload import Context, Cost, Kernel

from ._count import element_bytes, need_positive
from ._recurrent import KINDS, Kind, recurrent_block

if TYPE_CHECKING:
    from torch import Tensor, nn


class LayersConfig(Value):
    """The sizes of a stack of recurrent layers and of its input."""

    batch: int = 32
    """Sequences worked on at once."""
    seq_len: int = 32
    """Steps of a sequence."""
    input_size: int = 256
    """Width of the input."""
    hidden: int = 256
    """Units of a layer."""
    layers: int = 1
    """Layers on top of each other."""
    passes: Literal["forward", "forward_backward"] = "forward_backward"
    """Whether the gradients of the input, the first state and the weights are computed too."""
    variant: Literal["fused", "per_step"] = "fused"
    """fused: torch's layer (cuDNN, oneDNN), which multiplies the inputs of all steps at once; per_step: torch's cell, once a step."""


def layers_cost(kind: Kind, config: LayersConfig, dtype: str) -> Cost:
    """One block a layer; an item is one step of one sequence (a token)."""
    need_positive(config, "batch", "seq_len", "input_size", "hidden", "layers")
    widths = (config.input_size, *[config.hidden] * (config.layers - 1))
    b, steps, h, e = config.batch, config.seq_len, config.hidden, element_bytes(dtype)
    backward, per_step = config.passes == "forward_backward", config.variant == "per_step"
    blocks = tuple(
        recurrent_block(kind, f"layer_{i}", b, steps, width, h, e, backward=backward, per_step=per_step) for i, width in enumerate(widths)
    )
    return Cost(blocks=blocks, dtype=dtype, items=config.batch * config.seq_len, micro_batch=config.batch)


def layers_module(kind: Kind, config: LayersConfig) -> "nn.Module":
    """(b, s, width) and the first states, (layers, b, h) each, to the last layer's outputs (b, s, h)."""
    import torch
    from torch import nn

    class Fused(nn.Module):
        """torch's own layers."""

        def __init__(self) -> None:
            super().__init__()
            made: dict[Kind, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
            self.stack = made[kind](config.input_size, config.hidden, config.layers, batch_first=True)

        def forward(self, x: "Tensor", *states: "Tensor") -> "Tensor":
            output: Tensor = self.stack(x, states if kind == "lstm" else states[0])[0]
            return output

    class PerStep(nn.Module):
        """torch's own cells, one call a step and layer."""

        def __init__(self) -> None:
            super().__init__()
            made: dict[Kind, Any] = {"rnn": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}
            widths = (config.input_size, *[config.hidden] * (config.layers - 1))
            self.cells = nn.ModuleList(made[kind](width, config.hidden) for width in widths)

        def forward(self, x: "Tensor", *states: "Tensor") -> "Tensor":
            steps = list(x.unbind(1))
            for i, cell in enumerate(self.cells):
                state: Any = tuple(s[i] for s in states) if kind == "lstm" else states[0][i]
                for t, step in enumerate(steps):
                    state = cell(step, state)
                    steps[t] = state[0] if kind == "lstm" else state
            return torch.stack(steps, 1)

    return Fused() if config.variant == "fused" else PerStep()


def layers_kernel(kind: Kind, config: LayersConfig, context: Context) -> Kernel:
    """The layers with torch's initial weights, an input, first states and a gradient of the output, on the device.

    Checked on two sequences of at most 8 steps. Gates squash what a step passes on, so roundings hardly add up over steps: 8u was seen
    at worst; 64u is allowed, since sigmoid and tanh are approximated to a few u in fused kernels.
    """
    import torch

    from . import _kernels, _tensors

    dtype = _tensors.begin(context)
    flops = layers_cost(kind, config, context.dtype).flops
    with torch.device(context.device):
        made = layers_module(kind, config).to(dtype)
        x = torch.randn(config.batch, config.seq_len, config.input_size, dtype=dtype)
        states = [torch.randn(config.layers, config.batch, config.hidden, dtype=dtype) for _ in range(KINDS[kind].states)]
        upstream = torch.randn(config.batch, config.seq_len, config.hidden, dtype=dtype)

    def part(inputs: _kernels.Inputs, gradient: "Tensor | None") -> "tuple[_kernels.Inputs, Tensor | None]":
        few = [inputs[0][:2, :8], *(state[:, :2].contiguous() for state in inputs[1:])]
        return few, None if gradient is None else gradient[:2, :8]

    return _kernels.of_module(
        kind, context, made, [x, *states], upstream, flops=flops, backward=config.passes == "forward_backward", part=part, roundings=64
    )
