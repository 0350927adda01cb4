"""Pipeline parallel: consecutive layers on different ranks; micro-batches flow through them one behind the other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hwbench.core.parallel import Split, Step, Transfer
from hwbench.core.stages import pieces

from ._volumes import handed_on, micro_batches, tied_transfers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.distributed.device_mesh import DeviceMesh

    from hwbench.core.layout import Layout
    from hwbench.core.workload import Cost


def communication(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:
    """What the last piece of a stage hands on, sent for each micro-batch, and its gradient on the way back, `vpp` times under interleaving.

    Nothing hides them here (Narayanan et al. 2021, arXiv:2104.04473, section 4.1). A token table that is also the vocabulary projection is
    on the first and on the last stage, and its gradient is added up.
    """
    if layout.pp == 1:
        return ()
    sent = handed_on(cost, layout, "pp", ("activations to the next stage", "their gradients to the previous stage"))
    return (*sent, *tied_transfers(cost, layout, "pp"))


def split(step: Step, mesh: DeviceMesh, layout: Layout) -> Step:
    """The stages that this rank has instead of the model, and a schedule of torch's instead of one pass after the other."""
    from ._pipeline import cut, over, scheduled

    pipeline = over(mesh["pp"], step, layout, layout.schedule)
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
    if (found := len(pieces(cost))) < stages:
        return f"embedding, layers and head are {found} pieces, fewer than {said} stages"
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
