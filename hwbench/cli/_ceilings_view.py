"""Measured ceilings for people: bandwidth by place and threads, caches and latency by working set, products, collectives, copies, disk.

Rates are those of the fastest sample (collectives: the typical one, as nccl-tests). Readable at 60 columns; `!` marks noisy figures.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hwbench.core.ceilings import Ceilings, Exchange, Latency, Product, Stream
from hwbench.core.units import UNKNOWN, format_bytes, format_fraction, format_rate, significant

_STREAMS = ("triad", "copy", "read", "write")
_SWEPT = ("read", "triad")


def ceilings_view(found: Ceilings) -> RenderableType:
    """Everything that `hwbench probe --ceilings` prints beside the inventory. Texts from outside are never read as markup."""
    return Group(*_parts(found))


def _parts(found: Ceilings) -> Iterator[RenderableType]:
    for title, table in (
        ("Memory bandwidth, GB/s", _memory(found.streams)),
        ("By working set: one thread, GB/s, and time of a load", _caches(found.streams, found.latencies)),
        *_products(found.products),
        *_exchanges(found.exchanges),
        ("Copies", _transfers(found)),
        ("Disk", _disks(found)),
    ):
        if table is not None:
            yield from (Text(title, style="bold underline"), Padding(table, (0, 0, 0, 2)), Text())
    yield from _notes("Not measured", (f"{gap.path.removeprefix('ceilings.')}: {gap.reason}" for gap in found.gaps))
    yield from _notes("Before you rely on it", found.warnings)


def _memory(streams: Sequence[Stream]) -> RenderableType | None:
    """A line for each place, number of threads and size of page; only streams bound to CPUs are about memory."""
    bound = [one for one in streams if one.cpus]
    lines: dict[tuple[str, str, int], dict[str, str]] = {}
    for one in bound:
        lines.setdefault((one.pages, _place(one), one.threads), {})[one.kernel] = _rate(one.best_bytes_per_s, noisy=one.noisy)
    rows = [
        (f"{place}, {threads} thread{'s' if threads > 1 else ''}{', huge pages' if pages == 'huge' else ''}", *_cells(cells, _STREAMS))
        for (pages, place, threads), cells in sorted(lines.items(), key=lambda item: (item[0][0] == "huge", *item[0][1:]))
    ]
    return _table(("", *_STREAMS), rows)


def _place(stream: Stream) -> str:
    return f"CPUs {stream.cpus}" if stream.node is None else f"node {stream.node}"


def _caches(streams: Sequence[Stream], latencies: Sequence[Latency]) -> RenderableType | None:
    """A line for each working set: where it lies by the inventory, two streams, and the latency with the system's and with huge pages."""
    lines: dict[int, dict[str, str]] = {}
    for stream in streams:
        if not stream.cpus:
            cell = _rate(stream.best_bytes_per_s, noisy=stream.noisy)
            lines.setdefault(stream.working_set_bytes, {"": stream.level})[stream.kernel] = cell
    for one in latencies:
        cell = f"{significant(1e9 * one.best_latency_s)} ns{' !' if one.noisy else ''}"
        lines.setdefault(one.working_set_bytes, {"": one.level})["huge pages" if one.pages == "huge" else "latency"] = cell
    columns = ("", *_SWEPT, "latency", "huge pages")
    rows = [(format_bytes(size), *_cells(cells, columns)) for size, cells in sorted(lines.items())]
    return _table(("working set", "level", *columns[1:]), rows)


def _products(products: Sequence[Product]) -> Iterator[tuple[str, RenderableType | None]]:
    """A table for each device and layout: sizes down, dtypes across, the rate and its share of the dtype's best."""
    for (device, layout), group in groupby(sorted(products, key=_where), key=_where):
        mine = list(group)
        dtypes = list(dict.fromkeys(product.dtype for product in sorted(mine, key=lambda product: product.dtype)))
        lines: dict[tuple[int, int, int], dict[str, str]] = {}
        for one in mine:
            share = format_fraction(one.efficiency_fraction, 2).replace(" ", "")
            text = f"{format_rate(one.best_flops_per_s, '').strip()} {share}{' !' if one.noisy else ''}"
            lines.setdefault((one.m, one.n, one.k), {})[one.dtype] = text
        rows = [(_shape(*shape), *_cells(cells, dtypes)) for shape, cells in sorted(lines.items())]
        yield f"Matrix products on {device}, {layout}: FLOP/s, of the best", _table(("m × n × k", *dtypes), rows)


def _where(one: Product | Exchange) -> tuple[str, str]:
    return one.device, one.layout


def _shape(m: int, n: int, k: int) -> str:
    return f"{m}³" if m == n == k else f"{m}×{n}×{k}"


def _exchanges(exchanges: Sequence[Exchange]) -> Iterator[tuple[str, RenderableType | None]]:
    """A table for each device and layout: collectives down, message sizes across, algbw over busbw."""
    for (device, layout), group in groupby(sorted(exchanges, key=_where), key=_where):
        mine = list(group)
        sizes = sorted({one.message_bytes for one in mine})
        lines: dict[str, dict[str, str]] = {}
        for one in mine:
            rates = f"{_rate(one.algbw_bytes_per_s, 2)}/{_rate(one.busbw_bytes_per_s, 2)}"
            lines.setdefault(one.collective, {})[format_bytes(one.message_bytes)] = f"{rates}{' !' if one.noisy else ''}"
        columns = [format_bytes(size) for size in sizes]
        rows = [(name, *_cells(cells, columns)) for name, cells in lines.items()]
        yield f"Collectives on {device}, {layout}: algbw/busbw, GB/s", _table(("", *columns), rows)


def _transfers(found: Ceilings) -> RenderableType | None:
    rows = [
        (
            f"{one.direction.replace('_', ' ')}{'' if one.pinned else ', not pinned'}",
            format_bytes(one.message_bytes),
            format_rate(one.best_bytes_per_s, "B/s") + (" !" if one.noisy else ""),
        )
        for one in found.transfers
    ]
    return _table(("", "size", "rate"), rows)


def _disks(found: Ceilings) -> RenderableType | None:
    rows = [
        (
            f"{one.direction} in {one.folder or 'the temporary folder'}",
            format_rate(one.best_bytes_per_s, "B/s") + (" !" if one.noisy else ""),
        )
        for one in found.disks
    ]
    return _table(("", "rate"), rows)


def _rate(bytes_per_s: float, digits: int = 3, *, noisy: bool = False) -> str:
    """In GB/s, without the unit."""
    return significant(bytes_per_s / 1e9, digits) + (" !" if noisy else "")


def _cells(cells: dict[str, str], columns: Iterable[str]) -> tuple[str, ...]:
    return tuple(cells.get(column, UNKNOWN) for column in columns)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> RenderableType | None:
    """A table without lines, the first column to the left, the others to the right; None without rows."""
    if not rows:
        return None
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for index, name in enumerate(columns):
        table.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _notes(heading: str, lines: Iterable[str]) -> Iterator[RenderableType]:
    listed = list(lines)
    if listed:
        yield Text(heading, style="bold underline")
        yield from (Padding(Text(f"- {line}"), (0, 0, 0, 2)) for line in listed)
        yield Text()
