"""A kernel made from a module: one call, forward or forward and backward, and its check against float64. Imports torch."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from hwbench.core.errors import UnavailableError
from hwbench.core.workload import Check, Context, Kernel

from . import _speed, _tensors

Inputs = Sequence[Tensor]
"""What a module is called with; gradients are found of those that are floating-point numbers."""


def of_module(
    name: str,
    context: Context,
    module: nn.Module,
    inputs: Inputs,
    upstream: Tensor | None,
    *,
    flops: float,
    backward: bool,
    part: Callable[[Inputs, Tensor | None], tuple[Inputs, Tensor | None]],
    roundings: float,
    reference: nn.Module | None = None,
) -> Kernel:
    """The call `module(*inputs)` and, with `backward`, the gradients of parameters and inputs, `upstream` being that of the result.

    `part(inputs, upstream)` cuts out what the check looks at: float64 on a CPU takes its time. Results and gradients may be
    `roundings` units of the dtype's roundoff from those of `reference` (the module itself, if None) in float64, as relative Euclidean
    distances. `flops` are the step's: what would take minutes by a scalar path is refused with UnavailableError.
    """
    _speed.refuse_scalar_path(context, flops, name)
    module.requires_grad_(backward)
    given = _prepared(inputs, backward=backward)

    def check() -> Check:
        some, gradient = part([t.detach() for t in given], upstream)
        wide = copy.deepcopy(reference or module).to("cpu", torch.float64).requires_grad_(backward)
        found = call(module, _prepared([t.clone() for t in some], backward=backward), gradient, backward=backward)
        exactly = _prepared([_tensors.exact(t) if t.is_floating_point() else t.cpu() for t in some], backward=backward)
        wanted = call(wide, exactly, None if gradient is None else _tensors.exact(gradient), backward=backward)
        error = _tensors.relative_distance(found, wanted)
        tolerance = roundings * _tensors.unit_roundoff(context.dtype)
        return Check(name=name, error=error, tolerance=tolerance, reference="float64 on the CPU")

    return Kernel(run=lambda: call(module, given, upstream, backward=backward), check=check)


def call(module: nn.Module, inputs: Inputs, upstream: Tensor | None, *, backward: bool) -> tuple[Tensor, ...]:
    """The module's result and, with `backward`, the gradients of the inputs and parameters that ask for one."""
    result: Tensor = module(*inputs)
    if not backward:
        return (result,)
    wanted = [t for t in (*inputs, *module.parameters()) if t.requires_grad]
    return (result.detach(), *torch.autograd.grad(result, wanted, upstream))


def try_once(step: Callable[[], object], what: str) -> None:
    """Call a step that not every device has. UnavailableError, with torch's reason; memory that is short stays the error that it is."""
    try:
        step()
    except RuntimeError as error:  # NotImplementedError is one too
        said = str(error).partition("\n")[0]
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in said:
            raise
        raise UnavailableError(f"{what}: {said}") from error


def _prepared(inputs: Inputs, *, backward: bool) -> list[Tensor]:
    return [t.requires_grad_(backward) if t.is_floating_point() else t for t in inputs]


def first_rows(inputs: Inputs, upstream: Tensor | None, rows: int = 64) -> tuple[Inputs, Tensor | None]:
    """The first rows (tokens, sequences) of every input and of the gradient: a part for checks of what works row by row."""
    return [t[:rows] for t in inputs], None if upstream is None else upstream[:rows]
