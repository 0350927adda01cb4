"""Layouts side by side: where each one's step time goes, the memory of every rank, and who lags."""

from collections.abc import Sequence
from typing import Any, Final

from hwbench.core.summary import StepSplit, Summary, Throughput
from hwbench.core.units import UNKNOWN, format_bytes, format_fraction, format_seconds, significant

from . import _axes, _text
from ._figure_step import GIB, stacks
from ._palette import PART_COLOURS, WORKLOAD_COLOURS
from ._plot import BAR_OFFSET, Key, Plot, Row, hover, rows_figure, titled
from ._tables import Table

MOST_ROWS: Final = 40
PARTS: Final = {
    "compute": "compute_s", "exposed communication": "exposed_communication_s", "pipeline bubble": "bubble_s", "the rest": "other_s"
}  # fmt: skip
COLOURS: Final = dict(zip(PARTS, (PART_COLOURS[0], PART_COLOURS[1], PART_COLOURS[2], PART_COLOURS[8]), strict=True))


def splits(summary: Summary) -> tuple[Plot, ...]:
    """One plot a workload of which a repeat was profiled: a stacked bar a layout."""
    groups: dict[str, list[tuple[Throughput, StepSplit]]] = {}
    for row in summary.throughput:
        if row.split is not None:
            groups.setdefault(row.workload, []).append((row, row.split))
    return tuple(_split(f"split-{index}", name, rows) for index, (name, rows) in enumerate(groups.items(), start=1))


def _split(id_: str, workload: str, found: Sequence[tuple[Throughput, StepSplit]]) -> Plot:
    unit = _axes.time_unit([row.step_time_s for row, _ in found])
    parts = [{name: unit.factor * getattr(split, field) for name, field in PARTS.items()} for _, split in found]
    texts = [{name: hover(f"{workload} · {row.label}", _part(row, split, name), _cost(split)) for name in PARTS} for row, split in found]
    rows = [Row(row.label, f"{format_seconds(row.step_time_s)}, {_text.rate(row)}") for row, _ in found]
    used = {name: colour for name, colour in COLOURS.items() if any(one[name] > 0 for one in parts)}
    ratios = [split.profiled_ratio for _, split in found]
    axis = {"range": [0, 1.02 * max(sum(one.values()) for one in parts)], "title": titled(f"{unit.name} a step")}
    said = "; ".join(f"{row.label} {format_seconds(row.step_time_s)}: {_shares(row, split)}" for row, split in found)
    return Plot(
        id=id_,
        title=f"{workload}: where a step's time goes",
        caption="The length is the step as measured without a profiler; the parts are shares of an extra profiled step, which took "
        f"{_between(ratios)} times as long.",
        alt=f"Step of {workload} in parts: {said}.",
        figure=rows_figure(stacks(parts, texts, used), rows, axis, barmode="stack"),
        keys=tuple(Key(name, colour=colour) for name, colour in used.items()),
    )


def _between(ratios: Sequence[float]) -> str:
    low, high = significant(min(ratios)), significant(max(ratios))
    return low if low == high else f"{low} to {high}"


def _part(row: Throughput, split: StepSplit, name: str) -> str:
    value = getattr(split, PARTS[name])
    return f"{name} {format_seconds(value)}, {format_fraction(value / row.step_time_s)} of the step"


def _cost(split: StepSplit) -> str:
    return f"the profiled step took {significant(split.profiled_ratio)} times as long"


def _shares(row: Throughput, split: StepSplit) -> str:
    return ", ".join(f"{name} {format_fraction(getattr(split, field) / row.step_time_s, 2)}" for name, field in PARTS.items())


def memory(summary: Summary) -> Plot | None:
    """A dot a rank for every case of several ranks; None where no rank's memory is known."""
    cases = [(row, sizes) for row in summary.throughput if row.world_size > 1 and (sizes := _sizes(row))][:MOST_ROWS]
    if not cases:
        return None
    rows = [Row(f"{row.workload} · {row.label}", f"at most {format_bytes(max(size for _, size, _ in sizes))}") for row, sizes in cases]
    return Plot(
        id="rank-memory",
        title="Memory of every rank",
        caption="A dot a rank: the peak of the accelerator's allocator where there is one, else the resident size of the process. Dots far "
        "apart are a layout that loads its ranks unevenly.",
        alt="Peak memory of the rank that needs most: " + "; ".join(f"{row.label} {row.value}" for row in rows) + ".",
        figure=rows_figure([_dots(cases)], rows, _memory_axis(cases)),
    )


_Sizes = list[tuple[int, int, str]]
"""(rank, bytes, host) of the ranks whose memory is known."""


def _sizes(row: Throughput) -> _Sizes:
    return [(rank.rank, rank.memory_bytes, rank.host) for rank in row.ranks if rank.memory_bytes is not None]


def _dots(cases: Sequence[tuple[Throughput, _Sizes]]) -> Any:
    import plotly.graph_objects as go

    spots = [(index, row, *one) for index, (row, sizes) in enumerate(cases) for one in sizes]
    return go.Scatter(
        x=[size / GIB for _, _, _, size, _ in spots],
        y=[index + BAR_OFFSET for index, *_ in spots],
        mode="markers",
        marker={"color": WORKLOAD_COLOURS[0], "size": 9, "opacity": 0.6, "line": {"width": 1, "color": WORKLOAD_COLOURS[0]}},
        hovertext=[
            hover(f"{row.workload} · {row.label}", f"rank {rank} on {host}", format_bytes(size)) for _, row, rank, size, host in spots
        ],
        hoverinfo="text",
    )


def _memory_axis(cases: Sequence[tuple[Throughput, _Sizes]]) -> dict[str, Any]:
    most = max(size for _, sizes in cases for _, size, _ in sizes) / GIB
    return {"range": [0, 1.08 * most], "title": titled("GiB a rank")}


def lagging(summary: Summary) -> tuple[str, ...]:
    """Sentences about the ranks that keep others waiting."""
    return tuple(
        f"{row.workload} {row.label}: rank {one.rank} on {one.host} lags, its own work takes {format_fraction(one.lags_fraction, 2)} "
        "longer than the ranks' median"
        for row in summary.throughput
        for one in row.ranks
        if one.lags_fraction is not None
    )


def table(summary: Summary) -> Table:
    """One row a layout: step, rate, the parts, memory of the fullest and the emptiest rank."""
    rows = tuple(
        (
            row.workload, row.label, format_seconds(row.step_time_s), _text.rate(row), *_cells(row), _text.peak_memory(row),
            UNKNOWN if not (sizes := _sizes(row)) else format_bytes(min(size for _, size, _ in sizes)),
        )
        for row in summary.throughput
        if row.split is not None or (row.world_size > 1 and _sizes(row))
    )  # fmt: skip
    columns = (
        "Workload", "Layout", "Step", "Rate", "Compute", "Exposed communication", "Bubble", "Rest", "Profiled / plain", "Fullest rank",
        "Emptiest rank",
    )  # fmt: skip
    return Table("Layouts: the parts of a step and the memory of ranks", columns, rows, frozenset(range(2, len(columns))))


def _cells(row: Throughput) -> tuple[str, ...]:
    if row.split is None:
        return (UNKNOWN,) * 5
    shares = (format_fraction(getattr(row.split, field) / row.step_time_s, 2) for field in PARTS.values())
    return (*shares, significant(row.split.profiled_ratio))
