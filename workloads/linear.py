"""A linear layer at the sizes of a model's own layers (GPT-2, BERT, Llama 3, GPT-3): forward, or forward and backward."""

from typing import TYPE_CHECKING, Final, Literal

from hwbench.core.value import Value
from hwbench.core.workload import Block, Context, Cost, Kernel, Workload

from ._count import element_bytes, product
from ._linear import Shape, sizes

if TYPE_CHECKING:
    from torch import nn


class Config(Value):
    """The rows that go through the layer, and its sizes: those of a named one, or one's own."""

    tokens: int = 512
    """Rows of the input: tokens of a micro-batch."""
    shape: Shape = "gpt2.qkv"
    """Whose layer it is: MODEL.LAYER; `custom` takes `inputs` and `outputs`."""
    inputs: int = 0
    """Columns of the input, for shape=custom."""
    outputs: int = 0
    """Columns of the result, for shape=custom."""
    bias: bool = True
    """Whether a bias is added."""
    passes: Literal["forward", "forward_backward"] = "forward_backward"
    """Whether the gradients of the input and of the weights are computed too."""


def cost(config: Config, dtype: str) -> Cost:
    """One product forward, two backward; the input is kept. An item is a token."""
    inputs, outputs = sizes(config)
    e, backward = element_bytes(dtype), config.passes == "forward_backward"
    block = Block(
        name="linear",
        parameters=(inputs + config.bias) * outputs,
        operators=(product("linear", config.tokens, outputs, inputs, e, backward=backward),),
        activation_bytes=e * config.tokens * inputs if backward else 0.0,
        output_bytes=e * config.tokens * outputs,
    )
    return Cost(blocks=(block,), dtype=dtype, items=config.tokens)


def module(config: Config) -> "nn.Module":
    """torch's own: (tokens, inputs) -> (tokens, outputs)."""
    from torch import nn

    inputs, outputs = sizes(config)
    return nn.Linear(inputs, outputs, bias=config.bias)


def build(config: Config, context: Context) -> Kernel:
    """Rows of normal numbers, a gradient, and the layer with torch's initial weights, on the device.

    Sums in fp32 walk to √k·u₃₂, relative to sums of random signs; the result is rounded to the dtype, and tf32 rounds operands
    as well: 8(u + √k·u₃₂), k the longest sum.
    """
    import torch

    from . import _kernels, _tensors

    dtype = _tensors.begin(context)
    flops = cost(config, context.dtype).flops
    inputs, outputs = sizes(config)
    with torch.device(context.device):
        made = module(config).to(dtype)
        x, upstream = torch.randn(config.tokens, inputs, dtype=dtype), torch.randn(config.tokens, outputs, dtype=dtype)
    u, sums = _tensors.unit_roundoff(context.dtype), _tensors.unit_roundoff("fp64" if context.dtype == "fp64" else "fp32")
    return _kernels.of_module(
        "linear",
        context,
        made,
        [x],
        upstream,
        flops=flops,
        backward=config.passes == "forward_backward",
        part=lambda given, gradient: _kernels.first_rows(given, gradient, 16),
        roundings=8 * (1 + max(inputs, outputs) ** 0.5 * sums / u),
    )


WORKLOAD: Final = Workload(kind="kernel", config=Config, cost=cost, build=build)
