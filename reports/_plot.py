"""What all plots share: a plot for the page, rows with their label above the bar, escaping, and plotly's own defaults undone.

Text that a plot shows is escaped here: plotly reads a few HTML tags in labels and hover texts, and names come from outside.
"""

from collections.abc import Sequence
from html import escape
from typing import Any, Final, NamedTuple

ROW_PX: Final = 46
"""Height of one labelled row: a line of text and a bar."""
AXIS_PX: Final = 44
"""Height of a horizontal axis with its title."""
BARE_AXIS_PX: Final = 24
"""Height of one without a title."""
BAR_OFFSET: Final = 0.16
"""Where a row's bar is centred, in rows below the row's middle: under its label."""
BAR_WIDTH: Final = 0.34
"""Thickness of a row's bar, in rows."""
WIDE: Final = "wide"
"""Name of annotations that the page leaves out where it is narrow."""


class Key(NamedTuple):
    """One entry of a plot's legend: a sign (a square where there is none), its colour, or a line style."""

    text: str
    colour: str = ""
    sign: str = ""
    dash: str = ""


class Plot(NamedTuple):
    """One plot of the page: a plotly figure of fixed height and the words around it."""

    id: str
    title: str
    caption: str
    alt: str
    figure: dict[str, Any]
    keys: tuple[Key, ...] = ()

    @property
    def height_px(self) -> int:
        """Height of the figure."""
        return int(self.figure["layout"]["height"])


class Row(NamedTuple):
    """A labelled row: text at the left and at the right above its bar."""

    label: str
    value: str


def clean(text: str) -> str:
    """Text without markup that plotly would follow."""
    return escape(text, quote=False)


def hover(*lines: str) -> str:
    """A hover text of several lines, the first one bold."""
    first, *rest = (clean(line) for line in lines if line)
    return "<br>".join((f"<b>{first}</b>", *rest))


def figure(traces: Sequence[Any], *, height_px: int, left_px: int = 8, right_px: int = 12, **layout: Any) -> dict[str, Any]:
    """A plotly figure as plain data, checked by plotly, without title, legend or background of its own."""
    import plotly.graph_objects as go

    bottom_px = AXIS_PX if "title" in layout["xaxis"] else BARE_AXIS_PX
    margin = {"l": left_px, "r": right_px, "t": 8, "b": bottom_px, "pad": 0}
    base = {"height": height_px, "margin": margin, "showlegend": False, "template": "none", "hovermode": "closest", "dragmode": False}
    made = go.Figure(data=list(traces), layout=base | layout)
    plain: dict[str, Any] = made.to_plotly_json()
    plain["layout"].pop("template", None)
    return plain


def rows_figure(traces: Sequence[Any], rows: Sequence[Row], xaxis: dict[str, Any], **layout: Any) -> dict[str, Any]:
    """A figure of labelled rows, the first on top: bars and points of row i lie at y = i. The page shortens labels that don't fit."""
    texts = [{"text": clean(row.label), "name": "label", "xanchor": "left", "x": 0} | _above(i) for i, row in enumerate(rows)]
    texts += [{"text": clean(row.value), "name": "value", "xanchor": "right", "x": 1} | _above(i) for i, row in enumerate(rows)]
    yaxis = {"range": [len(rows) - 0.5, -0.5], "visible": False, "fixedrange": True}
    axis = {"fixedrange": True, "zeroline": False, "showline": False, "ticks": "", "nticks": 5} | xaxis
    height_px = ROW_PX * len(rows) + (AXIS_PX if "title" in xaxis else BARE_AXIS_PX) + 8
    return figure(traces, height_px=height_px, xaxis=axis, yaxis=yaxis, annotations=[*texts, *layout.pop("annotations", ())], **layout)


def _above(index: int) -> dict[str, Any]:
    return {"xref": "paper", "yref": "y", "y": index, "yshift": 13, "yanchor": "middle", "showarrow": False}


def intervals(below: Sequence[float | None], above: Sequence[float | None]) -> dict[str, Any]:
    """Error bars that reach so far below and above each bar; none at all where no bar has an interval."""
    known = any(reach is not None for reach in (*below, *above))
    return {
        "type": "data", "symmetric": False, "arrayminus": list(below), "array": list(above), "thickness": 1.5, "width": 4, "visible": known,
    }  # fmt: skip


def stroke(x: float, row: int, *, width_px: float, dash: str = "solid") -> dict[str, Any]:
    """An upright line through the bar of a row, in the ink of the page, that keeps clear of the text above the bar."""
    middle, reach = row + BAR_OFFSET, 0.26
    line = {"width": width_px, "dash": dash}
    return {"type": "line", "xref": "x", "yref": "y", "x0": x, "x1": x, "y0": middle - reach, "y1": middle + reach, "line": line}


def titled(text: str) -> dict[str, Any]:
    """An axis title as plotly wants it."""
    return {"text": text, "standoff": 8}
