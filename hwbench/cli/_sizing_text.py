"""A sizing as text for a terminal: the recommendation first, then every cluster, then what can't be and what is not known."""

from collections.abc import Iterable, Iterator

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hwbench.core.prediction import Prediction, Progress, Sizing, SizingAnswer
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
EFFICIENT = "◆"
"""Marks an option of the Pareto front."""
SURE = 0.8
"""A deadline that is met less surely is worth the option that asks for more."""
GENERAL = "*"
"""Marks a cluster whose software is a median over others."""


def print_sizing(console: Console, answer: SizingAnswer) -> None:
    """Everything a reader needs to judge the answer; narrow enough for 60 columns."""
    console.print(Text(_question(answer), style="bold"))
    if answer.sizings:
        console.print()
        print_block(console, "Best" if len(answer.sizings) > 1 else "Answer", _facts(answer.sizings[0]))
        print_block(console, "Where a step's time goes", part_lines(answer.sizings[0].prediction))
        print_block(console, "Memory of the fullest accelerator", memory_lines(answer.sizings[0].prediction))
        print_list(console, "Why", answer.sizings[0].why)
    if len(answer.sizings) > 1:
        console.print(Text(f"All that can do it, by {answer.ranked_by}", style="bold"))
        console.print(_ranking(answer))
        console.print()
        print_list(console, "How sure the first place is", _sure(answer))
    if answer.options:
        console.print(Text(f"Other sizes ({EFFICIENT} nothing else is better in all)", style="bold"))
        console.print(_options(answer))
        console.print()
    if answer.sensitivities:
        print_block(console, "What 10 % more of one figure brings", _sensitivities(answer))
    print_list(console, "Can't do it", [f"{one.name}: {one.reason}" for one in answer.rejected])
    print_list(console, "Not known", _gaps(answer))
    if answer.sizings:
        prediction = answer.sizings[0].prediction
        print_list(console, f"About {answer.sizings[0].cluster}", answer.sizings[0].notes)
        print_list(console, "Rests on", (prediction.basis, *prediction.assumptions))


def _question(answer: SizingAnswer) -> str:
    asked = answer.question
    said = [f"{asked['model']} on {format_count(asked['tokens'])} tokens"]
    if asked.get("deadline_s"):
        said.append(f"within {format_seconds(asked['deadline_s'])}")
    if asked.get("nodes"):
        said.append(f"on {asked['nodes']} nodes")
    elif asked.get("budget_usd"):
        said.append(f"for at most {format_usd(asked['budget_usd'])}")
    elif not asked.get("deadline_s"):
        said.append("on the fewest nodes it fits")
    return " ".join(said)


def _facts(one: Sizing) -> Iterator[tuple[str, str]]:
    """The answer's lines: name, text."""
    prediction = one.prediction
    yield "cluster", one.cluster if one.offer is None else f"{one.cluster} of {one.offer.supplier}"
    yield NODES, f"{one.nodes:,} ({one.accelerators:,} accelerators)"
    yield "time", format_seconds(one.train_time_s) + _interval(prediction, one.train_time_s / prediction.step_time_s)
    if not one.meets_deadline:
        yield "", "misses the deadline"
    if one.deadline_probability is not None:
        more = "; --confidence 0.9 asks for one of 90 %" if one.deadline_probability < SURE else ""
        yield "", f"in time with a probability of {_probability(one.deadline_probability)}{more}"
    yield "cost", _cost(one)
    energy = UNKNOWN if one.energy_j is None else format_rate(one.energy_j / 3600, "Wh")
    yield "energy", f"{energy}: {one.energy_covers}" if one.energy_covers else energy
    if one.power_w is not None:
        yield "power", format_rate(one.power_w, "W")
    if one.co2_kg is not None:
        yield "CO2", f"{significant(one.co2_kg / 1000)} t"
    yield "step", format_seconds(prediction.step_time_s)
    yield "rate", f"{significant(prediction.tokens_per_step / prediction.step_time_s)} tokens/s"
    yield "MFU", f"{format_fraction(prediction.mfu_fraction)} of the {one.dtype} peak"
    if one.progress is not None:
        yield "goodput", _goodput(one.progress)
    yield "layout", one.layout.text.replace(",", ", ")
    yield "batch", f"{one.global_batch:,} samples a step, {one.micro_batch} at a time; recompute {one.recompute}"
    yield "limit", prediction.bottleneck


def _cost(one: Sizing) -> str:
    """The cost by what it is for, and what has to be paid."""
    if one.costs is None:
        return UNKNOWN
    if one.costs.rent_usd:
        return f"{format_usd(one.cost_usd)} of rent"
    power = f" and {format_usd(one.costs.power_usd)} of power" if one.costs.power_usd else ""
    used = f"{format_usd(one.cost_usd)}: {format_usd(one.costs.hardware_usd)} of the hardware{power}"
    return f"{used}; to pay {format_usd(one.costs.outlay_usd)}"


