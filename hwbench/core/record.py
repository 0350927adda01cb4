"""What a run writes down: cases, samples, outcomes. A failure is a record like any other.

Formats (a stored file says its number; old files still read, see hwbench.store.upgrade):
  1  2026-11  the first: run.json beside one records-HOST.jsonl a node
     2026-11  the same number, since absent keys read as unknown: Samples.span_s and process_cpu_s, Measurement.kind and
              executed_flops_per_step, RunHeader.settings.order and .environment
     2026-11  the same number: Case.compile, Samples.energy
     2026-11  the same number: Samples.split, Case.scaling; of runs on several nodes, beside the records, node-N-HOST.json (NodeHeader)
              and outcomes-N-HOST.jsonl (NodeOutcome), one of each a node
     2026-11  the same number: Measurement.losses, .batches and .evaluation
"""

import math
from typing import Any, Literal

from hwbench.core.inventory import Inventory
from hwbench.core.value import Value
from hwbench.core.workload import Check, Evaluation, WorkloadKind

SCHEMA = 1
Outcome = Literal["done", "failed", "skipped"]
ScalingMode = Literal["weak", "strong"]


class Case(Value):
    """One thing to measure. Two cases with the same `key` are the same measurement, on whatever machine."""

    workload: str
    config: dict[str, Any]
    """The complete configuration, defaults included."""
    layout: str = "single"
    dtype: str = "fp32"
    device: str = "cpu"
    process: int = 0
    """Which repetition in a process of its own, from 0."""
    threads: int = 1
    """Compute threads a rank."""
    scaling: ScalingMode = "weak"
    """weak: `config` holds the batch of a rank; strong: the batch of all data-parallel ranks together, which divide it."""
    compile: bool = False
    """Whether torch.compile made the step: its modules, or a kernel's whole call. The cold call then holds the compilation."""

    @property
    def name(self) -> str:
        """Short text for people: workload, layout, dtype and device, without the configuration."""
        return f"{self.workload} {self.layout} {self.dtype} {self.device}{' compiled' if self.compile else ''}"

    @property
    def key(self) -> str:
        """What makes two measurements the same thing, the repetition left out."""
        settings = ",".join(f"{k}={self.config[k]}" for k in sorted(self.config))
        strong = " strong" if self.scaling == "strong" else ""
        compiled = " compiled" if self.compile else ""
        return f"{self.workload}({settings}) {self.layout} {self.dtype} {self.device} threads={self.threads}{strong}{compiled}"


class TimeSplit(Value):
    """Where the wall time of one call went on one rank, by an extra call under torch's profiler; the four parts add up to `profiled_s`."""

    profiled_s: float
    """Wall time of the profiled call: longer than an unprofiled one, so only shares of it are to be used."""
    compute_s: float
    """Time in which an operator ran, whatever was sent meanwhile."""
    communication_s: float
    """Exposed communication: something was on its way and nothing was computed."""
    bubble_s: float
    """The same where what was on its way was a pipeline's own message: waiting for another stage, the transfer included."""
    other_s: float
    """Neither: the interpreter, the launching of operators, waiting for nothing that the profiler shows."""


class Energy(Value):
    """What was taken while the samples were, warm-up apart, by the machine's own counters; None with its reason among `reasons`."""

    device_j: float | None
    """Of the rank's accelerator, the whole board."""
    host_j: float | None
    """Of all processor packages (and memory, where it is counted) of the host, whoever used them; told by one rank a host."""
    span_s: float
    """Wall time between the two readings: all samples, and what lies between them."""
    reasons: tuple[str, ...] = ()


class Samples(Value):
    """One rank's samples of one case. A sample is one call of the step (or `calls_per_sample` calls, timed together)."""

    rank: int
    host: str
    warmup_wall_s: tuple[float, ...]
    """Calls before the steady state, in order, the first (cold) one included."""
    wall_s: tuple[float, ...]
    cpu_s: tuple[float, ...]
    """CPU time of the rank's own thread, beside each `wall_s`; empty where it is not known (imported results)."""
    process_cpu_s: tuple[float, ...] = ()
    """CPU time of all threads of the rank's process, beside each `wall_s`: what gloo's threads do is in here, but not in `cpu_s`."""
    span_s: float | None = None
    """Wall time from the first warm-up call to the end of the last sample; None where it was not recorded."""
    calls_per_sample: int = 1
    involuntary_switches: tuple[int, ...] = ()
    """Times the kernel took the CPU away during each sample; empty where the system doesn't tell."""
    device_peak_bytes: int | None = None
    """Peak memory of the accelerator's allocator; None on a CPU."""
    resident_peak_bytes: int | None = None
    """Peak resident size of the process."""
    energy: Energy | None = None
    """None in older records."""
    split: TimeSplit | None = None
    """None for kernels, and where the step was not profiled."""


class MachineState(Value):
    """The machine around a measurement; None is what this machine does not tell."""

    load_1min: float | None = None
    cpu_pressure_fraction: float | None = None
    """Share of the time in which some task waited for a CPU during the measurement (/proc/pressure/cpu)."""
    steal_fraction: float | None = None
    """Share of CPU time that the hypervisor gave to others during the measurement (/proc/stat)."""
    governor: str | None = None
    frequency_hz: float | None = None
    throttle_reasons: tuple[str, ...] | None = None


