"""Data parallel: every rank has the whole model and its own samples; gradients are averaged while the backward pass still runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from hwbench.core.parallel import Split, Step, Transfer

from . import zero
from ._replicas import averaged
from ._volumes import expert_bytes, routing_means, stage_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.distributed.device_mesh import DeviceMesh

    from hwbench.core.layout import Layout
    from hwbench.core.workload import Cost


def communication(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:
    """What one rank sends in a step over the dp axis: one all_reduce of its gradients, which the backward pass can hide.

    Gradients have the bytes of the model's dtype, and a rank has those of the parameters it holds: divided by tp·pp, and by fsdp
    (hybrid sharding averages the shards). Context parallel ranks have other tokens too, and take part in the same all_reduce. Experts that
    ep shares out are averaged by themselves, over the ranks that have the same ones. What ZeRO sends instead or beside is in zero.py.
    """
    if not cost.training or layout.dp == 1:
        return ()
    dense, experts = stage_bytes(cost, layout) / layout.fsdp, expert_bytes(cost, layout) / layout.expert_shards
    transfers = _averaged(dense + (experts if layout.ep == 1 else 0.0), layout.dp * layout.cp, layout, "gradients")
    if experts and layout.ep > 1 and layout.expert_copies > 1:
        averaged = _averaged(experts, layout.expert_copies, layout, "gradients of experts")
        transfers += tuple(replace(one, spacing=max(1, layout.ep // layout.fsdp)) for one in averaged)
    return transfers + routing_means(cost, layout, "dp")


def _averaged(message_bytes: float, ranks: int, layout: Layout, what: str) -> tuple[Transfer, ...]:
    if layout.zero:
        return zero.transfers(message_bytes, ranks, layout, what)
    return (Transfer(collective="all_reduce", axis="dp", ranks=ranks, message_bytes=message_bytes, count=1, overlaps="backward", why=what),)


def split(step: Step, mesh: DeviceMesh, layout: Layout) -> Step:
    """Gradients averaged over the axis, and over cp with it; with zero=1 the optimizer's state divided. Hybrid sharding is fsdp's to do."""
    if layout.fsdp > 1:
        return step
    step = averaged(step, mesh, layout)
    return zero.split(step, mesh, layout) if layout.zero else step


def refusal(layout: Layout, config: Mapping[str, Any], cost: Cost) -> str:
    """Every training step runs so; zero has reasons of its own."""
    return zero.refusal(layout, config, cost) if layout.zero else ""


LAYOUT: Final = Split(communication=communication, split=split, refusal=refusal)
