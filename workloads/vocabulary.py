"""The head of a language model: vocabulary projection and cross entropy over all positions, forward, or forward and backward."""

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from hwbench.core.value import Value
from hwbench.core.workload import Block, Context, Cost, Kernel, Workload

from ._count import cross_entropy, cross_entropy_saved_bytes, element_bytes, need_positive, product

if TYPE_CHECKING:
    from torch import Tensor, nn


class Config(Value):
    """The sizes of a head and the tokens whose next word it predicts."""

    tokens: int = 256
    """Positions a step."""
    hidden: int = 256
    """Width of a position's vector."""
    vocabulary: int = 16_384
    """Words."""
    distribution: Literal["uniform", "zipf"] = "zipf"
    """How the words to predict are drawn."""
    passes: Literal["forward", "forward_backward"] = "forward_backward"
    """Whether the gradients of the positions and of the projection are computed too."""


def cost(config: Config, dtype: str) -> Cost:
    """The product h·V and the loss in fp32; kept: the positions' vectors, the log-probabilities and the targets. An item is a token."""
    need_positive(config, "tokens", "hidden", "vocabulary")
    n, h, v, e = config.tokens, config.hidden, config.vocabulary, element_bytes(dtype)
    backward = config.passes == "forward_backward"
    loss = cross_entropy(n, v, e)
    if not backward:
        loss = msgspec.structs.replace(loss, backward_bytes=0.0)
    block = Block(
        name="vocabulary",
        parameters=h * v,
        operators=(product("vocabulary", n, v, h, e, division="vocabulary", backward=backward), loss),
        activation_bytes=e * n * h + cross_entropy_saved_bytes(n, v, e) if backward else 0.0,
    )
    return Cost(blocks=(block,), dtype=dtype, items=n)


def module(config: Config) -> "nn.Module":
    """Vectors (tokens, hidden) and int64 targets (tokens,) to the mean loss, a number in fp32 at least."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Head(nn.Module):
        """The projection has no bias, as in GPT and Llama."""

        def __init__(self) -> None:
            super().__init__()
            self.projection = nn.Linear(config.hidden, config.vocabulary, bias=False)

        def forward(self, x: "Tensor", targets: "Tensor") -> "Tensor":
            logits = self.projection(x)
            return functional.cross_entropy(logits if logits.dtype.itemsize >= 4 else logits.float(), targets)

    made = Head()
    with torch.no_grad():
        made.projection.weight.normal_(std=config.hidden**-0.5)
    return made


def build(config: Config, context: Context) -> Kernel:
    """Vectors of normal numbers, words to predict, and the projection, on the device.

    Tolerance 64u, as of a whole step's loss and gradient.
    """
    import torch

    from . import _kernels, _tensors

    dtype = _tensors.begin(context)
    flops = cost(config, context.dtype).flops
    with torch.device(context.device):
        made = module(config).to(dtype)
        x = torch.randn(config.tokens, config.hidden, dtype=dtype)
    targets = _tensors.token_ids((config.tokens,), config.vocabulary, config.distribution, context.device)
    backward = config.passes == "forward_backward"
    return _kernels.of_module(
        "vocabulary",
        context,
        made,
        [x, targets],
        None,
        flops=flops,
        backward=backward,
        part=lambda inputs, gradient: _kernels.first_rows(inputs, gradient, 16),
        roundings=64,
    )


WORKLOAD: Final = Workload(kind="kernel", config=Config, cost=cost, build=build)
