"""Expert parallel: the experts of a mixture live on different data ranks; tokens travel to their experts and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from hwbench.core.parallel import Split, Step, Transfer

from ._models import has_experts, indivisible
from ._volumes import chosen_experts, experts_of, passes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.distributed.device_mesh import DeviceMesh

    from hwbench.core.layout import Layout
    from hwbench.core.workload import Block, Cost

COUNT_BYTES = 8.0
"""A number of tokens is int64."""


def communication(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:
    """`ep_all_to_alls` exchanges a block in the forward and as many in the backward pass; nothing hides them.

    A rank sends each of its tokens to as many experts as the router chose (GShard, Lepikhin et al. 2020, arXiv:2006.16668). Experts are
    taken to be evenly loaded. Ranks of tp have parts of the same experts, and each sends the same tokens whole.
    """
    if layout.ep == 1:
        return ()
    directions: tuple[Literal["forward", "backward"], ...] = ("forward", "backward") if cost.training else ("forward",)
    blocks = [block for block in cost.blocks if block.ep_all_to_alls]
    tokens = (_tokens(block, cost, layout, direction) for block in blocks for direction in directions)
    return (*tokens, *(_counts(block, cost, layout) for block in blocks if experts_of(block)))


def _tokens(block: Block, cost: Cost, layout: Layout, direction: Literal["forward", "backward"]) -> Transfer:
    return Transfer(
        collective="all_to_all",
        axis="ep",
        ranks=layout.ep,
        message_bytes=chosen_experts(block, cost) * block.output_bytes / layout.cp,
        count=block.ep_all_to_alls * passes(block, cost, layout),
        during=direction,
        why=f"tokens of {block.name} to their experts, {direction} pass",
    )


def _counts(block: Block, cost: Cost, layout: Layout) -> Transfer:
    """How many tokens come for each expert has to be known before they can."""
    return Transfer(
        collective="all_to_all",
        axis="ep",
        ranks=layout.ep,
        message_bytes=COUNT_BYTES * experts_of(block),
        count=passes(block, cost, layout),
        during="forward",
        why=f"numbers of tokens of {block.name}",
    )


def split(step: Step, mesh: DeviceMesh, layout: Layout) -> Step:
    """Each rank of `ep` neighbours among the data ranks keeps its share of the experts; dispatch goes through all-to-alls."""
    from ._experts import divided

    return divided(step, mesh, layout)


def refusal(layout: Layout, config: Mapping[str, Any], cost: Cost) -> str:
    """What has no experts, or experts that can't be shared out."""
    if not has_experts(cost):
        return "it has no experts to share out"
    if uneven := indivisible(config, layout.ep, "experts"):
        return f"ep={layout.ep} does not divide {uneven}"
    if layout.fsdp % layout.ep and layout.ep % layout.fsdp:
        return f"experts go to neighbours among the ranks of fsdp: of ep={layout.ep} and fsdp={layout.fsdp} one has to divide the other"
    return ""


LAYOUT: Final = Split(communication=communication, split=split, refusal=refusal)
