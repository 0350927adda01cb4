"""Recurrent layers as kernels: counted without torch, and built, fused or step by step, in one way for RNN, LSTM and GRU."""

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from hwbench.core.value import Value
from hwbench.core.workload import Block, Context, Cost, Kernel

from ._count import element_bytes, elementwise, need_positive, product

if TYPE_CHECKING:
    from torch import Tensor, nn

Kind = Literal["rnn", "lstm", "gru"]


class _Gates(NamedTuple):
    gates: int
    """Products of the hidden width a step; gru's are reset, update and candidate (Cho et al. 2014, as cuDNN has it)."""
    states: int
    """Vectors that a step hands to the next."""
    moves: int
    """Hidden vectors read and written by what is not a product."""
    kept: int
    """Hidden vectors a step keeps for the backward pass."""


_KINDS: Final[dict[Kind, _Gates]] = {
    "rnn": _Gates(gates=1, states=1, moves=2, kept=1),  # a pre-activation in, the output out; the output kept
    "lstm": _Gates(gates=4, states=2, moves=7, kept=6),  # four and the cell in, cell and output out; gates, cell and output kept
    "gru": _Gates(gates=3, states=1, moves=8, kept=5),  # three of each product and the state in, the output out; gates, R·h and output kept
}


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
    blocks = tuple(_block(kind, f"layer_{i}", config, width, element_bytes(dtype)) for i, width in enumerate(widths))
    return Cost(blocks=blocks, dtype=dtype, items=config.batch * config.seq_len, micro_batch=config.batch)


def _block(kind: Kind, name: str, config: LayersConfig, width: int, e: float) -> Block:
    """One layer: inputs times W, states times R, and what comes between, in the backward pass about twice as much.

    FLOPs are the same fused and step by step; a product a step reads the weights again each time. The backward pass does both products of
    each, the one into the first state included, as fused kernels do.
    """
    shape, h, steps = _KINDS[kind], config.hidden, config.seq_len
    n, wide, backward = config.batch * steps, shape.gates * h, config.passes == "forward_backward"
    if config.variant == "fused":
        inputs = product("input", n, wide, width, e, backward=backward)
    else:
        inputs = product("input", config.batch, wide, width, e, batch=steps, kind="recurrent", backward=backward)
    return Block(
        name=name,
        parameters=wide * (width + h + 2),  # two biases, as torch and cuDNN keep them
        operators=(
            inputs,
            product("recurrent", config.batch, wide, h, e, batch=steps, kind="recurrent", backward=backward, function=kind),
            elementwise("gates", n * h, e, moves=shape.moves, backward_moves=2 * shape.moves if backward else 0, function=f"{kind}_gates"),
        ),
        activation_bytes=e * n * (width + shape.kept * h) if backward else 0.0,
        output_bytes=e * n * h,
    )


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
        states = [torch.randn(config.layers, config.batch, config.hidden, dtype=dtype) for _ in range(_KINDS[kind].states)]
        upstream = torch.randn(config.batch, config.seq_len, config.hidden, dtype=dtype)

    def part(inputs: _kernels.Inputs, gradient: "Tensor | None") -> "tuple[_kernels.Inputs, Tensor | None]":
        few = [inputs[0][:2, :8], *(state[:, :2].contiguous() for state in inputs[1:])]
        return few, None if gradient is None else gradient[:2, :8]

    return _kernels.of_module(
        kind, context, made, [x, *states], upstream, flops=flops, backward=config.passes == "forward_backward", part=part, roundings=64
    )
