"""Sweeps as curves: what each workload reaches over one number of its settings, a line a variant."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from hwbench.core.summary import Summary, Sweep, SweepLine, SweepPoint
from hwbench.core.units import format_bytes, format_fraction, format_rate, format_seconds

from . import _axes, _text
from ._curves import Curve, Point, curves_figure, keys
from ._plot import Plot, hover, titled
from ._tables import Table

MOST_LINES: Final = 8
"""Lines of one plot that colours tell apart; more make several plots."""
HOLLOW: Final = "hollow: noisy"
DOUBLINGS_RATIO: Final = 8.0
"""From this ratio of the largest to the smallest value on, the axis is one of doublings."""


def plots(summary: Summary) -> tuple[Plot, ...]:
    """The plots of all sweeps, in the report's order."""
    facets = [facet for sweep in summary.sweeps for facet in _facets(sweep, sweep.lines, {})]
    return tuple(_plot(f"sweep-{index}", *facet) for index, facet in enumerate(facets, start=1))


def swept(summary: Summary) -> frozenset[tuple[str, str]]:
    """(workload, unit of rate) of the rows that curves show."""
    return frozenset((sweep.workload, sweep.rate_unit) for sweep in summary.sweeps)


def _facets(
    sweep: Sweep, lines: Sequence[SweepLine], fixed: Mapping[str, str]
) -> Iterator[tuple[Sweep, Sequence[SweepLine], dict[str, str]]]:
    """Lines in groups small enough for one plot, parted by whatever takes the fewest values."""
    names = {name: list(dict.fromkeys(line.about[name] for line in lines)) for name in lines[0].about if name not in fixed}
    parting = sorted((name for name, values in names.items() if len(values) > 1), key=lambda name: len(names[name]))
    if len(lines) <= MOST_LINES or not parting:
        yield sweep, lines, dict(fixed)
        return
    for value in names[parting[0]]:
        chosen = [line for line in lines if line.about[parting[0]] == value]
        yield from _facets(sweep, chosen, {**fixed, parting[0]: value})


def _plot(id_: str, sweep: Sweep, lines: Sequence[SweepLine], fixed: Mapping[str, str]) -> Plot:
    rates = [point.rate_per_s for line in lines for point in line.points]
    prefixed = sweep.rate_unit in ("B/s", "FLOP/s")
    unit = _axes.rate_unit(rates, sweep.rate_unit) if prefixed else _axes.Unit(sweep.rate_unit, 1.0)
    curves = [_curve(sweep, line, fixed, unit) for line in lines]
    values = [point.value for line in lines for point in line.points]
    what = "".join(f", {name} {value}" for name, value in fixed.items())
    said = "; ".join(f"{curve.name}: {curve.points[0].y:.3g} to {curve.points[-1].y:.3g} {unit.name}" for curve in curves)
    return Plot(
        id=id_,
        title=f"{sweep.workload} over {sweep.setting}{what}",
        caption=f"{_what(sweep)} a second, more is better. Touch a mark for the time of a step.",
        alt=f"{sweep.workload} over {sweep.setting}{what}: {said}.",
        figure=curves_figure(curves, _xaxis(values, sweep.setting), _axes.upright((rate * unit.factor for rate in rates), unit.name)),
        keys=keys(curves, HOLLOW),
    )


def _what(sweep: Sweep) -> str:
    return {"B/s": "Bytes", "FLOP/s": "FLOPs"}.get(sweep.rate_unit) or _text.many(sweep.rate_unit.removesuffix("/s")).capitalize()


def _xaxis(values: Sequence[float], setting: str) -> dict[str, Any]:
    doublings = min(values) > 0 and max(values) >= DOUBLINGS_RATIO * min(values)
    made = _axes.logarithmic(values, in_bytes=setting.endswith("_bytes")) if doublings else _axes.linear(values)
    return made | {"title": titled(setting)}


def _curve(sweep: Sweep, line: SweepLine, fixed: Mapping[str, str], unit: _axes.Unit) -> Curve:
    name = name_of(line, fixed) or sweep.workload
    points = (Point(point.value, point.rate_per_s * unit.factor, hover(name, *_lines(sweep, point)), point.noisy) for point in line.points)
    return Curve(name, tuple(points))


def name_of(line: SweepLine, fixed: Mapping[str, str]) -> str:
    """What tells a line from the others of its plot: 'fp32, backend flash'."""
    bare = ("layout", "dtype", "device", "run")
    return ", ".join(value if name in bare else f"{name} {value}" for name, value in line.about.items() if name not in fixed)


def _lines(sweep: Sweep, point: SweepPoint) -> tuple[str, ...]:
    return (
        f"{sweep.setting} {point.value:,g}",
        _rate(sweep, point),
        f"step {format_seconds(point.step_time_s)}",
        "" if point.flops_per_s is None else format_rate(point.flops_per_s, "FLOP/s"),
        "" if point.roof_fraction is None else f"{format_fraction(point.roof_fraction)} of its roof",
        "" if point.peak_bytes is None else f"{format_bytes(point.peak_bytes)} at most",
        "⚠ noisy" if point.noisy else "",
    )


def _rate(sweep: Sweep, point: SweepPoint) -> str:
    if sweep.rate_unit in ("B/s", "FLOP/s"):
        return format_rate(point.rate_per_s, sweep.rate_unit)
    return f"{_text.big(point.rate_per_s)} {sweep.rate_unit}"


def tables(summary: Summary) -> tuple[Table, ...]:
    """A table a sweep: a row a line, a column a value."""
    return tuple(_table(sweep) for sweep in summary.sweeps)


def _table(sweep: Sweep) -> Table:
    values = sorted({point.value for line in sweep.lines for point in line.points})
    rows = []
    for line in sweep.lines:
        cells = {point.value: f"{_rate(sweep, point)}{' ⚠' if point.noisy else ''}" for point in line.points}
        rows.append((name_of(line, {}) or sweep.workload, *(cells.get(value, "–") for value in values)))
    columns = (sweep.setting, *(f"{value:,g}" for value in values))
    return Table(f"{sweep.workload} over {sweep.setting}", columns, tuple(rows), frozenset(range(1, len(columns))))
