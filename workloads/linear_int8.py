"""A linear layer with int8 weights, forward: products in int8 (`--dtype int8`), or weights widened on the way into a product of the dtype.

int8: each row of the input is quantised when it comes (largest magnitude to 127), multiplied in int8 with sums in int32, and scaled back:
torch's `_int_mm`, the way of torchao's dynamic quantisation. Other dtypes: torch's `_weight_int8pack_mm`, weight-only, as decoding uses it.
"""

import dataclasses
from typing import Final

from hwbench.core.value import Value
from hwbench.core.workload import Block, Check, Context, Cost, Kernel, Operator, Workload

from ._count import element_bytes
from ._linear import Shape, sizes

LEVELS: Final = 127
"""Largest magnitude of a quantised number; -128 is left out, so that negation is exact."""


class Config(Value):
    """The rows that go through the layer, and its sizes: those of a named one, or one's own."""

    tokens: int = 512
    """Rows of the input; a few are the decoding of as many sequences."""
    shape: Shape = "gpt2.up"
    """Whose layer it is: MODEL.LAYER; `custom` takes `inputs` and `outputs`."""
    inputs: int = 0
    """Columns of the input, for shape=custom."""
    outputs: int = 0
    """Columns of the result, for shape=custom."""


def _outside(dtype: str) -> str:
    """The dtype of what goes in and comes out."""
    return "fp32" if dtype == "int8" else dtype


def cost(config: Config, dtype: str) -> Cost:
    """2mnk operations, counted as FLOPs; input and result in the dtype (fp32 for int8), weights a byte each, a scale a column."""
    inputs, outputs = sizes(config)
    e, m = element_bytes(_outside(dtype)), config.tokens
    traffic = e * m * (inputs + outputs) + inputs * outputs + e * outputs
    operator = Operator(name="linear", kind="matmul", flops=2.0 * m * inputs * outputs, bytes=traffic, m=m, n=outputs, k=inputs)
    block = Block(name="linear", parameters=inputs * outputs, operators=(operator,), output_bytes=e * m * outputs)
    return Cost(blocks=(block,), dtype=dtype, items=m)


def build(config: Config, context: Context) -> Kernel:
    """Rows of normal numbers, and weights quantised column by column, on the device.

    UnavailableError, with torch's reason, where the device has no such product for these sizes and dtype.
    """
    import torch

    from . import _kernels, _tensors

    dtype = _tensors.begin(dataclasses.replace(context, dtype=_outside(context.dtype)))
    cost(config, context.dtype)
    inputs, outputs = sizes(config)
    x = torch.randn(config.tokens, inputs, device=context.device, dtype=dtype)
    weight = torch.randn(outputs, inputs, device=context.device) / inputs**0.5
    scale = weight.abs().amax(1) / LEVELS
    packed = (weight / scale[:, None]).round().to(torch.int8)
    scales = scale.to(dtype)

    def dynamic(x: torch.Tensor) -> torch.Tensor:
        steps = x.abs().amax(1, keepdim=True) / LEVELS
        rows = (x / steps).round().to(torch.int8)
        result: torch.Tensor = torch._int_mm(rows, packed.t()) * steps * scales
        return result

    def weight_only(x: torch.Tensor) -> torch.Tensor:
        return torch._weight_int8pack_mm(x, packed, scales)

    run = dynamic if context.dtype == "int8" else weight_only

    def check() -> Check:
        """At most 64 rows against float64 with the quantised weights; the weights' own quantisation is the model's loss, not the kernel's.

        Weight-only: 8(u + √k·u₃₂), as a plain product. int8: a row's elements are off by up to half a step each, evenly spread,
        so by 1/√12 of a step in the mean square; relative to the row's own mean square that is what the result is off by. 1.5 times it.
        """
        few = x[:64]
        exactly = _tensors.exact(few)
        wanted = exactly @ (_tensors.exact(packed) * _tensors.exact(scales)[:, None]).t()
        error = _tensors.relative_distance([run(few)], [wanted])
        u = _tensors.unit_roundoff(_outside(context.dtype))
        tolerance = 8 * (u + inputs**0.5 * min(u, _tensors.unit_roundoff("fp32")))
        if context.dtype == "int8":
            steps = exactly.abs().amax(1) / LEVELS
            tolerance += 1.5 * float((steps / exactly.square().mean(1).sqrt()).max()) / 12**0.5
        return Check(name="linear_int8", error=error, tolerance=tolerance, reference="float64 with the quantised weights")

    _kernels.try_once(lambda: run(x), f"int8 products on {context.device.type} in {context.dtype}")
    return Kernel(run=lambda: run(x), check=check)


WORKLOAD: Final = Workload(kind="kernel", config=Config, cost=cost, build=build)
