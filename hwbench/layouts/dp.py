"""Data parallel: every rank has the whole model and its own samples; gradients are averaged while the backward pass still runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from hwbench.core.parallel import Collective, Split, Transfer

from ._volumes import element_bytes

if TYPE_CHECKING:
    import torch
    from torch.distributed.device_mesh import DeviceMesh

    from hwbench.core.layout import Layout
    from hwbench.core.workload import Cost


def communication(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:
    """What one rank sends in a step over the dp axis: one all_reduce of its gradients, which the backward pass can hide.

    Gradients have the bytes of the model's dtype, and a rank has those of the parameters it holds: divided by tp·pp, and by fsdp
    (hybrid sharding averages the shards). Experts are divided by ep instead of by as much of dp·fsdp, so they are averaged over the
    dp·fsdp/ep ranks that share them. ZeRO stages 1 and 2 (Rajbhandari et al. 2020, section 7) send the same volume as a
    reduce_scatter of the gradients and an all_gather of the updated parameters, and nothing hides the latter.
    """
    if not cost.training or layout.dp == 1:
        return ()
    width_bytes = element_bytes(cost)
    experts = sum(block.count * block.expert_parameters for block in cost.blocks)
    dense_bytes = (cost.parameters - experts) * width_bytes / (layout.tp * layout.pp * layout.fsdp)
    transfers = _averaged(dense_bytes, layout.dp, layout.zero, "gradients")
    sharing = layout.data_ranks // layout.ep
    if experts and sharing > 1:
        expert_bytes = experts * width_bytes / (layout.tp * layout.pp * layout.ep)
        transfers += _averaged(expert_bytes, sharing, layout.zero, "gradients of experts")
    return transfers


def _averaged(message_bytes: float, ranks: int, zero: int, what: str) -> tuple[Transfer, ...]:
    if zero == 0:
        return (_transfer("all_reduce", ranks, message_bytes, "backward", what),)
    return (
        _transfer("reduce_scatter", ranks, message_bytes, "backward", what),
        _transfer("all_gather", ranks, message_bytes, None, f"updated parameters (zero={zero})"),
    )


def _transfer(collective: Collective, ranks: int, message_bytes: float, overlaps: Literal["backward"] | None, why: str) -> Transfer:
    return Transfer(collective=collective, axis="dp", ranks=ranks, message_bytes=message_bytes, count=1, overlaps=overlaps, why=why)


def split(module: torch.nn.Module, mesh: DeviceMesh) -> torch.nn.Module:
    """The module under DistributedDataParallel over the mesh; gradients live in its buckets, so that they aren't copied."""
    from torch.nn.parallel import DistributedDataParallel

    return DistributedDataParallel(module, process_group=mesh.get_group(), gradient_as_bucket_view=True)


LAYOUT: Final = Split(communication=communication, split=split)
