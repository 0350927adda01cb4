"""One colour and shape a workload across all plots, told apart without full colour vision; fillings and dashes for layouts.

The eight colours have a contrast of at least 3:1 against both backgrounds (WCAG 2.2, 1.4.11) and differ by at least 20 (CIE76) from each
other, also as simulated for deuteranopia and protanopia (Machado, Oliveira, Fernandes 2009). Colour is never the only sign.
"""

from collections.abc import Iterable
from typing import Final

from hwbench.core.summary import Summary

WORKLOAD_COLOURS: Final = ("#2b74d9", "#e0560c", "#12946e", "#7e29ff", "#179bd3", "#a34e29", "#00728f", "#29a3a3")
PART_COLOURS: Final = ("#77aadd", "#ee8866", "#44bb99", "#eedd88", "#ffaabb", "#99ddff", "#bbcc33", "#aaaa00", "#cccccc")
"""Fills of stacked bars, always with an outline (Paul Tol's light scheme)."""
ROOF_COLOUR: Final = "#7a8594"
SYMBOLS: Final = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon", "triangle-down")
SYMBOL_SIGNS: Final = ("●", "■", "◆", "▲", "✚", "★", "⬢", "▼")
FILLINGS: Final = ("", "-open", "-dot", "-open-dot")
FILLING_WORDS: Final = ("filled", "hollow", "filled, with a dot", "hollow, with a dot")
DASHES: Final = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
LIGHT_BACKGROUND: Final = "#ffffff"
DARK_BACKGROUND: Final = "#161b22"


def workload_colours(summary: Summary) -> dict[str, str]:
    """The colour of each workload, in the order the report first names them; from the ninth on they repeat."""
    return dict(zip(_distinct(row.workload for row in summary.throughput), _cycle(WORKLOAD_COLOURS), strict=False))


def layout_order(summary: Summary) -> tuple[str, ...]:
    """The layouts in use, `single` and small worlds first: their place here decides symbol and dash."""
    sizes = {row.layout: row.world_size for row in summary.throughput}
    return tuple(sorted(sizes, key=lambda layout: (sizes[layout], layout != "single", layout)))


def mark(index: int) -> int:
    """Which of the marker shapes the workload at this place has: no two of the first 64 share both colour and shape."""
    return (index + index // len(WORKLOAD_COLOURS)) % len(SYMBOLS)


def filling(index: int) -> str:
    """How the markers of the layout at this place are filled, as the end of plotly's name of a shape; from the fifth on they repeat."""
    return FILLINGS[index % len(FILLINGS)]


def dash(index: int) -> str:
    """The line style of the layout at this place of the order."""
    return DASHES[index % len(DASHES)]


def part_colours(names: Iterable[str]) -> dict[str, str]:
    """The colour of each part of a stacked bar."""
    return dict(zip(_distinct(names), _cycle(PART_COLOURS), strict=False))


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _cycle(colours: tuple[str, ...]) -> list[str]:
    return list(colours) * 64
