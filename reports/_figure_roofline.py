"""The roofline: measured ceilings as lines, every case with FLOPs as a point, both axes logarithmic."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from hwbench.core.summary import Roof, Summary, Throughput
from hwbench.core.units import format_fraction, significant

from . import _text
from ._axes import PLAIN, decades
from ._palette import FILLING_WORDS, ROOF_COLOUR, SYMBOL_SIGNS, SYMBOLS, dash, filling, layout_order, mark, workload_colours
from ._plot import AXIS_PX, WIDE, Key, Plot, clean, figure, hover, titled

HEIGHT_PX: Final = 460
TOP_BOTTOM_PX: Final = 8 + AXIS_PX
CAPTION: Final = (
    "How fast each case computes, against what the machine reached in a loop that does nothing else. The nearer to its roof, the less "
    "there is to gain; a point under the slope waits for memory, one under the flat part for arithmetic. Both axes are logarithmic."
)
NO_ROOF: Final = (
    "How fast each case computes. There is no roof to judge it by, since this run measured no ceilings: measure triad and matmul beside "
    "it, as the suites quick and ceilings do. Both axes are logarithmic."
)
LABEL_PX: Final = 17
"""Least distance between two labels at the right edge."""


class _Place(NamedTuple):
    """The roofs of one run, layout, device and number of threads: one memory roof and its compute roofs."""

    layout: str
    name: str
    memory: Roof | None
    compute: tuple[Roof, ...]


class _Window(NamedTuple):
    """What the plot shows, as powers of ten."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float


def plot(summary: Summary) -> Plot | None:
    """The roofline; None where there is neither a roof nor a point."""
    points, places = pointed(summary), _places(summary)
    if not points and not places:
        return None
    window = _window(points, places)
    order = layout_order(summary)
    traces = [_roof_lines(place, window, dash(order.index(place.layout))) for place in places]
    traces += _points(points, summary, order)
    return Plot(
        id="roofline",
        title="Roofline",
        caption=CAPTION if places else NO_ROOF,
        alt=_alt(points, places),
        figure=_figure(traces, window, _roof_labels(places, window)),
        keys=_keys(summary, order, places, points),
    )


def pointed(summary: Summary) -> tuple[Throughput, ...]:
    """The cases that have a place in the plot: those with FLOPs and bytes, the ceilings themselves left out."""
    return tuple(row for row in summary.throughput if row.intensity_flops_per_byte and row.flops_per_s and row.kind != "ceiling")


def _places(summary: Summary) -> tuple[_Place, ...]:
    several = len(summary.runs) > 1

    def place(roof: Roof) -> tuple[object, ...]:
        return roof.run, roof.world_size, roof.layout, roof.device, roof.threads

    made = []
    for _, group in groupby(sorted(summary.roofs, key=place), key=place):
        roofs = list(group)
        memory = next((roof for roof in roofs if roof.dtype is None), None)
        compute = sorted((roof for roof in roofs if roof.dtype is not None), key=lambda roof: -roof.rate)
        name = " · ".join(part for part in (roofs[0].layout, roofs[0].device, roofs[0].run if several else "") if part)
        made.append(_Place(roofs[0].layout, name, memory, tuple(compute)))
    return tuple(made)


def _window(points: Sequence[Throughput], places: Sequence[_Place]) -> _Window:
    """A frame around all points and ridges with room to see the slope, and whole in decades where that is near."""
    ridges = [roof.rate / place.memory.rate for place in places if place.memory for roof in place.compute]
    at = [row.intensity_flops_per_byte or 1.0 for row in points] + ridges or [1.0]
    x_low, x_high = math.log10(min(at)) - 1.0, math.log10(max(at)) + 0.7
    rates = [row.executed_fraction * row.flops_per_s for row in points]
    slopes = [place.memory.rate * 10**x_low for place in places if place.memory]
    tops = [roof.rate for place in places for roof in place.compute] or [place.memory.rate * 10**x_high for place in places if place.memory]
    y_low = math.log10(min(rates + slopes or [1.0])) - 0.25
    y_high = math.log10(max(rates + tops or [10.0])) + 0.35
    return _Window(x_low, x_high, y_low, y_high)


def _roof_lines(place: _Place, window: _Window, line_dash: str) -> Any:
    """One trace for all roofs of a place: the slope up to the highest ridge, then each flat roof from its own ridge on."""
    import plotly.graph_objects as go

    x_low, x_high = 10**window.x_low, 10**window.x_high
    xs: list[float | None] = []
    ys: list[float | None] = []
    texts: list[str] = []

    def add(points: Sequence[tuple[float, float]], text: str) -> None:
        xs.extend([*(x for x, _ in points), None])
        ys.extend([*(y for _, y in points), None])
        texts.extend([text] * (len(points) + 1))

    if place.memory is not None:
        end = place.compute[0].rate / place.memory.rate if place.compute else x_high
        add([(x_low, place.memory.rate * x_low), (end, place.memory.rate * end)], _roof_hover(place, place.memory))
    for roof in place.compute:
        start = roof.rate / place.memory.rate if place.memory else x_low
        add([(start, roof.rate), (x_high, roof.rate)], _roof_hover(place, roof))
    line = {"color": ROOF_COLOUR, "width": 2, "dash": line_dash}
    return go.Scatter(x=xs, y=ys, mode="lines", line=line, hovertext=texts, hoverinfo="text", cliponaxis=True)


def _roof_hover(place: _Place, roof: Roof) -> str:
    what = "memory roof" if roof.dtype is None else f"{roof.dtype} compute roof"
    return hover(f"{place.name}: {what}", _text.roof_rate(roof), f"fastest sample of {roof.name}")


