"""Matrix product of (m, k) by (k, n): the rate of dense arithmetic in a dtype.

The default is small on purpose: CPUs without bf16 or fp16 units do these dtypes by a scalar path at about 1 GFLOP/s, where this size takes
two seconds and 2,048 would take twenty, which is refused. On an accelerator ask for 8,192 or more.
"""

from typing import Final

from hwbench.core.value import Value
from hwbench.core.workload import Block, Check, Context, Cost, Kernel, Workload

from ._count import element_bytes, need_positive, product


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

    from . import _speed, _tensors

    dtype = _tensors.begin(context)
    _speed.refuse_scalar_path(context, cost(config, context.dtype).flops, "matmul")
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


WORKLOAD: Final = Workload(kind="ceiling", config=Config, cost=cost, build=build)
