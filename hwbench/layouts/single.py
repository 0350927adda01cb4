"""One rank alone: nothing is divided, nothing is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hwbench.core.parallel import Split, Transfer

if TYPE_CHECKING:
    import torch
    from torch.distributed.device_mesh import DeviceMesh

    from hwbench.core.layout import Layout
    from hwbench.core.workload import Cost


def communication(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:  # noqa: ARG001  # every layout has these arguments
    """Nothing is sent."""
    return ()


def split(module: torch.nn.Module, mesh: DeviceMesh) -> torch.nn.Module:  # noqa: ARG001  # every layout has these arguments
    """The module as it is."""
    return module


LAYOUT: Final = Split(communication=communication, split=split)
