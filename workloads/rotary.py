"""Rotary positions (Su et al., arXiv 2104.09864) of queries and keys: forward, or forward and backward."""

from typing import TYPE_CHECKING, Final, Literal

from hwbench.core.errors import UserError
from hwbench.core.value import Value
from hwbench.core.workload import Block, Context, Cost, Kernel, Workload

from ._count import element_bytes, elementwise, need_positive

if TYPE_CHECKING:
    from torch import Tensor, nn


class Config(Value):
    """The queries and keys that are turned."""

    batch: int = 2
    """Sequences."""
    seq_len: int = 1024
    """Positions of a sequence."""
    heads: int = 16
    """Query heads."""
    kv_heads: int = 4
    """Key heads."""
    head_dim: int = 64
    """Width of a head; neighbouring pairs are turned."""
    theta: float = 10_000.0
    """The base of the angles' frequencies; Llama 3 has 500,000."""
    passes: Literal["forward", "forward_backward"] = "forward_backward"
    """Whether the gradient is turned back too."""


def cost(config: Config, dtype: str) -> Cost:
    """Queries and keys read and written, the same for their gradients; the table of angles is left out (1/heads of it). Nothing is kept."""
    need_positive(config, "batch", "seq_len", "heads", "kv_heads", "head_dim")
    if config.head_dim % 2:
        raise UserError(f"head_dim={config.head_dim}: expected an even number, since pairs are turned")
    if config.theta <= 0:
        raise UserError(f"theta={config.theta}: expected more than 0")
    n, e = config.batch * config.seq_len, element_bytes(dtype)
    elements = n * (config.heads + config.kv_heads) * config.head_dim
    back = 2 if config.passes == "forward_backward" else 0
    operator = elementwise("rotary", elements, e, moves=2, backward_moves=back, division="heads", function="rotary")
    return Cost(blocks=(Block(name="rotary", parameters=0, operators=(operator,), output_bytes=e * elements),), dtype=dtype, items=n)


def module(config: Config) -> "nn.Module":
    """Queries and keys side by side, (b, s, H + K, d), to the same turned, by complex products as in the Llama workload."""
    import torch
    from torch import nn

    from ._llama_blocks import rotary_table, rotate

    class Rotary(nn.Module):
        """Holds the table of angles, which is no buffer: conversion to the dtype must leave it alone."""

        def __init__(self) -> None:
            super().__init__()
            self.table = rotary_table(config.seq_len, config.head_dim, config.theta)

        def forward(self, x: "Tensor") -> "Tensor":
            return rotate(x, self.table if self.table.device == x.device else self.table.to(x.device))

    with torch.no_grad():
        return Rotary()


def _reference(config: Config) -> "nn.Module":
    """The paper's formula with cosines and sines, angles in float64."""
    import torch
    from torch import nn

    class Turned(nn.Module):
        def forward(self, x: "Tensor") -> "Tensor":
            d = config.head_dim
            pairs = config.theta ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
            angle = torch.outer(torch.arange(x.shape[1], dtype=torch.float64), pairs).unsqueeze(1)
            a, b = x[..., 0::2], x[..., 1::2]
            return torch.stack((a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()), -1).flatten(-2)

    return Turned()


def build(config: Config, context: Context) -> Kernel:
    """Queries and keys of normal numbers and a gradient, on the device.

    The result takes two roundings of the dtype; angles are in fp32, whose roundoff the position multiplies: s·u₃₂ at worst.
    """
    import torch

    from . import _kernels, _tensors

    dtype = _tensors.begin(context)
    cost(config, context.dtype)
    shape = (config.batch, config.seq_len, config.heads + config.kv_heads, config.head_dim)
    with torch.device(context.device):
        made = module(config)
        x, upstream = (torch.randn(shape, dtype=dtype) for _ in range(2))
    angles = config.seq_len * _tensors.unit_roundoff("fp32") / _tensors.unit_roundoff(context.dtype)
    return _kernels.of_module(
        "rotary",
        context,
        made,
        [x],
        upstream,
        flops=0.0,
        backward=config.passes == "forward_backward",
        part=lambda inputs, gradient: _kernels.first_rows(inputs, gradient, 1),
        roundings=4 + angles,
        reference=_reference(config),
    )


WORKLOAD: Final = Workload(kind="kernel", config=Config, cost=cost, build=build)
