"""Kernels that go over memory row by row (softmax and the norms), put together in one way. No torch at module level."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from hwbench.core.value import Value
from hwbench.core.workload import Block, Context, Cost, Kernel

from ._count import element_bytes, elementwise, need_positive
from ._layers import STATISTIC_BYTES

if TYPE_CHECKING:
    from torch import nn


class RowConfig(Value):
    """A matrix that is gone over row by row."""

    rows: int = 4096
    """Rows: tokens, or a query's scores."""
    width: int = 1024
    """Elements of a row, which are normalised together."""
    passes: Literal["forward", "forward_backward"] = "forward_backward"
    """Whether the gradients are computed too."""


def row_cost(function: str, config: RowConfig, dtype: str, *, parameters: int, statistics: int) -> Cost:
    """x in, y out; backward two in (dy, and x or y) and dx out. Kept: one of x and y, and fp32 `statistics` a row. An item is a row."""
    need_positive(config, "rows", "width")
    e, backward = element_bytes(dtype), config.passes == "forward_backward"
    operator = elementwise(function, config.rows * config.width, e, moves=2, backward_moves=3 if backward else 0, function=function)
    size = e * config.rows * config.width
    kept = size + STATISTIC_BYTES * statistics * config.rows if backward else 0.0
    block = Block(name=function, parameters=parameters, operators=(operator,), activation_bytes=kept, output_bytes=size)
    return Cost(blocks=(block,), dtype=dtype, items=config.rows, item_unit="row")


def row_kernel(
    function: str,
    config: RowConfig,
    context: Context,
    module: "Callable[[], nn.Module]",
    *,
    reference: "Callable[[], nn.Module] | None" = None,
) -> Kernel:
    """A matrix of normal numbers, a gradient of the result, and the module on the device.

    Each element of a result or gradient takes about ten roundings, sums over a row are in fp32 and their roundings a random walk of
    √width steps of fp32's; 16u was never reached by half in any dtype (widths 16 to 16,384).
    """
    import torch

    from . import _kernels, _tensors

    dtype = _tensors.begin(context)
    with torch.device(context.device):
        made = module().to(dtype)
        x, upstream = (torch.randn(config.rows, config.width, dtype=dtype) for _ in range(2))
    return _kernels.of_module(
        function,
        context,
        made,
        [x],
        upstream,
        flops=0.0,
        backward=config.passes == "forward_backward",
        part=_kernels.first_rows,
        roundings=16,
        reference=reference() if reference else None,
    )
