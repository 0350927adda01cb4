"""Data parallel: every rank has the whole model and its own samples; gradients are averaged while the backward pass still runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

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
    ep divides are so instead of by as much of dp·fsdp, and averaged over the dp·fsdp/ep ranks that share them. What ZeRO sends instead
    or beside is in zero.py.
    """
    if not cost.training or layout.dp == 1:
        return ()
    experts, sharing = expert_bytes(cost, layout), layout.data_ranks // layout.ep
    with_others = experts if layout.ep == 1 else 0.0
    transfers = _averaged((stage_bytes(cost, layout) + with_others) / layout.fsdp, layout.dp * layout.cp, layout, "gradients")
    if experts and layout.ep > 1 and sharing > 1:
        transfers += _averaged(experts, sharing, layout, "gradients of experts")
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
