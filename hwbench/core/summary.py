"""What a report shows: figures made from records by `analyse` and `planner`, ready for any format. Reports compute nothing.

Formats (the JSON report is a Summary and says its number):
  1  2026-11  the first
     2026-11  the same number, with defaults: Throughput.scaling, .ranks and .split, Scaling.mode, Summary.configurations, .fleet and .nodes
     2026-11  the same number, with defaults: Throughput.losses, .batches, .metrics and .evaluated_on
"""

from collections.abc import Callable
from dataclasses import dataclass

from hwbench.core.ceilings import Ceilings
from hwbench.core.inventory import Inventory
from hwbench.core.prediction import SizingAnswer
from hwbench.core.record import ScalingMode
from hwbench.core.value import Value
from hwbench.core.workload import EvaluatedOn

SCHEMA = 1


class Interval(Value):
    """A 95 % interval over processes, in the unit of the value it belongs to."""

    low: float
    high: float
    method: str = ""
    """How it was made, in words."""


class StepSplit(Value):
    """Where a step's time goes: shares of an extra profiled repeat, mean over ranks and processes, applied to the unprofiled step time.

    The four parts add up to Throughput.step_time_s: one stacked bar a layout.
    """

    compute_s: float
    exposed_communication_s: float
    bubble_s: float
    """Waiting for another stage of the pipeline, the transfer included."""
    other_s: float
    profiled_ratio: float
    """The profiled step's time over the unprofiled one's: how much the profiler itself cost."""


class RankShare(Value):
    """One rank of a case, over all its processes."""

    rank: int
    host: str
    memory_bytes: int | None
    """Peak: of the accelerator's allocator where there is one, else the resident size of the process."""
    busy_s: float | None
    """What the rank itself works in a step, without waiting for others: CPU time, or computing on an accelerator; None unknown."""
    lags_fraction: float | None = None
    """By how much `busy_s` is above the ranks' median, where that is enough to be named; None else."""


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
    hfu_fraction: float | None = None
    """The same of the FLOPs that the hardware executed: without masked attention, with what recomputation repeats."""
    energy_per_step_j: float | None = None
    """Joules of one step by the machine's counters, idle power included; the median process."""
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
    scaling: ScalingMode = "weak"
    """Whether the settings' batch is that of a rank (weak) or of all data-parallel ranks together (strong)."""
    ranks: tuple[RankShare, ...] = ()
    """Memory and own work a rank; those that lag are marked."""
    split: StepSplit | None = None
    """None where no repeat was profiled."""
    losses: tuple[float, ...] = ()
    """Of the first process: after each warm-up call and each sample, in order."""
    batches: str | None = None
    """'repeated': the losses are of one batch that is learned by heart; 'new': each is of a batch never seen before."""
    metrics: dict[str, float] = {}
    """How good the model was after the last sample, by name (hwbench.core.workload.METRICS)."""
    evaluated_on: EvaluatedOn | None = None
    """What the metrics are of."""


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
    """A layout against `single` of the same case in the same run."""

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
    mode: ScalingMode = "weak"
    """weak: the batch of a rank is fixed; strong: the batch of all ranks together."""


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


class Against(Value):
    """One workload under one layout, measured by two runs on two machines or clusters. Everything "base" is of the first run."""

    base: str
    run: str
    workload: str
    kind: str
    settings: str
    layout: str
    world_size: int
    dtype: str
    scaling: ScalingMode = "weak"
    base_device: str
    device: str
    base_items_per_s: float
    items_per_s: float
    item_unit: str
    ratio: float
    """items_per_s over base_items_per_s: above 1, `run` is the faster one."""
    interval: Interval | None
    """Of the ratio; None where one of the two ran in one process only."""
    base_memory_bytes: int | None
    """Largest peak of a rank; of the accelerator where there is one, else of the process."""
    memory_bytes: int | None
    base_energy_per_step_j: float | None = None
    """Of the same step on both, by the machines' counters; None where one has none."""
    energy_per_step_j: float | None = None
    doubts: tuple[str, ...] = ()
    """Why this ratio is to be read with care: a noisy side, a failed check."""


class CantCompare(Value):
    """What two runs don't have in common, or what should not be compared, and why."""

    base: str
    run: str
    what: str
    why: str


class CurvePoint(Value):
    """One layout on a scaling curve."""

    world_size: int
    layout: str
    speedup: float
    efficiency_fraction: float
    interval: Interval | None = None
    """Of the efficiency."""


