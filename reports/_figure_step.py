"""Predicted steps: where the time of each goes, and the memory of the accelerator that needs most against what it has."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from hwbench.core.prediction import Memory, Prediction
from hwbench.core.units import format_bytes, format_seconds

from . import _axes
from ._palette import part_colours
from ._plot import BAR_OFFSET, BAR_WIDTH, Key, Plot, Row, hover, rows_figure, stroke, titled

GIB = 2**30
COMMUNICATION: Final = " communication"
GROUPS: Final = {
    "forward": "compute", "backward": "compute", "head": "compute", "recompute": "recomputation", "host": "host and fixed",
    "fixed": "host and fixed", "stragglers": "waiting for the slowest",
}  # fmt: skip
"""The planner's parts by what a reader compares; communication that is not hidden is one group, and any other part is its own."""
ORDER: Final = (
    "compute", "recomputation", "exposed communication", "pipeline bubble", "optimizer", "waiting for the slowest", "host and fixed"
)  # fmt: skip


class Named(NamedTuple):
    """A prediction with what tells it from its neighbours."""

    label: str
    prediction: Prediction


class _Share(NamedTuple):
    """A group of parts of one step."""

    time_s: float
    parts: tuple[str, ...]
    """Lines about them, the largest first."""


def grouped(prediction: Prediction) -> dict[str, _Share]:
    """The parts of a step by group, in a fixed order."""
    members: dict[str, list[tuple[float, str]]] = {}
    for part in prediction.parts:
        why = f" ({part.why})" if part.why else ""
        members.setdefault(_group(part.name), []).append((part.time_s, f"{part.name} {format_seconds(part.time_s)}{why}"))
    names = sorted(members, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    return {
        name: _Share(sum(time for time, _ in members[name]), tuple(text for _, text in sorted(members[name], reverse=True)))
        for name in names
    }


def _group(name: str) -> str:
    return "exposed communication" if name.endswith(COMMUNICATION) else GROUPS.get(name, name)


def steps(named: Sequence[Named], *, id_: str, shares: bool) -> Plot:
    """Stacked bars of the steps: as shares, where clusters differ by orders of magnitude, or as times, where steps are the same work."""
    groups = [grouped(one.prediction) for one in named]
    colours = part_colours(sorted({name for group in groups for name in group}, key=_place(groups)))
    unit = _axes.Unit("%", 100.0) if shares else _axes.time_unit([one.prediction.step_time_s for one in named])
    lengths = [
        {name: unit.factor * share.time_s / (_whole_s(group) if shares else 1.0) for name, share in group.items()} for group in groups
    ]
    texts = [
        {name: hover(f"{one.label}: {name} {format_seconds(share.time_s)}", *share.parts) for name, share in group.items()}
        for one, group in zip(named, groups, strict=True)
    ]
    rows = [Row(one.label, _step(one.prediction)) for one in named]
    said = "; ".join(f"{one.label} {_step(one.prediction)}, limited by {one.prediction.bottleneck}" for one in named)
    most = 100.0 if shares else 1.02 * max(sum(group.values()) for group in lengths)
    ticks = {"tickvals": [20, 40, 60, 80], "ticktext": ["20 %", "40 %", "60 %", "80 %"]} if shares else {}
    axis = ticks | {"range": [0, most], "title": titled("share of the step" if shares else f"{unit.name} a step")}
    return Plot(
        id=id_,
        title="Where the predicted step time goes",
        caption=f"{'Shares of one training step' if shares else 'One training step'}, by what the time is spent on; at the right the whole "
        "step. Touch a part to see what is in it.",
        alt=f"Predicted step time in parts: {said}.",
        figure=rows_figure(stacks(lengths, texts, colours), rows, axis, barmode="stack"),
        keys=tuple(Key(name, colour=colour) for name, colour in colours.items()),
    )


def _place(groups: Sequence[Mapping[str, _Share]]) -> Any:
    """Sort key of group names: the fixed order, then the order in which the steps name them."""
    seen = list(dict.fromkeys(name for group in groups for name in group))
    return lambda name: (ORDER.index(name), 0) if name in ORDER else (len(ORDER), seen.index(name))


def _whole_s(group: Mapping[str, _Share]) -> float:
    return sum(share.time_s for share in group.values()) or 1.0


def _step(prediction: Prediction) -> str:
    return format_seconds(prediction.step_time_s)


def memory(named: Sequence[Named], *, id_: str) -> Plot:
    """Stacked bars of the memory of the fullest accelerator, its capacity as a stroke."""
    parts = [{name: value / GIB for name, value in _needs(one.prediction.memory).items()} for one in named]
    colours = part_colours(_needs(named[0].prediction.memory))
    texts = [
        {name: hover(one.label, f"{name}: {format_bytes(value)}") for name, value in _needs(one.prediction.memory).items()} for one in named
    ]
    rows = [
        Row(one.label, f"{format_bytes(one.prediction.memory.total_bytes)} of {format_bytes(one.prediction.memory_capacity_bytes)}")
        for one in named
    ]
    most = max(max(one.prediction.memory.total_bytes, one.prediction.memory_capacity_bytes or 0.0) for one in named)
    axis = {"range": [0, 1.03 * most / GIB], "title": titled("GiB an accelerator")}
    return Plot(
        id=id_,
        title="Predicted memory against capacity",
        caption="Memory of the accelerator that needs most, by what it holds; the upright stroke is what it has.",
        alt="Predicted memory: " + "; ".join(f"{row.label} {row.value}" for row in rows) + ".",
        figure=rows_figure(stacks(parts, texts, colours), rows, axis, barmode="stack", shapes=_capacities(named)),
        keys=(*(Key(name, colour=colour) for name, colour in colours.items()), Key("capacity", sign="❘")),
    )


def _needs(of: Memory) -> dict[str, float]:
    return {
        "weights": of.weights_bytes,
        "gradients": of.gradients_bytes,
        "optimizer": of.optimizer_bytes,
        "activations": of.activations_bytes,
        "buffers": of.buffers_bytes,
    }


def stacks(parts: Sequence[Mapping[str, float]], texts: Sequence[Mapping[str, str]], colours: Mapping[str, str]) -> list[Any]:
    """One bar trace a part, over all rows."""
    import plotly.graph_objects as go

    return [
        go.Bar(
            orientation="h",
            x=[named.get(name, 0.0) for named in parts],
            y=[index + BAR_OFFSET for index in range(len(parts))],
            width=BAR_WIDTH,
            marker={"color": colour, "line": {"width": 0.7, "color": "#4a5563"}},
            hovertext=[named.get(name, "") for named in texts],
            hoverinfo="text",
        )
        for name, colour in colours.items()
    ]


def _capacities(named: Sequence[Named]) -> list[dict[str, Any]]:
    known = [(index, one.prediction.memory_capacity_bytes) for index, one in enumerate(named)]
    return [stroke(size / GIB, index, width_px=3) for index, size in known if size is not None]
