"""What one way to split a step offers: how to do it, and what it sends. Each file of the layouts room exports one as LAYOUT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hwbench.core.layout import Layout
from hwbench.core.value import Value
from hwbench.core.workload import Cost

if TYPE_CHECKING:
    import torch
    from torch.distributed.device_mesh import DeviceMesh

Collective = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "send_recv"]


class Transfer(Value):
    """A collective that a step does `count` times over `ranks` ranks of one axis.

    `message_bytes` is the size as nccl-tests defines it: the whole buffer for all_reduce, the gathered one for all_gather, the
    scattered one's input for reduce_scatter, one rank's send buffer for all_to_all, the message for send_recv.
    `overlaps` names the pass whose compute can hide it, None where it stands in the way.
    """

    collective: Collective
    axis: str
    ranks: int
    message_bytes: float
    count: float
    overlaps: Literal["forward", "backward"] | None = None
    during: Literal["forward", "backward"] | None = None
    """The pass that contains it, where one does: full recomputation repeats those of the forward pass."""
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Split:
    """What a layout's file exports as LAYOUT.

    `communication(cost, layout)` is what one rank sends in a step for this axis, planning only, without torch.
    `split(module, mesh)` divides a module over the axis' ranks; None where the axis can be planned but not yet run.
    """

    communication: Callable[[Cost, Layout], tuple[Transfer, ...]]
    split: Callable[[torch.nn.Module, DeviceMesh], torch.nn.Module] | None = None
