"""Fully sharded data parallel (ZeRO stage 3): every rank keeps a share of each weight and gathers a block just before it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec.structs import replace

from hwbench.core.parallel import Collective, Split, Step, Transfer

from ._models import groups
from ._replicas import share_means
from ._volumes import dense_bytes, element_bytes, expert_block_bytes, passes, routing_means, tied_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch.distributed.device_mesh import DeviceMesh

    from hwbench.core.layout import Layout
    from hwbench.core.workload import Block, Cost


Pass = Literal["forward", "backward"]


def communication(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:
    """An all_gather of each block before its forward pass, another before its backward pass, and a reduce_scatter of its gradients.

    `reshard=no` keeps the gathered weights until the backward pass, which saves the second all_gather. All are done for each micro-batch,
    as PyTorch's FSDP does unless told otherwise, and can hide behind the pass they belong to (Zhao et al. 2023, arXiv:2304.11277).
    A message is the block as tp has divided it. Experts that ep shares out go by themselves, over the ranks that it leaves, if there are
    several. A pipeline gathers once a step and scatters once, as torch's schedules do.
    """
    if layout.fsdp == 1:
        return ()
    blocks = (transfer for block in cost.blocks if block.parameters for transfer in _block(block, cost, layout))
    return (*blocks, *_second_table(cost, layout), *routing_means(cost, layout, "fsdp"))


def _block(block: Block, cost: Cost, layout: Layout) -> Iterator[Transfer]:
    dense, experts = dense_bytes(block, cost, layout), expert_block_bytes(block, cost, layout)
    if layout.ep == 1:
        yield from _group(block, cost, layout, dense + experts, "")
        return
    yield from _group(block, cost, layout, dense, "")
    if experts and layout.expert_shards > 1:
        for transfer in _group(block, cost, layout, experts, "experts of "):
            yield replace(transfer, ranks=layout.expert_shards, spacing=layout.ep)


def _group(block: Block, cost: Cost, layout: Layout, size: float, what: str) -> Iterator[Transfer]:
    """What is sent of weights that are gathered and scattered together."""
    piped = layout.pp > 1
    count = block.count / layout.pp if piped else passes(block, cost, layout)
    for direction in ("forward", "backward") if cost.training else ("forward",):
        if direction == "backward" and (piped or not layout.reshard):
            continue
        yield Transfer(
            collective="all_gather",
            axis="fsdp",
            ranks=layout.fsdp,
            message_bytes=size,
            count=count,
            overlaps="backward" if direction == "backward" else "forward",
            why=f"weights of {what}{block.name} for the {direction} pass",
        )
    if cost.training:
        yield Transfer(
            collective="reduce_scatter",
            axis="fsdp",
            ranks=layout.fsdp,
            message_bytes=size,
            count=count,
            overlaps="backward",
            why=f"gradients of {what}{block.name}",
        )


def _second_table(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:
    """A tied token table is on the first and on the last stage of a pipeline: half as often again on an average one of two."""
    size = tied_table(cost) * element_bytes(cost) / layout.tp
    if layout.pp == 1 or not size:
        return ()
    kinds: tuple[tuple[Collective, Pass], ...] = (("all_gather", "forward"), ("reduce_scatter", "backward"))
    return tuple(
        Transfer(
            collective=collective,
            axis="fsdp",
            ranks=layout.fsdp,
            message_bytes=size,
            count=1 / layout.pp,
            overlaps=direction,
            why="the tied token table on the last stage",
        )
        for collective, direction in kinds
        if cost.training or direction == "forward"
    )


def split(step: Step, mesh: DeviceMesh, layout: Layout) -> Step:
    """FSDP2: each layer, and embedding and head, gathered by itself; hybrid where dp or cp is in use too. Of a layer with experts that ep
    shares out these are gathered by themselves, over the ranks that ep leaves.

    A pipeline keeps the weights through its step, as torch's schedules do, whatever `reshard` says.
    """
    from torch.distributed.fsdp import fully_shard

    share_means(step, mesh, layout)
    over = tuple(axis for axis in ("dp", "cp") if getattr(layout, axis) > 1)
    ranks = mesh[(*over, "fsdp")] if over else mesh["fsdp"]
    reshard = layout.reshard and layout.pp == 1
    if step.apart:
        from ._experts import sharded

        sharded(step, layout, reshard=reshard)
    alone = set(step.ranks_apart())
    for part in step.parts:
        for modules in groups(part):
            together = modules if len(modules) > 1 else modules[0]
            fully_shard(together, mesh=ranks, reshard_after_forward=reshard, ignored_params=alone)
        fully_shard(part, mesh=ranks, reshard_after_forward=False, ignored_params=alone)
    return step


def refusal(layout: Layout, config: Mapping[str, Any], cost: Cost) -> str:  # noqa: ARG001  # every layout has these arguments
    """Parameters are padded where they don't divide, so that every model can be sharded."""
    if layout.dp > 1 and layout.cp > 1:
        return "hybrid sharding replicates over one axis: give fsdp with dp, or fsdp with cp"
    return ""


LAYOUT: Final = Split(communication=communication, split=split, refusal=refusal)
