"""Pipeline parallel: consecutive layers on different ranks; micro-batches flow through them one behind the other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hwbench.core.parallel import Split, Step, Transfer

from ._models import has_experts, is_recurrent
from ._volumes import boundary_bytes, micro_batches, tied_transfers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.distributed.device_mesh import DeviceMesh

    from hwbench.core.layout import Layout
    from hwbench.core.workload import Cost


def communication(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:
    """A send and a receive of the block's output for each micro-batch, its gradient on the way back, `vpp` times under interleaving.

    Nothing hides them here (Narayanan et al. 2021, arXiv:2104.04473, section 4.1). The message is the largest output of a block that
    repeats: the layers, at whose borders a pipeline is cut. A direction's count is what a rank sends or what it receives, whichever is
    more: the last stage sends nothing on, the first nothing back. A token table that is also the vocabulary projection is on the first and
    on the last stage, and its gradient is added up.
    """
    if layout.pp == 1:
        return ()
    size = max((boundary_bytes(block, layout) for block in cost.blocks if block.count > 1), default=0.0)
    count = float(micro_batches(cost, layout) * layout.vpp)
    forward = Transfer(
        collective="send_recv", axis="pp", ranks=layout.pp, message_bytes=size, count=count, why="activations to the next stage"
    )
    backward = Transfer(
        collective="send_recv", axis="pp", ranks=layout.pp, message_bytes=size, count=count, why="their gradients to the previous stage"
    )
    return (forward, backward, *tied_transfers(cost, layout, "pp")) if cost.training else (forward,)


def split(step: Step, mesh: DeviceMesh, layout: Layout) -> Step:
    """The stages that this rank has instead of the model, and a schedule of torch's instead of one pass after the other."""
    from ._pipeline import Pipeline, cut, scheduled

    pipeline = Pipeline(ranks=mesh["pp"], stages=layout.pp * layout.vpp, schedule=layout.schedule)
    step = cut(step, pipeline)
    return replace(step, passes=lambda divided: scheduled(divided, pipeline))


def refusal(layout: Layout, config: Mapping[str, Any], cost: Cost) -> str:  # noqa: ARG001  # every layout has these arguments
    """Models that can't be cut into so many stages, and schedules that need other numbers of stages or micro-batches."""
    stages = layout.pp * layout.vpp
    return cut_refusal(cost, stages, f"pp·vpp = {layout.pp}·{layout.vpp} = {stages}") or schedule_refusal(
        layout, micro_batches(cost, layout)
    )


def cut_refusal(cost: Cost, stages: int, said: str) -> str:
    """Why a model can't be cut into so many stages."""
    if is_recurrent(cost):
        return "its recurrent layers are one fused module (cuDNN works on two at once), which can't be cut into stages"
    if has_experts(cost):
        return "the loss of the experts' balance is made in every layer, and a pipeline carries one tensor from stage to stage"
    stacks = [block.count for block in cost.blocks if any(op.kind == "attention" for op in block.operators)]
    if len(stacks) != 1:
        return "its layers hand on several tensors, source and target, and stages here carry one"
    if stacks[0] % stages:
        return f"its {stacks[0]} layers can't be shared evenly by {said} stages"
    return ""


def schedule_refusal(layout: Layout, count: int) -> str:
    """What torch's schedule can't do with these numbers; `count` is the step's micro-batches."""
    several = layout.schedule in ("interleaved", "zb")
    if several and layout.vpp == 1 and layout.schedule == "interleaved":
        return "schedule=interleaved needs vpp of at least 2: so many stages on each rank"
    if not several and layout.vpp > 1:
        return f"schedule={layout.schedule} has one stage a rank; vpp={layout.vpp} needs schedule=interleaved or zb"
    if several and count % layout.pp:
        return f"schedule={layout.schedule} needs microbatches a multiple of pp={layout.pp}, found {count}"
    if layout.schedule == "1f1b" and count < layout.pp:
        return f"schedule=1f1b needs at least pp={layout.pp} micro-batches, found {count}: add microbatches={layout.pp}, or schedule=gpipe"
    return ""


LAYOUT: Final = Split(communication=communication, split=split, refusal=refusal)
