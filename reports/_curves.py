"""Curves: lines with a mark at every measured point, told apart by colour, mark and dash together."""

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ._palette import ROOF_COLOUR, SYMBOL_SIGNS, SYMBOLS, WORKLOAD_COLOURS, dash
from ._plot import Key, clean, figure

HEIGHT_PX: Final = 320
NARROWEST_PX: Final = 260
"""Width of the axis where the page is narrowest."""
LETTER_PX: Final = 7.5
LEFT_PX: Final = 64
"""Room for a vertical axis with its title."""


class Point(NamedTuple):
    """A mark: where, what it says when touched, and whether it is hollow (not to be relied on)."""

    x: float
    y: float
    text: str
    hollow: bool = False


class Curve(NamedTuple):
    """Marks of one colour and shape; joined by a line unless `joined` says otherwise."""

    name: str
    points: tuple[Point, ...]
    joined: bool = True
    dashed: bool = False
    """Drawn as what is expected and not measured, without marks."""


class Band(NamedTuple):
    """A stretch of a horizontal axis with a name, such as the working sets that one cache holds."""

    name: str
    low: float
    high: float


def curves_figure(curves: Sequence[Curve], xaxis: dict[str, Any], yaxis: dict[str, Any], bands: Sequence[Band] = ()) -> dict[str, Any]:
    """The figure of these curves; bands are parted by upright strokes and named at the top, where the name has room."""
    layout: dict[str, Any] = {"xaxis": xaxis, "yaxis": yaxis}
    if bands:
        layout |= {"shapes": [_stroke(band.low) for band in bands[1:]], "annotations": _names(bands, xaxis)}
    made = figure([_trace(curve, index) for index, curve in enumerate(curves)], height_px=HEIGHT_PX, left_px=LEFT_PX, right_px=14, **layout)
    made["layout"]["margin"]["t"] = 24 if bands else 8
    return made


def keys(curves: Sequence[Curve], hollow: str = "") -> tuple[Key, ...]:
    """The legend; `hollow` is what a hollow mark means, said where there is one."""
    listed = [
        Key(curve.name, colour=_line_colour(curve, index), sign="" if curve.dashed else sign(index), dash="dash" if curve.dashed else "")
        for index, curve in enumerate(curves)
    ]
    if hollow and any(point.hollow for curve in curves for point in curve.points):
        listed.append(Key(hollow, sign="○"))
    return tuple(listed)


def colour(index: int) -> str:
    """The colour of the curve at this place."""
    return WORKLOAD_COLOURS[index % len(WORKLOAD_COLOURS)]


def sign(index: int) -> str:
    """Its mark as a character."""
    return SYMBOL_SIGNS[index % len(SYMBOL_SIGNS)]


def _line_colour(curve: Curve, index: int) -> str:
    return ROOF_COLOUR if curve.dashed else colour(index)


def _trace(curve: Curve, index: int) -> Any:
    import plotly.graph_objects as go

    shape = SYMBOLS[index % len(SYMBOLS)]
    mode = "lines" if curve.dashed else "lines+markers" if curve.joined else "markers"
    return go.Scatter(
        x=[point.x for point in curve.points],
        y=[point.y for point in curve.points],
        mode=mode,
        line={"color": _line_colour(curve, index), "width": 2, "dash": "dash" if curve.dashed else dash(index // len(WORKLOAD_COLOURS))},
        marker={
            "color": _line_colour(curve, index),
            "symbol": [f"{shape}-open" if point.hollow else shape for point in curve.points],
            "size": 8,
            "line": {"width": 1.5 if any(point.hollow for point in curve.points) else 0, "color": _line_colour(curve, index)},
        },
        hovertext=[point.text for point in curve.points],
        hoverinfo="text",
    )


def _stroke(x: float) -> dict[str, Any]:
    line = {"width": 1, "dash": "dot"}
    return {"type": "line", "xref": "x", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": line}


def _names(bands: Sequence[Band], xaxis: dict[str, Any]) -> list[dict[str, Any]]:
    """Names above the frame, over the middle of the bands that are wide enough for theirs; the axis is logarithmic."""
    low, high = xaxis["range"]
    scale = NARROWEST_PX / (high - low)
    made, taken = [], 0.0
    for band in bands:
        start, stop = (scale * (min(max(math.log10(end), low), high) - low) for end in (band.low, band.high))
        width = LETTER_PX * len(band.name)
        middle = min((start + stop) / 2, NARROWEST_PX - width / 2)  # the last name may reach back over its stroke
        if middle - width / 2 >= taken and (stop - start >= width or band is bands[-1]):
            taken = middle + width / 2
            place = {"xref": "x", "x": low + middle / scale, "yref": "paper", "y": 1, "yanchor": "bottom", "xanchor": "center"}
            made.append(place | {"text": clean(band.name), "showarrow": False})
    return made
