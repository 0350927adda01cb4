"""The suites of workloads: `full` leaves none out, each expands on CPUs and accelerators, and sizes follow what was tried."""

import pytest

from hwbench.core import registry
from hwbench.core.inventory import Inventory
from hwbench.core.record import Case
from hwbench.core.suite import Tried
from hwbench.run import cases
from hwbench.run.fitting import fitted

LAPTOP = Tried(flops_per_s={"fp32": 7e10, "bf16": 2e9, "fp16": 1e9}, bytes_per_s=2e10)
ACCELERATOR = Tried(flops_per_s={"fp32": 5e13, "bf16": 6e14, "fp16": 6e14}, bytes_per_s=3e12)
DTYPES = {"fp32", "bf16", "fp16"}


def expanded(name: str, device: str, tried: Tried | None) -> tuple[Case, ...]:
    return cases.expand(fitted(registry.load_suite(name), Inventory(), device), device, tried)


def test_every_workload_is_in_the_suite_full() -> None:
    assert {case.workload for case in expanded("full", "cpu", LAPTOP)} == registry.names("workloads").keys()


def test_kernels_training_and_inference_hold_every_workload_of_their_kind() -> None:
    kinds = {"kernels": "kernel", "training": "training", "inference": "inference"}
    for suite, kind in kinds.items():
        found = expanded(suite, "cpu", LAPTOP)
        here = {case.workload for case in found if cases.kind_of(case) == kind}
        full = {case.workload for case in expanded("full", "cpu", LAPTOP) if cases.kind_of(case) == kind}
        assert here == full, suite


@pytest.mark.parametrize("name", ["kernels", "training", "inference", "full"])
@pytest.mark.parametrize("device, tried", [("cpu", LAPTOP), ("cuda", ACCELERATOR), ("cpu", None)])
def test_every_model_and_kernel_has_every_dtype_at_a_size_that_is_short_enough(name: str, device: str, tried: Tried | None) -> None:
    found = expanded(name, device, tried)
    dtypes: dict[str, set[str]] = {}
    for case in found:
        dtypes.setdefault(case.workload, set()).add(case.dtype)
    few = {"linear_24", "linear_int8", "triad", "operator", "transfer", "collective", "bandwidth", "latency", "disk"}
    assert all(dtypes[workload] >= DTYPES for workload in dtypes.keys() - few), name
    if tried:
        guesses = [tried.step_s(cases.cost_of(case)) or 0.0 for case in found]
        assert max(guesses) < 3.0


def test_three_workloads_of_the_suite_full_are_compiled_too() -> None:
    found = expanded("full", "cpu", LAPTOP)
    assert {case.workload for case in found if case.compile} == {"gpt", "mlp", "rms_norm"}
    assert all(any(not one.compile and one.config == case.config for one in found) for case in found if case.compile)
