"""Time against cost: every cluster at several sizes, the choices that nothing beats, the recommended one, and the limits asked for."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from hwbench.core.prediction import Option, Sizing, SizingAnswer
from hwbench.core.units import format_rate, format_seconds, format_usd

from . import _axes
from ._curves import HEIGHT_PX, LEFT_PX
from ._palette import ROOF_COLOUR, SYMBOL_SIGNS, SYMBOLS, WORKLOAD_COLOURS
from ._plot import Key, Plot, figure, hover, titled

MWH: Final = _axes.Unit("MWh", 1 / 3.6e9)
PALE: Final = 0.5
"""Opacity of choices that break a limit."""


class _Frame(NamedTuple):
    """What turns options into places: units, delivery times, limits."""

    span: _axes.Unit
    unit: _axes.Unit
    waits_s: dict[str, float]
    """Cluster, with its supplier -> time until its delivery."""
    deadline_s: float | None
    budget_usd: float | None
    names: tuple[str, ...]
    """Clusters in the order that decides colour and mark: the ranking's."""

    def done_s(self, one: Option) -> float:
        """From today to the end of the training."""
        return self.waits_s.get(one.cluster, 0.0) + one.train_time_s

    def x(self, one: Option) -> float:
        return self.done_s(one) * self.span.factor

    def y(self, one: Option) -> float:
        return self.unit.factor * ((one.energy_j if self.unit is MWH else one.cost_usd) or 0.0)

    def breaks(self, one: Option) -> str:
        """What of the question this option does not keep; empty where it keeps all."""
        late = self.deadline_s is not None and self.done_s(one) > self.deadline_s
        dear = self.budget_usd is not None and one.cost_usd is not None and one.cost_usd > self.budget_usd
        return " and ".join(word for word, found in (("too late", late), ("over the budget", dear)) if found)


def name_of(one: Sizing) -> str:
    """The cluster, with its supplier where somebody offers it."""
    return one.cluster if one.offer is None else f"{one.offer.supplier}: {one.cluster}"


def plot(answer: SizingAnswer) -> Plot | None:
    """Time against cost of every cluster at several sizes; where no price is known, against energy. None with fewer than two options."""
    priced = any(option.cost_usd is not None for option in answer.options)
    known = [one for one in answer.options if (one.cost_usd if priced else one.energy_j) is not None]
    if len(known) < 2:
        return None
    frame = _frame(answer, known, priced=priced)
    efficient = sorted((one for one in known if one.efficient), key=frame.done_s)
    best = next((one for one in known if (one.cluster, one.nodes) == (name_of(answer.sizings[0]), answer.sizings[0].nodes)), None)
    traces = [_line(efficient, frame), *(_cluster(name, known, index, frame) for index, name in enumerate(frame.names))]
    what = "cost" if priced else "energy, since no price is known"
    said = "; ".join(f"{one.nodes} nodes of {one.cluster}: {format_seconds(frame.done_s(one))}, {_amount(one, frame)}" for one in efficient)
    return Plot(
        id="sizing-front",
        title=f"Time against {'cost' if priced else 'energy'}: every cluster at several sizes",
        caption=f"Each mark is one cluster with one number of nodes, by time and {what}. Filled marks are choices that no other beats in "
        "time, cost and energy together; hollow ones are beaten. Pale ones break a limit that was asked for.",
        alt=f"Choices that nothing beats: {said}.",
        figure=figure(
            [*traces, *([_ring(best, frame)] if best else [])],
            height_px=HEIGHT_PX + 40, left_px=LEFT_PX, right_px=14, **_layout(known, frame),
        ),
        keys=_keys(known, frame, best),
    )  # fmt: skip


def _frame(answer: SizingAnswer, known: Sequence[Option], *, priced: bool) -> _Frame:
    waits = {name_of(one): one.offer.delivery_s for one in answer.sizings if one.offer is not None}
    bought = any(one.costs is not None and one.costs.hardware_usd for one in answer.sizings)
    deadline, budget = (_number(answer.question.get(key)) for key in ("deadline_s", "budget_usd"))
    ranked = dict.fromkeys(name_of(one) for one in answer.sizings)
    shown = {one.cluster for one in known}
    return _Frame(
        span=_axes.span_unit(waits.get(one.cluster, 0.0) + one.train_time_s for one in known),
        unit=_axes.money_unit(one.cost_usd or 0.0 for one in known) if priced else MWH,
        waits_s=waits,
        deadline_s=deadline,
        budget_usd=None if bought else budget,  # a budget limits what is paid, and a run uses up only a part of what is bought
        names=tuple(name for name in (*ranked, *sorted(shown - ranked.keys())) if name in shown),
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, float | int) and not isinstance(value, bool) else None


