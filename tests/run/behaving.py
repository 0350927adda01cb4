"""A workload of the tests' own, given to hwbench by its path: tiny, and able to go wrong in every way that a run has to survive."""

from typing import Any, Final, Literal

from hwbench.core.errors import UnavailableError
from hwbench.core.value import Value
from hwbench.core.workload import Block, Check, Context, Cost, Kernel, Operator, Workload

Behaviour = Literal["fine", "raises", "killed", "stopped", "segfault", "hangs", "no_memory", "unavailable", "no_kernel", "wrong", "exits"]


class Config(Value):
    """What the last rank does in its third call."""

    behaviour: Behaviour = "fine"
    size: int = 64
    label: str = ""


def cost(config: Config, dtype: str) -> Cost:
    """A sum of `size` numbers."""
    operator = Operator(name="sum", kind="memory", flops=float(config.size), bytes=4.0 * config.size)
    return Cost(blocks=(Block(name="sum", parameters=0, operators=(operator,)),), dtype=dtype, items=config.size, item_unit="element")


def build(config: Config, context: Context) -> Kernel:
    """A sum, until its time comes."""
    import torch

    if config.behaviour == "unavailable":
        raise UnavailableError("this machine has no flux capacitor")
    x = torch.ones(config.size)
    calls = 0

    def run() -> object:
        nonlocal calls
        calls += 1
        if calls == 3 and context.rank == context.world_size - 1:
            misbehave(config.behaviour)
        return x.sum()

    error = 1.0 if config.behaviour == "wrong" else 0.0
    return Kernel(run=run, check=lambda: Check(name="sum", error=error, tolerance=0.5, reference="closed form"))


def misbehave(behaviour: str) -> None:
    """Go wrong as told."""
    import ctypes
    import os
    import signal
    import sys
    import time

    import torch

    deeds: dict[str, Any] = {
        "fine": lambda: None,
        "wrong": lambda: None,
        "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "stopped": lambda: os.kill(os.getpid(), signal.SIGSTOP),
        "segfault": lambda: ctypes.string_at(8),
        "hangs": lambda: time.sleep(3600),
        "no_memory": lambda: torch.empty(1 << 60),
        "no_kernel": lambda: torch.ones(2, 2, dtype=torch.bool) @ torch.ones(2, 2, dtype=torch.bool),
        "exits": lambda: os._exit(7),
    }
    if behaviour == "raises":
        print("a line on standard error", file=sys.stderr)
        raise ValueError("the last rank raised\nand said more")
    deeds[behaviour]()


WORKLOAD: Final = Workload(kind="kernel", config=Config, cost=cost, build=build)