class ScalingCurve(Value):
    """One run's layouts of one family (dp=2, dp=4 … are one) over the number of ranks, `single` first with speedup 1."""

    run: str
    workload: str
    settings: str
    dtype: str
    device: str
    family: str
    """The axes in use: 'dp', 'dp,tp' …"""
    mode: ScalingMode = "weak"
    points: tuple[CurvePoint, ...]


class Price(Value):
    """What a million items cost under one layout on one run's machine, by the price of a cluster profile."""

    run: str
    profile: str
    workload: str
    settings: str
    layout: str
    dtype: str
    item_unit: str
    usd_per_million_items: float
    usd_per_hour: float
    """For the nodes that the layout's ranks fill, a part of a node counted as that part."""
    energy_j_per_item: float | None = None
    """At the profile's full-load power, which is an upper bound; None where the profile has no power."""


class Configurations(Value):
    """Machines or clusters side by side: every run of the report against the first."""

    runs: tuple[str, ...]
    machines: tuple[str, ...]
    """What each run was measured on, in a few words."""
    differences: tuple[FactByRun, ...]
    """Facts of hardware, software, tuning and hwbench itself in which the runs differ."""
    against: tuple[Against, ...]
    curves: tuple[ScalingCurve, ...] = ()
    prices: tuple[Price, ...] = ()
    cant: tuple[CantCompare, ...] = ()
    notes: tuple[str, ...] = ()
    """What holds for the comparison as a whole, such as a figure that nobody measured."""


class FleetOutlier(Value):
    """A host (or one rank of it) that is not like the others in one kernel, by median and median absolute deviation."""

    host: str
    rank: int | None
    """None where the host as a whole is named."""
    case: str
    slower_fraction: float
    """Its time over the median of all, less 1; below zero it is faster."""
    score: float
    """Robust z: (time - median) / (1.4826 · MAD)."""


class Fleet(Value):
    """The same kernels on many nodes, and who stands out."""

    hosts: tuple[str, ...]
    cases: int
    threshold: str
    """The rule in words, its numbers included."""
    outliers: tuple[FleetOutlier, ...]
    notes: tuple[str, ...] = ()
    """Why nothing could be judged, such as too few hosts."""


class FactByNode(Value):
    """A fact in which the nodes of one run differ: one value a node, in their order."""

    run: str
    nodes: tuple[str, ...]
    """'0 (host)' …"""
    fact: str
    values: tuple[str, ...]


class SweepPoint(Value):
    """One value of the swept setting."""

    value: float
    rate_per_s: float
    """In the sweep's `rate_unit`."""
    step_time_s: float
    flops_per_s: float | None
    """None where the workload counts none."""
    roof_fraction: float | None
    peak_bytes: int | None
    """Of the rank that needs most; of the accelerator where there is one, else of the process."""
    noisy: bool = False


class SweepLine(Value):
    """Cases that differ in the swept setting alone, by its value."""

    about: dict[str, str]
    """What tells this line from the others: names of settings, layout, dtype, device, threads, scaling or run, with their values."""
    points: tuple[SweepPoint, ...]


class Sweep(Value):
    """One workload over one number of its settings, such as attention over the length of the sequence."""

    workload: str
    setting: str
    rate_unit: str
    lines: tuple[SweepLine, ...]


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
    ceilings: tuple[Ceilings, ...] = ()
    """By run, of those that measured any: the curves of bandwidth, latency, products, collectives, copies and disk."""
    sweeps: tuple[Sweep, ...] = ()
    """Of the workloads that were measured at several values of one setting."""
    curves: tuple[ScalingCurve, ...] = ()
    """Of all runs: layouts of one family over the number of ranks."""
    sizing: SizingAnswer | None
    warnings: tuple[str, ...]
    """About the machine and the runs as a whole: noise, threads, unreadable records."""
    measured_fraction: float | None = None
    """Share of the runs' wall time between the first warm-up call and the last sample."""
    configurations: Configurations | None = None
    """Of two runs or more; None for one."""
    fleet: Fleet | None = None
    """Where the same kernels were measured on several hosts; None else."""
    nodes: tuple[FactByNode, ...] = ()
    """In what the nodes of a run differ."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a file of the reports room exports as REPORT: one output format."""

    suffix: str
    """File ending, with the dot."""
    render: Callable[[Summary], str]
