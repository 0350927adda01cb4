"""torch.compile for cases that ask for it: a training step's modules, or a kernel's whole call. Runs in a worker only."""

import math
from collections.abc import Callable, Iterable

import torch

from hwbench.core.errors import UnavailableError
from hwbench.core.workload import Check


def compile_modules(modules: Iterable[torch.nn.Module], device: torch.device) -> None:
    """Have these modules compiled, in place, when they are first called. UnavailableError where the machine has no compiler for it."""
    _need_compiler(device)
    for module in modules:
        module.compile()


def compiled(run: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """A call that is compiled when it is first made. UnavailableError where the machine has no compiler for it."""
    _need_compiler(device)
    made: Callable[[], object] = torch.compile(run)
    return made


def compared(run: Callable[[], object], plain: Callable[[], object], check: Callable[[], Check]) -> Check:
    """The kernel's own check, and what the compiled call gives beside the plain one, as relative Euclidean distances.

    Each of the two may be as far from the truth as the check allows, so they may be twice as far apart: half of it counts as the error.
    """
    own = check()
    pairs = zip(_tensors(run()), _tensors(plain()), strict=True)
    apart = [_distance(ours, theirs) for ours, theirs in pairs]
    worst = math.nan if any(map(math.isnan, apart)) else max(apart, default=0.0)
    return Check(
        name=f"{own.name}, compiled",
        error=math.nan if math.isnan(worst) else max(own.error, worst / 2),
        tolerance=own.tolerance,
        reference=f"{own.reference}, and the plain call",
    )


def _tensors(results: object) -> list[torch.Tensor]:
    if isinstance(results, torch.Tensor):
        return [results]
    return [one for one in results if isinstance(one, torch.Tensor)] if isinstance(results, list | tuple) else []


def _distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    wide = torch.float64 if ours.dtype == torch.float64 else torch.float32
    a, b = ours.detach().to_dense().to(wide), theirs.detach().to_dense().to(wide)
    return float((a - b).norm() / b.norm().clamp_min(1e-30))


def _need_compiler(device: torch.device) -> None:
    """Inductor writes C++ for CPUs and Triton for accelerators; both need a compiler on the machine that torch doesn't bring along."""
    from torch._inductor import config, cpp_builder
    from torch._inductor.exc import InvalidCxxCompiler
    from torch.utils._triton import has_triton

    if device.type not in ("cpu", "meta") and not has_triton():
        raise UnavailableError(f"torch.compile needs Triton for {device.type}, which is not installed or doesn't support this device")
    if device.type == "cpu":
        config.compile_threads = 1  # no pool of processes beside what is measured
        try:
            cpp_builder.get_cpp_compiler()
        except InvalidCxxCompiler as error:
            raise UnavailableError(
                f"torch.compile needs a C++ compiler: {str(error).partition(chr(10))[0]}", hint="install g++, or set CXX"
            ) from error
