"""Axes: where ticks go and what they say, for powers of ten, sizes in bytes, and plain numbers; few enough for a page of 390 pixels."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from hwbench.core.units import format_bytes, format_rate

MOST_TICKS: Final = 5
"""Labels such as '512 KiB' that fit beside each other where the page is narrowest."""
LOG_RATIO: Final = 20.0
"""From this ratio of the largest to the smallest value on, an axis from zero would press the small ones flat."""
PLAIN: Final = {"fixedrange": True, "zeroline": False, "showline": True, "ticks": "outside", "ticklen": 4}


class Unit(NamedTuple):
    """A unit for an axis: values in SI base units times `factor`."""

    name: str
    factor: float


def decades(low: float, high: float) -> dict[str, Any]:
    """Ticks between two powers of ten: at each power, at 1, 2 and 5 of each where there are few, every second one where there are many."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    steps = (1, 2, 5) if high - low < 2.2 else (1,)
    every = 1 if high - low <= 7 else 2
    ticks = [step * 10.0**power for power in powers if power % every == 0 for step in steps]
    shown = [tick for tick in ticks if low <= math.log10(tick) <= high]
    return {"tickvals": shown, "ticktext": [_number(tick) for tick in shown]}


def _number(value: float) -> str:
    """0.01, 20, 2,048, 5 M."""
    return f"{value:g}" if value < 1 else f"{value:,.6g}" if value < 1e5 else format_rate(value, "", 1).strip()


def logarithmic(values: Iterable[float], *, most: int = MOST_TICKS, in_bytes: bool = False) -> dict[str, Any]:
    """A horizontal axis of doublings over positive values: ticks at some of the values themselves, or at powers of two between them.

    Values that are all powers of two times one number (128, 256, 512 …) get ticks at values; others at powers of two.
    """
    found = sorted(set(values))
    low, high = math.log10(found[0]), math.log10(found[-1])
    room = 0.05 * (high - low) or 0.3
    ticks = _thinned(found if len(found) <= most else _powers_of_two(found[0], found[-1]), most)
    ticktext = [format_bytes(tick, 2).replace(".0 ", " ") if in_bytes else _number(tick) for tick in ticks]
    return PLAIN | {"type": "log", "range": [low - room, high + room], "tickvals": ticks, "ticktext": ticktext, "tickangle": 0}


def _powers_of_two(low: float, high: float) -> list[float]:
    powers = range(math.ceil(math.log2(low) - 1e-9), math.floor(math.log2(high) + 1e-9) + 1)
    return [2.0**power for power in powers]


def _thinned(ticks: Sequence[float], most: int) -> list[float]:
    """Every first, second, third … tick, so that there are at most so many."""
    step = math.ceil(len(ticks) / most)
    return list(ticks[::step])


def linear(values: Iterable[float]) -> dict[str, Any]:
    """A horizontal axis of few whole values, each with its tick; of many, plotly's own ticks."""
    found = sorted(set(values))
    room = 0.06 * (found[-1] - found[0]) or 0.5
    ticks: dict[str, Any] = {"nticks": MOST_TICKS}
    if len(found) <= MOST_TICKS:
        ticks = {"tickvals": found, "ticktext": [f"{value:,g}" for value in found]}
    return PLAIN | {"range": [found[0] - room, found[-1] + room], "tickangle": 0} | ticks


def upright(values: Iterable[float], title: str) -> dict[str, Any]:
    """A vertical axis: from zero, or logarithmic where the values differ by more than LOG_RATIO (all must be above zero then)."""
    found = list(values)
    low, high = min(found, default=0.0), max(found, default=1.0) or 1.0
    words = {"text": title, "standoff": 8}
    if low <= 0 or high / low < LOG_RATIO:
        return PLAIN | {"range": [0, 1.12 * high], "nticks": 6, "title": words}
    ends = [math.log10(low) - 0.12, math.log10(high) + 0.18]
    return PLAIN | {"type": "log", "range": ends, "title": words} | decades(*ends)


def rate_unit(values: Iterable[float], unit: str) -> Unit:
    """The decimal prefix for values of this base unit, such as 'B/s': that of the middle of their span."""
    return _prefixed(values, [Unit(f"{prefix}{unit}", 10.0 ** (-3 * i)) for i, prefix in enumerate(("", "k", "M", "G", "T", "P", "E"))])


def time_unit(values: Iterable[float]) -> Unit:
    """ns, µs, ms or s for values in seconds, by the middle of their span."""
    return _prefixed(values, [Unit("ns", 1e9), Unit("µs", 1e6), Unit("ms", 1e3), Unit("s", 1.0)])


def span_unit(values_s: Iterable[float]) -> Unit:
    """Days, hours, minutes or seconds, as people say the longest of these times."""
    units = (Unit("days", 1 / 86400), Unit("hours", 1 / 3600), Unit("minutes", 1 / 60), Unit("seconds", 1.0))
    longest = max(values_s, default=1.0)
    return next((unit for unit in units if longest * unit.factor >= 2), units[-1])


def money_unit(values_usd: Iterable[float]) -> Unit:
    """Dollars, thousands or millions of them, by the largest of these amounts."""
    most = max(values_usd, default=0.0)
    return Unit("million $", 1e-6) if most >= 1e6 else Unit("thousand $", 1e-3) if most >= 1e4 else Unit("$", 1.0)


def _prefixed(values: Iterable[float], units: Sequence[Unit]) -> Unit:
    """The last of the units, from fine to coarse, in which the geometric middle of the values is at least 1."""
    found = [value for value in values if value > 0] or [1.0]
    middle = math.sqrt(min(found)) * math.sqrt(max(found))
    return next((unit for unit in reversed(units) if middle * unit.factor >= 1), units[0])
