"""The page of a plan: the first layout in plain words, every listed one in pictures, and why the others can't."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import hwbench
from hwbench.core.layout import Layout
from hwbench.core.prediction import Plan, PlanEntry
from hwbench.core.units import format_bytes, format_count, format_fraction, format_seconds, significant

from . import _axes, _figure_step, _text
from ._figure_step import Named
from ._page import page
from ._palette import WORKLOAD_COLOURS
from ._plot import BAR_OFFSET, Plot, Row, hover, rows_figure, titled
from ._tables import Table
from ._tiles import Tile

ALIKE_FRACTION: Final = 0.02
"""Layouts closer than this to the first can't be told from it: the mean regret of the model's choice on published sets of layouts."""


def render(plan: Plan) -> str:
    """One self-contained page; where nothing fits, it says what came nearest."""
    return page(
        "plan.html.j2",
        title=f"Plan: {plan.model} on {plan.accelerators:,} accelerators of {plan.cluster}",
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        hwbench_version=hwbench.__version__,
        plan=plan,
        sentences=list(sentences(plan)),
        tiles=tiles(plan),
        plots=plots(plan),
        ranking=ranking(plan),
        parts=parts(plan),
        misfits=misfits(plan),
        grounds=grounds(plan),
    )


def sentences(plan: Plan) -> Iterator[str]:
    """The first layout, what can't be told from it, what limits it, and what was left out."""
    left = f"{plan.fitted:,} of {plan.tried:,} layouts fit; each that is listed is the best of its degrees."
    if not plan.entries:
        yield f"No layout fits: {plan.tried:,} were tried. What came nearest, and what it lacks, stands below."
        return
    first = plan.entries[0]
    said = first.prediction
    rate = significant(said.tokens_per_step / said.step_time_s)
    yield (
        f"Split the step as {label(first)}: {plan.global_batch:,} samples take {format_seconds(said.step_time_s)}{_interval(first)}, or "
        f"{rate} tokens a second. What limits it is {said.bottleneck}."
    )
    alike = [one for one in plan.entries[1:] if one.prediction.step_time_s <= (1 + ALIKE_FRACTION) * said.step_time_s]
    if alike:
        few = "; ".join(label(one) for one in alike[:3])
        yield (
            f"{len(alike)} of the others {'is' if len(alike) == 1 else 'are'} within {format_fraction(ALIKE_FRACTION, 1)} of it, which a "
            f"prediction can't tell apart: {few}{' and more' if len(alike) > 3 else ''}. Measure these before you settle."
        )
    yield left


def _interval(one: PlanEntry) -> str:
    low, high = one.prediction.low_s, one.prediction.high_s
    return "" if low is None or high is None else f" (in nine cases of ten {format_seconds(low)} to {format_seconds(high)})"


def label(one: PlanEntry) -> str:
    """Degrees and what sets layouts of the same degrees apart: 'dp 32 · tp 2 · pp 2×4, ZeRO 1'."""
    layout = one.layout
    stages = f"{layout.pp}×{layout.vpp}" if layout.vpp > 1 else str(layout.pp)
    degrees = (("dp", str(layout.data_ranks)), ("tp", str(layout.tp)), ("pp", stages), ("cp", str(layout.cp)), ("ep", str(layout.ep)))
    named = " · ".join(f"{axis} {degree}" for axis, degree in degrees if degree != "1") or "single"
    return f"{named}{_sharding(layout)}"


def _sharding(layout: Layout) -> str:
    if layout.fsdp > 1:
        return f", FSDP over {layout.fsdp}" if layout.dp > 1 else ", FSDP"
    return f", ZeRO {layout.zero}" if layout.zero else ""


def tiles(plan: Plan) -> tuple[Tile, ...]:
    """The key figures of the first layout."""
    if not plan.entries:
        return ()
    first = plan.entries[0]
    said = first.prediction
    capacity = format_bytes(said.memory_capacity_bytes)
    return (
        Tile("Step", format_seconds(said.step_time_s), f"{plan.global_batch:,} samples, {format_count(said.tokens_per_step)} tokens"),
        Tile("Rate", f"{_text.big(said.tokens_per_step / said.step_time_s)} token/s", f"on {plan.accelerators:,} accelerators"),
        Tile("MFU", format_fraction(said.mfu_fraction), f"of the {plan.dtype} peak"),
        Tile("Memory", format_bytes(said.memory.total_bytes), f"of {capacity}, fullest accelerator"),
    )


