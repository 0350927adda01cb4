"""Pipelines: how blocks are shared out over stages, the bubble, and how many micro-batches a stage holds at once.

Sources: 1F1B and interleaved bubbles, Narayanan et al. 2021 (arXiv:2104.04473) section 2.2; zero bubble, Qi et al. 2024 (arXiv:2401.10241).
"""

from __future__ import annotations

from hwbench.core.layout import Layout
from hwbench.core.stages import dealt, pieces
from hwbench.core.workload import Block, Cost

ZERO_BUBBLE_LEFT = 1 / 3
"""Share of 1F1B's bubble that ZB-H1 leaves (arXiv:2401.10241, table 2), at 1F1B's memory."""


def on_fullest(cost: Cost, layout: Layout) -> tuple[tuple[Block, float], ...]:
    """The blocks on the fullest rank, each with how often it is there.

    Layers of one kind are shared out evenly, rounded up, and embedding and head counted as if on one rank: they hold the same weight when
    tied. Models of other layers are cut as a run cuts them, and the rank with most parameters is the fullest.
    """
    if layout.stages == 1:
        return tuple((block, float(block.count)) for block in cost.blocks)
    if sum(block.count > 1 for block in cost.blocks) == 1:
        return tuple((block, float(-(-block.count // layout.stages))) for block in cost.blocks)
    found, stages = pieces(cost), dealt(cost, layout)
    ranks = [[found[i] for stage in stages[rank :: layout.stages] for i in stage] for rank in range(layout.stages)]
    return tuple((piece, 1.0) for piece in max(ranks, key=lambda mine: sum(piece.parameters for piece in mine)))


def bubble_slots(layout: Layout) -> float:
    """Micro-batch times of the average stage that the pipeline idles: (pp - 1) / vpp, less under zero bubble."""
    slots = (layout.pp - 1) / layout.vpp
    return slots * ZERO_BUBBLE_LEFT if layout.schedule == "zb" else slots


def in_flight(layout: Layout, micro_batches: int) -> float:
    """Micro-batches whose activations the first stage holds at its peak, in whole-stage units."""
    if layout.pp == 1:
        return 1.0
    if layout.schedule == "gpipe":
        return float(micro_batches)
    held = float(layout.pp)
    if layout.vpp > 1:
        held *= 1 + (layout.pp - 1) / (layout.pp * layout.vpp)
    return min(float(micro_batches), held)
