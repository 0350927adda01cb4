"""A plan as text for a terminal: the ranking, the first layout in detail, and why the others were left out."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hwbench.core.layout import Layout
from hwbench.core.prediction import Plan, PlanEntry
from hwbench.core.units import UNKNOWN, format_bytes, format_fraction, format_seconds, significant

from ._sizing_text import memory_lines, part_lines, print_block, print_list

WIDE = 72
"""Columns that the whole ranking takes."""
ALIKE_FRACTION = 0.02
"""Layouts closer than this to the first can't be told from it: the mean regret of the model's choice on published sets of layouts."""


def print_plan(console: Console, made: Plan) -> None:
    """Everything a reader needs to choose a layout; the ranking is narrow enough for 80 columns."""
    tokens = made.entries[0].prediction.tokens_per_step
    console.print(Text(f"{made.model} on {made.accelerators:,} accelerators of {made.cluster}", style="bold"))
    console.print(f"a step of {made.global_batch:,} samples, {tokens:,} tokens, in {made.dtype}", soft_wrap=True)
    console.print(f"{made.fitted:,} of {made.tried:,} layouts fit; each line is the best of its degrees", soft_wrap=True)
    console.print()
    console.print(_ranking(made, wide=console.width >= WIDE))
    first = made.entries[0]
    console.print()
    print_block(console, "The first", _facts(first))
    print_block(console, "Where its step's time goes", part_lines(first.prediction))
    print_block(console, "Memory of its fullest accelerator", memory_lines(first.prediction))
    print_list(console, "Why the others can't", _misfits(made))
    print_list(console, "Not known", made.gaps)
    print_list(console, f"About {made.cluster}", made.notes)
    print_list(console, "Rests on", (first.prediction.basis, *first.prediction.assumptions))


def _ranking(made: Plan, *, wide: bool) -> Table:
    """The listed layouts; a narrow terminal gets the columns that decide, whole."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("dp·tp·pp·cp·ep", no_wrap=True)
    table.add_column("shard", no_wrap=True)
    for name in ("mb", "step", "90 % interval", "MFU", "memory") if wide else ("step",):
        table.add_column(name, justify="right", no_wrap=True)
    if wide:
        table.add_column("again", no_wrap=True)
    best = made.entries[0].prediction.step_time_s
    for one in made.entries:
        said, layout = one.prediction, one.layout
        alike = "≈" if said.step_time_s <= best * (1 + ALIKE_FRACTION) else ""
        step = f"{alike}{format_seconds(said.step_time_s)}"
        known = (format_fraction(said.mfu_fraction, 2), format_bytes(said.memory.total_bytes, 2), one.recompute)
        more = (str(one.micro_batch), step, _interval(one), *known) if wide else (step,)
        table.add_row(degrees(layout), sharding(layout), *more)
    return table


def degrees(layout: Layout) -> str:
    """dp·tp·pp·cp·ep in numbers: dp all data ranks, pp times vpp where stages are interleaved."""
    stages = f"{layout.pp}×{layout.vpp}" if layout.vpp > 1 else str(layout.pp)
    return "·".join((str(layout.data_ranks), str(layout.tp), stages, str(layout.cp), str(layout.ep)))


def sharding(layout: Layout) -> str:
    """Who holds what among the data ranks: whole, ZeRO 1 or 2, FSDP over all or within nodes."""
    if layout.fsdp > 1:
        return f"fsdp {layout.fsdp}" if layout.dp > 1 else "fsdp"
    return f"zero {layout.zero}" if layout.zero else "whole"


def _interval(one: PlanEntry) -> str:
    low, high = one.prediction.low_s, one.prediction.high_s
    return UNKNOWN if low is None or high is None else f"{format_seconds(low)}–{format_seconds(high)}"


def _facts(one: PlanEntry) -> Iterator[tuple[str, str]]:
    said = one.prediction
    yield "layout", one.layout.text.replace(",", ", ")
    yield "batch", f"micro-batches of {one.micro_batch}, {one.layout.microbatches:,} a step; recompute {one.recompute}"
    yield "step", f"{format_seconds(said.step_time_s)}, {significant(said.tokens_per_step / said.step_time_s)} tokens/s"
    yield "MFU", format_fraction(said.mfu_fraction)
    yield "limit", said.bottleneck


def _misfits(made: Plan) -> Iterator[str]:
    for one in made.misfits:
        yield f"{one.count:,}: {one.reason}" + (f"; nearest: {one.nearest}" if one.nearest else "")
