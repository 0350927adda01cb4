"""hwbench's own kernels as pytest-benchmark benchmarks: `pytest --pyargs hwbench.benchmarks`, with `-k attention` for some.

One process, one thread, the workloads' default sizes in fp32, on the accelerator where torch sees one. Quick to have beside a
project's own benchmarks; `hwbench run` measures the same kernels with warm-up to steady state and in processes of their own.
"""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from hwbench.core.errors import HwbenchError
from hwbench.core.registry import load
from hwbench.core.workload import Context, Kernel, Workload

KERNELS: Final = ("attention", "embedding", "matmul", "triad")
DTYPE: Final = "fp32"


@pytest.fixture
def torch() -> Iterator[Any]:
    """torch with one compute thread, as `hwbench run` gives a rank; as many as before when the test has ended."""
    found = pytest.importorskip("torch")
    threads = found.get_num_threads()
    found.set_num_threads(1)
    yield found
    found.set_num_threads(threads)


@pytest.mark.parametrize("name", KERNELS)
def test_kernel(name: str, torch: Any, benchmark: Any) -> None:
    """One call of a kernel, the device waited for; its result is checked once, before the first timed call."""
    workload = load("workloads", name, Workload)
    kernel = _built(torch, workload)
    check = kernel.check()
    assert check.passed, f"{check.name}: error {check.error:.3g} where {check.tolerance:.3g} is allowed, against {check.reference}"
    cost = workload.cost(workload.config(), DTYPE)
    benchmark.group = "hwbench"
    benchmark.extra_info |= {"flops": cost.flops, "bytes": cost.bytes, "items": cost.items, "item_unit": cost.item_unit, "dtype": DTYPE}
    benchmark.extra_info["device"] = str(_device(torch))
    benchmark(_waited_for(torch, kernel))


def _built(torch: Any, workload: Workload) -> Kernel:
    try:
        built = workload.build(workload.config(), Context(device=_device(torch), dtype=DTYPE))
    except HwbenchError as error:
        pytest.skip(error.message)
    assert isinstance(built, Kernel)
    return built


def _device(torch: Any) -> Any:
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")


def _waited_for(torch: Any, kernel: Kernel) -> Any:
    """The kernel's call; on an accelerator one that returns when the work is done."""
    if _device(torch).type == "cpu":
        return kernel.run

    def run() -> None:
        kernel.run()
        torch.accelerator.synchronize()

    return run
