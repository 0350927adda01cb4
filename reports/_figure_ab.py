"""The block pairs of an A/B comparison: each version's times in the order measured, and the pairs' ratios with the interval."""

import math
import statistics
from collections.abc import Sequence
from typing import Final

from hwbench.core.ab import AbKernel
from hwbench.core.units import format_seconds

from ._palette import WORKLOAD_COLOURS
from ._plot import Key, Plot, figure, hover, titled

BASE_COLOUR: Final = WORKLOAD_COLOURS[0]
CANDIDATE_COLOUR: Final = WORKLOAD_COLOURS[1]
HEIGHT_PX: Final = 300
BINS: Final = 41
FAR_OUT: Final = 6.0
"""Spreads (of the middle half of the times) above that half from which on a block was disturbed, and would press the rest flat."""
_UNITS: Final = ((1.0, "s"), (1e3, "ms"), (1e6, "µs"), (1e9, "ns"))


def times(kernel: AbKernel, index: int) -> Plot | None:
    """Both versions' times by block pair; None without pairs."""
    import plotly.graph_objects as go

    if not kernel.base_s:
        return None
    factor, unit = _unit(statistics.median(kernel.base_s))
    sides = (
        ("base", kernel.base_s, BASE_COLOUR, "circle"),
        ("candidate", kernel.candidate_s, CANDIDATE_COLOUR, "diamond"),
    )
    traces = [
        go.Scatter(
            x=list(range(1, len(values) + 1)),
            y=[value * factor for value in values],
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 6, "opacity": 0.75, "line": {"width": 0}},
            hovertext=[
                hover(f"{side}, pair {pair + 1}", f"round {kernel.pair_round[pair] + 1}", format_seconds(value))
                for pair, value in enumerate(values)
            ],
            hoverinfo="text",
        )
        for side, values, colour, symbol in sides
    ]
    low, high = _range((*kernel.base_s, *kernel.candidate_s))
    above = sum(value > high for value in (*kernel.base_s, *kernel.candidate_s))
    hidden = f" {above} disturbed blocks lie above the plot." if above else ""
    name = kernel.comparison.kernel
    return Plot(
        id=f"times-{index}",
        title="Blocks in the order measured",
        caption=f"The fastest call of each block. Base and candidate take turns in random order: a disturbance hits both.{hidden}",
        alt=f"Times of {name}: base about {format_seconds(statistics.median(kernel.base_s))}, "
        f"candidate about {format_seconds(statistics.median(kernel.candidate_s))}.",
        figure=figure(
            traces,
            height_px=HEIGHT_PX,
            left_px=52,
            xaxis={"title": titled("block pair"), "fixedrange": True, "zeroline": False, "rangemode": "tozero"},
            yaxis={"title": titled(unit), "fixedrange": True, "zeroline": False, "range": [low * factor, high * factor]},
        ),
        keys=(Key("base", colour=BASE_COLOUR, sign="●"), Key("candidate", colour=CANDIDATE_COLOUR, sign="◆")),
    )


def ratios(kernel: AbKernel, index: int) -> Plot | None:
    """How often which ratio was seen, the interval above; None without an interval."""
    import plotly.graph_objects as go

    of = kernel.comparison
    if of.ratio is None or of.ratio_low is None or of.ratio_high is None or not kernel.base_s:
        return None
    found = sorted(
        candidate / base for base, candidate in zip(kernel.base_s, kernel.candidate_s, strict=True) if base > 0 and candidate > 0
    )
    low, high = _ratio_range(found, (of.ratio_low, of.ratio_high))
    width = (high - low) / BINS
    counts = [0] * BINS
    for ratio in found:
        counts[min(max(int((ratio - low) / width), 0), BINS - 1)] += 1
    top = max(counts)
    bars = go.Bar(
        x=[low + width * (i + 0.5) for i in range(BINS)],
        y=counts,
        width=width,
        marker={"color": WORKLOAD_COLOURS[2], "line": {"width": 0}},
        hovertext=[hover(f"{low + width * i:.3f} to {low + width * (i + 1):.3f}", f"{count} pairs") for i, count in enumerate(counts)],
        hoverinfo="text",
    )
    interval = go.Scatter(
        x=[of.ratio],
        y=[1.12 * top],
        mode="markers",
        marker={"symbol": "diamond", "size": 9, "color": CANDIDATE_COLOUR},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [of.ratio_high - of.ratio],
            "arrayminus": [of.ratio - of.ratio_low],
            "thickness": 2,
        },
        hovertext=[hover(f"{of.ratio:.3f} ×", f"interval {of.ratio_low:.3f} to {of.ratio_high:.3f}")],
        hoverinfo="text",
    )
    line = {"type": "line", "xref": "x", "yref": "y", "x0": 1, "x1": 1, "y0": 0, "y1": 1.2 * top, "line": {"width": 1, "dash": "dash"}}
    return Plot(
        id=f"ratios-{index}",
        title="Candidate over base, pair by pair",
        caption="Bars count block pairs; the diamond is the ratio found, with its interval. The dashed line is no difference.",
        alt=f"Ratios of {of.kernel}: {of.ratio:.3f}, interval {of.ratio_low:.3f} to {of.ratio_high:.3f}.",
        figure=figure(
            [bars, interval],
            height_px=HEIGHT_PX,
            left_px=40,
            xaxis={
                "title": titled("time of candidate / time of base"),
                "range": [low, high],
                "fixedrange": True,
                "zeroline": False,
                "nticks": 6,
            },
            yaxis={"range": [0, 1.25 * top], "fixedrange": True, "zeroline": False, "nticks": 5},
            shapes=[line],
        ),
    )


def _unit(value_s: float) -> tuple[float, str]:
    return next(((factor, unit) for factor, unit in _UNITS if value_s * factor >= 1), _UNITS[-1])


def _range(values: Sequence[float]) -> tuple[float, float]:
    """From just below the smallest to just above what was hardly disturbed."""
    ordered = sorted(values)
    quarter, three = ordered[(len(ordered) - 1) // 4], ordered[math.ceil(0.75 * (len(ordered) - 1))]
    top = max(value for value in ordered if value <= three + FAR_OUT * (three - quarter))
    margin = 0.06 * (top - ordered[0]) or 0.05 * top
    return ordered[0] - margin, top + margin


def _ratio_range(found: Sequence[float], interval: tuple[float, float]) -> tuple[float, float]:
    """The middle 94 % of the ratios, the interval and 1."""
    tail = round(0.03 * (len(found) - 1))
    ends = (found[tail], found[-1 - tail], *interval, 1.0)
    margin = max(0.08 * (max(ends) - min(ends)), 0.01)
    return min(ends) - margin, max(ends) + margin
