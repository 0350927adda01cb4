"""How a model is cut into the stages of a pipeline: which of its pieces each stage gets. Running and planning both ask here. Pure.

The pieces are the embedding, the layers one by one, and the head: the cost's blocks that do something, each as often as it counts.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from hwbench.core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hwbench.core.layout import Layout
    from hwbench.core.workload import Block, Cost


def pieces(cost: Cost) -> tuple[Block, ...]:
    """The pieces of a model in order, each as its block."""
    return tuple(block for block in cost.blocks if block.operators for _ in range(block.count))


def dealt(cost: Cost, layout: Layout) -> tuple[range, ...]:
    """The pieces of each stage, by number. UserError where there are fewer pieces than stages.

    Layers of one kind that the stages divide go out evenly, the embedding with the first and the head with the last: so everybody cuts
    Transformers. Anything else is cut where the heaviest stage is as light as can be. A piece weighs as many FLOPs as it does, since a
    pipeline is as slow as its slowest stage; where devices take turns (`place`) time is the same wherever the cuts are, and a piece weighs
    as many parameters as it has.
    """
    stages, found = layout.stages * layout.vpp, pieces(cost)
    if len(found) < stages:
        raise UserError(f"layout {layout.text}: a model of {len(found)} pieces (embedding, layers, head) can't be cut into {stages} stages")
    if even := _evenly(cost, stages):
        return even
    if layout.place > 1:
        return balanced(tuple(piece.parameters + tied_parameters(piece) for piece in found), stages)
    return balanced(tuple(sum(op.flops + op.backward_flops for op in piece.operators) for piece in found), stages)


def tied_parameters(block: Block) -> float:
    """Parameters of a token table that is also this block's projection, and that counts with the embedding; 0 where there is none."""
    if not any(op.name == "tied_gradient" for op in block.operators):
        return 0.0
    projection = next(op for op in block.operators if op.kind == "matmul" and op.division == "vocabulary")
    return float((projection.n or 0) * (projection.k or 0))


def _evenly(cost: Cost, stages: int) -> tuple[range, ...]:
    """As many layers on every stage; nothing where the model has layers of several kinds, or not a multiple of the stages."""
    blocks = [block for block in cost.blocks if block.operators]
    repeated = [i for i, block in enumerate(blocks) if block.count > 1]
    if len(repeated) != 1 or blocks[repeated[0]].count % stages:
        return ()
    before, layers = repeated[0], blocks[repeated[0]].count
    ends = (before + layers * k // stages for k in range(1, stages))
    return _between([0, *ends, sum(block.count for block in blocks)])


@functools.lru_cache(maxsize=1024)
def balanced(weights: tuple[float, ...], stages: int) -> tuple[range, ...]:
    """Consecutive pieces for each of the stages, none without: the heaviest as light as can be, then all as even as can be.

    Of cuts that are as good as each other the earliest, so that what weighs nothing goes with what comes behind it.
    """
    sums = [0.0, *accumulate(weights)]
    limits = sorted({end - begin for i, begin in enumerate(sums) for end in sums[i + 1 :]})
    limit = limits[bisect_left(limits, True, key=lambda most: _stages_needed(sums, most) <= stages)]
    best: list[tuple[float, tuple[int, ...]] | None] = [(0.0, (0,)), *[None] * len(weights)]
    for _ in range(stages):
        best = [_best_end(best, sums, end, limit) for end in range(len(sums))]
    last = best[-1]
    assert last, "there is a stage for each piece at most"
    return _between(last[1])


def _stages_needed(sums: Sequence[float], most: float) -> float:
    """How many stages of at most this weight take all pieces; infinite where one piece is heavier."""
    needed, begin = 1, 0
    for end in range(1, len(sums)):
        if sums[end] - sums[end - 1] > most:
            return float("inf")
        if sums[end] - sums[begin] > most:
            needed, begin = needed + 1, end - 1
    return needed


def _best_end(
    best: list[tuple[float, tuple[int, ...]] | None], sums: Sequence[float], end: int, limit: float
) -> tuple[float, tuple[int, ...]] | None:
    """The least sum of squares of one more stage that ends here, with its cuts."""
    found = None
    for begin in range(end - 1, -1, -1):
        weight = sums[end] - sums[begin]
        if weight > limit:
            break
        before = best[begin]
        if before and (found is None or before[0] + weight**2 <= found[0]):
            found = before[0] + weight**2, (*before[1], end)
    return found


def _between(ends: Sequence[int]) -> tuple[range, ...]:
    return tuple(range(begin, end) for begin, end in pairwise(ends))
