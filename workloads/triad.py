"""STREAM triad a = b + s·c: the rate at which memory can be read and written.

Bytes are counted as STREAM counts them (McCalpin 1995): three arrays, 3·n·e. The read that a write to a cache line first costs
(write-allocate) is not counted, so hardware without streaming stores moves up to 4/3 of the figure. torch.add with alpha is the whole
triad in one pass over memory; there is no temporary array.
"""

from typing import Final

from hwbench.core.value import Value
from hwbench.core.workload import Block, Check, Context, Cost, Kernel, Operator, Workload

from ._count import element_bytes, need_positive

SCALE = 3.0
"""STREAM's own scalar; exact in every dtype."""


class Config(Value):
    """The arrays of a triad."""

    elements: int = 1 << 26
    """Elements of each of the three arrays. STREAM's rule is four times the last-level cache an array; 2^26 is 256 MiB in fp32."""


def cost(config: Config, dtype: str) -> Cost:
    """Two FLOPs and three elements moved an element. The one workload whose element-wise arithmetic counts: it has no other."""
    need_positive(config, "elements")
    n, e = config.elements, element_bytes(dtype)
    triad = Operator(name="triad", kind="memory", flops=2.0 * n, bytes=3 * e * n)
    return Cost(blocks=(Block(name="triad", parameters=0, operators=(triad,)),), dtype=dtype, items=n, item_unit="element")


def build(config: Config, context: Context) -> Kernel:
    """Three arrays on the device, the sources filled with normal numbers."""
    import torch

    from . import _tensors

    dtype = _tensors.begin(context)
    cost(config, context.dtype)
    b, c = (torch.randn(config.elements, device=context.device, dtype=dtype) for _ in range(2))
    a = torch.zeros_like(b)  # written once here, so that no sample pays for the pages

    def run() -> torch.Tensor:
        return torch.add(b, c, alpha=SCALE, out=a)

    def check() -> Check:
        """Two roundings, of s·c and of the sum, each at most u of |b| + |s·c|; a little for their product, and the reference's own two."""
        some = torch.tensor(_tensors.spread(config.elements, 1 << 16), device=context.device)
        found, left, right = (_tensors.exact(t[some]) for t in (run(), b, c))
        error = (found - (left + SCALE * right)).abs() / (left.abs() + SCALE * right.abs()).clamp_min(1e-300)
        tolerance = 2.01 * (_tensors.unit_roundoff(context.dtype) + _tensors.unit_roundoff("fp64"))
        return Check(name="triad", error=float(error.max()), tolerance=tolerance, reference="float64 on the CPU")

    return Kernel(run=run, check=check)


WORKLOAD: Final = Workload(kind="ceiling", config=Config, cost=cost, build=build)
