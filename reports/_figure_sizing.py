"""The sizing: where each cluster's predicted step time goes, and its memory against what an accelerator has."""

from collections.abc import Mapping, Sequence
from typing import Any

from hwbench.core.prediction import Memory, Sizing, SizingAnswer
from hwbench.core.units import format_bytes, format_seconds

from ._palette import part_colours
from ._plot import BAR_OFFSET, BAR_WIDTH, Key, Plot, Row, hover, rows_figure, stroke, titled

GIB = 2**30


def plots(answer: SizingAnswer | None) -> tuple[Plot, ...]:
    """The two plots; none without a cluster that can."""
    if answer is None or not answer.sizings:
        return ()
    return _steps(answer.sizings), _memory(answer.sizings)


def _steps(options: Sequence[Sizing]) -> Plot:
    """Shares and not seconds: clusters differ by orders of magnitude, and what eats the time is what one compares."""
    colours = part_colours(part.name for option in options for part in option.prediction.parts)
    shares = [_shares(option) for option in options]
    texts = [
        {part.name: hover(option.cluster, f"{part.name}: {format_seconds(part.time_s)}", part.why) for part in option.prediction.parts}
        for option in options
    ]
    rows = [Row(option.cluster, format_seconds(option.prediction.step_time_s)) for option in options]
    said = "; ".join(
        f"{option.cluster} {format_seconds(option.prediction.step_time_s)}, limited by {option.prediction.bottleneck}" for option in options
    )
    axis = {"range": [0, 100], "ticksuffix": " %", "title": titled("share of the step")}
    return Plot(
        id="sizing-step",
        title="Where the predicted step time goes",
        caption="Shares of one training step, by what they are spent on; at the right the whole step.",
        alt=f"Predicted step time in parts: {said}.",
        figure=rows_figure(_stacks(shares, texts, colours), rows, axis, barmode="stack"),
        keys=tuple(Key(name, colour=colour) for name, colour in colours.items()),
    )


def _shares(option: Sizing) -> dict[str, float]:
    whole_s = sum(part.time_s for part in option.prediction.parts) or 1.0
    return {part.name: 100 * part.time_s / whole_s for part in option.prediction.parts}


def _memory(options: Sequence[Sizing]) -> Plot:
    parts = [{name: value / GIB for name, value in _needs(option.prediction.memory).items()} for option in options]
    colours = part_colours(_needs(options[0].prediction.memory))
    texts = [
        {name: hover(option.cluster, f"{name}: {format_bytes(value)}") for name, value in _needs(option.prediction.memory).items()}
        for option in options
    ]
    rows = [
        Row(
            option.cluster,
            f"{format_bytes(option.prediction.memory.total_bytes)} of {format_bytes(option.prediction.memory_capacity_bytes)}",
        )
        for option in options
    ]
    most = max(
        (max(option.prediction.memory.total_bytes, option.prediction.memory_capacity_bytes or 0.0) for option in options), default=1.0
    )
    axis = {"range": [0, 1.03 * most / GIB], "title": titled("GiB an accelerator")}
    return Plot(
        id="sizing-memory",
        title="Predicted memory against capacity",
        caption="Memory of the accelerator that needs most, by what it holds; the upright stroke is what it has.",
        alt="Predicted memory: " + "; ".join(f"{row.label} {row.value}" for row in rows) + ".",
        figure=rows_figure(_stacks(parts, texts, colours), rows, axis, barmode="stack", shapes=_capacities(options)),
        keys=(*(Key(name, colour=colour) for name, colour in colours.items()), Key("capacity", sign="❘")),
    )


def _needs(memory: Memory) -> dict[str, float]:
    return {
        "weights": memory.weights_bytes,
        "gradients": memory.gradients_bytes,
        "optimizer": memory.optimizer_bytes,
        "activations": memory.activations_bytes,
        "buffers": memory.buffers_bytes,
    }


def _stacks(parts: Sequence[Mapping[str, float]], texts: Sequence[Mapping[str, str]], colours: Mapping[str, str]) -> list[Any]:
    """One bar trace a part, over all clusters."""
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


def _capacities(options: Sequence[Sizing]) -> list[dict[str, Any]]:
    known = [(index, option.prediction.memory_capacity_bytes) for index, option in enumerate(options)]
    return [stroke(size / GIB, index, width_px=3) for index, size in known if size is not None]
