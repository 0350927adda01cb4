"""Throughput: one small plot a workload, a bar a layout, each workload on a scale of its own from zero."""

from collections.abc import Sequence
from typing import Any

from hwbench.core.summary import Summary, Throughput
from hwbench.core.units import UNKNOWN, format_fraction

from . import _text
from ._palette import workload_colours
from ._plot import BAR_OFFSET, BAR_WIDTH, Plot, Row, hover, rows_figure, titled


def plots(summary: Summary) -> tuple[Plot, ...]:
    """The plots, one a workload and item unit, in the report's order."""
    colours, several = workload_colours(summary), len(summary.runs) > 1
    groups: dict[tuple[str, str], list[Throughput]] = {}
    for row in summary.throughput:
        groups.setdefault((row.workload, row.item_unit), []).append(row)
    return tuple(
        _plot(f"rate-{index}", name, unit, rows, colours[name], several)
        for index, ((name, unit), rows) in enumerate(groups.items(), start=1)
    )


def _plot(id_: str, workload: str, unit: str, rows: Sequence[Throughput], colour: str, several: bool) -> Plot:
    labels = [Row(_label(row, rows, several), f"{_text.big(row.items_per_s)} {'⚠' if row.noisy else ''}".strip()) for row in rows]
    best = max(rows, key=lambda row: row.items_per_s)
    return Plot(
        id=id_,
        title=workload,
        caption=f"{unit}s a second, more is better",
        alt=f"Bars of {workload}: " + "; ".join(f"{_text.variant(row)} {_text.items(row)}" for row in rows) + f". Best: {best.layout}.",
        figure=rows_figure(
            [_bars(rows, colour)], labels, {"rangemode": "tozero", "tickformat": "~s", "title": titled(f"{unit}s a second")}
        ),
    )


def _label(row: Throughput, rows: Sequence[Throughput], several: bool) -> str:
    """The layout, and of the rest only what the rows of this plot differ in."""
    parts = [
        row.layout,
        *(getattr(row, key) for key in ("settings", "dtype", "device") if len({getattr(other, key) for other in rows}) > 1),
    ]
    return " · ".join(part for part in (*parts, row.run if several else "") if part)


def _bars(rows: Sequence[Throughput], colour: str) -> Any:
    import plotly.graph_objects as go

    reach = [_reach(row) for row in rows]
    return go.Bar(
        orientation="h",
        x=[row.items_per_s for row in rows],
        y=[index + BAR_OFFSET for index in range(len(rows))],
        width=BAR_WIDTH,
        marker={"color": colour, "line": {"width": 0}},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [r[1] for r in reach],
            "arrayminus": [r[0] for r in reach],
            "thickness": 1.5,
            "width": 4,
        },
        hovertext=[_hover(row) for row in rows],
        hoverinfo="text",
    )


def _reach(row: Throughput) -> tuple[float, float]:
    """How far the interval reaches below and above the rate: that of the step time, turned over."""
    if row.step_interval_s is None:
        return 0.0, 0.0
    low, high = row.step_time_s / row.step_interval_s.high, row.step_time_s / row.step_interval_s.low
    return row.items_per_s * max(0.0, 1 - low), row.items_per_s * max(0.0, high - 1)


def _hover(row: Throughput) -> str:
    return hover(
        f"{row.workload} · {_text.variant(row)}",
        f"{_text.items(row)}, spread {_text.spread(row)}",
        f"step {_text.step_time(row)}",
        f"{_text.flops(row)}, {_text.traffic(row)}" if row.flops_per_step else _text.traffic(row),
        f"of roof {format_fraction(row.roof_fraction)}, MFU {format_fraction(row.mfu_fraction)}" if row.kind != "ceiling" else "",
        f"{row.processes} processes, {row.samples} samples" if row.samples else UNKNOWN,
    )
