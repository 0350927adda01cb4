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

from hwbench.core.parallel import Step


def divided(step: Step, data: DeviceMesh, degree: int) -> Step:
    """The step with each mixture's experts shared by `degree` neighbours of the data ranks, their gradients averaged over the others."""
    mesh = DeviceMesh(data.device_type, data.mesh.view(-1, degree), mesh_dim_names=("sharing", "ep"))
    ep = mesh["ep"]
    mixtures: list[Any] = [m for part in step.parts for m in part.modules() if hasattr(m, "dispatch") and hasattr(m, "experts")]
    for mixture in mixtures:
        keep(mixture.experts, ep.get_local_rank(), degree)
        mixture.dispatch = partial(exchange, ep.get_group())
    experts = [mixture.experts for mixture in mixtures]
    settle = _averaged(experts, mesh["sharing"], data.size())
    spread = ((module, name, float(degree)) for module in experts for name, _ in module.named_parameters())
    return replace(step, settle=(*step.settle, settle), spread=(*step.spread, *spread))


def keep(experts: nn.Module, place: int, ranks: int) -> None:
    """Leave in a module of stacked experts, (E, …) each, only this rank's E / ranks of them."""
    for name, parameter in list(experts.named_parameters(recurse=False)):
        share = parameter.detach().chunk(ranks)[place].clone()
        experts.register_parameter(name, nn.Parameter(share))


def _averaged(experts: list[nn.Module], sharing: DeviceMesh, data_ranks: int) -> Callable[[], None]:
    """Gradients of experts as means over the global batch: they are sums over the samples of the ranks that sent tokens."""
    parameters = [p for module in experts for p in module.parameters()]
    group = sharing.get_group() if sharing.size() > 1 else None

    @torch.no_grad()
    def complete() -> None:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad /= data_ranks
                if group is not None:
                    dist.all_reduce(parameter.grad, group=group)

    return complete


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
