"""torch.compile for cases that ask for it: a training step's modules, or a kernel's whole call. Runs in a worker only."""

from collections.abc import Callable, Iterable

import torch

from hwbench.core.errors import UnavailableError


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
