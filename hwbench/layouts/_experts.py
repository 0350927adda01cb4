"""Expert parallelism carried out: tokens travel to their experts' ranks, and what these make of them travels back. Imports torch."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Shard

from hwbench.core.layout import Layout
from hwbench.core.parallel import MESH_AXES, Step

from ._models import keep, mixtures

_OTHER_AXES = ("pp", "tp", "branches", "place")
"""Axes whose ranks have other experts, or other parts of them, whatever ep does."""


def divided(step: Step, mesh: DeviceMesh, layout: Layout) -> Step:
    """The step with each mixture's experts shared by ep neighbours of the data ranks.

    Where this leaves FSDP some ranks, it shares the experts out further and completes their gradients (`sharded`). Otherwise they are
    averaged here, over the ranks that have the same experts.
    """
    ranks = expert_mesh(mesh, layout)
    ep, alike, found = ranks["ep"], ranks["copies", "shards"], mixtures(step.parts)
    for mixture in found:
        for name, _ in list(mixture.experts.named_parameters(recurse=False)):
            keep(mixture.experts, name, 0, ep)
        mixture.dispatch = partial(exchange, ep.get_group())
    experts = [mixture.experts for mixture in found]
    spread = ((module, name, float(layout.ep)) for module in experts for name, _ in module.named_parameters())
    apart = tuple((module, alike) for module in experts)
    settle = (_averaged(experts, ranks["copies"], layout.data_ranks * layout.cp),) if layout.expert_shards == 1 else ()
    return replace(step, spread=(*step.spread, *spread), apart=apart, settle=(*step.settle, *settle))


def expert_mesh(mesh: DeviceMesh, layout: Layout) -> DeviceMesh:
    """All ranks in four dimensions: `ep` neighbours among dp·fsdp, the `shards` of FSDP that ep leaves, `copies` of one share, others."""
    used = [axis for axis in MESH_AXES if getattr(layout, axis) > 1]
    ranks = mesh.mesh.permute([used.index(axis) for axis in (*_OTHER_AXES, "cp", "dp", "fsdp") if axis in used])
    shape = (-1, layout.expert_copies, layout.expert_shards, layout.ep)
    return DeviceMesh(mesh.device_type, ranks.reshape(shape), mesh_dim_names=("others", "copies", "shards", "ep"))


def _averaged(experts: list[nn.Module], copies: DeviceMesh, ranks: int) -> Callable[[], None]:
    """Gradients of experts as means over the `ranks` that have tokens: they are sums over the samples of the ranks that sent tokens."""
    group = copies.get_group() if copies.size() > 1 else None

    @torch.no_grad()
    def complete() -> None:
        for parameter in (p for module in experts for p in module.parameters()):  # looked up now: tp may have divided them since
            if parameter.grad is not None:
                parameter.grad /= ranks
                if group is not None:
                    dist.all_reduce(parameter.grad, group=group)

    return complete


def sharded(step: Step, layout: Layout, *, reshard: bool) -> None:
    """Experts shared out by FSDP among the ranks that ep left over; their gradients are means over all ranks that have tokens."""
    from torch.distributed.fsdp import fully_shard

    for module, ranks in step.apart if layout.expert_shards > 1 else ():
        over = ranks if layout.expert_copies > 1 else ranks["shards"]
        placement = partial(_even, layout.expert_shards)
        wrapped: Any = fully_shard(module, mesh=over, reshard_after_forward=reshard, shard_placement_fn=placement)
        wrapped.set_gradient_divide_factor(float(layout.data_ranks * layout.cp))
        wrapped.set_force_sum_reduction_for_comms(True)  # gloo has no sum of scaled numbers


def _even(ranks: int, parameter: nn.Parameter) -> Shard:
    """The first dimension that so many ranks share evenly: a rank's experts, or a width of each; padded where none is."""
    return Shard(next((i for i, size in enumerate(parameter.shape) if size % ranks == 0), 0))


def exchange(group: ProcessGroup, experts: nn.Module, tokens: Tensor, chosen: Tensor) -> Tensor:
    """What each token's chosen experts make of it: tokens (n, h) and chosen (n, k) of all experts to (n, k, h).

    Pairs of token and expert are sorted by expert, which sorts them by rank, and sent; a rank sorts what came by expert, computes, and
    everything goes the same way back.
    """
    ranks, per_token = dist.get_world_size(group), chosen.shape[1]
    here = len(next(experts.parameters()))
    order = chosen.flatten().argsort(stable=True)
    sent = torch.bincount(chosen.flatten(), minlength=here * ranks).view(ranks, here)
    came = torch.empty_like(sent)
    dist.all_to_all_single(came, sent, group=group)
    there, back = sent.sum(1).tolist(), came.sum(1).tolist()
    rows = _Exchange.apply(tokens.index_select(0, order // per_token), there, back, group)  # type: ignore[no-untyped-call]
    by_expert = torch.arange(here, device=came.device).repeat(ranks).repeat_interleave(came.flatten()).argsort(stable=True)
    made = experts(rows.index_select(0, by_expert), came.sum(0))
    returned = _Exchange.apply(made.index_select(0, by_expert.argsort()), back, there, group)  # type: ignore[no-untyped-call]
    result: Tensor = returned.index_select(0, order.argsort()).view(*chosen.shape, -1)
    return result


class _Exchange(torch.autograd.Function):
    """Rows to other ranks, `there[r]` to rank r, and `back[r]` from it; gradients the other way."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, there: list[int], back: list[int], group: ProcessGroup) -> Tensor:
        ctx.there, ctx.back, ctx.group = there, back, group
        return _moved(rows, there, back, group)

    @staticmethod
    def backward(ctx: Any, d_rows: Tensor) -> tuple[Tensor, None, None, None]:
        return _moved(d_rows, ctx.back, ctx.there, ctx.group), None, None, None


def _moved(rows: Tensor, there: list[int], back: list[int], group: ProcessGroup) -> Tensor:
    came = rows.new_empty((sum(back), *rows.shape[1:]))
    dist.all_to_all_single(came, rows.contiguous(), output_split_sizes=back, input_split_sizes=there, group=group)
    return came
