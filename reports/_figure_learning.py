"""Whether training steps learn: the loss over their calls, and how good the model was in the end."""

import math
from collections.abc import Sequence
from typing import Final

from hwbench.core.summary import Summary, Throughput

from . import _axes, _text
from ._curves import Curve, Point, curves_figure, keys
from ._plot import Plot, hover, titled
from ._tables import Table, folded, without_empty

MOST_LINES: Final = 8
"""Lines that colours tell apart; the table has the others."""
MOST_POINTS: Final = 40
"""Marks of a line: each is the mean of the calls since the last one."""


def table(summary: Summary) -> Table:
    """One row a training step: its losses, and what evaluation after the last sample found."""
    rows = [row for row in summary.throughput if row.losses or row.metrics]
    cells = tuple(
        (
            row.workload, row.layout, row.settings or "defaults", f"{row.dtype}, {row.device}", f"{len(row.losses):,}",
            {"new": "a new one each", "repeated": "one, repeated"}.get(row.batches or "", ""), _text.loss(row), _text.metrics(row),
            _text.EVALUATED_ON.get(row.evaluated_on, ""), row.run if len(summary.runs) > 1 else "",
        )
        for row in rows
    )  # fmt: skip
    columns = ("Workload", "Layout", "Settings", "Type, device", "Losses", "Batches", "First and last loss", "Evaluated", "On", "Run")
    made = Table("What the training steps learned", columns, cells, frozenset({4, 6}))
    return folded(without_empty(made, "Run"), "Settings", "Type, device", "Batches", "On")


def plot(summary: Summary) -> Plot | None:
    """The losses of steps that got a new batch each; None where all repeat one, which only shows that it is learned by heart."""
    rows = [row for row in summary.throughput if row.batches == "new" and len(row.losses) > 1]
    if not rows:
        return None
    shown, several = rows[:MOST_LINES], len(summary.runs) > 1
    curves = [_curve(row, several_runs=several) for row in shown]
    calls = [point.x for curve in curves for point in curve.points]
    left = f" {len(rows) - MOST_LINES} more cases are in the table." if len(rows) > MOST_LINES else ""
    said = "; ".join(f"{curve.name}: {_text.loss(row)}" for curve, row in zip(curves, shown, strict=True))
    return Plot(
        id="learning",
        title="Loss over training",
        caption=f"Cross entropy in nats, of a batch never seen before; ln V where a model knows nothing of V words.{left}",
        alt=f"Loss over the calls of training steps: {said}.",
        figure=curves_figure(
            curves,
            _axes.linear(calls) | {"title": titled("warm-up calls and samples")},
            _axes.upright([point.y for curve in curves for point in curve.points], "loss"),
        ),
        keys=keys(curves),
    )


def _curve(row: Throughput, *, several_runs: bool) -> Curve:
    name = f"{row.workload} · {_text.variant(row, several_runs=several_runs)}"
    size = math.ceil(len(row.losses) / MOST_POINTS)
    parts = [(start, row.losses[start : start + size]) for start in range(0, len(row.losses), size)]
    return Curve(name, tuple(_point(name, start + len(part), part) for start, part in parts))


def _point(name: str, number: int, part: Sequence[float]) -> Point:
    mean = math.fsum(part) / len(part)
    return Point(number, mean, hover(name, f"loss {mean:.4g}", f"mean of {len(part)} up to number {number:,}"))
