"""A series over its runs: every run a dot, every level a line, every change an upright stroke."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from hwbench.core.history import Change, HistorySeries, Point
from hwbench.core.units import format_seconds

from ._palette import ROOF_COLOUR, WORKLOAD_COLOURS
from ._plot import Key, Plot, figure, hover, titled

HEIGHT_PX: Final = 240
MOST_POINTS: Final = 1000
"""Of the newest runs; older ones have their places in the store."""
_UNITS: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def plot(of: HistorySeries) -> Plot:
    """The plot of one series."""
    offset = max(0, len(of.points) - MOST_POINTS)
    points, shown = of.points[offset:], [change for change in of.changes if change.found.index >= offset]
    scale, unit = _unit(points)
    xs = _xs(points)
    dated = bool(points) and all(point.started_at for point in points)
    values = [point.value_s / scale for point in points]
    strokes = [_stroke(xs[change.found.index - offset], change) for change in shown]
    xaxis = {"fixedrange": True, "zeroline": False, "showgrid": False} | (
        {"type": "date", "tickformat": "%Y-%m-%d", "tickvals": _ticks(xs), "tickangle": 0}
        if dated
        else {"title": titled("run, oldest first"), "nticks": 4}
    )
    yaxis = {"fixedrange": True, "zeroline": False, "nticks": 5, "title": titled(f"{of.clock} time, {unit}"), "range": _range(values)}
    return Plot(
        id=f"series-{of.id}",
        title=of.name,
        caption=_caption(of, offset),
        alt=_alt(of),
        figure=figure(
            [_dots(points, xs, values), *_levels(shown, xs, offset, scale)],
            height_px=HEIGHT_PX, left_px=64, right_px=16, xaxis=xaxis, yaxis=yaxis, shapes=strokes,
        ),
        keys=_keys(shown),
    )  # fmt: skip


def _unit(points: Sequence[Point]) -> tuple[float, str]:
    largest = max((point.value_s for point in points), default=1.0)
    return next((unit for unit in _UNITS if largest >= unit[0]), _UNITS[-1])


def _xs(points: Sequence[Point]) -> list[Any]:
    """Times where every run tells one; where one doesn't, the runs' numbers."""
    return [point.started_at for point in points] if all(point.started_at for point in points) else list(range(len(points)))


def _ticks(times: Sequence[str]) -> list[str]:
    """Two days within the span, far enough apart for their labels where the page is narrowest; one where all is one day."""
    first, last = datetime.fromisoformat(min(times)), datetime.fromisoformat(max(times))
    places = (1 / 4, 3 / 4) if (last - first).days >= 3 else (0,)
    return [(first + place * (last - first)).isoformat(timespec="seconds") for place in places]


def _range(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 0.05 * high
    return [low - room, high + room]


def _dots(points: Sequence[Point], xs: Sequence[Any], values: Sequence[float]) -> Any:
    import plotly.graph_objects as go

    return go.Scatter(
        x=list(xs),
        y=list(values),
        mode="markers",
        marker={"color": WORKLOAD_COLOURS[0], "size": 5, "opacity": 0.65, "line": {"width": 0}},
        hovertext=[_hover(point) for point in points],
        hoverinfo="text",
    )


def _hover(point: Point) -> str:
    commit = f"commit {point.commit}" if point.commit else ""
    torch = f"torch {point.torch}" if point.torch else ""
    processes = f"{point.processes} process{'es' if point.processes != 1 else ''}"
    return hover(format_seconds(point.value_s), point.run, point.started_at, commit, torch, processes)


def _levels(changes: Sequence[Change], xs: Sequence[Any], offset: int, scale: float) -> list[Any]:
    """A line a level, between confirmed changes; none where there are none."""
    import plotly.graph_objects as go

    sure = [change for change in changes if not change.found.suspect]
    if not sure:
        return []
    edges = [0, *(change.found.index - offset for change in sure), len(xs)]
    levels = [sure[0].found.before, *(change.found.after for change in sure)]
    return [
        go.Scatter(
            x=[xs[start], xs[stop - 1]],
            y=[level / scale, level / scale],
            mode="lines",
            line={"color": ROOF_COLOUR, "width": 2},
            hoverinfo="skip",
        )
        for start, stop, level in zip(edges, edges[1:], levels, strict=False)
        if stop > start
    ]


def _stroke(x: Any, change: Change) -> dict[str, Any]:
    dash = "dot" if change.found.suspect else "solid"
    line = {"width": 1.5, "dash": dash}
    return {"type": "line", "xref": "x", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": line}


def _keys(changes: Sequence[Change]) -> tuple[Key, ...]:
    if not changes:
        return ()
    suspect = (Key("suspect", dash="dot"),) if any(change.found.suspect for change in changes) else ()
    sure = (Key("change of level", sign="|"),) if any(not change.found.suspect for change in changes) else ()
    return (Key("one run", WORKLOAD_COLOURS[0], sign="●"), *sure, *suspect)


def _caption(of: HistorySeries, left_out: int) -> str:
    older = f" The {left_out:,} oldest runs are left out." if left_out else ""
    return f"{of.machine}; {_count(len(of.points), 'run')}, {_count(of.threads, 'thread')} a rank.{older}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 else ''}"


def _alt(of: HistorySeries) -> str:
    changes = [f"{change.found.ratio:.3f} times from run {change.first_run}" for change in of.changes]
    return f"{of.name} over {len(of.points)} runs. " + (f"Changes: {'; '.join(changes)}." if changes else "No change of level.")
