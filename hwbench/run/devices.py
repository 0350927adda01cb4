"""A rank's device and its process group: the few lines that differ between a CPU and an accelerator. Imports torch."""

import datetime
import os
import socket
from typing import Final

import torch
import torch.distributed as dist

from hwbench.core.errors import UnavailableError
from hwbench.core.layout import parse_layout
from hwbench.core.record import Case
from hwbench.core.workload import Context

from . import clocks, measure, protocol

_GROUP_TIMEOUT: Final = datetime.timedelta(hours=24)
"""The launcher's time limit ends a case that hangs; torch's own must not do so earlier."""


def context_of(case: Case, rank: int) -> Context:
    """Where this rank builds the case; joins the process group when the layout needs one.

    UnavailableError, on every rank alike, where the device is missing or there are fewer of it than ranks.
    """
    world_size = parse_layout(case.layout).world_size
    device = torch.device("cpu")
    if case.device != "cpu":
        local_rank = int(os.environ["LOCAL_RANK"])
        _check_devices(case, int(os.environ["LOCAL_WORLD_SIZE"]))
        torch.accelerator.set_device_index(local_rank)
        device = torch.device(case.device, local_rank)
    if world_size > 1 and not dist.is_initialized():
        _join(device, rank, world_size)
    return Context(device=device, dtype=case.dtype, rank=rank, world_size=world_size)


def _check_devices(case: Case, ranks_here: int) -> None:
    here = torch.accelerator.current_accelerator(check_available=True)
    if here is None or here.type != case.device:
        found = f"found {here.type}" if here else "found no accelerator"
        raise UnavailableError(f"torch {torch.__version__} has no {case.device} device here ({found})")
    if torch.accelerator.device_count() < ranks_here:
        found = f"found {torch.accelerator.device_count()}"
        raise UnavailableError(f"{case.layout} needs {ranks_here} {case.device} devices on {socket.gethostname()}, {found}")


def _join(device: torch.device, rank: int, world_size: int) -> None:
    """Join the process group: on one machine through a file, so that nothing listens but gloo (and NCCL) on the loopback interface.

    Ranks of several nodes meet in the store of torch's launchers, which is at a port of node 0.
    """
    backend = "gloo"
    if device.type != "cpu":  # accelerators only; decisions still travel over gloo
        backend = f"cpu:gloo,{device.type}:{dist.get_default_backend_for_device(device.type)}"
    file = os.environ.get(protocol.STORE_VARIABLE)
    dist.init_process_group(
        backend, init_method=f"file://{file}" if file else "env://", rank=rank, world_size=world_size, timeout=_GROUP_TIMEOUT
    )


def agreement(world_size: int) -> measure.Agree:
    """Rank 0's number to all, through an all_reduce to which the others add nothing: it waits for every rank, a broadcast doesn't."""
    if world_size == 1:
        return int
    first = dist.get_rank() == 0

    def agree(number: int) -> int:
        carried = torch.tensor(number if first else 0)
        dist.all_reduce(carried)
        return int(carried)

    return agree


def queue(device: torch.device) -> clocks.Queue | None:
    """How to time an accelerator; None for a CPU, whose calls return when they are done."""
    if device.type == "cpu":
        return None
    return clocks.Queue(torch.accelerator.synchronize, lambda: torch.Event(device, enable_timing=True))


def reset_peak(device: torch.device) -> None:
    """Start a new peak of the accelerator's allocator; nothing to do on a CPU."""
    if device.type != "cpu":
        torch.get_device_module(device).reset_peak_memory_stats()


def peak_bytes(device: torch.device) -> int | None:
    """Peak bytes of the accelerator's allocator; None on a CPU."""
    return None if device.type == "cpu" else int(torch.get_device_module(device).max_memory_allocated())
