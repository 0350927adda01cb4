"""Single operators: each counts what models count, gives what float64 gives, and goes round through cold operands."""

from typing import Any, get_args

import pytest
import torch
from hwbench.workloads import operator

from hwbench.core.errors import UserError
from hwbench.core.workload import Context

CPU = Context(device=torch.device("cpu"), dtype="fp32")
FUNCTIONS = get_args(operator.Function)
SIZES: dict[str, Any] = {"rows": 48, "width": 32, "inner": 24, "length": 12, "heads": 4, "cold_bytes": 1 << 15}


def config(function: str, **sizes: int) -> operator.Config:
    return operator.Config(**({"function": function} | SIZES | ({"inner": 3} if function == "adamw" else {}) | sizes))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["fp32", "fp64"])
def test_results_and_gradients_are_those_of_float64(function: str, dtype: str) -> None:
    kernel = operator.build(config(function), Context(device=torch.device("cpu"), dtype=dtype))
    kernel.run()
    check = kernel.check()
    assert check.passed, check


@pytest.mark.parametrize("function", sorted({*FUNCTIONS} - {"adamw"}))  # the fused optimizer asks for real tensors
def test_it_runs_where_a_stray_cpu_tensor_would_fail(function: str) -> None:
    kernel = operator.build(config(function), Context(device=torch.device("meta"), dtype="fp32"))
    results: Any = kernel.run()
    assert all(result.device.type == "meta" for result in results)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_operator_is_counted_as_models_count_it(function: str) -> None:
    cost = operator.cost(config(function), "fp32")
    named = {op.function for block in cost.blocks for op in block.operators}
    assert function in named
    assert cost.bytes > 0
    assert all(op.backward_bytes > 0 or function == "adamw" for block in cost.blocks for op in block.operators)


def test_calls_go_round_through_all_operands() -> None:
    """With 2^15 bytes to go through and 48·32·4 bytes an operand, six sets: a seventh call gives the first one's result again."""
    kernel = operator.build(config("gelu", cold_bytes=6 * 3 * 48 * 32 * 4), CPU)
    results: list[Any] = [kernel.run() for _ in range(12)]
    first = [result[0] for result in results[:6]]
    assert len({float(tensor.sum()) for tensor in first}) == 6
    assert all(torch.equal(a[0], b[0]) for a, b in zip(results[:6], results[6:], strict=True))


def test_operands_larger_than_what_is_gone_through_are_there_once() -> None:
    kernel = operator.build(config("gelu", cold_bytes=1), CPU)
    first, second = (kernel.run() for _ in range(2))
    assert isinstance(first, tuple)
    assert isinstance(second, tuple)
    assert torch.equal(first[0], second[0])


@pytest.mark.parametrize(("function", "sizes", "says"), [
    ("attention", {"length": 7}, "length=7 does not divide rows=48"),
    ("attention", {"heads": 5}, "heads=5 does not divide width=32"),
    ("lstm", {"length": 7}, "length=7 does not divide rows=48"),
    ("linear", {"rows": 0}, "rows=0: expected at least 1"),
])  # fmt: skip
def test_impossible_sizes_are_refused(function: str, sizes: dict[str, int], says: str) -> None:
    with pytest.raises(UserError, match=says):
        operator.cost(config(function, **sizes), "fp32")
