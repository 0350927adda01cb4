"""What a report shows: figures made from records by `analyse` and `planner`, ready for any format. Reports compute nothing.

Formats (the JSON report is a Summary and says its number):
  1  2026-11  the first
"""

from collections.abc import Callable
from dataclasses import dataclass

from hwbench.core.inventory import Inventory
from hwbench.core.prediction import SizingAnswer
from hwbench.core.value import Value

SCHEMA = 1


class Interval(Value):
    """A 95 % interval over processes, in the unit of the value it belongs to."""

    low: float
    high: float
    method: str = ""
    """How it was made, in words."""


class Throughput(Value):
    """One case of one run: what was reached, over all its processes."""

    run: str
    workload: str
    kind: str
    """ceiling, kernel, training, inference or collective."""
    label: str
    """What sets the row apart among its workload's: the layout, and of the rest only what differs in this report."""
    settings: str
    """What of the configuration differs from the workload's defaults, as key=value text."""
    layout: str
    world_size: int
    dtype: str
    device: str
    threads: int = 1
    """Compute threads a rank."""
    processes: int
    samples: int
    step_time_s: float
    """Median over processes of the median sample."""
    step_interval_s: Interval | None
    """Over processes; None with one process."""
    step_best_s: float
    """The fastest sample of all processes: what a ceiling is made from."""
    items_per_s: float
    """Total work over total time."""
    item_unit: str
    rate_per_s: float
    """The figure to judge the case by, in `rate_unit`: items a second, or what the machine itself did where that was measured."""
    rate_unit: str
    """'B/s', 'FLOP/s', or the item and '/s', such as 'token/s'."""
    flops_per_s: float
    bytes_per_s: float
    flops_per_step: float
    bytes_per_step: float
    parameters: int
    executed_fraction: float = 1.0
    """Share of the counted FLOPs that the hardware has to do: roofs bound these, MFU counts all."""
    intensity_flops_per_byte: float | None
    """Executed FLOPs a byte."""
    roof_fraction: float | None
    """Reached rate over the measured roof at this intensity; above 1 is an error and comes with a warning."""
    mfu_fraction: float | None
    """Model FLOP/s over the measured matrix-product rate of this dtype on as many ranks."""
    resident_peak_bytes: int | None
    """Largest of all ranks and processes, as is `device_peak_bytes`."""
    device_peak_bytes: int | None
    spread_fraction: float | None
    """Half the width of the interval (or of the samples' middle 90 % with one process) over the median."""
    noisy: bool = False
    """Whether that width, both halves together, is more than 10 % of the median."""
    samples_s: tuple[float, ...]
    """At most 200 samples, evenly taken, for the plot."""
    processes_s: tuple[float, ...]
    """The median sample of each process."""
    first_loss: float | None
    last_loss: float | None
    check: str
    """'passed', 'failed: …' or 'none'."""
    warnings: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    """Why a figure of this row is None."""


class Roof(Value):
    """A measured ceiling: the memory roof or a compute roof. The rate is that of the fastest sample, as STREAM counts it."""

    run: str
    name: str
    """The workload that measured it."""
    device: str
    layout: str
    world_size: int
    threads: int
    dtype: str | None
    """None for memory bandwidth."""
    rate: float
    """bytes/s for memory, FLOP/s for compute, of all ranks together."""


class Scaling(Value):
    """A layout against `single` of the same case in the same run, weak scaling: the batch of a rank is fixed."""

    run: str
    workload: str
    kind: str
    label: str
    settings: str
    dtype: str
    device: str
    layout: str
    world_size: int
    speedup: float
    """Items per second over those of `single`."""
    efficiency_fraction: float
    """speedup / world_size."""
    interval: Interval | None = None
    """Of the efficiency; None where one of the two has no interval."""


class Verified(Value):
    """A training step that was measured and, from the same run's ceilings, predicted as if it had not been."""

    run: str
    workload: str
    label: str
    layout: str
    dtype: str
    measured_s: float
    clock: str = "wall"
    """'wall', or 'cpu' where others disturbed the measurement: then CPU time, which the calibration rests on too."""
    predicted_s: float
    error_fraction: float
    """predicted / measured - 1: above zero is a prediction too slow."""
    fitted: bool
    """Whether this step itself went into the calibration (a dp step gives the cost of communication), so that its error proves nothing."""
    bottleneck: str


class NotMeasured(Value):
    """A case that failed, was skipped or was never reached, and why."""

    run: str
    case: str
    outcome: str
    """failed, skipped or not reached."""
    reason: str


class RunFacts(Value):
    """How one run was made."""

    id: str
    started_at: str
    command: str
    suite: str | None
    commit: str | None
    hwbench_version: str
    finished: bool
    done: int
    """Cases, repetitions counted, by their outcome."""
    failed: int
    skipped: int
    wall_s: float | None
    """From the start of the run to the end of its last record; None without records."""
    measured_fraction: float | None
    """Share of `wall_s` between the first warm-up call and the last sample of some case."""


class FactByRun(Value):
    """A fact about machine or software in which the runs differ: one value a run, in their order."""

    fact: str
    values: tuple[str, ...]


class Summary(Value):
    """Everything a report of one or more runs shows."""

    schema: int = SCHEMA
    title: str
    made_at: str
    """UTC, ISO 8601."""
    hwbench_version: str
    findings: tuple[str, ...]
    """What the figures say, in plain sentences, the most important first."""
    runs: tuple[RunFacts, ...]
    inventory: Inventory | None
    """Of the first run; None without runs."""
    versions: dict[str, str]
    """Of the first run."""
    differences: tuple[FactByRun, ...] = ()
    throughput: tuple[Throughput, ...]
    roofs: tuple[Roof, ...]
    scaling: tuple[Scaling, ...]
    not_measured: tuple[NotMeasured, ...]
    verified: tuple[Verified, ...] = ()
    """Predicted beside measured, for every training step of runs that measured the ceilings too."""
    sizing: SizingAnswer | None
    warnings: tuple[str, ...]
    """About the machine and the runs as a whole: noise, threads, unreadable records."""
    measured_fraction: float | None = None
    """Share of the runs' wall time between the first warm-up call and the last sample."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a file of the reports room exports as REPORT: one output format."""

    suffix: str
    """File ending, with the dot."""
    render: Callable[[Summary], str]
