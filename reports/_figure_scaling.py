"""Scaling: the efficiency of every layout against one rank, the ideal as a line."""

from typing import Any

from hwbench.core.summary import Scaling, Summary
from hwbench.core.units import format_fraction, significant

from . import _text
from ._palette import workload_colours
from ._plot import BAR_OFFSET, BAR_WIDTH, Plot, Row, hover, intervals, rows_figure, stroke, titled


def plot(summary: Summary) -> Plot | None:
    """The plot; None where no layout has a `single` beside it."""
    if not summary.scaling:
        return None
    values = summary.scaling
    rows = [
        Row(
            f"{value.workload} · {value.label}",
            f"{significant(value.speedup)} ×, {format_fraction(value.efficiency_fraction)}",
        )
        for value in values
    ]
    highest = max(105.0, *(115 * value.efficiency_fraction for value in values))
    ideal = [stroke(100, index, width_px=2, dash="dot") for index in range(len(values))]
    axis = {"range": [0, highest], "ticksuffix": " %", "title": titled("share of the ideal speed-up")}
    return Plot(
        id="scaling",
        title="Scaling efficiency",
        caption="How much of the ideal speed-up each layout reaches, the batch of a rank fixed (of all ranks together where it says "
        "strong). The dotted stroke is the ideal: as many times the work as there are ranks. Ceilings show what the machine's own memory "
        "and cores allow. Thin lines are intervals; one too wide to tell anything is left out.",
        alt="Scaling efficiency. " + "; ".join(f"{v.workload} {v.layout}: {_text.efficiency(v)}" for v in values) + ". The ideal is 100 %.",
        figure=rows_figure([_bars(summary, values)], rows, axis, shapes=ideal),
    )


def _bars(summary: Summary, values: tuple[Scaling, ...]) -> Any:
    import plotly.graph_objects as go

    colours = workload_colours(summary)
    told = [value.interval if _text.tells(value.interval, value.efficiency_fraction) else None for value in values]
    middles = [value.efficiency_fraction for value in values]
    above = [100 * max(0.0, of.high - middle) if of else None for of, middle in zip(told, middles, strict=True)]
    below = [100 * max(0.0, middle - of.low) if of else None for of, middle in zip(told, middles, strict=True)]
    return go.Bar(
        orientation="h",
        x=[100 * value.efficiency_fraction for value in values],
        y=[index + BAR_OFFSET for index in range(len(values))],
        width=BAR_WIDTH,
        marker={"color": [colours[value.workload] for value in values], "line": {"width": 0}},
        error_x=intervals(below, above),
        hovertext=[_hover(value) for value in values],
        hoverinfo="text",
    )


def _hover(value: Scaling) -> str:
    return hover(
        f"{value.workload} · {_text.variant(value)}",
        f"{significant(value.speedup)} times one rank, on {value.world_size} ranks",
        f"efficiency {_text.efficiency(value)}",
    )
