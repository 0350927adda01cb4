"""Sizes that several ways to split need: what a rank holds, and how often a block passes through it in a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwbench.core.workload import DTYPE_BYTES

if TYPE_CHECKING:
    from hwbench.core.layout import Layout
    from hwbench.core.workload import Block, Cost


def element_bytes(cost: Cost) -> float:
    """Bytes an element of a weight or gradient takes when it is sent: those of the dtype; FP8 recipes keep bf16 weights."""
    return max(2.0, DTYPE_BYTES.get(cost.dtype, 2.0))


def passes(block: Block, layout: Layout) -> float:
    """How often a step sends a micro-batch through blocks of this kind on one rank: their count on an average stage, once a micro-batch."""
    return block.count / layout.pp * layout.microbatches


def held_bytes(block: Block, cost: Cost, layout: Layout) -> float:
    """Bytes of one block's weights that a rank computes with: divided by tp, its experts by tp·ep; FSDP has gathered the rest."""
    dense = (block.parameters - block.expert_parameters) / layout.tp
    experts = block.expert_parameters / (layout.tp * layout.ep)
    return (dense + experts) * element_bytes(cost)


def boundary_bytes(block: Block, layout: Layout) -> float:
    """Bytes of a block's output on one rank, for one micro-batch: divided by cp, and by tp where sequence parallelism is on."""
    return block.output_bytes / layout.cp / (layout.tp if layout.sp else 1)
