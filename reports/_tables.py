"""The tables of a report as plain text cells: HTML and Markdown only dress them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from hwbench.core.prediction import ServingAnswer, Sizing, SizingAnswer
from hwbench.core.summary import Summary
from hwbench.core.units import UNKNOWN, format_bytes, format_count, format_fraction, format_rate, format_seconds, format_usd, significant

from . import _text

MOST_CASES: Final = 20
"""As many cases as a note names: a page of names is not read."""
_NUMBERS: Final = re.compile(r"\d[\d.,]*")


class Table(NamedTuple):
    """A table: headings, rows of as many cells, and which columns hold numbers (to be set right)."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    marked: frozenset[int] = frozenset()
    """Rows that carry a warning."""
    for_all: str = ""
    """What holds for all rows, said once instead of in a column."""


def folded(table: Table, *names: str) -> Table:
    """The table without those of the named columns that say the same in every one of two or more rows: `for_all` says it once."""
    if len(table.rows) < 2:
        return table
    same = [i for i, name in enumerate(table.columns) if name in names and len({row[i] for row in table.rows}) == 1]
    kept = [i for i in range(len(table.columns)) if i not in same]
    return Table(
        table.caption,
        tuple(table.columns[i] for i in kept),
        tuple(tuple(row[i] for i in kept) for row in table.rows),
        frozenset(new for new, old in enumerate(kept) if old in table.numeric),
        table.marked,
        "; ".join(f"{table.columns[i].lower()}: {table.rows[0][i]}" for i in same if table.rows[0][i] != UNKNOWN),
    )


def throughput(summary: Summary) -> Table:
    """One row a case: rate, time with interval, share of the roof, noise."""
    columns = (
        "Workload", "Layout", "Settings", "Type, device", "Rate", "Step time (interval)", "Spread", "Compute", "Traffic", "Of roof",
        "MFU", "HFU", "Energy a step", "Peak mem.", "Samples", "Loss", "Check", "Run",
    )  # fmt: skip
    rows = tuple(
        (
            row.workload, row.layout, row.settings or "defaults", f"{row.dtype}, {row.device}", _text.rate(row), _text.step_time(row),
            _text.spread(row), _text.flops(row), _text.traffic(row), format_fraction(row.roof_fraction), format_fraction(row.mfu_fraction),
            format_fraction(row.hfu_fraction), format_rate(row.energy_per_step_j, "J"),
            _text.peak_memory(row), f"{row.samples:,} in {row.processes}", _text.loss(row), row.check,
            row.run if len(summary.runs) > 1 else "",
        )
        for row in summary.throughput
    )  # fmt: skip
    marked = frozenset(index for index, row in enumerate(summary.throughput) if row.noisy or row.warnings)
    made = Table("Throughput of every case", columns, rows, frozenset(range(4, 16)), marked)
    return folded(without_empty(made, "Run"), "Settings", "Type, device", "MFU", "HFU", "Energy a step", "Loss", "Check")


def by_run(summary: Summary) -> Table:
    """Items a second of every case, one column a run; empty where there is one run."""
    ids = [run.id for run in summary.runs]
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for row in summary.throughput:
        case = (row.workload, row.layout, row.settings or "defaults", f"{row.dtype}, {row.device}")
        cells.setdefault(case, {})[row.run] = f"{_text.rate(row)}, {_text.spread(row)}"
    rows = tuple((*case, *(found.get(run, UNKNOWN) for run in ids)) for case, found in cells.items())
    columns = ("Workload", "Layout", "Settings", "Type, device", *ids)
    return Table("The runs side by side: rate and spread", columns, rows if len(ids) > 1 else (), frozenset(range(4, len(columns))))


def row_notes(summary: Summary) -> Table:
    """Warnings and gaps of single cases; notes that differ in numbers only are said once, with the cases they hold for."""
    alike: dict[str, dict[str, str]] = {}
    for row in summary.throughput:
        for note in (*row.warnings, *row.gaps):
            case = f"{row.workload} {row.label}"
            alike.setdefault(_NUMBERS.sub("#", note), {}).setdefault(case, note)
    rows = tuple((_first_of(list(notes.values())), _cases(list(notes), len(summary.throughput))) for notes in alike.values())
    return Table("What speaks against single figures, or is missing from them", ("Note", "Cases"), rows)


def _first_of(notes: Sequence[str]) -> str:
    others = len(set(notes)) - 1
    return notes[0] if others == 0 else f"{notes[0]} (and {others} more with other numbers)"


def _cases(names: Sequence[str], total: int) -> str:
    return f"all {total} cases" if len(names) == total > 1 else named(names)


def named(names: Sequence[str]) -> str:
    """Names of cases, the first MOST_CASES of them."""
    left = f"; and {len(names) - MOST_CASES} more" if len(names) > MOST_CASES else ""
    return "; ".join(names[:MOST_CASES]) + left


