"""The MLP of a Transformer layer, plain (up, GELU, down) or gated (gate, up, silu, down): forward, or forward and backward."""

from typing import TYPE_CHECKING, Final, Literal

from hwbench.core.value import Value
from hwbench.core.workload import Block, Context, Cost, Kernel, Workload

from ._count import element_bytes, elementwise, need_positive, product

if TYPE_CHECKING:
    from torch import nn


class Config(Value):
    """The sizes of an MLP and the tokens that go through it."""

    tokens: int = 512
    """Tokens a step."""
    hidden: int = 512
    """Width of a token's vector."""
    inner: int = 2048
    """Width inside: four times `hidden` in GPT and BERT, 3.5 times in Llama 3."""
    variant: Literal["plain", "gated"] = "plain"
    """plain: two products with biases and GELU (tanh form); gated: three without, silu(gate)·up (arXiv 2002.05202)."""
    passes: Literal["forward", "forward_backward"] = "forward_backward"
    """Whether the gradients of the tokens and the weights are computed too."""


def cost(config: Config, dtype: str) -> Cost:
    """Two or three products and the activation between them; kept: the input and 2 or 4 inner vectors a token. An item is a token."""
    need_positive(config, "tokens", "hidden", "inner")
    n, h, f, e = config.tokens, config.hidden, config.inner, element_bytes(dtype)
    backward, gated = config.passes == "forward_backward", config.variant == "gated"
    moves, back, function = (3, 5, "silu_gate") if gated else (2, 3, "gelu_tanh")
    up = [product(name, n, f, h, e, division="column", backward=backward) for name in (("gate", "up") if gated else ("up",))]
    block = Block(
        name="mlp",
        parameters=3 * h * f if gated else 2 * h * f + f + h,
        operators=(
            *up,
            elementwise("activation", n * f, e, moves=moves, backward_moves=back if backward else 0, division="column", function=function),
            product("down", n, h, f, e, division="row", backward=backward),
        ),
        activation_bytes=e * n * (h + (4 if gated else 2) * f) if backward else 0.0,
        output_bytes=e * n * h,
    )
    return Cost(blocks=(block,), dtype=dtype, items=n)


def module(config: Config) -> "nn.Module":
    """The MLP that the GPT or the Llama workload has: (tokens, hidden) -> (tokens, hidden)."""
    from ._blocks import MLP
    from ._llama_blocks import GatedMLP

    gated = config.variant == "gated"
    return GatedMLP(config.hidden, config.inner) if gated else MLP(config.hidden, config.inner, "tanh")


def build(config: Config, context: Context) -> Kernel:
    """Tokens of normal numbers, a gradient, and the MLP with torch's initial weights, on the device.

    About ten roundings follow each other forward and backward and the products' sums are in fp32, as in a whole step's check: 64u.
    """
    import torch

    from . import _kernels, _tensors

    dtype = _tensors.begin(context)
    flops = cost(config, context.dtype).flops
    with torch.device(context.device):
        made = module(config).to(dtype)
        x, upstream = (torch.randn(config.tokens, config.hidden, dtype=dtype) for _ in range(2))
    backward = config.passes == "forward_backward"
    return _kernels.of_module("mlp", context, made, [x], upstream, flops=flops, backward=backward, part=_kernels.first_rows, roundings=64)


WORKLOAD: Final = Workload(kind="kernel", config=Config, cost=cost, build=build)
