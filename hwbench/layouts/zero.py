"""ZeRO over the data parallel ranks: each keeps the optimizer's state of some parameters, and sends the others what it updated."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hwbench.core.parallel import Split, Step, Transfer

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch.distributed.device_mesh import DeviceMesh

    from hwbench.core.layout import Layout
    from hwbench.core.workload import Cost


def communication(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:  # noqa: ARG001  # every layout has these arguments
    """Nothing of its own: it is an option of dp, whose gradients it sends in another way (`transfers`)."""
    return ()


def transfers(message_bytes: float, ranks: int, layout: Layout, what: str) -> tuple[Transfer, ...]:
    """How gradients of so many bytes are averaged, and parameters brought up to date.

    zero=1 as torch does it: DistributedDataParallel's all_reduce, and after the update a broadcast of each parameter from the rank that has
    its state; all broadcasts of a rank together are one transfer here. zero=2 (Rajbhandari et al. 2020, section 7): reduce_scatter and
    all_gather. Nothing hides what follows the update.
    """
    first, then = ("all_reduce", "broadcast") if layout.zero == 1 else ("reduce_scatter", "all_gather")
    return (
        _transfer(first, ranks, message_bytes, "backward", what),
        _transfer(then, ranks, message_bytes, None, f"updated parameters (zero={layout.zero})"),
    )


def _transfer(collective: Any, ranks: int, message_bytes: float, overlaps: Any, why: str) -> Transfer:
    return Transfer(collective=collective, axis="dp", ranks=ranks, message_bytes=message_bytes, count=1, overlaps=overlaps, why=why)


def split(step: Step, mesh: DeviceMesh, layout: Layout) -> Step:  # noqa: ARG001  # every layout has these arguments
    """The optimizer under ZeroRedundancyOptimizer: each rank keeps state for whole parameters, about as many elements as the others.

    Experts that ep has shared out have theirs divided over the ranks with the same ones.
    """
    from torch.distributed.optim import ZeroRedundancyOptimizer

    dp, inner = mesh["dp"], step.optimizer
    some = {p: ranks["copies"] for p, ranks in step.ranks_apart().items()}

    def made(parameters: Any, **_: Any) -> torch.optim.Optimizer:
        return inner([p for entry in parameters for p in (entry["params"] if isinstance(entry, dict) else [entry])])

    def optimizer(parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        ranks = some.get(parameters[0], dp)
        if ranks.size() == 1:
            return inner(parameters)
        return ZeroRedundancyOptimizer(parameters, optimizer_class=made, process_group=ranks.get_group())  # type: ignore[arg-type]

    return replace(step, optimizer=optimizer)


def refusal(layout: Layout, config: Mapping[str, Any], cost: Cost) -> str:  # noqa: ARG001  # every layout has these arguments
    """zero=2 and sharding twice have better names; DTensors can't be handed over."""
    if layout.dp == 1:
        return f"zero={layout.zero} divides the optimizer over dp, which is 1: write dp=N with it"
    if layout.zero == 2:
        return "torch has no ZeRO stage 2 of its own; fsdp=N,reshard=no divides gradients and optimizer in the same way"
    others = [axis for axis in ("fsdp", "tp", "pp", "cp") if getattr(layout, axis) > 1]
    if others:
        return f"torch's ZeroRedundancyOptimizer takes whole parameters only, and {others[0]} leaves others; fsdp=N divides the state too"
    return ""


LAYOUT: Final = Split(communication=communication, split=split, refusal=refusal)