def roofs(summary: Summary) -> Table:
    """The measured ceilings."""
    rows = [
        (
            "memory bandwidth" if roof.dtype is None else f"{roof.dtype} matrix products", roof.layout, str(roof.world_size),
            f"{roof.device}, {_threads(roof.threads)}", _text.roof_rate(roof), roof.name,
            roof.run if len(summary.runs) > 1 else "",
        )
        for roof in summary.roofs
    ]  # fmt: skip
    columns = ("Ceiling", "Layout", "Ranks", "Device", "Rate", "Measured by", "Run")
    made = Table("Measured ceilings", columns, tuple(sorted(rows)), frozenset({2, 4}))
    return folded(without_empty(made, "Run"), "Device")


def verified(summary: Summary) -> Table:
    """Training steps as the same run's ceilings predict them, beside what was measured."""
    rows = tuple(
        (
            row.workload, row.label or "defaults", row.layout, row.dtype, format_seconds(row.predicted_s),
            f"{format_seconds(row.measured_s)}{' CPU' if row.clock == 'cpu' else ''}",
            f"{100 * row.error_fraction:+.1f} %" if not row.fitted else "used to calibrate", row.bottleneck,
            row.run if len(summary.runs) > 1 else "",
        )
        for row in summary.verified
    )  # fmt: skip
    columns = ("Workload", "Settings", "Layout", "Type", "Predicted", "Measured", "Error", "Predicted limit", "Run")
    made = Table("Training steps predicted from the measured ceilings alone", columns, rows, frozenset({4, 5, 6}))
    return folded(without_empty(made, "Run"), "Settings", "Type")


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count != 1 else ''} a rank"


def scaling(summary: Summary) -> Table:
    """Every layout against `single`."""
    rows = tuple(
        (
            value.workload, value.layout, value.settings or "defaults", f"{value.dtype}, {value.device}", str(value.world_size),
            f"{significant(value.speedup)} ×", _text.efficiency(value), value.run if len(summary.runs) > 1 else "",
        )
        for value in summary.scaling
    )  # fmt: skip
    columns = ("Workload", "Layout", "Settings", "Type, device", "Ranks", "Speed-up", "Efficiency (interval)", "Run")
    made = Table("Scaling against one rank", columns, rows, frozenset({4, 5, 6}))
    return folded(without_empty(made, "Run"), "Settings", "Type, device")


def not_measured(summary: Summary) -> Table:
    """Cases without a figure, and why; those with one reason in one row."""
    cases: dict[tuple[str, str, str], list[str]] = {}
    for lost in summary.not_measured:
        cases.setdefault((lost.outcome, lost.reason, lost.run if len(summary.runs) > 1 else ""), []).append(lost.case)
    rows = tuple((named(names), outcome, reason, run) for (outcome, reason, run), names in cases.items())
    return without_empty(Table("What was not measured, and why", ("Cases", "Outcome", "Reason", "Run"), rows), "Run")


def without_empty(table: Table, name: str) -> Table:
    """The table without this last column, where no cell of it says anything."""
    if table.columns[-1] != name or any(row[-1] for row in table.rows):
        return table
    return table._replace(columns=table.columns[:-1], rows=tuple(row[:-1] for row in table.rows))


_ASKED: Final = {
    "max_nodes": "at most nodes", "budget_usd": "budget", "max_power_w": "power of the site", "grid_co2_g_per_kwh": "grams of CO2 a kWh",
    "node_mtbf_s": "a node fails every", "storage_bytes_per_s": "storage", "ttft_s": "first token within", "tpot_s": "others within",
    "pue": "PUE",
}  # fmt: skip


def question(answer: SizingAnswer | ServingAnswer) -> str:
    """What was asked for, in words."""
    return "; ".join(
        f"{_ASKED.get(key, key.removesuffix('_s').replace('_', ' '))} {_asked(key, value)}"
        for key, value in answer.question.items()
        if value is not None
    )


