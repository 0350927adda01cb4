"""From a case to what a rank times: find the workload, build it, divide it as the layout says.

Runs in a worker only; the parent never imports torch.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch.distributed.device_mesh import DeviceMesh

from hwbench.core import registry
from hwbench.core.layout import Layout, parse_layout
from hwbench.core.parallel import MESH_AXES, SPLIT_ORDER, Split, Step
from hwbench.core.record import Case
from hwbench.core.workload import Check, Context, Cost, Evaluation, Training, Workload

from . import compiling, evaluating
from .cases import config_of_rank
from .stepping import accumulated, training_step

RANK_ORDER = ("pp", "dp", "fsdp", "cp", "tp", "branches", "place")
"""How ranks are numbered, outermost first: what sends most has neighbours (planner/communication.py)."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """A step ready to be timed."""

    run: Callable[[], object]
    check: Callable[[], Check]
    training: bool
    renew: Callable[[], None] | None = None
    """Lays the next batch where the step finds it; None where it repeats one."""
    evaluate: Callable[[], Evaluation] | None = None
    """None for kernels."""
    warnings: tuple[str, ...] = ()


def build(case: Case, context: Context) -> Built:
    """The step of a case on this rank. Kernels run undivided on every rank; a training step is divided by its layout."""
    workload = registry.load("workloads", case.workload, Workload)
    config = config_of_rank(case, workload)
    layout = parse_layout(case.layout)
    if workload.kind == "training":
        rank = data_rank(layout, context.rank)
        context = replace(context, rank=rank, world_size=layout.data_ranks, micro_batches=layout.microbatches)
    built = workload.build(config, context)
    if not isinstance(built, Training):
        if not case.compile:
            return Built(run=built.run, check=built.check, training=False, warnings=built.warnings)
        run = compiling.compiled(built.run, context.device)
        check = partial(compiling.compared, run, built.run, built.check)
        return Built(run=run, check=check, training=False, warnings=built.warnings)
    step = divide(undivided(built, workload.cost(config, context.dtype)), layout, context.device)
    if case.compile:
        compiling.compile_modules(step.parts, context.device)
    return Built(
        run=training_step(step, built.clip_norm),
        check=built.check,
        training=True,
        renew=step.renew,
        evaluate=partial(evaluating.evaluated, built, layout),
        warnings=built.warnings,
    )


def undivided(training: Training, cost: Cost | None = None) -> Step:
    """A training step as a workload built it, before any layout; with what it costs, if a layout is to divide it."""
    return Step(
        parts=(training.module,),
        inputs=training.inputs,
        micro_batches=training.accumulation,
        loss=training.loss,
        optimizer=training.optimizer,
        cost=cost,
        passes=accumulated,
        predicted=training.predicted,
        renew=training.renew,
    )


def divide(step: Step, layout: Layout, device: torch.device) -> Step:
    """The step divided over the layout's axes; the default process group has to span the layout's ranks."""
    if layout.world_size == 1:
        return step
    mesh = mesh_of(layout, device)
    for axis in sorted(layout.axes(), key=SPLIT_ORDER.index):
        step = registry.load("layouts", axis, Split).split(step, mesh, layout)
    return step


def mesh_of(layout: Layout, device: torch.device) -> DeviceMesh:
    """The layout's ranks, numbered as planning takes them to be, a dimension for each axis in use."""
    ranks = torch.arange(layout.world_size).view([getattr(layout, axis) for axis in RANK_ORDER])
    ranks = ranks.permute([RANK_ORDER.index(axis) for axis in MESH_AXES])
    used = [axis for axis in MESH_AXES if getattr(layout, axis) > 1]
    return DeviceMesh(device.type, ranks.reshape([getattr(layout, axis) for axis in used]), mesh_dim_names=tuple(used))


def data_rank(layout: Layout, rank: int) -> int:
    """Which of the layout's dp·fsdp different batches this rank works on."""
    sharing = layout.cp * layout.tp * layout.branches * layout.place
    return rank // sharing % layout.data_ranks