def plots(plan: Plan) -> tuple[Plot, ...]:
    """Step times with intervals, stacked steps, memory; none where nothing fits."""
    if not plan.entries:
        return ()
    named = [Named(label(one), one.prediction) for one in plan.entries]
    step = _figure_step.steps(named, id_="plan-step", shares=False)
    return _ranked(plan.entries), step, _figure_step.memory(named, id_="plan-memory")


def _ranked(entries: Sequence[PlanEntry]) -> Plot:
    """The steps as diamonds with their intervals, those that can't be told from the first filled."""
    import plotly.graph_objects as go

    said = [one.prediction for one in entries]
    unit = _axes.time_unit(one.step_time_s for one in said)
    rows = [Row(label(one), format_seconds(one.prediction.step_time_s)) for one in entries]
    ends = [(one.low_s or one.step_time_s, one.high_s or one.step_time_s) for one in said]
    best = said[0].step_time_s
    marks = go.Scatter(
        x=[one.step_time_s * unit.factor for one in said],
        y=[index + BAR_OFFSET for index in range(len(said))],
        mode="markers",
        marker={
            "color": WORKLOAD_COLOURS[0], "size": 9, "line": {"width": 1.5, "color": WORKLOAD_COLOURS[0]},
            "symbol": ["diamond" if one.step_time_s <= (1 + ALIKE_FRACTION) * best else "diamond-open" for one in said],
        },
        error_x=_reaches(said, ends, unit),
        hovertext=[hover(row.label, row.value, _interval(one).strip(" ()")) for row, one in zip(rows, entries, strict=True)],
        hoverinfo="text",
    )  # fmt: skip
    most = 1.05 * unit.factor * max(high for _, high in ends)
    return Plot(
        id="plan-ranking",
        title="How quick, and how sure",
        caption="The predicted step of each layout with its 90 % interval. Filled diamonds can't be told from the first.",
        alt="Step times: " + "; ".join(f"{row.label} {row.value}" for row in rows) + ".",
        figure=rows_figure([marks], rows, {"range": [0, most], "title": titled(f"{unit.name} a step")}),
    )


def _reaches(said: Sequence[Any], ends: Sequence[tuple[float, float]], unit: _axes.Unit) -> dict[str, Any]:
    return {
        "type": "data", "symmetric": False, "thickness": 2, "width": 5,
        "array": [(high - one.step_time_s) * unit.factor for one, (_, high) in zip(said, ends, strict=True)],
        "arrayminus": [(one.step_time_s - low) * unit.factor for one, (low, _) in zip(said, ends, strict=True)],
    }  # fmt: skip


def ranking(plan: Plan) -> Table:
    """Every listed layout."""
    rows = tuple(
        (
            label(one), format_seconds(one.prediction.step_time_s), _interval(one).removeprefix(" (in nine cases of ten ").rstrip(")"),
            format_fraction(one.prediction.mfu_fraction), format_bytes(one.prediction.memory.total_bytes), str(one.micro_batch),
            one.recompute, one.layout.text, one.prediction.bottleneck,
        )
        for one in plan.entries
    )  # fmt: skip
    columns = ("Degrees", "Step", "90 % interval", "MFU", "Memory", "Micro-batch", "Recompute", "Layout for --layout", "Limit")
    return Table("Layouts that fit, the quickest of each combination of degrees", columns, rows, frozenset(range(1, 6)))


def parts(plan: Plan) -> Table:
    """The steps in the planner's own parts."""
    names = list(dict.fromkeys(part.name for one in plan.entries for part in one.prediction.parts))
    rows = []
    for one in plan.entries:
        times = {part.name: part.time_s for part in one.prediction.parts}
        rows.append((label(one), *(format_seconds(times.get(name)) for name in names)))
    return Table("Where the time goes", ("Degrees", *names), tuple(rows), frozenset(range(1, len(names) + 1)))


def misfits(plan: Plan) -> Table:
    """Why the others can't."""
    rows = tuple((one.reason, f"{one.count:,}", one.nearest) for one in plan.misfits)
    return Table("Why the others can't", ("Reason", "Layouts", "The nearest of them"), rows, frozenset({1}))


def grounds(plan: Plan) -> Table:
    """What the first prediction rests on, what is not known, and what the profile says."""
    first = plan.entries[0].prediction if plan.entries else None
    basis = (first.basis, *first.assumptions) if first else ()
    said = [("Rests on", text) for text in basis] + [("Not known", gap) for gap in plan.gaps]
    return Table("On what grounds", ("", "Said"), (*said, *((f"About {plan.cluster}", note) for note in plan.notes)))
