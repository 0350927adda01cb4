"""Throughput: one small plot a workload, a bar a layout, each workload on a scale of its own from zero."""

from collections.abc import Sequence
from typing import Any, Final

from hwbench.core.summary import Summary, Throughput
from hwbench.core.units import format_fraction

from . import _text
from ._figure_sweeps import swept
from ._palette import workload_colours
from ._plot import BAR_OFFSET, BAR_WIDTH, Plot, Row, hover, intervals, rows_figure

MOST_ROWS: Final = 32
"""Bars of one plot: more are a page of their own, and stand in the table."""


def plots(summary: Summary, elsewhere: frozenset[str] = frozenset()) -> tuple[Plot, ...]:
    """The plots, one a workload and unit, in the report's order; sweeps and the workloads that are drawn elsewhere are left out."""
    colours = workload_colours(summary)
    groups: dict[tuple[str, str], list[Throughput]] = {}
    curves = swept(summary)
    for row in summary.throughput:
        if row.workload not in elsewhere and (row.workload, row.rate_unit) not in curves:
            groups.setdefault((row.workload, row.rate_unit), []).append(row)
    return tuple(_plot(f"rate-{index}", name, rows, colours[name]) for index, ((name, _), rows) in enumerate(groups.items(), start=1))


def _plot(id_: str, workload: str, rows: Sequence[Throughput], colour: str) -> Plot:
    left = len(rows) - MOST_ROWS
    rows = rows[:MOST_ROWS]
    labels = [Row(row.label, f"{_text.rate(row)}{' ⚠' if row.noisy else ''}") for row in rows]
    most = max(row.rate_per_s for row in rows) or 1.0
    said = "; ".join(f"{_text.variant(row)} {_text.rate(row)}, spread {_text.spread(row)}" for row in rows)
    return Plot(
        id=id_,
        title=workload,
        caption=f"{_unit(rows[0])} a second, more is better{f'; {left} more cases are in the table' if left > 0 else ''}",
        alt=f"Bars of {workload}: {said}.",
        figure=rows_figure([_bars(rows, colour)], labels, {"range": [0, 1.2 * most], "tickformat": "~s"}),
    )


def _unit(row: Throughput) -> str:
    return {"B/s": "bytes", "FLOP/s": "FLOPs"}.get(row.rate_unit) or _text.many(row.item_unit)


def _bars(rows: Sequence[Throughput], colour: str) -> Any:
    import plotly.graph_objects as go

    reach = [_reach(row) for row in rows]
    return go.Bar(
        orientation="h",
        x=[row.rate_per_s for row in rows],
        y=[index + BAR_OFFSET for index in range(len(rows))],
        width=BAR_WIDTH,
        marker={"color": colour, "line": {"width": 0}},
        error_x=intervals([low for low, _ in reach], [high for _, high in reach]),
        hovertext=[_hover(row) for row in rows],
        hoverinfo="text",
    )


def _reach(row: Throughput) -> tuple[float | None, float | None]:
    """How far the interval reaches below and above the rate: that of the step time, turned over; None where it is too wide to tell."""
    if row.step_interval_s is None or not _text.tells(row.step_interval_s, row.step_time_s):
        return None, None
    low, high = row.step_time_s / row.step_interval_s.high, row.step_time_s / row.step_interval_s.low
    rate = row.rate_per_s
    return rate * max(0.0, 1 - low), rate * max(0.0, high - 1)


def _hover(row: Throughput) -> str:
    return hover(
        f"{row.workload} · {_text.variant(row)}",
        f"{_text.rate(row)}, spread {_text.spread(row)}",
        f"step {_text.step_time(row)}",
        f"{_text.flops(row)}, {_text.traffic(row)}" if row.flops_per_step else _text.traffic(row),
        f"of roof {format_fraction(row.roof_fraction)}, MFU {format_fraction(row.mfu_fraction)}" if row.kind != "ceiling" else "",
        f"{row.processes} processes, {row.samples} samples",
    )
