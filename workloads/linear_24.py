"""A linear layer pruned to 2 of every 4 weights, forward, on devices with sparse tensor cores.

Two of four neighbouring weights are zero (arXiv 2104.08378), and hardware that knows it does half the work. Zeros in a dense product
would save nothing and are not measured in its place: without such cores the case is left out, with torch's reason.
"""

from typing import TYPE_CHECKING, Final

from hwbench.core.errors import UserError
from hwbench.core.value import Value
from hwbench.core.workload import Block, Check, Context, Cost, Kernel, Operator, Workload

from ._count import element_bytes
from ._linear import Shape, sizes

if TYPE_CHECKING:
    import torch

KEPT_FRACTION: Final = 0.5
METADATA_BYTES: Final = 0.25
"""Two bits say which of four a kept weight is."""


class Config(Value):
    """The rows that go through the layer, and its sizes: those of a named one, or one's own."""

    tokens: int = 512
    """Rows of the input."""
    shape: Shape = "gpt2.up"
    """Whose layer it is: MODEL.LAYER; `custom` takes `inputs` and `outputs`."""
    inputs: int = 0
    """Columns of the input, for shape=custom."""
    outputs: int = 0
    """Columns of the result, for shape=custom."""


def cost(config: Config, dtype: str) -> Cost:
    """2mnk FLOPs are counted, as of the dense layer; hardware executes half of them. Weights take half their bytes and 2 bits a kept one.

    UserError unless the inputs come in fours.
    """
    inputs, outputs = sizes(config)
    if inputs % 4:
        raise UserError(f"inputs={inputs}: expected a multiple of 4, since two of every four weights are kept")
    e, m, kept = element_bytes(dtype), config.tokens, KEPT_FRACTION * inputs * outputs
    operator = Operator(
        name="linear",
        kind="matmul",
        flops=2.0 * m * inputs * outputs,
        bytes=e * m * (inputs + outputs) + (e + METADATA_BYTES) * kept,
        m=m,
        n=outputs,
        k=inputs,
        executed_fraction=KEPT_FRACTION,
    )
    block = Block(name="linear", parameters=int(kept), operators=(operator,), output_bytes=e * m * outputs)
    return Cost(blocks=(block,), dtype=dtype, items=m)


def build(config: Config, context: Context) -> Kernel:
    """Rows of normal numbers and pruned weights in torch's semi-structured form, on the device.

    UnavailableError, with torch's reason, where the device has no sparse cores for the dtype.
    """
    import torch
    from torch.sparse import to_sparse_semi_structured

    from . import _kernels, _tensors

    dtype = _tensors.begin(context)
    cost(config, context.dtype)
    inputs, outputs = sizes(config)
    x = torch.randn(config.tokens, inputs, device=context.device, dtype=dtype)
    dense = pruned(torch.randn(outputs, inputs, device=context.device, dtype=dtype) / inputs**0.5)
    made: list[torch.Tensor] = []

    def run() -> torch.Tensor:
        return torch.nn.functional.linear(x, made[0])

    def convert() -> None:
        made.append(to_sparse_semi_structured(dense))
        run()

    _kernels.try_once(convert, f"2:4 sparse products on {context.device.type} in {context.dtype}")

    def check() -> Check:
        """16 rows against float64 with the pruned weights: 8(u + √k·u₃₂), as of a dense product."""
        few = max(16, min(config.tokens, 64))
        wanted = _tensors.exact(x[:few]) @ _tensors.exact(dense).t()
        error = _tensors.relative_distance([torch.nn.functional.linear(x[:few], made[0])], [wanted])
        tolerance = 8 * (_tensors.unit_roundoff(context.dtype) + inputs**0.5 * _tensors.unit_roundoff("fp32"))
        return Check(name="linear_24", error=error, tolerance=tolerance, reference="float64 with the pruned weights")

    return Kernel(run=run, check=check)


def pruned(weight: "torch.Tensor") -> "torch.Tensor":
    """The weights with the two smallest magnitudes of every four neighbours set to zero."""
    import torch

    groups = weight.view(weight.shape[0], -1, 4)
    largest = groups.abs().topk(2, dim=-1).indices
    return torch.zeros_like(groups).scatter_(-1, largest, groups.gather(-1, largest)).flatten(1)


WORKLOAD: Final = Workload(kind="kernel", config=Config, cost=cost, build=build)