def _goodput(one: Progress) -> str:
    return (
        f"{format_fraction(one.fraction)} of the time makes progress: a failure every {format_seconds(one.job_mtbf_s)}, "
        f"a checkpoint of {format_seconds(one.checkpoint_s)} every {format_seconds(one.checkpoint_interval_s)}, "
        f"a restart takes {format_seconds(one.restart_s)}"
    )


def _probability(value: float) -> str:
    """Nothing is certain: 'over 99 %' rather than 100."""
    return "over 99 %" if value > 0.99 else "under 1 %" if value < 0.01 else format_fraction(value, 2)


def _sure(answer: SizingAnswer) -> Iterator[str]:
    """How likely the first really beats the second, and what is not on the same footing."""
    if answer.beats is not None:
        sure = _probability(answer.beats.probability)
        yield f"{answer.beats.winner} beats {answer.beats.runner_up} in {answer.beats.by} with a probability of {sure} ({answer.beats.how})"
    general = [one.cluster for one in answer.sizings if not one.corrected]
    if general and len(general) < len(answer.sizings):
        yield f"{GENERAL} {', '.join(general)}: software's share is a general one, so their place is less sure than that of the others"


def _options(answer: SizingAnswer) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("cluster", overflow="fold")
    for name in (NODES, "time", "cost", "energy", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for one in answer.options:
        energy = UNKNOWN if one.energy_j is None else format_rate(one.energy_j / 3600, "Wh")
        marks = EFFICIENT if one.efficient else ""
        table.add_row(escape(one.cluster), f"{one.nodes:,}", format_seconds(one.train_time_s), format_usd(one.cost_usd), energy, marks)
    return table


def _sensitivities(answer: SizingAnswer) -> Iterator[tuple[str, str]]:
    for one in answer.sensitivities:
        change = f"{'-' if one.change_fraction < 0 else '+'}{format_fraction(abs(one.change_fraction), 2)}"
        yield one.part, f"{format_seconds(one.train_time_s)}, {change if abs(one.change_fraction) >= 5e-4 else 'no change'}"


def _interval(prediction: Prediction, factor: float) -> str:
    if prediction.low_s is None or prediction.high_s is None:
        return ", interval unknown"
    return f" (90 %: {format_seconds(prediction.low_s * factor)} to {format_seconds(prediction.high_s * factor)})"


def part_lines(prediction: Prediction) -> Iterator[tuple[str, str]]:
    """Parts of the step by name, the largest first, with their share."""
    sums: dict[str, float] = {}
    for part in prediction.parts:
        sums[part.name] = sums.get(part.name, 0.0) + part.time_s
    for name, seconds in sorted(sums.items(), key=lambda item: -item[1]):
        yield name, f"{format_seconds(seconds)}, {format_fraction(seconds / prediction.step_time_s)}"


def memory_lines(prediction: Prediction) -> Iterator[tuple[str, str]]:
    """What the fullest accelerator holds, by name, and the sum against what there is."""
    memory = prediction.memory
    for name in ("weights", "gradients", "optimizer", "activations", "buffers"):
        yield name, format_bytes(getattr(memory, f"{name}_bytes"))
    yield "together", f"{format_bytes(memory.total_bytes)} of {format_bytes(prediction.memory_capacity_bytes)}"


def _ranking(answer: SizingAnswer) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("cluster", overflow="fold")
    for name in (NODES, "time", "cost", "MFU"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in answer.sizings:
        days = format_seconds(one.train_time_s)
        table.add_row(escape(_name(one)), f"{one.nodes:,}", days, format_usd(one.cost_usd), format_fraction(one.prediction.mfu_fraction, 2))
    return table


def _name(one: Sizing) -> str:
    """Cluster, with its supplier, marked where software's share is a general one."""
    name = one.cluster if one.offer is None else f"{one.offer.supplier}: {one.cluster}"
    return name if one.corrected else f"{name} {GENERAL}"


def _gaps(answer: SizingAnswer) -> list[str]:
    """Each gap once, with the clusters it holds for unless it holds for all."""
    clusters: dict[str, list[str]] = {}
    for one in answer.sizings:
        for gap in one.gaps:
            clusters.setdefault(gap, []).append(one.cluster)
    return [gap if len(names) == len(answer.sizings) else f"{', '.join(names)}: {gap}" for gap, names in clusters.items()]


def print_block(console: Console, title: str, rows: Iterator[tuple[str, str]]) -> None:
    """A title, and under it lines of a name and a text."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for name, text in rows:
        grid.add_row(f"  {name}", escape(text))
    console.print(Text(title, style="bold"))
    console.print(grid)
    console.print()


def print_list(console: Console, title: str, said: Iterable[str]) -> None:
    """A title, and under it one line a sentence; nothing where there is none."""
    lines = list(said)
    if not lines:
        return
    grid = Table.grid(padding=(0, 1))
    for line in lines:
        grid.add_row("  -", escape(line))
    console.print(Text(title, style="bold"))
    console.print(grid)
    console.print()
