"""A workload of so many equal units of one kind: a candidate with one unit more than the base does exactly that much more work."""

from collections.abc import Callable
from typing import Final, Literal

from hwbench.core.value import Value
from hwbench.core.workload import Block, Check, Context, Cost, Kernel, Operator, Workload


class Config(Value):
    """What a unit is, and how many make a call."""

    kind: Literal["gemm", "sdpa", "embed", "lstm"] = "gemm"
    units: int = 20


def cost(config: Config, dtype: str) -> Cost:
    """Counted in units: nobody asks for more."""
    operator = Operator(name=config.kind, kind="memory", flops=float(config.units), bytes=4.0)
    block = Block(name=config.kind, parameters=0, operators=(operator,))
    return Cost(blocks=(block,), dtype=dtype, items=config.units, item_unit="unit")


def build(config: Config, context: Context) -> Kernel:
    """Tensors for one unit; a call does it `units` times."""
    import torch

    torch.manual_seed(context.seed)
    unit = _unit(config.kind)
    torch.set_grad_enabled(False)

    def run() -> None:
        for _ in range(config.units):
            unit()

    return Kernel(run=run, check=lambda: Check(name="units", error=0.0, tolerance=0.0, reference="none"))


def _unit(kind: str) -> Callable[[], object]:
    import torch

    if kind == "gemm":
        a, b = torch.randn(192, 192), torch.randn(192, 192)
        out = torch.empty(192, 192)
        return lambda: torch.mm(a, b, out=out)
    if kind == "sdpa":
        q = torch.randn(1, 4, 64, 32)
        return lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q)
    if kind == "embed":
        table, ids = torch.randn(8192, 128), torch.randint(8192, (512,))
        return lambda: torch.nn.functional.embedding(ids, table)
    lstm, x = torch.nn.LSTM(32, 32, batch_first=True), torch.randn(2, 4, 32)
    return lambda: lstm(x)


WORKLOAD: Final = Workload(kind="kernel", config=Config, cost=cost, build=build)
