"""The sizing in pictures: time against cost, how sure each time is, the step, memory, cost over time, what better parts bring."""

from collections.abc import Sequence
from typing import Final

from hwbench.core.prediction import Sensitivity, Sizing, SizingAnswer
from hwbench.core.units import UNKNOWN, format_fraction, format_seconds, format_usd

from . import _axes, _figure_front, _figure_step
from ._curves import Curve, Point, curves_figure, keys
from ._figure_front import name_of
from ._figure_step import Named
from ._palette import PART_COLOURS, WORKLOAD_COLOURS
from ._plot import BAR_OFFSET, BAR_WIDTH, Key, Plot, Row, hover, rows_figure, stroke, titled

NEAR: Final = 1.5
"""Times the largest cost from which on a budget is not drawn: it would press the curves flat."""
NO_EFFECT_FRACTION: Final = 5e-4
"""Below this a change of the training time is shown as none."""


def plots(answer: SizingAnswer | None) -> tuple[Plot, ...]:
    """Everything that the answer allows to be drawn; none without a cluster that can."""
    if answer is None or not answer.sizings:
        return ()
    named = [Named(name_of(one), one.prediction) for one in answer.sizings]
    step, memory = _figure_step.steps(named, id_="sizing-step", shares=True), _figure_step.memory(named, id_="sizing-memory")
    made = (_figure_front.plot(answer), _times(answer), step, memory, _costs(answer), _tornado(answer.sensitivities, answer.sizings[0]))
    return tuple(plot for plot in made if plot is not None)


def _times(answer: SizingAnswer) -> Plot | None:
    """When each cluster is done, counted from today, with its 90 % interval and the deadline."""
    import plotly.graph_objects as go

    options = answer.sizings
    waits = [0.0 if one.offer is None else one.offer.delivery_s for one in options]
    ends = [wait + one.train_time_s for wait, one in zip(waits, options, strict=True)]
    ranges = [_range(one) for one in options]
    if not any(ranges):
        return None
    span, deadline = _axes.span_unit(ends), answer.question.get("deadline_s")
    rows = [Row(name_of(one), _time_words(one, wait)) for one, wait in zip(options, waits, strict=True)]
    reach = [(one.train_time_s - low, high - one.train_time_s) if (low, high) != (0, 0) else (0.0, 0.0)
             for one, (low, high) in zip(options, [found or (0.0, 0.0) for found in ranges], strict=True)]  # fmt: skip
    marks = go.Scatter(
        x=[end * span.factor for end in ends],
        y=[index + BAR_OFFSET for index in range(len(options))],
        mode="markers",
        marker={"color": WORKLOAD_COLOURS[0], "size": 9, "symbol": "diamond"},
        error_x={
            "type": "data", "symmetric": False, "array": [more * span.factor for _, more in reach],
            "arrayminus": [less * span.factor for less, _ in reach], "thickness": 2, "width": 5,
        },
        hovertext=[hover(row.label, row.value, _chance(one)) for row, one in zip(rows, options, strict=True)],
        hoverinfo="text",
    )  # fmt: skip
    due = deadline * span.factor if isinstance(deadline, float | int) else None
    most = 1.05 * max([(end + more) * span.factor for end, (_, more) in zip(ends, reach, strict=True)] + ([due] if due else []))
    strokes = [stroke(due, index, width_px=2, dash="dash") for index in range(len(options))] if due else []
    counted = "from today, delivery included" if any(waits) else "of training"
    return Plot(
        id="sizing-times",
        title="How sure the time is",
        caption="The diamond is the predicted end, the line its 90 % interval: in one case of ten it lies outside."
        + (" The dashed stroke is the deadline." if due else " Intervals that overlap much are no reason to prefer one."),
        alt="Time with its interval: " + "; ".join(f"{row.label} {row.value}" for row in rows) + ".",
        figure=rows_figure([marks], rows, {"range": [0, most], "title": titled(f"{span.name} {counted}")}, shapes=strokes),
        keys=(Key("deadline", dash="dash"),) if due else (),
    )


def _range(one: Sizing) -> tuple[float, float] | None:
    """The ends of the training time's 90 % interval: the step's, times the same number of steps."""
    made = one.prediction
    if made.low_s is None or made.high_s is None or not made.step_time_s:
        return None
    return one.train_time_s * made.low_s / made.step_time_s, one.train_time_s * made.high_s / made.step_time_s


def _time_words(one: Sizing, wait_s: float) -> str:
    return f"{format_seconds(wait_s + one.train_time_s)}{'' if one.meets_deadline else ', too late'}"


def _chance(one: Sizing) -> str:
    return "" if one.deadline_probability is None else f"in time with a probability of {format_fraction(one.deadline_probability, 2)}"


