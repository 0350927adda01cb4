"""One optimizer step of what layouts left on a rank: passes, complete gradients, clipping by the global norm, update. Imports torch."""

from collections.abc import Callable, Iterable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.nn import Parameter
from torch.nn.utils import get_total_norm

from hwbench.core.parallel import Step

_TINY = 1e-6
"""Beside the norm in clipping's divisor, as in torch's clip_grad_norm_."""


def training_step(step: Step, clip_norm: float | None) -> Callable[[], Tensor]:
    """Does one step: forget gradients, passes, clip, update; returns the rank's loss, cut from its graph."""
    optimizers = [step.optimizer(alike) for alike in _kinds(step)]
    passes, clip = step.passes(step), clipping(step, clip_norm)

    def run() -> Tensor:
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss = passes()
        for complete in step.settle:
            complete()
        clip()
        for optimizer in optimizers:
            optimizer.step()
        return loss

    return run


def accumulated(step: Step) -> Callable[[], Tensor]:
    """Forward and backward pass of one micro-batch after the other."""
    (model,) = step.parts
    *others, last = zip(*(x.chunk(step.micro_batches) for x in step.inputs), strict=True)

    def one(inputs: Iterable[Tensor]) -> Tensor:
        loss = step.loss(model, *inputs)
        (loss / step.micro_batches).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def run() -> Tensor:
        if not others:
            return one(last)
        with step.unfinished():
            losses = [one(inputs) for inputs in others]
        return torch.stack([*losses, one(last)]).mean()

    return run


def _kinds(step: Step) -> list[list[Parameter]]:
    """Plain parameters that all data ranks have, those that only some have, and DTensors, by mesh: torch's optimizers take no mixture."""
    some = step.ranks_apart()
    kinds: dict[DeviceMesh | None, list[Parameter]] = {}
    for p in (p for part in step.parts for p in part.parameters()):
        kinds.setdefault(p.device_mesh if isinstance(p, DTensor) else some.get(p), []).append(p)
    return list(kinds.values())


def clipping(step: Step, clip_norm: float | None) -> Callable[[], None]:
    """Scales gradients so that the norm of the whole model's is at most `clip_norm`, as clip_grad_norm_ does for one rank's.

    The squares of all ranks are added up, each parameter's divided by the number of ranks that hold the same share of it: one number is
    sent, and none where every rank has all gradients.
    """
    if clip_norm is None:
        return lambda: None
    shares = _shares(step)
    alike = not any(share != 1 for share in shares.values()) and step.stages == 1

    @torch.no_grad()
    def clip() -> None:
        by_share: dict[float, list[Tensor]] = {}
        for p, share in shares.items():
            if p.grad is not None:
                by_share.setdefault(share, []).append(_local(p.grad))
        norms = [get_total_norm(gradients) for gradients in by_share.values()]
        squares = torch.stack([_wide(norm) ** 2 * share for norm, share in zip(norms, by_share, strict=True)]).sum()
        if not alike:
            dist.all_reduce(squares)
            squares /= dist.get_world_size() / step.stages
        factor = (clip_norm / (squares.sqrt() + _TINY)).clamp(max=1.0)
        for gradients in by_share.values():
            torch._foreach_mul_(gradients, factor.to(gradients[0].dtype))

    return clip


def _shares(step: Step) -> dict[Parameter, float]:
    """Into how many different shares the ranks of a stage have divided each parameter."""
    special: dict[int, float] = {}
    for module, name, share in step.spread:
        key = id(module.get_parameter(name))
        special[key] = special.get(key, 1.0) * share
    return {p: _shards(p) * special.get(id(p), 1.0) for part in step.parts for p in part.parameters()}


def _shards(parameter: Parameter) -> float:
    if not isinstance(parameter, DTensor):
        return 1.0
    sizes = (parameter.device_mesh.size(i) for i, placement in enumerate(parameter.placements) if not placement.is_replicate())
    return float(torch.Size(sizes).numel())


def _wide(norm: Tensor) -> Tensor:
    """In fp32 at least: the square of a norm above 256 is no fp16 number."""
    return norm if norm.dtype.itemsize >= 4 else norm.float()


def _local(gradient: Tensor) -> Tensor:
    return gradient.to_local() if isinstance(gradient, DTensor) else gradient
