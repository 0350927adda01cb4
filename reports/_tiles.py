"""The key figures at the top of a page: a few large numbers, each with what it is and a note."""

from collections.abc import Iterator
from typing import NamedTuple

from hwbench.core.summary import Summary
from hwbench.core.units import format_fraction, format_seconds, format_usd, significant

from . import _text


class Tile(NamedTuple):
    """One key figure."""

    name: str
    value: str
    note: str


def tiles(summary: Summary) -> tuple[Tile, ...]:
    """At most six: memory and compute ceilings of one rank, the largest training step, its scaling, the first choice of the sizing."""
    return (*_roofs(summary), *_training(summary), *_sizing(summary))


def _roofs(summary: Summary) -> Iterator[Tile]:
    alone = [roof for roof in summary.roofs if roof.layout == "single"]
    memory = next((roof for roof in alone if roof.dtype is None), None)
    compute = max((roof for roof in alone if roof.dtype is not None), key=lambda roof: roof.rate, default=None)
    if memory is not None:
        yield Tile("Memory bandwidth", _text.roof_rate(memory), f"one rank on {memory.device}, measured")
    if compute is not None:
        yield Tile("Matrix products", _text.roof_rate(compute), f"{compute.dtype}, one rank on {compute.device}, measured")


def _training(summary: Summary) -> Iterator[Tile]:
    steps = [row for row in summary.throughput if row.kind == "training"]
    if not steps:
        return
    row = max(steps, key=lambda row: (row.parameters, row.items_per_s))
    mfu = f", MFU {format_fraction(row.mfu_fraction, 2)}" if row.mfu_fraction is not None else ""
    yield Tile("Training step", _text.rate(row), f"{row.workload} under {row.layout}, {row.dtype}{mfu}")
    scaled = [value for value in summary.scaling if value.workload == row.workload] or [v for v in summary.scaling if v.kind == "training"]
    if scaled:
        value = max(scaled, key=lambda value: value.world_size)
        note = f"{value.workload} under {value.layout}: {significant(value.speedup)} × on {value.world_size} ranks"
        yield Tile("Scaling efficiency", format_fraction(value.efficiency_fraction), note)


def _sizing(summary: Summary) -> Iterator[Tile]:
    if summary.sizing is None or not summary.sizing.sizings:
        return
    first = summary.sizing.sizings[0]
    late = "" if first.meets_deadline else ", too late"
    note = f"{first.model} on {first.nodes:,} × {first.cluster}"
    yield Tile("Time to train, predicted", f"{format_seconds(first.train_time_s)}{late}", note)
    yield Tile("Cost, predicted", format_usd(first.cost_usd) if first.cost_usd is not None else "not known", note)
