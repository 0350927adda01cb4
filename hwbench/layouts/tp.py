"""Tensor parallel: each weight matrix is divided over ranks, by columns and then by rows, and the partial results are added up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from hwbench.core.parallel import Collective, Split, Transfer

from ._volumes import passes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hwbench.core.layout import Layout
    from hwbench.core.workload import Block, Cost

Pass = Literal["forward", "backward"]


def communication(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:
    """An all_reduce of the block's output for each of its `tp_all_reduces`, in the forward and again in the backward pass.

    Nothing hides them: the next product waits (Shoeybi et al. 2019, arXiv:1909.08053). With `sp=yes` each is a reduce_scatter and an
    all_gather of the same bytes (Korthikanti et al. 2022, arXiv:2205.05198, section 4.2.2).
    """
    if layout.tp == 1:
        return ()
    directions: tuple[Pass, ...] = ("forward", "backward") if cost.training else ("forward",)
    return tuple(t for block in cost.blocks if block.tp_all_reduces for direction in directions for t in _block(block, layout, direction))


def _block(block: Block, layout: Layout, direction: Pass) -> Iterator[Transfer]:
    collectives: tuple[Collective, ...] = ("reduce_scatter", "all_gather") if layout.sp else ("all_reduce",)
    for collective in collectives:
        yield Transfer(
            collective=collective,
            axis="tp",
            ranks=layout.tp,
            message_bytes=block.output_bytes / layout.cp,
            count=block.tp_all_reduces * passes(block, layout),
            during=direction,
            why=f"activations of {block.name}, {direction} pass",
        )


LAYOUT: Final = Split(communication=communication)
