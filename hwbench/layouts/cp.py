"""Context parallel: each rank has a share of every sequence; keys and values travel round a ring while attention is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from hwbench.core.parallel import Split, Transfer

from ._volumes import held_bytes, passes

if TYPE_CHECKING:
    from hwbench.core.layout import Layout
    from hwbench.core.workload import Block, Cost

DIRECTIONS: tuple[tuple[Literal["forward", "backward"], int], ...] = (("forward", 1), ("backward", 2))
"""How often keys and values go round: once forward; backward they and their gradients do (Liu et al. 2023, arXiv:2310.01889)."""


def communication(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:
    """cp - 1 sends of a rank's keys and values a block and pass, hidden behind that pass, and the average of the gradients over cp.

    Keys and values are taken to be as wide as the block's output each (multi-head attention): an upper bound for grouped-query heads.
    """
    if layout.cp == 1:
        return ()
    rings = tuple(t for block in cost.blocks if _attends(block) for t in _ring(block, cost, layout))
    return rings + _gradients(cost, layout)


def _attends(block: Block) -> bool:
    return any(op.kind == "attention" for op in block.operators)


def _ring(block: Block, cost: Cost, layout: Layout) -> tuple[Transfer, ...]:
    size = 2 * block.output_bytes / (layout.cp * layout.tp)
    return tuple(
        Transfer(
            collective="send_recv",
            axis="cp",
            ranks=layout.cp,
            message_bytes=size,
            count=times * (layout.cp - 1) * passes(block, layout),
            overlaps=direction,
            during=direction,
            why=f"keys and values of {block.name}, {direction} pass",
        )
        for direction, times in DIRECTIONS
        if cost.training or direction == "forward"
    )


def _gradients(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:
    """Every rank of the ring has the same weights and other tokens, so their gradients are averaged like those of data parallel ranks."""
    if not cost.training:
        return ()
    size = sum(block.count * held_bytes(block, cost, layout) for block in cost.blocks) / (layout.pp * layout.fsdp)
    why = "gradients, of which each rank saw a share of the sequence"
    return (Transfer(collective="all_reduce", axis="cp", ranks=layout.cp, message_bytes=size, count=1, overlaps="backward", why=why),)


LAYOUT: Final = Split(communication=communication)
