"""The samples behind the figures: every case as a strip of dots around its median, its processes as ticks."""

import math
from collections.abc import Sequence
from typing import Any, Final

from hwbench.core.summary import Summary, Throughput
from hwbench.core.units import format_seconds

from . import _text
from ._palette import workload_colours
from ._plot import BAR_OFFSET, Plot, Row, hover, rows_figure, titled

MOST_ROWS: Final = 24
GOLDEN: Final = 0.6180339887
"""Steps of the golden ratio spread dots evenly over the strip's thickness, the same way every time."""
TICKS: Final = (1.0, 1.1, 0.9, 1.2, 0.8, 1.3, 0.7, 1.4, 0.6, 1.5, 0.5, 1.75, 2, 0.3, 2.5, 3, 4, 0.2, 5, 7, 10, 0.1, 15, 20, 30, 50, 70, 100)
"""Candidates for the axis, the nearest to the median first."""
TICK_GAP_FRACTION: Final = 0.11
"""Least distance between two ticks, of the axis: room for a label of six letters where the page is narrowest."""


def plot(summary: Summary) -> Plot | None:
    """The plot; None without samples. Of many cases only those with the widest spread."""
    rows = [row for row in summary.throughput if row.samples_s and row.step_time_s > 0]
    shown = rows if len(rows) <= MOST_ROWS else sorted(rows, key=lambda row: -(row.spread_fraction or 0.0))[:MOST_ROWS]
    if not shown:
        return None
    labels = [Row(f"{row.workload} · {row.label}", f"{format_seconds(row.step_time_s)}, {_text.spread(row)}") for row in shown]
    left_out = f" Of {len(rows)} cases the {MOST_ROWS} with the widest spread are shown." if len(shown) < len(rows) else ""
    return Plot(
        id="samples",
        title="How steady the measurements are",
        caption="Each dot is one sample's time over its case's median (at most 200 a case); each upright stroke is one process's median. "
        f"Tight strips and strokes that lie on each other mean figures to rely on; strays to the right were disturbed.{left_out}",
        alt="Distribution of the samples. " + "; ".join(f"{row.workload} {row.layout}: spread {_text.spread(row)}" for row in shown) + ".",
        figure=rows_figure([*_strips(summary, shown), _process_medians(shown)], labels, _axis(shown)),
    )


def _strips(summary: Summary, rows: Sequence[Throughput]) -> list[Any]:
    import plotly.graph_objects as go

    colours = workload_colours(summary)
    return [
        go.Scatter(
            x=[sample / row.step_time_s for sample in row.samples_s],
            y=[index + BAR_OFFSET + 0.3 * ((n * GOLDEN) % 1 - 0.5) for n in range(len(row.samples_s))],
            mode="markers",
            marker={"color": colours[row.workload], "size": 5, "opacity": 0.6, "line": {"width": 0}},
            hovertext=[hover(f"{row.workload} · {_text.variant(row)}", format_seconds(sample)) for sample in row.samples_s],
            hoverinfo="text",
        )
        for index, row in enumerate(rows)
    ]


def _process_medians(rows: Sequence[Throughput]) -> Any:
    import plotly.graph_objects as go

    spots = [(row, index, median) for index, row in enumerate(rows) for median in row.processes_s]
    return go.Scatter(
        x=[median / row.step_time_s for row, _, median in spots],
        y=[index + BAR_OFFSET for _, index, _ in spots],
        mode="markers",
        marker={"symbol": "line-ns", "size": 9, "line": {"width": 2}},
        meta={"ink": True},
        hovertext=[hover(f"{row.workload} · {_text.variant(row)}", f"median of one process: {format_seconds(m)}") for row, _, m in spots],
        hoverinfo="text",
    )


def _axis(rows: Sequence[Throughput]) -> dict[str, Any]:
    """A logarithmic axis of multiples of the median."""
    ratios = [sample / row.step_time_s for row in rows for sample in (*row.samples_s, *row.processes_s)]
    low, high = min(*ratios, 0.92) / 1.03, max(*ratios, 1.09) * 1.03
    ticks = _ticks_between(low, high)
    texts = [f"{tick:g} ×" for tick in ticks]
    span = [math.log10(low), math.log10(high)]
    return {"type": "log", "range": span, "tickvals": ticks, "ticktext": texts, "title": titled("sample over median")}


def _ticks_between(low: float, high: float) -> list[float]:
    gap = TICK_GAP_FRACTION * math.log(high / low)
    chosen: list[float] = []
    for tick in TICKS:
        if low <= tick <= high and all(abs(math.log(tick / other)) >= gap for other in chosen):
            chosen.append(tick)
    return sorted(chosen)
