"""What a report shows: figures made from records by `analyse` and `planner`, ready for any format. Reports compute nothing."""

from collections.abc import Callable
from dataclasses import dataclass

from hwbench.core.inventory import Inventory
from hwbench.core.prediction import SizingAnswer
from hwbench.core.value import Value


class Interval(Value):
    """A 95 % interval over processes."""

    low: float
    high: float


class Throughput(Value):
    """One case of one run: what was reached, over all its processes."""

    run: str
    workload: str
    kind: str
    """ceiling, kernel, training, inference or collective."""
    settings: str
    """What of the configuration differs from the workload's defaults, as key=value text."""
    layout: str
    world_size: int
    dtype: str
    device: str
    processes: int
    samples: int
    step_time_s: float
    """Median over processes of the median sample."""
    step_interval_s: Interval | None
    """Over processes; None with one process."""
    items_per_s: float
    """Total work over total time."""
    item_unit: str
    flops_per_s: float
    bytes_per_s: float
    intensity_flops_per_byte: float | None
    roof_fraction: float | None
    """Reached rate over the measured roof at this intensity; above 1 is an error and comes with a warning."""
    mfu_fraction: float | None
    """Model FLOP/s over the measured matrix-product rate of this dtype on as many ranks."""
    resident_peak_bytes: int | None
    device_peak_bytes: int | None
    spread_fraction: float | None
    """Half the width of the interval (or of the samples' middle 90 % with one process) over the median."""
    samples_s: tuple[float, ...]
    """At most 200 samples, evenly taken, for the plot."""
    first_loss: float | None
    last_loss: float | None
    check: str
    """'passed', 'failed: …' or 'none'."""
    warnings: tuple[str, ...] = ()


class Roof(Value):
    """A measured ceiling: the memory roof or a compute roof."""

    name: str
    device: str
    layout: str
    dtype: str | None
    """None for memory bandwidth."""
    rate: float
    """bytes/s for memory, FLOP/s for compute."""


class Scaling(Value):
    """A layout against `single` of the same case in the same run, weak scaling: the batch of a rank is fixed."""

    workload: str
    settings: str
    dtype: str
    layout: str
    world_size: int
    speedup: float
    """Items per second over those of `single`."""
    efficiency_fraction: float
    """speedup / world_size."""
    interval: Interval | None = None


class NotMeasured(Value):
    """A case that failed or was skipped, and why."""

    case: str
    outcome: str
    reason: str


class Summary(Value):
    """Everything a report of one or more runs shows."""

    title: str
    made_at: str
    hwbench_version: str
    runs: tuple[str, ...]
    commands: tuple[str, ...]
    inventory: Inventory
    versions: dict[str, str]
    throughput: tuple[Throughput, ...]
    roofs: tuple[Roof, ...]
    scaling: tuple[Scaling, ...]
    not_measured: tuple[NotMeasured, ...]
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