class Measurement(Value):
    """All samples of one process (or one launch of ranks) of one case; summaries are made when somebody looks."""

    ranks: tuple[Samples, ...]
    items_per_step: int
    """Items of all ranks together in one call of the step."""
    item_unit: str
    flops_per_step: float | None
    """Model FLOPs of all ranks together in one call; None, as with the next two, where an imported file doesn't tell."""
    bytes_per_step: float | None
    """Least memory traffic of all ranks together in one call."""
    parameters: int | None
    executed_flops_per_step: float | None = None
    """FLOPs that the hardware has to do, without the masked half of causal attention: what a roof bounds. None in older records."""
    kind: WorkloadKind | None = None
    """What kind of workload was measured; None in older records and imported files."""
    check: Check | None
    first_loss: float | None = None
    last_loss: float | None = None
    losses: tuple[float, ...] = ()
    """The mean loss over all ranks after each warm-up call and each sample, in order (of a sample of several calls its last one's)."""
    batches: Literal["repeated", "new"] | None = None
    """Whether a training step repeated one batch, learning it by heart, or got a new one for each of `losses`; None in older records."""
    evaluation: Evaluation | None = None
    """Of training steps, after the last sample and outside what is timed; None in older records."""

    @property
    def energy_per_step_j(self) -> float | None:
        """Joules of one call, idle power included: of the ranks' accelerators and their hosts, as far as counters tell; None without."""
        told = [(rank.energy, len(rank.wall_s) * rank.calls_per_sample) for rank in self.ranks if rank.energy]
        joules = [((one.device_j or 0.0) + (one.host_j or 0.0)) / calls for one, calls in told if calls]
        known = any(one.device_j is not None or one.host_j is not None for one, _ in told)
        return sum(joules) if known and joules else None

    @property
    def step_wall_s(self) -> tuple[float, ...]:
        """Wall time of one call, a value a sample: the slowest rank's, since a step ends when its last rank does."""
        return tuple(max(walls) / self.ranks[0].calls_per_sample for walls in zip(*(r.wall_s for r in self.ranks), strict=True))


class Record(Value):
    """One case, measured, failed or skipped: one line of a records file."""

    schema: int = SCHEMA
    case: Case
    outcome: Outcome
    reason: str = ""
    """Why it failed or was skipped, one line; empty when done."""
    started_at: str
    """UTC, ISO 8601."""
    duration_s: float
    measurement: Measurement | None = None
    state: MachineState = MachineState()
    warnings: tuple[str, ...] = ()


def fault(record: Record) -> str:
    """Why a record that says it is done can't be used; empty where it can."""
    measured = record.measurement
    if measured is None or not measured.ranks:
        return "the record says done but holds no measurement"
    lengths = {len(rank.wall_s) for rank in measured.ranks}
    if len(lengths) > 1:
        return f"the ranks have different numbers of samples: {', '.join(map(str, sorted(lengths)))}"
    if lengths == {0}:
        return "the record says done but holds no samples"
    if not all(min(rank.wall_s) > 0 and max(rank.wall_s) < math.inf and rank.calls_per_sample > 0 for rank in measured.ranks):
        return "a sample took no time, or time without end: the clock can't be trusted"
    return ""


class RunHeader(Value):
    """What holds for a whole run: run.json in its folder."""

    schema: int = SCHEMA
    id: str
    started_at: str
    hwbench_version: str
    command: tuple[str, ...]
    suite: str | None
    cases: tuple[Case, ...]
    """Everything the run set out to measure, in order: what --resume completes."""
    inventory: Inventory
    versions: dict[str, str]
    """Versions of what the figures depend on: torch, python, BLAS …"""
    commit: str | None = None
    """Commit of the git checkout in which the run was started, with '+' when files differed from it."""
    settings: dict[str, Any] = {}
    """The run's own options, such as the time budget."""


class NodeHeader(Value):
    """One node of a run on several: node-N-HOST.json in the run's folder, written by that node's launcher."""

    schema: int = SCHEMA
    node: int
    """Its number, from 0; node 0 decides what is measured and writes the records."""
    host: str
    started_at: str
    slots: int
    """Ranks it can hold: CPUs, or accelerators."""
    interface: str | None
    """Network interface that reaches node 0; None where it could not be told."""
    inventory: Inventory
    versions: dict[str, str]


class RankOutcome(Value):
    """How one rank fared in one case, as its node's launcher saw it."""

    rank: int
    outcome: Outcome
    reason: str = ""


class NodeOutcome(Value):
    """One case on one node: one line of outcomes-N-HOST.jsonl, written whatever becomes of the other nodes."""

    schema: int = SCHEMA
    node: int
    case_key: str
    process: int
    started_at: str
    ranks: tuple[RankOutcome, ...]


class Node(Value):
    """A node as read back from a run's folder."""

    header: NodeHeader
    outcomes: tuple[NodeOutcome, ...] = ()


class Run(Value):
    """A run as read back from its folder: the header, the records that could be read, and what could not."""

    path: str
    header: RunHeader
    records: tuple[Record, ...]
    problems: tuple[str, ...] = ()
    """One line a corrupt record: file, line number, reason."""
    finished: bool = False
    nodes: tuple[Node, ...] = ()
    """Of a run on several nodes, those whose files are here, by number; empty for a run on one machine."""
