"""A suite: a named list of what to run, one TOML file in hwbench/run/suites/ or a path of the user's."""

from typing import Any, Literal

from hwbench.core.record import ScalingMode
from hwbench.core.value import Value
from hwbench.core.workload import Cost


class Entry(Value):
    """One workload of a suite; every list is swept."""

    workload: str
    set: dict[str, Any] = {}
    """Configuration by key; a list sweeps over its values. A word in <> stands for a number of the machine (hwbench.run.fitting)."""
    sizes: tuple[dict[str, Any], ...] = ()
    """Settings beside `set`, the largest first: by a try of the machine, each dtype gets the first whose step is short enough."""
    layouts: tuple[str, ...] | None = None
    dtypes: tuple[str, ...] | None = None
    compile: tuple[bool, ...] | None = None
    """Without torch.compile (false), with it (true), or both."""
    devices: tuple[Literal["cpu", "accelerator"], ...] = ("cpu", "accelerator")
    """Where this entry is meant for; sizes that suit a CPU leave an accelerator idle."""
    processes: int | None = None
    """Repeat it in so many processes at most, where the suite has more: what is many and small need not be as sure."""


class Suite(Value):
    """What `hwbench run --suite NAME` measures."""

    schema: int = 1
    description: str
    layouts: tuple[str, ...] = ("single",)
    dtypes: tuple[str, ...] = ("fp32",)
    compile: tuple[bool, ...] = (False,)
    processes: int = 1
    time_budget_s: float | None = None
    longest_step_s: float = 0.2
    """What is short enough for `sizes`, as guessed from the rates of a product and of memory."""
    world_size: int | None = None
    """Ranks of the layouts that the word `all` among `layouts` stands for."""
    scaling: ScalingMode = "weak"
    """strong: the configuration's batch is that of all ranks together, which divide it."""
    host: bool = False
    """Whether the CPUs are measured too where the run is one of an accelerator: entries for CPUs, beside those for accelerators."""
    each_node: bool = False
    """Whether each of several nodes measures it by itself, in a run of its own: no node waits for another."""
    entries: tuple[Entry, ...]


class Tried(Value):
    """Rates of one rank that were reached; what could not be tried is absent, or None."""

    flops_per_s: dict[str, float]
    """By dtype."""
    bytes_per_s: float | None

    def step_s(self, cost: Cost) -> float | None:
        """A guess of a step's time, were it as fast as what was tried; None for a dtype that was not. Real steps take longer."""
        rate = self.flops_per_s.get(cost.dtype)
        if rate is None:
            return None
        return max(cost.executed_flops / rate, cost.bytes / self.bytes_per_s if self.bytes_per_s else 0.0)
