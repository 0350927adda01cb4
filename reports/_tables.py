"""The tables of a report as plain text cells: HTML and Markdown only dress them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hwbench.core.prediction import Sizing, SizingAnswer
from hwbench.core.summary import Summary
from hwbench.core.units import UNKNOWN, format_bytes, format_fraction, format_seconds, format_usd, significant

from . import _text


class Table(NamedTuple):
    """A table: headings, rows of as many cells, and which columns hold numbers (to be set right)."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    marked: frozenset[int] = frozenset()
    """Rows that carry a warning."""


def throughput(summary: Summary) -> Table:
    """One row a case: rate, time with interval, share of the roof, noise."""
    several = len(summary.runs) > 1
    columns = (
        "Workload", "Layout", "Settings", "Type, device", "Rate", "Step time (95 % interval)", "Spread", "Compute rate", "Memory rate",
        "Of roof", "MFU", "Peak memory", "Processes × samples", "Check",
    )  # fmt: skip
    rows = [
        (
            row.workload, row.layout, row.settings or "defaults", f"{row.dtype}, {row.device}", _text.items(row), _text.step_time(row),
            _text.spread(row), _text.flops(row), _text.traffic(row), format_fraction(row.roof_fraction), format_fraction(row.mfu_fraction),
            _text.peak_memory(row), f"{row.processes} × {row.samples // row.processes}", row.check, *((row.run,) if several else ()),
        )
        for row in summary.throughput
    ]  # fmt: skip
    marked = frozenset(index for index, row in enumerate(summary.throughput) if row.noisy or row.warnings)
    return Table("Throughput of every case", (*columns, "Run") if several else columns, tuple(rows), frozenset(range(4, 13)), marked)


def by_run(summary: Summary) -> Table:
    """Items a second of every case, one column a run; empty where there is one run."""
    ids = [run.id for run in summary.runs]
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for row in summary.throughput:
        case = (row.workload, row.layout, row.settings or "defaults", f"{row.dtype}, {row.device}")
        cells.setdefault(case, {})[row.run] = f"{_text.items(row)}, {_text.spread(row)}"
    rows = tuple((*case, *(found.get(run, UNKNOWN) for run in ids)) for case, found in cells.items())
    columns = ("Workload", "Layout", "Settings", "Type, device", *ids)
    return Table("The runs side by side: rate and spread", columns, rows if len(ids) > 1 else (), frozenset(range(4, len(columns))))


def differences(summary: Summary) -> Table:
    """Facts of machine and software in which the runs differ."""
    rows = tuple((difference.fact, *(value or UNKNOWN for value in difference.values)) for difference in summary.differences)
    return Table("What differs between the runs' machines and software", ("Fact", *(run.id for run in summary.runs)), rows)


def row_notes(summary: Summary) -> Table:
    """Warnings and gaps of single cases; equal ones are said once, with the cases they hold for."""
    several = len(summary.runs) > 1
    cases: dict[str, list[str]] = {}
    for row in summary.throughput:
        for note in (*row.warnings, *row.gaps):
            cases.setdefault(note, []).append(f"{row.workload} {_text.variant(row, several_runs=several)}")
    rows = tuple((note, "; ".join(which)) for note, which in cases.items())
    return Table("What speaks against single figures, or is missing from them", ("Note", "Cases"), rows)


def roofs(summary: Summary) -> Table:
    """The measured ceilings."""
    several = len(summary.runs) > 1
    rows = [
        (
            "memory bandwidth" if roof.dtype is None else f"{roof.dtype} matrix products", roof.layout, str(roof.world_size),
            f"{roof.device}, {_threads(roof.threads)}", _text.roof_rate(roof), roof.name, *((roof.run,) if several else ()),
        )
        for roof in summary.roofs
    ]  # fmt: skip
    columns = ("Ceiling", "Layout", "Ranks", "Device", "Rate", "Measured by", *(("Run",) if several else ()))
    return Table("Measured ceilings", columns, tuple(sorted(rows)), frozenset({2, 4}))


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count != 1 else ''} a rank"


def scaling(summary: Summary) -> Table:
    """Every layout against `single`."""
    several = len(summary.runs) > 1
    rows = tuple(
        (
            value.workload, value.layout, value.settings or "defaults", f"{value.dtype}, {value.device}", str(value.world_size),
            f"{significant(value.speedup)} ×", _text.efficiency(value), *((value.run,) if several else ()),
        )
        for value in summary.scaling
    )  # fmt: skip
    columns = (
        "Workload",
        "Layout",
        "Settings",
        "Type, device",
        "Ranks",
        "Speed-up",
        "Efficiency (interval)",
        *(("Run",) if several else ()),
    )
    return Table("Scaling against one rank", columns, rows, frozenset({4, 5, 6}))


