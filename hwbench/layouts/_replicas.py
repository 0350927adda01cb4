"""How ranks with different samples come to the same gradients: DistributedDataParallel, or torch's composable replicate over DTensors."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ._models import groups

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from torch.distributed.device_mesh import DeviceMesh

    from hwbench.core.layout import Layout
    from hwbench.core.parallel import Step


def joined(mesh: DeviceMesh, layout: Layout, *axes: str) -> DeviceMesh:
    """One dimension over all ranks of those of these axes that are in use."""
    used = tuple(axis for axis in axes if getattr(layout, axis) > 1)
    return mesh[used[0]] if len(used) == 1 else mesh[used]._flatten("_".join(used))


def averaged(step: Step, mesh: DeviceMesh, layout: Layout) -> Step:
    """The step with gradients averaged over dp and cp, in one all_reduce each while the backward pass still runs."""
    share_means(step, mesh, layout)
    ranks = joined(mesh, layout, "dp", "cp")
    if layout.tp > 1 or layout.pp > 1:
        return _replicated(step, ranks)
    return _wrapped(step, ranks)


def share_means(step: Step, mesh: DeviceMesh, layout: Layout) -> None:
    """Give modules that need a mean over the global batch an `average` over all ranks that have samples of it."""
    from torch.distributed import all_reduce

    modules = [m for part in step.parts for m in part.modules() if callable(getattr(m, "average", None))]
    if not modules:
        return
    ranks = joined(mesh, layout, "dp", "cp", "fsdp")
    group = ranks.get_group()

    def average(x: torch.Tensor) -> torch.Tensor:
        total = x.detach() / ranks.size()
        all_reduce(total, group=group)
        return total

    for module in modules:
        module.__dict__["average"] = average


def _wrapped(step: Step, ranks: DeviceMesh) -> Step:
    """Each part under DistributedDataParallel; gradients live in its buckets, so that they aren't copied."""
    from torch.nn.parallel import DistributedDataParallel

    alone = set(step.ranks_apart())
    wrapped = []
    for part in step.parts:
        names = [name for name, p in part.named_parameters() if p in alone]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(part, names)  # type: ignore[no-untyped-call]
        wrapped.append(DistributedDataParallel(part, process_group=ranks.get_group(), gradient_as_bucket_view=True))

    @contextmanager
    def unfinished() -> Iterator[None]:
        with ExitStack() as stack:
            for module in wrapped:
                stack.enter_context(module.no_sync())
            yield

    return replace(step, parts=tuple(wrapped), unfinished=unfinished)


def _replicated(step: Step, ranks: DeviceMesh) -> Step:
    """Composable replicate, which takes the DTensors that tensor parallelism leaves, and which pipelines know.

    DistributedDataParallel takes no DTensors, and counts a pipeline's look at the shapes before its first step as a pass.
    """
    from torch.distributed._composable.replicate_with_fsdp import replicate as replicate_module

    parts: list[Any] = list(step.parts)
    alone = set(step.ranks_apart())
    for part in parts:
        for modules in groups(part):
            replicate_module(modules if len(modules) > 1 else modules[0], mesh=ranks, ignored_params=alone)
        replicate_module(part, mesh=ranks, ignored_params=alone)

    @contextmanager
    def unfinished() -> Iterator[None]:
        for part in parts:
            part.set_requires_gradient_sync(False)
        yield
        for part in parts:
            part.set_requires_gradient_sync(True)

    return replace(step, unfinished=unfinished)
