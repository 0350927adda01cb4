"""Pipelines: how blocks are shared out over stages, the bubble, and how many micro-batches a stage holds at once.

Sources: 1F1B and interleaved bubbles, Narayanan et al. 2021 (arXiv:2104.04473) section 2.2; zero bubble, Qi et al. 2024 (arXiv:2401.10241).
"""

from __future__ import annotations

from hwbench.core.errors import UserError
from hwbench.core.layout import Layout
from hwbench.core.stages import pieces
from hwbench.core.workload import Block, Cost

ZERO_BUBBLE_LEFT = 1 / 3
"""Share of 1F1B's bubble that ZB-H1 leaves (arXiv:2401.10241, table 2), at 1F1B's memory."""


def check_depth(cost: Cost, layout: Layout) -> None:
    """UserError when a model has fewer pieces (embedding, layers, head) than the pipeline has stages and chunks."""
    found = len(pieces(cost))
    if layout.pp > 1 and found < layout.pp * layout.vpp:
        raise UserError(f"layout {layout.text}: pp·vpp = {layout.pp}·{layout.vpp} stages, the model has {found} pieces to share out")


def blocks_on_stage(block: Block, layout: Layout) -> float:
    """Blocks of this kind on the fullest stage: layers are shared out evenly; single blocks (embedding, head) are 0 under a pipeline."""
    if layout.pp == 1:
        return float(block.count)
    return float(-(-block.count // layout.pp)) if block.count > 1 else 0.0


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
