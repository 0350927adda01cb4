"""Copies between the host's and an accelerator's memory, and within an accelerator's memory.

Host memory is pinned (page-locked) by default: the driver then copies by DMA without a staging buffer. On a machine without an
accelerator the case is skipped with that reason.
"""

from typing import Final, Literal

from hwbench.core.errors import UnavailableError
from hwbench.core.value import Value
from hwbench.core.workload import Block, Check, Context, Cost, Kernel, Operator, Workload

from ._count import need_positive


class Config(Value):
    """One copy."""

    direction: Literal["host_to_device", "device_to_host", "device_to_device"] = "host_to_device"
    """device_to_device is within one device: it reads and writes its memory."""
    message_bytes: int = 1 << 28
    """Bytes copied a call."""
    pinned: bool = True
    """Whether the host's side is page-locked."""


def cost(config: Config, dtype: str) -> Cost:
    """The bytes that arrive; a copy within a device reads as many too, which the figure leaves out, as the vendors' tools do."""
    need_positive(config, "message_bytes")
    copy = Operator(name=config.direction, kind="memory", flops=0.0, bytes=float(config.message_bytes))
    return Cost(blocks=(Block(name="copy", parameters=0, operators=(copy,)),), dtype=dtype, items=config.message_bytes, item_unit="byte")


def build(config: Config, context: Context) -> Kernel:
    """Source and destination, random bytes in the source."""
    import torch

    if context.device.type == "cpu":
        raise UnavailableError("transfer: there is no accelerator to copy to or from")
    cost(config, context.dtype)
    host = torch.randint(0, 256, (config.message_bytes,), dtype=torch.uint8, pin_memory=config.pinned and context.device.type != "meta")
    device = torch.empty(config.message_bytes, dtype=torch.uint8, device=context.device)
    if config.direction == "host_to_device":
        source, destination = host, device
    elif config.direction == "device_to_host":
        source, destination = device, torch.empty_like(host)
        device.copy_(host)
    else:
        source, destination = device, torch.empty_like(device)
        device.copy_(host)

    def run() -> torch.Tensor:
        return destination.copy_(source, non_blocking=True)  # the worker waits for the device at the end of a sample

    def check() -> Check:
        run()
        wrong = int((destination.cpu() != source.cpu()).sum())
        return Check(name="bytes that differ", error=float(wrong), tolerance=0.0, reference="the source")

    return Kernel(run=run, check=check)


WORKLOAD: Final = Workload(kind="ceiling", config=Config, cost=cost, build=build)
