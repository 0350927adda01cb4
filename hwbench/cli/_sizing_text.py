"""A sizing as text for a terminal: the recommendation first, then every cluster, then what can't be and what is not known."""

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hwbench.core.prediction import Prediction, Sizing, SizingAnswer
from hwbench.core.units import (
    UNKNOWN,
    format_bytes,
    format_count,
    format_fraction,
    format_rate,
    format_seconds,
    format_usd,
    significant,
)

NODES = "nodes"


def print_sizing(console: Console, answer: SizingAnswer) -> None:
    """Everything a reader needs to judge the answer; narrow enough for 60 columns."""
    console.print(Text(_question(answer), style="bold"))
    if answer.sizings:
        console.print()
        _block(console, "Best" if len(answer.sizings) > 1 else "Answer", _facts(answer.sizings[0]))
        _block(console, "Where a step's time goes", _parts(answer.sizings[0].prediction))
        _block(console, "Memory of the fullest accelerator", _memory(answer.sizings[0].prediction))
        _list(console, "Why", answer.sizings[0].why)
    if len(answer.sizings) > 1:
        console.print(Text(f"All that can do it, by {answer.ranked_by}", style="bold"))
        console.print(_ranking(answer))
        console.print()
    _list(console, "Can't do it", [f"{one.name}: {one.reason}" for one in answer.rejected])
    _list(console, "Not known", _gaps(answer))
    if answer.sizings:
        prediction = answer.sizings[0].prediction
        _list(console, f"About {answer.sizings[0].cluster}", answer.sizings[0].notes)
        _list(console, "Rests on", (prediction.basis, *prediction.assumptions))


def _question(answer: SizingAnswer) -> str:
    asked = answer.question
    said = [f"{asked['model']} on {format_count(asked['tokens'])} tokens"]
    if asked.get("deadline_s"):
        said.append(f"within {format_seconds(asked['deadline_s'])}")
    if asked.get("nodes"):
        said.append(f"on {asked['nodes']} nodes")
    elif not asked.get("deadline_s"):
        said.append("on the fewest nodes it fits")
    return " ".join(said)


def _facts(one: Sizing) -> Iterator[tuple[str, str]]:
    """The answer's lines: name, text."""
    prediction = one.prediction
    yield "cluster", one.cluster
    yield NODES, f"{one.nodes:,} ({one.accelerators:,} accelerators)"
    yield "time", format_seconds(one.train_time_s) + _interval(prediction, one.train_time_s / prediction.step_time_s)
    if not one.meets_deadline:
        yield "", "misses the deadline"
    yield "rent", format_usd(one.cost_usd)
    energy = UNKNOWN if one.energy_j is None else format_rate(one.energy_j / 3600, "Wh")
    yield "energy", f"{energy}: {one.energy_covers}" if one.energy_covers else energy
    yield "step", format_seconds(prediction.step_time_s)
    yield "rate", f"{significant(prediction.tokens_per_step / prediction.step_time_s)} tokens/s"
    yield "MFU", f"{format_fraction(prediction.mfu_fraction)} of the {one.dtype} peak"
    if one.goodput_fraction is not None:
        yield "goodput", f"{format_fraction(one.goodput_fraction)} of the time makes progress"
    yield "layout", one.layout.text.replace(",", ", ")
    yield "batch", f"{one.global_batch:,} samples a step, {one.micro_batch} at a time; recompute {one.recompute}"
    yield "limit", prediction.bottleneck


def _interval(prediction: Prediction, factor: float) -> str:
    if prediction.low_s is None or prediction.high_s is None:
        return ", interval unknown"
    return f" (90 %: {format_seconds(prediction.low_s * factor)} to {format_seconds(prediction.high_s * factor)})"


def _parts(prediction: Prediction) -> Iterator[tuple[str, str]]:
    """Parts of the step by name, the largest first, with their share."""
    sums: dict[str, float] = {}
    for part in prediction.parts:
        sums[part.name] = sums.get(part.name, 0.0) + part.time_s
    for name, seconds in sorted(sums.items(), key=lambda item: -item[1]):
        yield name, f"{format_seconds(seconds)}, {format_fraction(seconds / prediction.step_time_s)}"


def _memory(prediction: Prediction) -> Iterator[tuple[str, str]]:
    memory = prediction.memory
    for name in ("weights", "gradients", "optimizer", "activations", "buffers"):
        yield name, format_bytes(getattr(memory, f"{name}_bytes"))
    yield "together", f"{format_bytes(memory.total_bytes)} of {format_bytes(prediction.memory_capacity_bytes)}"


def _ranking(answer: SizingAnswer) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("cluster", overflow="fold")
    for name in (NODES, "time", "rent", "MFU"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in answer.sizings:
        days = format_seconds(one.train_time_s)
        table.add_row(
            escape(one.cluster), f"{one.nodes:,}", days, format_usd(one.cost_usd), format_fraction(one.prediction.mfu_fraction, 2)
        )
    return table


def _gaps(answer: SizingAnswer) -> list[str]:
    """Each gap once, with the clusters it holds for unless it holds for all."""
    clusters: dict[str, list[str]] = {}
    for one in answer.sizings:
        for gap in one.gaps:
            clusters.setdefault(gap, []).append(one.cluster)
    return [gap if len(names) == len(answer.sizings) else f"{', '.join(names)}: {gap}" for gap, names in clusters.items()]


def _block(console: Console, title: str, rows: Iterator[tuple[str, str]]) -> None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for name, text in rows:
        grid.add_row(f"  {name}", escape(text))
    console.print(Text(title, style="bold"))
    console.print(grid)
    console.print()


def _list(console: Console, title: str, lines: tuple[str, ...] | list[str]) -> None:
    if not lines:
        return
    grid = Table.grid(padding=(0, 1))
    for line in lines:
        grid.add_row("  -", escape(line))
    console.print(Text(title, style="bold"))
    console.print(grid)
    console.print()