def not_measured(summary: Summary) -> Table:
    """Cases without a figure, and why."""
    several = len(summary.runs) > 1
    rows = tuple((lost.case, lost.outcome, lost.reason, *((lost.run,) if several else ())) for lost in summary.not_measured)
    return Table("What was not measured, and why", ("Case", "Outcome", "Reason", *(("Run",) if several else ())), rows)


def sizing(answer: SizingAnswer) -> Table:
    """What each cluster would need."""
    columns = (
        "Cluster", "Meets deadline", "Time to train", "Cost", "Energy", "Nodes", "Accelerators", "Layout", "Batch (micro / global)",
        "Step time (90 % interval)", "MFU", "Memory an accelerator", "Bottleneck", "Basis", "Unknown",
    )  # fmt: skip
    rows = tuple(_sizing_row(option) for option in answer.sizings)
    late = frozenset(index for index, option in enumerate(answer.sizings) if not option.meets_deadline)
    return Table("Clusters that can, best first", columns, rows, frozenset({2, 3, 4, 5, 6, 8, 9, 10, 11}), late)


def _sizing_row(option: Sizing) -> tuple[str, ...]:
    made = option.prediction
    return (
        option.cluster,
        "yes" if option.meets_deadline else "no",
        format_seconds(option.train_time_s),
        format_usd(option.cost_usd),
        _text.energy(option.energy_j),
        f"{option.nodes:,}",
        f"{option.accelerators:,}",
        option.layout.text,
        f"{option.micro_batch:,} / {option.global_batch:,}",
        _predicted_time(made.step_time_s, made.low_s, made.high_s),
        format_fraction(made.mfu_fraction),
        f"{format_bytes(made.memory.total_bytes)} of {format_bytes(made.memory_capacity_bytes)}",
        made.bottleneck,
        "; ".join((made.basis, *made.assumptions)),
        "; ".join(option.gaps) or "nothing",
    )


def _predicted_time(step_s: float, low_s: float | None, high_s: float | None) -> str:
    if low_s is None or high_s is None:
        return format_seconds(step_s)
    return f"{format_seconds(step_s)} ({format_seconds(low_s)} to {format_seconds(high_s)})"


def step_parts(answer: SizingAnswer) -> Table:
    """The predicted step of each cluster in parts."""
    names = _distinct(part.name for option in answer.sizings for part in option.prediction.parts)
    rows = []
    for option in answer.sizings:
        times = {part.name: part.time_s for part in option.prediction.parts}
        rows.append((option.cluster, format_seconds(option.prediction.step_time_s), *(format_seconds(times.get(name)) for name in names)))
    return Table("Where the predicted step time goes", ("Cluster", "Step", *names), tuple(rows), frozenset(range(1, len(names) + 2)))


def memory_parts(answer: SizingAnswer) -> Table:
    """The predicted memory of the rank that needs most, in parts."""
    rows = []
    for option in answer.sizings:
        need = option.prediction.memory
        parts = (need.weights_bytes, need.gradients_bytes, need.optimizer_bytes, need.activations_bytes, need.buffers_bytes)
        sizes = (*parts, need.total_bytes, option.prediction.memory_capacity_bytes)
        rows.append((option.cluster, *map(format_bytes, sizes)))
    columns = ("Cluster", "Weights", "Gradients", "Optimizer", "Activations", "Buffers", "Together", "Capacity")
    return Table("Predicted memory of the accelerator that needs most", columns, tuple(rows), frozenset(range(1, 8)))


def rejected(answer: SizingAnswer) -> Table:
    """Clusters that can't, and why."""
    return Table("Clusters that can't", ("Cluster", "Reason"), tuple((name.name, name.reason) for name in answer.rejected))


def runs(summary: Summary) -> Table:
    """How each run was made."""
    rows = tuple(
        (
            run.id, run.started_at, run.command, run.suite or UNKNOWN, run.hwbench_version, run.commit or UNKNOWN,
            f"{run.done} done, {run.failed} failed, {run.skipped} skipped", format_seconds(run.wall_s),
            format_fraction(run.measured_fraction, 2), "yes" if run.finished else "no",
        )
        for run in summary.runs
    )  # fmt: skip
    columns = ("Run", "Started (UTC)", "Command", "Suite", "hwbench", "Commit", "Records", "Took", "Spent measuring", "Finished")
    return Table("The runs", columns, rows, frozenset({7, 8}))


def versions(summary: Summary) -> Table:
    """Versions of what the figures depend on."""
    return Table("Versions", ("Software", "Version"), tuple(sorted(summary.versions.items())))


def _distinct(names: Iterable[str]) -> Sequence[str]:
    return list(dict.fromkeys(names))
