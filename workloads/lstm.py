"""LSTM layers over a sequence: forward, or forward and backward.

torch's own nn.LSTM: cuDNN on NVIDIA, oneDNN on a CPU, which multiply the inputs of all steps at once and fuse the gates of a step.
"""

from typing import Final, Literal

from hwbench.core.value import Value
from hwbench.core.workload import Check, Context, Cost, Kernel, Workload

from ._count import element_bytes, need_positive
from ._recurrent import lstm_block


class Config(Value):
    """The sizes of a stack of LSTM layers and of its input."""

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
    """Whether the gradients of the input and of the weights are computed too."""


def cost(config: Config, dtype: str) -> Cost:
    """One block a layer; an item is one step of one sequence (a token)."""
    need_positive(config, "batch", "seq_len", "input_size", "hidden", "layers")
    backward = config.passes == "forward_backward"
    widths = (config.input_size, *[config.hidden] * (config.layers - 1))
    blocks = tuple(
        lstm_block(f"layer_{i}", config.batch, config.seq_len, width, config.hidden, element_bytes(dtype), backward=backward)
        for i, width in enumerate(widths)
    )
    return Cost(blocks=blocks, dtype=dtype, items=config.batch * config.seq_len, micro_batch=config.batch)


def build(config: Config, context: Context) -> Kernel:
    """The layers with torch's initial weights, an input and a gradient of the output, on the device."""
    import copy

    import torch

    from . import _tensors

    dtype = _tensors.begin(context)
    cost(config, context.dtype)
    backward = config.passes == "forward_backward"
    module = torch.nn.LSTM(config.input_size, config.hidden, config.layers, batch_first=True, device=context.device, dtype=dtype)
    module.requires_grad_(backward)

    def some(width: int) -> torch.Tensor:
        return torch.randn(config.batch, config.seq_len, width, device=context.device, dtype=dtype)

    x, upstream = some(config.input_size).requires_grad_(backward), some(config.hidden)

    def step(module: torch.nn.LSTM, x: torch.Tensor, upstream: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output, _ = module(x)
        return (output, *torch.autograd.grad(output, (x, *module.parameters()), upstream)) if backward else (output,)

    def check() -> Check:
        """Output and every gradient of two sequences of at most 8 steps, as relative Euclidean distances.

        Gates squash what a step passes on, so roundings hardly add up over steps: 8u was seen at worst; 64u is allowed, since
        sigmoid and tanh are approximated to a few u in fused kernels.
        """
        part, given = x.detach()[:2, :8], upstream[:2, :8]
        wide = copy.deepcopy(module).to("cpu", torch.float64)
        found = step(module, part.clone().requires_grad_(backward), given)
        wanted = step(wide, _tensors.exact(part).requires_grad_(backward), _tensors.exact(given))
        error = _tensors.relative_distance(found, wanted)
        return Check(name="lstm", error=error, tolerance=64 * _tensors.unit_roundoff(context.dtype), reference="float64 on the CPU")

    return Kernel(run=lambda: step(module, x, upstream), check=check)


WORKLOAD: Final = Workload(kind="kernel", config=Config, cost=cost, build=build)
