"""Tensor parallelism of mixtures of experts carried out: each expert's inner width is divided, as a dense MLP's is. Imports torch.

Experts' products come as columns and then as rows (Shoeybi et al. 2019, arXiv:1909.08053), the shared expert's too, and what ranks make
is added up once a layer, after it was weighted: that is topk times fewer bytes than each expert's result. Router and routing are whole on
every rank. Weights are plain tensors here: torch's tensor parallelism knows no stacks of them, and would sum each product by itself.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate

from hwbench.core.errors import UserError

from ._models import keep

Shares = list[tuple[nn.Module, str, float]]
"""Parameters by module and name, and of how many different shares each rank has one."""


def divide_mixture(mixture: Any, tp: DeviceMesh, outside: Any) -> Shares:
    """Divide one mixture in place, whose input and output is placed `outside`: what was divided.

    UserError for a mixture that doesn't offer what this takes hold of: it would train otherwise than on one rank, and not say so.
    """
    if not hasattr(mixture, "mix") or not hasattr(mixture.experts, "divisions"):
        raise UserError(
            f"tp of {type(mixture).__name__}: a mixture of experts has to compute through an attribute `mix`, and its experts to name "
            "their weights in `divisions`",
            hint="docs/layouts.md has what a model offers, so that every layout can divide it",
        )
    mixture.mix = partial(mixed, tp, outside)
    return [weight for module in mixture.modules() for weight in _divide_weights(module, tp)]


def _divide_weights(module: nn.Module, tp: DeviceMesh) -> Iterator[tuple[nn.Module, str, float]]:
    """Of the weights that `divisions` names, stacked (…, in, out) ones or a Linear's (out, in), a rank's columns or rows."""
    for name, division in getattr(module, "divisions", {}).items():
        linear = isinstance(getattr(module, name), nn.Module)
        owner, weight = (getattr(module, name), "weight") if linear else (module, name)
        if getattr(owner, "bias", None) is not None:
            raise UserError(f"tp of {type(module).__name__}: inside a mixture {name} has a bias, which every rank would add")
        keep(owner, weight, -1 if (division == "column") != linear else -2, tp)
        yield owner, weight, float(tp.size())


def mixed(
    tp: DeviceMesh,
    outside: Any,
    route: Callable[[Tensor], tuple[Tensor, Tensor]],
    combine: Callable[[Tensor, Tensor, Tensor], Tensor],
    x: Tensor,
) -> Tensor:
    """What a mixture makes of x, placed `outside` before and after, where each rank has a share of all experts' inner width.

    Gradients of what experts are given are partial sums on each rank. Those of what the router is given are whole on each: they join the
    same sum, a share from each rank.
    """
    whole = _entering(x, tp, outside)
    seen = whole.view_as(whole)
    if seen.requires_grad:
        seen.register_hook(lambda gradient: gradient / tp.size())  # type: ignore[no-untyped-call]  # torch has no types here
    weights, chosen = route(seen)
    part = combine(whole, _entering(weights, tp, Replicate()), chosen)
    result: Tensor = DTensor.from_local(part, tp, (Partial(),), run_check=False).redistribute(placements=(outside,)).to_local()
    return result


def _entering(x: Tensor, tp: DeviceMesh, outside: Any) -> Tensor:
    """x whole on each rank; its gradients are added up on the way back."""
    whole = DTensor.from_local(x, tp, (outside,), run_check=False).redistribute(placements=(Replicate(),))
    return whole.to_local(grad_placements=(Partial(),))
