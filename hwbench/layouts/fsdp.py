"""Fully sharded data parallel (ZeRO stage 3): every rank keeps a share of each weight and gathers a block just before it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hwbench.core.parallel import Split, Transfer

from ._volumes import held_bytes, passes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hwbench.core.layout import Layout
    from hwbench.core.workload import Block, Cost


def communication(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:
    """An all_gather of each block before its forward pass, another before its backward pass, and a reduce_scatter of its gradients.

    `reshard=no` keeps the gathered weights until the backward pass, which saves the second all_gather. All are done for each micro-batch,
    as PyTorch's FSDP does unless told otherwise, and can hide behind the pass they belong to (Zhao et al. 2023, arXiv:2304.11277).
    A message is the block as tp and ep have divided it.
    """
    if layout.fsdp == 1:
        return ()
    return tuple(transfer for block in cost.blocks if block.parameters for transfer in _block(block, cost, layout))


def _block(block: Block, cost: Cost, layout: Layout) -> Iterator[Transfer]:
    size, count = held_bytes(block, cost, layout), passes(block, layout)
    for direction in ("forward", "backward") if cost.training else ("forward",):
        if direction == "backward" and not layout.reshard:
            continue
        yield Transfer(
            collective="all_gather",
            axis="fsdp",
            ranks=layout.fsdp,
            message_bytes=size,
            count=count,
            overlaps="backward" if direction == "backward" else "forward",
            why=f"weights of {block.name} for the {direction} pass",
        )
    if cost.training:
        yield Transfer(
            collective="reduce_scatter",
            axis="fsdp",
            ranks=layout.fsdp,
            message_bytes=size,
            count=count,
            overlaps="backward",
            why=f"gradients of {block.name}",
        )


LAYOUT: Final = Split(communication=communication)