def _amount(one: Option, frame: _Frame) -> str:
    return format_rate((one.energy_j or 0.0) / 3600, "Wh") if frame.unit is MWH else format_usd(one.cost_usd)


def _cluster(name: str, options: Sequence[Option], index: int, frame: _Frame) -> Any:
    import plotly.graph_objects as go

    mine = [one for one in options if one.cluster == name]
    shape, colour = SYMBOLS[index % len(SYMBOLS)], WORKLOAD_COLOURS[index % len(WORKLOAD_COLOURS)]
    return go.Scatter(
        x=[frame.x(one) for one in mine],
        y=[frame.y(one) for one in mine],
        mode="markers",
        marker={
            "color": colour,
            "symbol": [shape if one.efficient else f"{shape}-open" for one in mine],
            "opacity": [PALE if frame.breaks(one) else 1.0 for one in mine],
            "size": 10,
            "line": {"width": 1.5, "color": colour},
        },
        hovertext=[_hover(one, frame) for one in mine],
        hoverinfo="text",
    )


def _hover(one: Option, frame: _Frame) -> str:
    energy = "" if one.energy_j is None else format_rate(one.energy_j / 3600, "Wh")
    wait_s = frame.waits_s.get(one.cluster, 0.0)
    time = f"{format_seconds(one.train_time_s)} of training{f' after {format_seconds(wait_s)} until delivery' if wait_s else ''}"
    cost = format_usd(one.cost_usd) if one.cost_usd is not None else "cost not known"
    sure = "nothing else is better in all" if one.efficient else "another is at least as good in all"
    return hover(f"{one.nodes:,} nodes of {one.cluster}", time, cost, energy, sure, frame.breaks(one))


def _line(efficient: Sequence[Option], frame: _Frame) -> Any:
    """Through the choices that nothing beats, those that are so by their energy alone left out."""
    import plotly.graph_objects as go

    front: list[Option] = []
    for one in efficient:
        if not front or frame.y(one) < frame.y(front[-1]):
            front.append(one)
    line = {"color": ROOF_COLOUR, "width": 1.5}
    return go.Scatter(x=[frame.x(one) for one in front], y=[frame.y(one) for one in front], mode="lines", line=line, hoverinfo="skip")


def _ring(best: Option, frame: _Frame) -> Any:
    """Around the recommended choice, in the ink of the page."""
    import plotly.graph_objects as go

    marker = {"symbol": "circle", "color": "rgba(0,0,0,0)", "size": 20, "line": {"width": 2}}
    return go.Scatter(x=[frame.x(best)], y=[frame.y(best)], mode="markers", marker=marker, meta={"ink": True}, hoverinfo="skip")


def _layout(known: Sequence[Option], frame: _Frame) -> dict[str, Any]:
    """Axes from zero, and the limits that lie near enough as dashed lines."""
    right, top = 1.06 * max(map(frame.x, known)), 1.1 * max(map(frame.y, known))
    shapes = []
    line = {"width": 1.5, "dash": "dash"}
    due = None if frame.deadline_s is None else frame.deadline_s * frame.span.factor
    if due is not None and due <= 1.5 * right:
        right = max(right, 1.04 * due)
        shapes.append({"type": "line", "xref": "x", "yref": "paper", "x0": due, "x1": due, "y0": 0, "y1": 1, "line": line})
    most = None if frame.budget_usd is None or frame.unit is MWH else frame.budget_usd * frame.unit.factor
    if most is not None and most <= 1.5 * top:
        top = max(top, 1.06 * most)
        shapes.append({"type": "line", "xref": "paper", "yref": "y", "x0": 0, "x1": 1, "y0": most, "y1": most, "line": line})
    counted = "from today, delivery included" if any(frame.waits_s.values()) else "of training"
    xaxis = _axes.PLAIN | {"range": [0, right], "nticks": 6, "title": titled(f"{frame.span.name} {counted}")}
    yaxis = _axes.PLAIN | {"range": [0, top], "nticks": 6, "title": titled(frame.unit.name)}
    return {"xaxis": xaxis, "yaxis": yaxis, "shapes": shapes}


def _keys(known: Sequence[Option], frame: _Frame, best: Option | None) -> tuple[Key, ...]:
    names = [
        Key(name, colour=WORKLOAD_COLOURS[index % len(WORKLOAD_COLOURS)], sign=SYMBOL_SIGNS[index % len(SYMBOL_SIGNS)])
        for index, name in enumerate(frame.names)
    ]
    beaten = [Key("beaten", sign="○")] if any(not one.efficient for one in known) else []
    ring = [Key(f"recommended: {best.nodes:,} nodes of {best.cluster}", sign="◯")] if best else []
    limits = [name for name, value in (("deadline", frame.deadline_s), ("budget", frame.budget_usd)) if value is not None]
    return (*names, *beaten, *ring, *([Key(" and ".join(limits), dash="dash")] if limits else []))
