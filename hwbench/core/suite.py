"""A suite: a named list of what to run, one TOML file in hwbench/run/suites/ or a path of the user's."""

from typing import Any, Literal

from hwbench.core.value import Value


class Entry(Value):
    """One workload of a suite; every list is swept."""

    workload: str
    set: dict[str, Any] = {}
    """Configuration by key; a list sweeps over its values. A word in <> stands for a number of the machine (hwbench.run.fitting)."""
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
    host: bool = False
    """Whether the CPUs are measured too where the run is one of an accelerator: entries for CPUs, beside those for accelerators."""
    each_node: bool = False
    """Whether each of several nodes measures it by itself, in a run of its own: no node waits for another."""
    entries: tuple[Entry, ...]