def _costs(answer: SizingAnswer) -> Plot | None:
    """What has been paid by when: rent grows with the days, a purchase is paid on delivery and then costs its power."""
    priced = [one for one in answer.sizings if one.costs is not None]
    if not priced:
        return None
    waits = [0.0 if one.offer is None else one.offer.delivery_s for one in priced]
    span = _axes.span_unit([wait + one.train_time_s for wait, one in zip(waits, priced, strict=True)])
    unit = _axes.money_unit([one.costs.outlay_usd for one in priced if one.costs])
    curves = [_paid(one, wait, span, unit) for one, wait in zip(priced, waits, strict=True)]
    points = [point for curve in curves for point in curve.points]
    xaxis = _axes.linear([0.0, max(point.x for point in points)]) | {"title": titled(f"{span.name} from today"), "nticks": 5}
    xaxis = {key: value for key, value in xaxis.items() if key not in ("tickvals", "ticktext")}
    top, budget = max(point.y for point in points), answer.question.get("budget_usd")
    if isinstance(budget, float | int) and budget * unit.factor <= NEAR * top:
        top = max(top, budget * unit.factor)
        limit = tuple(Point(x, budget * unit.factor, hover(f"budget {format_usd(float(budget))}")) for x in (0.0, points[-1].x))
        curves.append(Curve("budget", limit, dashed=True))
    yaxis = _axes.PLAIN | {"range": [0, 1.12 * top], "nticks": 6, "title": titled(unit.name)}
    return Plot(
        id="sizing-costs",
        title="Cost over time",
        caption="What has been paid by when, to the end of the training. Rent grows with the days; a purchase is paid on delivery, then "
        "costs its power, and the hardware is still there at the end.",
        alt="Cost over time: "
        + "; ".join(f"{name_of(one)} {format_usd(one.costs.outlay_usd if one.costs else None)} in the end" for one in priced)
        + ".",
        figure=curves_figure(curves, xaxis, yaxis),
        keys=keys(curves),
    )


def _paid(one: Sizing, wait_s: float, span: _axes.Unit, unit: _axes.Unit) -> Curve:
    costs = one.costs
    if costs is None:
        return Curve(name_of(one), ())
    purchase = costs.outlay_usd - costs.rent_usd - costs.power_usd
    end = wait_s + one.train_time_s
    first = [Point(wait_s * span.factor, purchase * unit.factor, hover(name_of(one), f"{format_usd(purchase)} to pay on delivery"))]
    if purchase and not wait_s:
        first = [Point(0.0, purchase * unit.factor, hover(name_of(one), f"{format_usd(purchase)} to pay at the start"))]
    rest = hover(name_of(one), f"{format_usd(costs.outlay_usd)} paid after {format_seconds(end)}", _used(one))
    return Curve(name_of(one), (*first, Point(end * span.factor, costs.outlay_usd * unit.factor, rest)))


def _used(one: Sizing) -> str:
    """What the run itself costs, where that is less than what is paid."""
    if one.costs is None or not one.costs.hardware_usd:
        return ""
    return f"of which the run uses up {format_usd(one.costs.total_usd)}"


def _tornado(found: Sequence[Sensitivity], first: Sizing) -> Plot | None:
    """What 10 % more of each figure saves, the largest first."""
    if not found:
        return None
    import plotly.graph_objects as go

    rows = [Row(one.part, _saving(one, first)) for one in found]
    lengths = [0.0 if abs(one.change_fraction) < NO_EFFECT_FRACTION else 100 * one.change_fraction for one in found]
    reach = 1.1 * max(1.0, *(abs(length) for length in lengths))
    bars = go.Bar(
        orientation="h",
        x=lengths,
        y=[index + BAR_OFFSET for index in range(len(rows))],
        width=BAR_WIDTH,
        marker={
            "color": [PART_COLOURS[2] if length <= 0 else PART_COLOURS[1] for length in lengths],
            "line": {"width": 0.7, "color": "#4a5563"},
        },
        hovertext=[hover(row.label, row.value, one.key) for row, one in zip(rows, found, strict=True)],
        hoverinfo="text",
    )
    axis = {"range": [-reach, reach if max(lengths) > 0 else 0.06 * reach], "ticksuffix": " %", "title": titled("change of training time")}
    return Plot(
        id="sizing-tornado",
        title=f"What a better part of {name_of(first)} would bring",
        caption="Training time with one figure 10 % higher and the layout searched again. The longest bar is the part to negotiate about; "
        "where there is none, paying for more is lost.",
        alt="Change of the training time with 10 % more: " + "; ".join(f"{row.label} {row.value}" for row in rows) + ".",
        figure=rows_figure([bars], rows, axis, shapes=[stroke(0, index, width_px=1) for index in range(len(rows))]),
    )


def _saving(one: Sensitivity, first: Sizing) -> str:
    if abs(one.change_fraction) < NO_EFFECT_FRACTION:
        return "no change"
    seconds = abs(one.train_time_s - first.train_time_s)
    word = "saved" if one.change_fraction < 0 else "lost"
    return f"{format_seconds(seconds)} {word} ({format_fraction(abs(one.change_fraction), 2) or UNKNOWN})"
