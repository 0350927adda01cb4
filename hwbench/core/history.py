"""What a history is made of and what is found in it: runs over time, series, changes, and what people said of them.

Formats (acknowledged.jsonl in the results folder, one Acknowledgement a line; the JSON of `hwbench history` is a History):
  1  2026-11  the first
"""

from datetime import datetime

from hwbench.core.comparison import ChangePoint
from hwbench.core.value import Value

SCHEMA = 1


class Measured(Value):
    """One case as one run measured it: one value a process, in seconds a call of the step."""

    run: str
    run_started_at: datetime | None
    """UTC; None where the run's header tells no time."""
    commit: str | None
    torch: str | None
    host: str | None
    machine: str
    machine_key: str
    comparison_key: str
    workload: str
    config: str
    """Complete configuration as JSON, keys sorted."""
    case_key: str
    layout: str
    dtype: str
    device: str
    threads: int
    ranks: int
    floors_s: tuple[float, ...]
    """Each process's fastest sample, wall time."""
    cpu_floors_s: tuple[float | None, ...]
    """Each process's least CPU time of a sample; None where it is not known."""
    clock_backwards: bool = False
    """Whether the clock was set back while this was measured."""


class Point(Value):
    """One run in a series."""

    run: str
    started_at: str
    """UTC, ISO 8601; empty where unknown."""
    value_s: float
    processes: int
    commit: str | None
    torch: str | None


class Change(Value):
    """A change of level in a series, and what else changed there."""

    id: str
    """Eight hex digits, the same as long as the change is found at the same run."""
    found: ChangePoint
    last_run_before: str
    """The newest run that is surely of the old level."""
    first_run: str
    """The likeliest first run of the new level."""
    surely_after: str
    """The oldest run that is surely of the new level."""
    explanation: tuple[str, ...] = ()
    """What changed between `last_run_before` and `surely_after`, or that nothing recorded did."""
    acknowledged: str | None = None
    """What somebody said of it; None where nobody did."""


class HistorySeries(Value):
    """One case on one kind of machine, oldest run first."""

    id: str
    """Eight hex digits of the case and the machine's key."""
    workload: str
    settings: str
    """What of the configuration tells this case from its workload's others, as key=value text."""
    case_key: str
    layout: str
    dtype: str
    device: str
    threads: int
    machine: str
    machine_key: str
    clock: str
    """cpu: CPU time of the rank's own thread; wall: wall time of the slowest rank."""
    points: tuple[Point, ...]
    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Short text for people, without the machine."""
        return " ".join(
            part for part in (self.workload, self.settings and f"({self.settings})", self.layout, self.dtype, self.device) if part
        )


class History(Value):
    """Everything a page about changes shows."""

    schema: int = SCHEMA
    title: str
    made_at: str
    """UTC, ISO 8601."""
    hwbench_version: str
    series: tuple[HistorySeries, ...]
    problems: tuple[str, ...] = ()
    """Records of the store that could not be read."""


class Acknowledgement(Value):
    """What somebody said of a change: one line of acknowledged.jsonl."""

    schema: int = SCHEMA
    at: str
    """UTC, ISO 8601."""
    change: str
    """Its id when it was acknowledged."""
    case_key: str
    machine_key: str
    run: str
    """The first run of the new level, as it was then."""
    slower: bool
    note: str
