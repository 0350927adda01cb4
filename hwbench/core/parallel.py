"""What one way to split a step offers: how to do it, what it sends, what it refuses: LAYOUT of each file of the layouts room."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hwbench.core.layout import Layout
from hwbench.core.value import Value
from hwbench.core.workload import Cost, Predicted

if TYPE_CHECKING:
    import torch
    from torch.distributed.device_mesh import DeviceMesh
    from torch.optim import Optimizer

MESH_AXES = ("pp", "dp", "cp", "fsdp", "tp", "branches", "place")
"""Dimensions of the mesh that a step is divided over; those of one rank are left out. ep has none: it lives inside the data ranks."""
SPLIT_ORDER = ("place", "pp", "branches", "ep", "tp", "cp", "fsdp", "dp")
"""The order in which the axes divide a step: stages are cut first, and what averages gradients comes last, around what is then left."""

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
    spacing: int = 1
    """By how many ranks of the axis one rank of the group is away from the next: 1 where they are neighbours."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One rank's training step while layouts divide it: each takes a Step and returns another. The worker adds clipping and the update."""

    parts: tuple[torch.nn.Module, ...]
    """The parts of the model that this rank has, in order: one, except where several stages of a pipeline share a rank."""
    inputs: tuple[torch.Tensor, ...]
    """This rank's own, samples first, the micro-batches one behind the other."""
    micro_batches: int
    loss: Callable[..., torch.Tensor]
    """`loss(module, *inputs)` of one micro-batch: the mean over the rank's items."""
    optimizer: Callable[[list[torch.nn.Parameter]], Optimizer]
    """Makes the optimizer of parameters that are all plain tensors, of the same ranks, or all DTensors of one mesh."""
    passes: Callable[[Step], Callable[[], torch.Tensor]]
    """From the step, divided by all axes, to what does the forward and backward passes of all micro-batches: gradients as means over
    samples into `.grad`; returns the mean loss, cut from its graph, and 0 on ranks that have none."""
    predicted: Predicted = "all"
    """Where in their sequences the targets stand, which are the last of the inputs."""
    cost: Cost | None = None
    """What it costs undivided, by which the stages of a pipeline are dealt out: known wherever one can cut it."""
    unfinished: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    """Around the passes of all micro-batches but the last: gradients need not be complete there."""
    settle: tuple[Callable[[], None], ...] = ()
    """What completes gradients after the passes, in order."""
    renew: Callable[[], None] | None = None
    """Lays this rank's next batch into `inputs`, in place; None where the step repeats its batch."""
    stages: int = 1
    """Stages the model is cut into; ranks of different stages have different parameters."""
    spread: tuple[tuple[torch.nn.Module, str, float], ...] = ()
    """Parameters, by module and name, of which so many ranks of a stage have different shares (less than 1: other stages have them too).
    One that is named twice is divided twice."""
    apart: tuple[tuple[torch.nn.Module, DeviceMesh], ...] = ()
    """Modules that not all ranks of dp, cp and fsdp have in common, each with those that do: of dimensions `copies` and `shards`. FSDP
    shares it out among shards, if there are several, and completes its gradients; otherwise `settle` does."""

    def ranks_apart(self) -> dict[torch.nn.Parameter, DeviceMesh]:
        """The parameters of the modules that stand `apart`, as they are by now, each with the ranks that have it in common."""
        return {p: ranks for module, ranks in self.apart for p in module.parameters()}


@dataclass(frozen=True, kw_only=True)
class Split:
    """What a layout's file exports as LAYOUT.

    `communication(cost, layout)` is what one rank sends in a step for this axis, planning only, without torch.
    `split(step, mesh, layout)` divides a step over the ranks of the mesh, whose dimensions are the MESH_AXES in use; in a worker only.
    `refusal(layout, config, cost)` says in one line, without torch, why a workload of this configuration can't run so; '' where it can.
    """

    communication: Callable[[Cost, Layout], tuple[Transfer, ...]]
    split: Callable[[Step, DeviceMesh, Layout], Step]
    refusal: Callable[[Layout, Mapping[str, Any], Cost], str]