def _asked(key: str, value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        for suffix, text in _UNITS.items():
            if key.endswith(suffix):
                return text(float(value))
        return f"{value:,.4g}" if abs(value) < 1e6 else format_count(float(value))
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


_UNITS: Final[Mapping[str, Callable[[float], str]]] = {
    "_bytes_per_s": lambda value: format_rate(value, "B/s"),
    "_s": format_seconds,
    "_usd": format_usd,
    "_w": lambda value: format_rate(value, "W"),
}
"""How figures of a question are said, by the end of their key."""


def sizing(answer: SizingAnswer) -> Table:
    """What each cluster would need."""
    columns = (
        "Cluster", "Time to train", "Cost", "Energy", "Nodes", "Accelerators", "Layout", "Step time (interval)", "MFU",
        "Memory an accelerator", "Batch", "Micro-batch", "Type", "Recompute", "Goodput", "Bottleneck",
    )  # fmt: skip
    rows = tuple(_sizing_row(option) for option in answer.sizings)
    late = frozenset(index for index, option in enumerate(answer.sizings) if not option.meets_deadline)
    ranked = f" by {answer.ranked_by}" if answer.ranked_by else ""
    made = Table(f"Clusters that can, best first{ranked}", columns, rows, frozenset({1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 14}), late)
    return folded(made, "Batch", "Micro-batch", "Type", "Recompute", "Goodput")


def sizing_reasons(answer: SizingAnswer) -> Table:
    """Why each answer is what it is, what it rests on and what it leaves out; what holds for several clusters is said once."""
    said: dict[tuple[str, str], list[str]] = {}
    for option in answer.sizings:
        basis = "; ".join((option.prediction.basis, *option.prediction.assumptions))
        notes = {"Why": "; ".join(option.why), "Rests on": basis, "Energy counts": option.energy_covers, "Unknown": "; ".join(option.gaps)}
        for what, text in notes.items():
            if text:
                said.setdefault((what, text), []).append(option.cluster)
    order = ("Why", "Rests on", "Energy counts", "Unknown")
    rows = sorted(said.items(), key=lambda item: order.index(item[0][0]))
    everyone = [option.cluster for option in answer.sizings]
    cells = tuple((what, "all" if clusters == everyone else ", ".join(clusters), text) for (what, text), clusters in rows)
    return Table("Why, on what grounds, and what is left out", ("", "Clusters", "Said"), cells)


def _sizing_row(option: Sizing) -> tuple[str, ...]:
    made = option.prediction
    known = made.low_s is not None and made.high_s is not None
    return (
        option.cluster,
        f"{format_seconds(option.train_time_s)}{'' if option.meets_deadline else ', too late'}",
        format_usd(option.cost_usd),
        _text.energy(option.energy_j),
        f"{option.nodes:,}",
        f"{option.accelerators:,}",
        option.layout.text,
        _text.time_range(made.step_time_s, made.low_s or 0.0, made.high_s or 0.0) if known else format_seconds(made.step_time_s),
        format_fraction(made.mfu_fraction),
        f"{format_bytes(made.memory.total_bytes)} of {format_bytes(made.memory_capacity_bytes)}",
        f"{option.global_batch:,}",
        f"{option.micro_batch:,}",
        option.dtype or UNKNOWN,
        option.recompute,
        format_fraction(option.goodput_fraction),
        made.bottleneck,
    )


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


def options(answer: SizingAnswer) -> Table:
    """Every cluster at several sizes; `marked` are none, the last column says what nothing beats."""
    rows = tuple(
        (
            option.cluster, f"{option.nodes:,}", format_seconds(option.train_time_s), format_usd(option.cost_usd),
            _text.energy(option.energy_j), "nothing beats it" if option.efficient else "",
        )
        for option in answer.options
    )  # fmt: skip
    columns = ("Cluster", "Nodes", "Time to train", "Cost", "Energy", "")
    return Table("Other sizes of the same clusters", columns, rows, frozenset({1, 2, 3, 4}))


def sensitivities(answer: SizingAnswer) -> Table:
    """What 10 % more of one figure of the first cluster brings."""
    rows = tuple(
        (one.part, one.key, format_seconds(one.train_time_s), f"{100 * one.change_fraction:+.1f} %") for one in answer.sensitivities
    )
    columns = ("10 % more of", "Key of the profile", "Time to train", "Change")
    return Table("What better parts of the first cluster would bring", columns, rows, frozenset({2, 3}))


def costs(answer: SizingAnswer) -> Table:
    """What the cost of each cluster is made of."""
    rows = tuple(
        (
            option.cluster if option.offer is None else f"{option.offer.supplier}: {option.cluster}",
            *(format_usd(value) for value in (made.rent_usd, made.hardware_usd, made.power_usd, made.total_usd, made.outlay_usd)),
            _text.energy(option.energy_j), format_rate(option.power_w, "W"),
            UNKNOWN if option.co2_kg is None else f"{significant(option.co2_kg / 1000)} t",
        )
        for option in answer.sizings
        for made in (option.costs,)
        if made is not None
    )  # fmt: skip
    columns = ("Cluster", "Rent", "Hardware used up", "Power", "Cost of the run", "To pay", "Energy", "Power of the site", "CO2")
    return Table("What the cost is made of", columns, rows, frozenset(range(1, 9)))


def rejected(answer: SizingAnswer) -> Table:
    """Clusters that can't, and why."""
    return Table("Clusters that can't", ("Cluster", "Reason"), tuple((name.name, name.reason) for name in answer.rejected))


def runs(summary: Summary) -> Table:
    """How each run was made: a column a run."""
    names = ("Started (UTC)", "Command", "Suite", "hwbench", "Commit", "Records", "Took", "Spent measuring", "Finished")
    facts = [
        (
            run.started_at, run.command, run.suite or UNKNOWN, run.hwbench_version, run.commit or UNKNOWN,
            f"{run.done} done, {run.failed} failed, {run.skipped} skipped", format_seconds(run.wall_s),
            format_fraction(run.measured_fraction, 2), "yes" if run.finished else "no",
        )
        for run in summary.runs
    ]  # fmt: skip
    rows = tuple((name, *values) for name, *values in zip(names, *facts, strict=True))
    return Table("The runs", ("Run", *(run.id for run in summary.runs)), rows)


def versions(summary: Summary) -> Table:
    """Versions of what the figures depend on."""
    return Table("Versions", ("Software", "Version"), tuple(sorted(summary.versions.items())))


def _distinct(names: Iterable[str]) -> Sequence[str]:
    return list(dict.fromkeys(names))
