"""One rank alone: nothing is divided, nothing is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hwbench.core.parallel import Split, Step, Transfer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.distributed.device_mesh import DeviceMesh

    from hwbench.core.layout import Layout
    from hwbench.core.workload import Cost


def communication(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:  # noqa: ARG001  # every layout has these arguments
    """Nothing is sent."""
    return ()


def split(step: Step, mesh: DeviceMesh, layout: Layout) -> Step:  # noqa: ARG001  # every layout has these arguments
    """The step as it is."""
    return step


def refusal(layout: Layout, config: Mapping[str, Any], cost: Cost) -> str:  # noqa: ARG001  # every layout has these arguments
    """Every workload runs on one rank; micro-batches are then accumulated one after the other."""
    return ""


LAYOUT: Final = Split(communication=communication, split=split, refusal=refusal)
