"""Scaling as curves: speed-up and efficiency over the number of ranks, a line a family of layouts, run and way of scaling."""

from collections.abc import Iterator, Sequence
from typing import Final

from hwbench.core.summary import CurvePoint, ScalingCurve, Summary
from hwbench.core.units import format_fraction, significant

from . import _axes
from ._curves import Curve, Point, curves_figure, keys
from ._plot import Plot, hover, titled

FEWEST_SIZES: Final = 3
"""Of ranks, one included: between two there is no curve to see."""
MOST_LINEAR: Final = 16
"""Ranks up to which the axis is linear, so that the ideal is a straight line; beyond it small numbers would lie on each other."""
IDEAL: Final = "ideal"


def plots(summary: Summary) -> tuple[Plot, ...]:
    """Two plots a workload, settings, type and device that was measured on at least FEWEST_SIZES numbers of ranks."""
    groups: dict[tuple[str, ...], list[ScalingCurve]] = {}
    for one in summary.curves:
        groups.setdefault((one.workload, one.settings, one.dtype, one.device), []).append(one)
    long = {key: of for key, of in groups.items() if len({point.world_size for one in of for point in one.points}) >= FEWEST_SIZES}
    return tuple(plot for index, (key, of) in enumerate(long.items(), start=1) for plot in _pair(index, key, of, len(summary.runs) > 1))


def _pair(index: int, key: tuple[str, ...], found: Sequence[ScalingCurve], several_runs: bool) -> Iterator[Plot]:
    workload = " · ".join(part for part in key if part)
    modes = {one.mode for one in found}
    sizes = sorted({point.world_size for one in found for point in one.points})
    named = [(_name(one, several_runs, len(modes) > 1), one) for one in found]
    batch = {frozenset({"weak"}): "The batch of a rank is fixed (weak scaling).",
             frozenset({"strong"}): "The batch of all ranks together is fixed (strong scaling)."}  # fmt: skip
    how = batch.get(frozenset(modes), "Weak: the batch of a rank is fixed; strong: that of all ranks together.")
    axis = _axes.linear(sizes) if sizes[-1] <= MOST_LINEAR else _axes.logarithmic(sizes)
    xaxis = axis | {"title": titled("ranks")}
    speedups = [_curve(name, one, efficiency=False) for name, one in named]
    ideal = Curve(IDEAL, tuple(Point(size, size, hover(f"ideal: {size} times one rank")) for size in sizes), dashed=True)
    yield Plot(
        id=f"speedup-{index}",
        title=f"Speed-up: {workload}",
        caption=f"Times the work of one rank in the same time. {how}",
        alt=f"Speed-up of {workload}: " + _said(speedups, "times") + ".",
        figure=curves_figure([*speedups, ideal], xaxis, _axes.upright([sizes[-1]], "times one rank")),
        keys=keys([*speedups, ideal]),
    )
    shares = [_curve(name, one, efficiency=True) for name, one in named]
    whole = Curve(IDEAL, tuple(Point(size, 100, hover("ideal: 100 %")) for size in sizes), dashed=True)
    top = max(100.0, *(point.y for curve in shares for point in curve.points))
    yield Plot(
        id=f"efficiency-{index}",
        title=f"Scaling efficiency: {workload}",
        caption="Speed-up over the number of ranks. On one machine ranks share memory bandwidth, so that less than 100 % need not be the "
        "network's fault.",
        alt=f"Scaling efficiency of {workload}: " + _said(shares, "%") + ".",
        figure=curves_figure([*shares, whole], xaxis, _axes.upright([top], "% of the ideal")),
        keys=keys([*shares, whole]),
    )


def _name(one: ScalingCurve, several_runs: bool, several_modes: bool) -> str:
    return " · ".join((one.family or "single", *((one.mode,) if several_modes else ()), *((one.run,) if several_runs else ())))


def _curve(name: str, one: ScalingCurve, *, efficiency: bool) -> Curve:
    return Curve(
        name,
        tuple(
            Point(point.world_size, 100 * point.efficiency_fraction if efficiency else point.speedup, _hover(name, point))
            for point in one.points
        ),
    )


def _hover(name: str, point: CurvePoint) -> str:
    between = "" if point.interval is None else f" ({100 * point.interval.low:.0f} to {100 * point.interval.high:.0f} %)"
    ranks = f"{point.world_size} rank{'s' if point.world_size > 1 else ''}: {point.layout}"
    return hover(name, ranks, f"{significant(point.speedup)} times one rank", f"{format_fraction(point.efficiency_fraction)}{between}")


def _said(curves: Sequence[Curve], unit: str) -> str:
    return "; ".join(f"{curve.name} {significant(curve.points[-1].y)} {unit} on {curve.points[-1].x:g} ranks" for curve in curves)
