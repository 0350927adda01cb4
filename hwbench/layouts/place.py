"""Placement: whole layers on different devices, one after the other; a device works while the others wait (model parallel)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hwbench.core.parallel import Split, Step, Transfer

from . import pp
from ._volumes import handed_on, tied_transfers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.distributed.device_mesh import DeviceMesh

    from hwbench.core.layout import Layout
    from hwbench.core.workload import Cost


def communication(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:
    """The output of the last layer of a device to the next one, and its gradient back, for each micro-batch; nothing hides them."""
    if layout.place == 1:
        return ()
    sent = handed_on(cost, layout, "place", ("activations to the next device", "their gradients to the previous device"))
    return (*sent, *tied_transfers(cost, layout, "place"))


def split(step: Step, mesh: DeviceMesh, layout: Layout) -> Step:
    """The stages of a pipeline, through which one micro-batch after the other goes forward and back before the next one starts."""
    from ._pipeline import cut, one_after_the_other, over

    pipeline = over(mesh["place"], step, layout, "gpipe")
    step = cut(step, pipeline)
    return replace(step, passes=lambda divided: one_after_the_other(divided, pipeline))


def refusal(layout: Layout, config: Mapping[str, Any], cost: Cost) -> str:  # noqa: ARG001  # every layout has these arguments
    """Models that can't be cut, and layouts that divide each device's layers further."""
    others = [axis for axis in ("dp", "fsdp", "tp", "pp", "cp", "ep", "branches") if getattr(layout, axis) > 1]
    if others:
        return f"place puts whole layers on devices, for models that are divided in no other way; {others[0]} goes with pp=N"
    return pp.cut_refusal(cost, layout.place, f"place = {layout.place}")


LAYOUT: Final = Split(communication=communication, split=split, refusal=refusal)
