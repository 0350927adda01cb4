"""From a case to what a rank times: find the workload, build it, divide it as the layout says, add clipping and the optimizer.

Runs in a worker only; the parent never imports torch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.distributed.device_mesh import init_device_mesh

from hwbench.core import codec, registry
from hwbench.core.layout import Layout, parse_layout
from hwbench.core.parallel import Split
from hwbench.core.record import Case
from hwbench.core.workload import Check, Context, Training, Workload


@dataclass(frozen=True, kw_only=True)
class Built:
    """A step ready to be timed."""

    run: Callable[[], object]
    check: Callable[[], Check]
    training: bool
    warnings: tuple[str, ...] = ()


def build(case: Case, context: Context) -> Built:
    """The step of a case on this rank. Kernels run undivided on every rank; a training step's module is divided by its layout."""
    workload = registry.load("workloads", case.workload, Workload)
    config = codec.convert(case.config, workload.config, source=case.workload)
    built = workload.build(config, context)
    if not isinstance(built, Training):
        return Built(run=built.run, check=built.check, training=False, warnings=built.warnings)
    module = divide(built.module, parse_layout(case.layout), context.device)
    return Built(run=training_step(built, module), check=built.check, training=True)


def divide(module: torch.nn.Module, layout: Layout, device: torch.device) -> torch.nn.Module:
    """The module divided over the layout's axes, innermost first; the default process group has to span the layout's ranks."""
    axes = layout.axes()
    if axes == ("single",):
        return module
    mesh = init_device_mesh(device.type, tuple(getattr(layout, axis) for axis in axes), mesh_dim_names=axes)
    for axis in reversed(axes):
        split = registry.load("layouts", axis, Split).split
        assert split is not None, f"{axis} was let through by the parent"
        module = split(module, mesh[axis])
    return module


def training_step(training: Training, module: torch.nn.Module) -> Callable[[], torch.Tensor]:
    """One optimizer step on the rank's own inputs: forget gradients, loss, backward, clip, update. Returns the loss, cut from its graph."""
    optimizer = training.optimizer(module.parameters())
    micro_batches = list(zip(*(x.chunk(training.accumulation) for x in training.inputs), strict=True))

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=training.inputs[0].device)
        for micro_batch in micro_batches:
            part = training.loss(module, *micro_batch) / len(micro_batches)
            part.backward()  # type: ignore[no-untyped-call]
            loss += part.detach()
        if training.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(module.parameters(), training.clip_norm)
        optimizer.step()
        return loss.detach()

    return step