def _points(points: Sequence[Throughput], summary: Summary, order: Sequence[str]) -> list[Any]:
    import plotly.graph_objects as go

    colours, several = workload_colours(summary), len(summary.runs) > 1
    places = list(colours)
    traces = []
    for (workload, layout), group in groupby(points, key=lambda row: (row.workload, row.layout)):
        rows = list(group)
        shape, fill = SYMBOLS[mark(places.index(workload))], filling(order.index(layout))
        edge = {"width": 2} if "open" in fill else {"width": 1, "color": "#ffffff"}
        marker = {"color": colours[workload], "symbol": f"{shape}{fill}", "size": 11, "opacity": 0.9, "line": edge}
        traces.append(
            go.Scatter(
                x=[row.intensity_flops_per_byte for row in rows],
                y=[row.executed_fraction * row.flops_per_s for row in rows],
                mode="markers",
                marker=marker,
                hovertext=[_point_hover(row, several) for row in rows],
                hoverinfo="text",
            )
        )
    return traces


def _point_hover(row: Throughput, several: bool) -> str:
    return hover(
        f"{row.workload} · {_text.variant(row, several_runs=several)}",
        f"{_text.flops(row)} at {significant(row.intensity_flops_per_byte or 0)} FLOP/byte",
        f"{format_fraction(row.roof_fraction)} of its roof" if row.roof_fraction is not None else "no roof measured for it",
        f"step {_text.step_time(row)}",
        "⚠ noisy" if row.noisy else "",
    )


def _figure(traces: Sequence[Any], window: _Window, labels: list[dict[str, Any]]) -> dict[str, Any]:
    x_axis = {"type": "log", "range": [window.x_low, window.x_high], "title": titled("Arithmetic intensity (FLOP per byte)")}
    y_axis = {"type": "log", "range": [window.y_low, window.y_high], "title": titled("FLOP/s")}
    narrow = {"margin": {"l": 62, "r": 12}}
    return figure(
        traces,
        height_px=HEIGHT_PX,
        left_px=70,
        right_px=190 if labels else 12,
        xaxis=x_axis | PLAIN | decades(window.x_low, window.x_high),
        yaxis=y_axis | PLAIN | decades(window.y_low, window.y_high),
        annotations=labels,
        meta={"narrow": narrow},
    )


def _roof_labels(places: Sequence[_Place], window: _Window) -> list[dict[str, Any]]:
    """Names of the flat roofs at the right edge, moved apart where they would touch, as many as fit; only where the page is wide."""
    scale = (HEIGHT_PX - TOP_BOTTOM_PX) / (window.y_high - window.y_low)
    flat = sorted(((math.log10(roof.rate), place, roof) for place in places for roof in place.compute), key=lambda entry: -entry[0])
    labels, above = [], math.inf
    for height, place, roof in flat:
        wanted = height * scale
        shown = min(wanted, above - LABEL_PX)
        if shown < window.y_low * scale + LABEL_PX / 2:  # no room is left above the axis; legend and table name all roofs
            break
        above = shown
        text = clean(f"{_text.roof_rate(roof)} {roof.dtype} {place.layout}")
        spot = {
            "xref": "paper",
            "x": 1,
            "xanchor": "left",
            "xshift": 6,
            "yref": "y",
            "y": height,
            "yshift": shown - wanted,
            "yanchor": "middle",
        }
        labels.append(spot | {"text": text, "showarrow": False, "name": WIDE})
    return labels


def _keys(summary: Summary, order: Sequence[str], places: Sequence[_Place], points: Sequence[Throughput]) -> tuple[Key, ...]:
    colours = workload_colours(summary)
    shown, layouts = dict.fromkeys(row.workload for row in points), {row.layout for row in points}
    signs = {workload: SYMBOL_SIGNS[mark(index)] for index, workload in enumerate(colours)}
    kinds = [Key(workload, colour=colours[workload], sign=signs[workload]) for workload in shown]
    fills = [(layout, FILLING_WORDS[index % len(FILLING_WORDS)]) for index, layout in enumerate(order) if layout in layouts]
    shapes = [Key(f"{fill}: {layout}", sign="○" if "hollow" in fill else "●") for layout, fill in fills] if len(fills) > 1 else []
    lines = [Key(f"roofs of {place.name}: {_rates(place)}", dash=dash(order.index(place.layout))) for place in places]
    return (*kinds, *shapes, *lines)


def _rates(place: _Place) -> str:
    roofs = ([place.memory] if place.memory else []) + list(place.compute)
    return ", ".join(f"{roof.dtype or 'memory'} {_text.roof_rate(roof)}" for roof in roofs)


def _alt(points: Sequence[Throughput], places: Sequence[_Place]) -> str:
    roofs = "; ".join(f"{place.name}: {_rates(place)}" for place in places) or "none measured"
    said = "; ".join(f"{row.workload} {row.layout} {_text.flops(row)}, {format_fraction(row.roof_fraction)} of its roof" for row in points)
    return f"Roofline. Roofs: {roofs}. Points: {said or 'none'}."


def unplaced(summary: Summary) -> tuple[str, ...]:
    """Sentences about the cases that the plot can't place: without FLOPs there is no intensity, only a share of the memory roof."""
    rows = [row for row in summary.throughput if row.kind not in ("ceiling", "collective") and row not in pointed(summary)]
    return tuple(
        f"{row.workload} {row.label}: {_text.traffic(row)}"
        + ("" if row.roof_fraction is None else f", {format_fraction(row.roof_fraction)} of the memory roof")
        for row in rows
    )
