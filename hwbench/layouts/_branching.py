"""Operator parallelism carried out: independent products of one input at once on different ranks, which exchange results. Imports torch."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from hwbench.core.parallel import Step


def branched(step: Step, ranks: DeviceMesh) -> Step:
    """The step with every module's `branches` dealt out over the ranks: each keeps the weights of its own."""
    spread = []
    for module in [m for part in step.parts for m in part.modules() if getattr(m, "branches", ())]:
        mine = _deal_out(module, ranks)
        spread += [(getattr(module, name).given, weight, float(ranks.size())) for name, weight in mine]
    return replace(step, spread=(*step.spread, *spread))


def owners(sizes: list[int], ranks: int) -> list[int]:
    """Which rank computes each branch: the largest first, always to the rank that has least."""
    load, chosen = [0] * ranks, [0] * len(sizes)
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        chosen[i] = load.index(min(load))
        load[chosen[i]] += sizes[i]
    return chosen


def _deal_out(module: Any, ranks: DeviceMesh) -> list[tuple[str, str]]:
    """Replace a module's branches by what hands on their results; returns this rank's own, and their parameters, by name."""
    names, rank = module.branches, ranks.get_local_rank()
    linears = [getattr(module, name) for name in names]
    chosen = owners([linear.weight.numel() for linear in linears], ranks.size())
    places = [_Branch(linear if owner == rank else None) for linear, owner in zip(linears, chosen, strict=True)]
    for name, place in zip(names, places, strict=True):
        setattr(module, name, place)
    widths = [linear.out_features for linear in linears]
    module.register_forward_pre_hook(_at_once(places, widths, chosen, ranks))
    return [
        (name, weight) for name, place in zip(names, places, strict=True) if place.given for weight, _ in place.given.named_parameters()
    ]


class _Branch(nn.Module):
    """Hands on a result that was computed before the module that needs it was called."""

    def __init__(self, given: nn.Module | None) -> None:
        super().__init__()
        self.given, self.result = given, torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:  # noqa: ARG002  # what stood here took it
        """The result, once."""
        result, self.result = self.result, torch.empty(0)
        return result


def _at_once(places: list[_Branch], widths: list[int], chosen: list[int], ranks: DeviceMesh) -> Callable[[Any, Any], Any]:
    group = ranks.get_group()

    def compute(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x: Tensor = _Shared.apply(inputs[0], group)  # type: ignore[no-untyped-call]  # torch has no types here
        own = [place.given(x) for place in places if place.given is not None]
        results = _Exchanged.apply(widths, chosen, group, x, *own)  # type: ignore[no-untyped-call]
        for place, result in zip(places, results, strict=True):
            place.result = result

    return compute


class _Shared(torch.autograd.Function):
    """An input of which each rank uses a part of the paths: their gradients are added up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, dx: Tensor) -> tuple[Tensor, None]:
        dx = dx.contiguous()
        dist.all_reduce(dx, group=ctx.group)
        return dx, None


class _Exchanged(torch.autograd.Function):
    """All branches' results, each from the rank that computed it. All ranks go on alike, so each has its own branches' whole gradients."""

    @staticmethod
    def forward(ctx: Any, widths: list[int], chosen: list[int], group: Any, x: Tensor, *own: Tensor) -> tuple[Tensor, ...]:
        rank, mine = dist.get_rank(group), iter(own)
        ctx.own = [i for i, owner in enumerate(chosen) if owner == rank]
        results = [
            next(mine).clone() if owner == rank else x.new_empty((*x.shape[:-1], width))
            for width, owner in zip(widths, chosen, strict=True)
        ]
        works = [
            dist.broadcast(result, dist.get_global_rank(group, owner), group=group, async_op=True)
            for result, owner in zip(results, chosen, strict=True)
        ]
        for work in works:
            work.wait()
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        return None, None, None, None, *(gradients[i] for i in ctx.own)
