"""Matrix product of (m, k) by (k, n): the rate of dense arithmetic in a dtype.

The default is small on purpose: CPUs without bf16 or fp16 units do these dtypes by a scalar path at about 1 GFLOP/s, where this size takes
two seconds and 2,048 would take twenty, which is refused. On an accelerator ask for 8,192 or more.
"""

import time
from typing import TYPE_CHECKING, Final

from hwbench.core.errors import UnavailableError
from hwbench.core.units import format_rate, format_seconds
from hwbench.core.value import Value
from hwbench.core.workload import Block, Check, Context, Cost, Kernel, Workload

from ._count import element_bytes, need_positive, product

if TYPE_CHECKING:
    import torch

_LONG_S: Final = 3.0
"""Longer than this no product is waited for that runs by a scalar path: smaller ones have told its rate."""
_SCALAR_PATH_TIMES: Final = 8
"""A dtype so many times slower than fp32 has no vector path; one that goes by conversion to fp32 is two to four times slower."""
_TRIED: Final = 128
"""Length of the matrices that are tried."""


class Config(Value):
    """The three lengths of a matrix product."""

    m: int = 1024
    """Rows of the left matrix and of the result."""
    n: int = 1024
    """Columns of the right matrix and of the result."""
    k: int = 1024
    """The length summed over."""


def cost(config: Config, dtype: str) -> Cost:
    """2mnk FLOPs; both operands read and the result written once. An item is one product."""
    need_positive(config, "m", "n", "k")
    operator = product("product", config.m, config.n, config.k, element_bytes(dtype), backward=False)
    return Cost(blocks=(Block(name="product", parameters=0, operators=(operator,)),), dtype=dtype, items=1, item_unit="product")


def build(config: Config, context: Context) -> Kernel:
    """Two matrices of normal numbers and a place for the result, on the device."""
    import torch

    from . import _tensors

    dtype = _tensors.begin(context)
    cost(config, context.dtype)
    if context.device.type == "cpu":
        _refuse_scalar_path(config, context.dtype, dtype)
    a = torch.randn(config.m, config.k, device=context.device, dtype=dtype)
    b = torch.randn(config.k, config.n, device=context.device, dtype=dtype)
    c = torch.zeros(config.m, config.n, device=context.device, dtype=dtype)

    def run() -> torch.Tensor:
        return torch.mm(a, b, out=c)

    def check() -> Check:
        """Error relative to |A|·|B|, on 32 rows by 32 columns spread over the result.

        Sums of k terms in fp32 (fp64 for fp64): a few √k·u₃₂ (Higham and Mary 2019, a random walk of roundings); the result
        rounded to the dtype: u. Four times both: tf32 rounds its operands as well, and cuBLAS may add partial sums in fp16.
        """
        rows, columns = _tensors.spread(config.m, 32), _tensors.spread(config.n, 32)
        left, right = _tensors.exact(a[rows]), _tensors.exact(b[:, columns])
        found = _tensors.exact(run()[rows][:, columns])
        error = float(((found - left @ right).abs() / (left.abs() @ right.abs())).max())
        u, sums = _tensors.unit_roundoff(context.dtype), _tensors.unit_roundoff("fp64" if context.dtype == "fp64" else "fp32")
        return Check(name="product", error=error, tolerance=4 * (u + config.k**0.5 * sums), reference="float64 on the CPU")

    return Kernel(run=run, check=check)


def _refuse_scalar_path(config: Config, name: str, dtype: "torch.dtype") -> None:
    """UnavailableError where this CPU has no vector path for the dtype and the product would take long: the rate is that of small ones.

    Tried on products of a size for which a scalar path takes some milliseconds.
    """
    import torch

    flops = 2.0 * config.m * config.n * config.k
    if dtype in (torch.float32, torch.float64):
        return
    rate, vector_rate = _tried_flops_per_s(dtype), _tried_flops_per_s(torch.float32)
    if flops / rate > _LONG_S and rate < vector_rate / _SCALAR_PATH_TIMES:
        raise UnavailableError(
            f"matmul: {name} products run at {format_rate(rate, 'FLOP/s')} here, fp32 at {format_rate(vector_rate, 'FLOP/s')}: torch has "
            f"no vector path for them, and one of this size would take {format_seconds(flops / rate)}",
            hint="smaller products have the same rate",
        )


def _tried_flops_per_s(dtype: "torch.dtype") -> float:
    """The best of three small products, after one that warms up."""
    import torch

    a = torch.ones(_TRIED, _TRIED, dtype=dtype)
    times = []
    for _ in range(4):
        began_s = time.perf_counter()
        torch.mm(a, a)
        times.append(time.perf_counter() - began_s)
    return 2.0 * _TRIED**3 / min(times[1:])


WORKLOAD: Final = Workload(kind="ceiling", config=Config, cost=cost, build=build)
