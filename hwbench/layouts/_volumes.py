"""Sizes that several ways to split need: what a rank holds, and how often a block passes through it in a step."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hwbench.core.parallel import Transfer
from hwbench.core.stages import dealt, pieces, tied_parameters
from hwbench.core.workload import DTYPE_BYTES

if TYPE_CHECKING:
    from hwbench.core.layout import Layout
    from hwbench.core.workload import Block, Cost

SHARE_BYTES = 4.0
"""An expert's share of the tokens is fp32."""


def element_bytes(cost: Cost) -> float:
    """Bytes an element of a weight or gradient takes when it is sent: those of the dtype; FP8 recipes keep bf16 weights."""
    return max(2.0, DTYPE_BYTES.get(cost.dtype, 2.0))


def passes(block: Block, cost: Cost, layout: Layout) -> float:
    """How often a step sends a micro-batch through blocks of this kind on one rank: their count on an average stage, once a micro-batch."""
    return block.count / layout.pp * micro_batches(cost, layout)


def micro_batches(cost: Cost, layout: Layout) -> int:
    """Micro-batches of a step: those that the layout asks for, of what the workload accumulates."""
    return cost.accumulation * layout.microbatches


def sample_tokens(cost: Cost) -> float:
    """Items of one micro-batch on an undivided rank."""
    return cost.items / cost.accumulation


def expert_block_bytes(block: Block, cost: Cost, layout: Layout) -> float:
    """Bytes of the experts of one block that a rank computes with: divided by tp·ep; FSDP has gathered the rest."""
    return block.expert_parameters / (layout.tp * layout.ep) * element_bytes(cost)


def dense_bytes(block: Block, cost: Cost, layout: Layout) -> float:
    """Bytes of one block's weights without experts that a rank computes with. Not everything is divided by tp."""
    divided = block.parameters - block.expert_parameters - block.undivided_parameters
    return (divided / layout.tp + block.undivided_parameters) * element_bytes(cost)


def tied_table(cost: Cost) -> float:
    """Elements of a token table that is also the vocabulary projection; 0 where there is none."""
    return sum(map(tied_parameters, cost.blocks))


def tied_transfers(cost: Cost, layout: Layout, axis: str) -> tuple[Transfer, ...]:
    """The gradient of a tied token table, which the first and the last stage have parts of, added up."""
    size = tied_table(cost) * element_bytes(cost) / (layout.tp * layout.fsdp)
    if not size or not cost.training:
        return ()
    far, why = layout.stages - 1, "gradient of the tied token table"
    return (Transfer(collective="all_reduce", axis=axis, ranks=2, message_bytes=size, count=1, why=why, spacing=far),)


def stage_bytes(cost: Cost, layout: Layout) -> float:
    """Bytes of weights without experts on an average stage. The first and the last have a tied table each."""
    whole = sum(block.count * dense_bytes(block, cost, layout) for block in cost.blocks)
    twice = tied_table(cost) * element_bytes(cost) / layout.tp if layout.pp > 1 else 0.0
    return (whole + twice) / layout.pp


def boundary_bytes(block: Block, layout: Layout) -> float:
    """Bytes of a block's output on one rank, for one micro-batch: divided by cp, and by tp where sequence parallelism is on."""
    return block.output_bytes / layout.cp / (layout.tp if layout.sp else 1)


def handed_on(cost: Cost, layout: Layout, axis: str, whys: tuple[str, ...]) -> tuple[Transfer, ...]:
    """A message over each border between two stages for each micro-batch, in as many directions as there are reasons in `whys`.

    Nothing hides them. Borders of one size are one transfer. Its count is what a rank sends or what it receives, whichever is more: the
    last stage sends nothing on, the first nothing back. Where borders differ, each size counts by its share of the borders.
    """
    found, stages = pieces(cost), dealt(cost, layout)
    sizes = Counter(_border_bytes(found[stage[-1]], layout) for stage in stages[:-1])
    count = micro_batches(cost, layout) * layout.vpp / max(1, sizes.total())
    return tuple(
        Transfer(collective="send_recv", axis=axis, ranks=layout.stages, message_bytes=size, count=count * borders, why=why)
        for why in whys[: 2 if cost.training else 1]
        for size, borders in sorted(sizes.items())
    )


def _border_bytes(block: Block, layout: Layout) -> float:
    """Bytes of all that a block hands on, on one rank, for one micro-batch."""
    return boundary_bytes(block, layout) + block.carried_bytes + block.carried_divided_bytes / (layout.cp * layout.tp)


def expert_bytes(cost: Cost, layout: Layout) -> float:
    """Bytes of experts' weights on an average stage that a rank computes with."""
    experts = sum(block.count * block.expert_parameters for block in cost.blocks)
    return experts * element_bytes(cost) / (layout.tp * layout.pp * layout.ep)


def chosen_experts(block: Block, cost: Cost) -> float:
    """Experts a token goes to: rows that all experts together multiply over the tokens of the micro-batch."""
    rows = max((op.m * op.batch for op in block.operators if op.division == "expert" and op.m is not None), default=0)
    return max(1.0, rows / sample_tokens(cost))


def experts_of(block: Block) -> int:
    """Experts of a block's mixture; 0 where it has none."""
    return max((op.batch for op in block.operators if op.division == "expert" and op.kind == "matmul"), default=0)


def routing_means(cost: Cost, layout: Layout, axis: str) -> tuple[Transfer, ...]:
    """What the balance of experts needs of the global batch: each one's share of the tokens, fp32, over all ranks with samples of it.

    It is counted with the outermost of their axes.
    """
    data = [name for name in ("dp", "fsdp", "cp") if getattr(layout, name) > 1]
    if not cost.training or data[:1] != [axis]:
        return ()
    ranks = layout.dp * layout.fsdp * layout.cp
    return tuple(
        Transfer(
            collective="all_reduce",
            axis=axis,
            ranks=ranks,
            message_bytes=SHARE_BYTES * experts_of(block),
            count=passes(block, cost, layout),
            during="forward",
            why=f"tokens of each expert of {block.name}",
        )
        for block in cost.blocks
        if experts_of(block)
    )
