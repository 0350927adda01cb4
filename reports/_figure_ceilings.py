"""The measured ceilings as curves: bandwidth and latency by working set, streams by threads, products by size, messages, copies, disk.

Rates are those of the fastest sample, as STREAM and rooflines mean a ceiling; collectives show the typical time, as nccl-tests does.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any, Final, NamedTuple, TypeVar

from hwbench.core.ceilings import Ceilings, Disk, Exchange, Latency, Product, Stream
from hwbench.core.units import format_bytes, format_fraction, format_rate, format_seconds

from . import _axes
from ._curves import Band, Curve, Point, curves_figure, keys
from ._palette import WORKLOAD_COLOURS
from ._plot import BAR_OFFSET, BAR_WIDTH, Plot, Row, hover, rows_figure, titled

HOLLOW: Final = "hollow: noisy, no better known than 10 %"
T = TypeVar("T")
Found = Sequence[Ceilings]


def plots(found: Found) -> tuple[Plot, ...]:
    """The plots that the measured ceilings of one or more runs allow: a curve needs two sizes."""
    return tuple(plot for plot in _all(found) if plot is not None)


def shown(drawn: Iterable[Plot]) -> frozenset[str]:
    """The workloads whose cases these plots show."""
    ids = [plot.id for plot in drawn]
    return frozenset(name for name, begin in _DRAWN.items() if any(id_.startswith(begin) for id_ in ids))


_DRAWN: Final = {
    "bandwidth": ("ceiling-bandwidth", "ceiling-threads"), "latency": ("ceiling-latency",), "matmul": ("ceiling-product",),
    "collective": ("ceiling-busbw",), "transfer": ("ceiling-transfers",), "disk": ("ceiling-disk",),
}  # fmt: skip
"""Workload -> how the ids of its plots begin."""


def _all(found: Found) -> Iterator[Plot | None]:
    yield _bandwidth(found)
    yield _latency(found)
    yield _threads(found)
    yield from _products(found)
    yield from _exchanges(found)
    yield _transfers(found)
    yield _disks(found)


class _Mark(NamedTuple):
    """One measured value: its curve's name, its place, and what it says when touched."""

    curve: str
    x: float
    y: float
    noisy: bool
    lines: tuple[str, ...]


def _curves(marks: Iterable[_Mark], factor: float, *, least: int = 2) -> list[Curve]:
    """Curves by name, in the order of their first marks; those with fewer than `least` marks are left out."""
    named: dict[str, list[_Mark]] = {}
    for mark in marks:
        named.setdefault(mark.curve, []).append(mark)
    return [
        Curve(
            name,
            tuple(Point(one.x, one.y * factor, hover(name, *one.lines, HOLLOW if one.noisy else ""), one.noisy) for one in sorted(of)),
        )
        for name, of in named.items()
        if len({one.x for one in of}) >= least
    ]


def _drawn(
    marks: Sequence[_Mark],
    unit: _axes.Unit,
    axis: Callable[[Iterable[float]], dict[str, Any]],
    x_title: str,
    bands: Sequence[Band] = (),
    **words: str,
) -> Plot | None:
    """The plot of these marks; None where no curve has two of them."""
    curves = _curves(marks, unit.factor)
    if not curves:
        return None
    points = [point for curve in curves for point in curve.points]
    xaxis = axis(point.x for point in points) | {"title": titled(x_title)}
    made = curves_figure(curves, xaxis, _axes.upright((point.y for point in points), unit.name), bands)
    said = "; ".join(f"{curve.name}: {curve.points[0].y:.3g} to {curve.points[-1].y:.3g} {unit.name}" for curve in curves)
    return Plot(figure=made, keys=keys(curves, HOLLOW), alt=f"{words['title']}. From the smallest to the largest, {said}.", **words)


def _sizes(values: Iterable[float]) -> dict[str, Any]:
    return _axes.logarithmic(values, in_bytes=True)


def _tag(found: Found, of: Ceilings) -> str:
    """The run behind a curve's name, where there are several."""
    return f" · {of.run}" if len(found) > 1 else ""


def _bandwidth(found: Found) -> Plot | None:
    marks = [
        _Mark(
            f"{one.kernel}{_tag(found, of)}",
            one.working_set_bytes,
            one.best_bytes_per_s,
            one.noisy,
            (f"{format_bytes(one.working_set_bytes)}, {one.level}", *_rates(one.best_bytes_per_s, one.bytes_per_s)),
        )
        for of in found
        for one in of.streams
        if not one.cpus
    ]
    return _drawn(
        marks, _axes.rate_unit((mark.y for mark in marks), "B/s"), _sizes, "working set", _bands([s for of in found for s in of.streams]),
        id="ceiling-bandwidth", title="Bandwidth by working set, one thread",
        caption="How fast one thread streams over arrays that stay in a cache or don't. The strokes part the working sets that each cache "
        "can hold by the inventory; a virtual machine may be told of more cache than it gets.",
    )  # fmt: skip


def _rates(best: float, typical: float) -> tuple[str, str]:
    return f"{format_rate(best, 'B/s')} at best", f"{format_rate(typical, 'B/s')} over all samples"


def _latency(found: Found) -> Plot | None:
    marks = [
        _Mark(
            f"{'huge pages' if one.pages == 'huge' else 'pages as the system gives them'}{_tag(found, of)}",
            one.working_set_bytes,
            one.best_latency_s,
            one.noisy,
            (
                f"{format_bytes(one.working_set_bytes)}, {one.level}",
                f"{format_seconds(one.best_latency_s)} at best",
                f"{format_seconds(one.latency_s)} typically",
            ),
        )
        for of in found
        for one in of.latencies
    ]
    return _drawn(
        marks, _axes.time_unit(mark.y for mark in marks), _sizes, "working set", _bands([one for of in found for one in of.latencies]),
        id="ceiling-latency", title="Time of a load by working set",
        caption="How long a load takes whose address is the value of the load before: lower is better. Page walks are in it; huge pages "
        "show the time without most of them.",
    )  # fmt: skip


def _bands(measured: Sequence[Stream | Latency]) -> list[Band]:
    """The working sets of one thread by the level that can hold them, parted half-way (in doublings) between the measured sizes."""
    alone = [one for one in measured if not (isinstance(one, Stream) and one.cpus)]
    levels: dict[str, list[int]] = {}
    for one in sorted(alone, key=lambda one: one.working_set_bytes):
        levels.setdefault(one.level, []).append(one.working_set_bytes)
    names = list(levels)
    edges = [(max(levels[before]) * min(levels[after])) ** 0.5 for before, after in pairwise(names)]
    return [Band(name, low, high) for name, low, high in zip(names, [1.0, *edges], [*edges, 1e18], strict=False)]


def _threads(found: Found) -> Plot | None:
    marks = [
        _Mark(
            f"{one.kernel}, {'CPUs ' + one.cpus if one.node is None else f'node {one.node}'}"
            f"{', huge pages' if one.pages == 'huge' else ''}{_tag(found, of)}",
            one.threads,
            one.best_bytes_per_s,
            one.noisy,
            (f"{one.threads} thread{'s' if one.threads > 1 else ''}", *_rates(one.best_bytes_per_s, one.bytes_per_s)),
        )
        for of in found
        for one in of.streams
        if one.cpus
    ]
    return _drawn(
        marks, _axes.rate_unit((mark.y for mark in marks), "B/s"), _axes.linear, "threads",
        id="ceiling-threads", title="Memory bandwidth by threads",
        caption="Streams over arrays that no cache holds, threads bound to CPUs. Where a curve bends flat, more threads bring no more. "
        "Bytes are counted as STREAM counts them: triad three arrays, copy two, read and write one.",
    )  # fmt: skip


def _products(found: Found) -> Iterator[Plot | None]:
    """Rate and efficiency by size, a pair of plots for each device and layout."""
    listed = [(of, one) for of in found for one in of.products]
    for index, ((device, _, layout), group) in enumerate(_grouped(listed, lambda pair: _where(pair[1]))):
        mine = [(of, one) for of, one in group if one.m == one.n == one.k]
        marks = [_product_mark(found, of, one, one.best_flops_per_s) for of, one in mine]
        yield _drawn(
            marks, _axes.rate_unit((mark.y for mark in marks), "FLOP/s"), _axes.logarithmic, "rows = columns = depth",
            id=f"ceiling-product-{index}", title=f"Matrix products by size: {device}, {layout}",
            caption="The rate of a product of two square matrices, by the type of their numbers.",
        )  # fmt: skip
        shares = [_product_mark(found, of, one, one.efficiency_fraction) for of, one in mine]
        yield _drawn(
            shares, _axes.Unit("% of the best", 100.0), _axes.logarithmic, "rows = columns = depth",
            id=f"ceiling-efficiency-{index}", title=f"Efficiency of matrix products: {device}, {layout}",
            caption="The same as a share of the best rate that each type reached at any size: the efficiency curve that planning uses.",
        )  # fmt: skip


def _product_mark(found: Found, of: Ceilings, one: Product, y: float) -> _Mark:
    lines = (
        f"{one.m:,} × {one.n:,} × {one.k:,}",
        f"{format_rate(one.best_flops_per_s, 'FLOP/s')} at best, {format_rate(one.flops_per_s, 'FLOP/s')} over all samples",
        f"{format_fraction(one.efficiency_fraction)} of the best",
    )
    return _Mark(f"{one.dtype}{_tag(found, of)}", one.m, y, one.noisy, lines)


def _exchanges(found: Found) -> Iterator[Plot | None]:
    """busbw, algbw and time by message size, three plots for each device and layout."""
    listed = [(of, one) for of in found for one in of.exchanges]
    for index, ((device, ranks, layout), group) in enumerate(_grouped(listed, lambda pair: _where(pair[1]))):
        place = f"{device}, {layout}, {ranks} ranks"
        for kind, title, caption, value in _OF_EXCHANGE:
            marks = [_exchange_mark(found, of, one, value(one)) for of, one in group]
            unit = _axes.time_unit(m.y for m in marks) if kind == "time" else _axes.rate_unit((m.y for m in marks), "B/s")
            yield _drawn(
                marks, unit, _sizes, "message", id=f"ceiling-{kind}-{index}", title=f"{title}: {place}", caption=caption
            )  # fmt: skip


def _where(one: Product | Exchange) -> tuple[str, int, str]:
    """Few ranks first."""
    return one.device, one.ranks, one.layout


_OF_EXCHANGE: Final[tuple[tuple[str, str, str, Callable[[Exchange], float]], ...]] = (
    (
        "busbw", "Collectives, busbw",
        "busbw as nccl-tests defines it: what an optimal algorithm puts on each rank's link, to be held against the link's rate "
        "whatever the number of ranks.",
        lambda one: one.busbw_bytes_per_s,
    ),
    ("algbw", "Collectives, algbw", "algbw as nccl-tests defines it: message over time.", lambda one: one.algbw_bytes_per_s),
    (
        "time", "Collectives, time",
        "The flat part at the left is latency: small messages take no less time. Lower is better.",
        lambda one: one.time_s,
    ),
)  # fmt: skip


def _exchange_mark(found: Found, of: Ceilings, one: Exchange, y: float) -> _Mark:
    lines = (
        f"{format_bytes(one.message_bytes)} in {format_seconds(one.time_s)}",
        f"algbw {format_rate(one.algbw_bytes_per_s, 'B/s')}",
        f"busbw {format_rate(one.busbw_bytes_per_s, 'B/s')}",
    )
    return _Mark(f"{one.collective}{_tag(found, of)}", one.message_bytes, y, one.noisy, lines)


def _transfers(found: Found) -> Plot | None:
    marks = [
        _Mark(
            f"{one.direction.replace('_', ' ')}, {one.device}{'' if one.pinned else ', not pinned'}{_tag(found, of)}",
            one.message_bytes,
            one.best_bytes_per_s,
            one.noisy,
            (format_bytes(one.message_bytes), *_rates(one.best_bytes_per_s, one.bytes_per_s)),
        )
        for of in found
        for one in of.transfers
    ]
    return _drawn(
        marks, _axes.rate_unit((mark.y for mark in marks), "B/s"), _sizes, "bytes copied",
        id="ceiling-transfers", title="Copies between host and accelerator",
        caption="From pinned memory the accelerator copies itself; from other memory the driver first copies into a pinned buffer.",
    )  # fmt: skip


def _disks(found: Found) -> Plot | None:
    """Bars, since a file is read and written at one size."""
    disks = [(of, one) for of in found for one in of.disks]
    if not disks:
        return None
    import plotly.graph_objects as go

    rows = [
        Row(f"{one.direction}, {one.folder or 'temporary folder'}{_tag(found, of)}", format_rate(one.best_bytes_per_s, "B/s"))
        for of, one in disks
    ]
    unit = _axes.rate_unit((one.best_bytes_per_s for _, one in disks), "B/s")
    bars = go.Bar(
        orientation="h",
        x=[one.best_bytes_per_s * unit.factor for _, one in disks],
        y=[index + BAR_OFFSET for index in range(len(disks))],
        width=BAR_WIDTH,
        marker={"color": WORKLOAD_COLOURS[0], "line": {"width": 0}},
        hovertext=[_disk_hover(row, one) for row, (_, one) in zip(rows, disks, strict=True)],
        hoverinfo="text",
    )
    axis = {"range": [0, 1.1 * unit.factor * max(one.best_bytes_per_s for _, one in disks)], "title": titled(unit.name)}
    return Plot(
        id="ceiling-disk",
        title="Disk",
        caption="One file, read or written from beginning to end. Writing ends with its fsync; pages are dropped before reading.",
        alt="Disk rates: " + "; ".join(f"{row.label} {row.value}" for row in rows) + ".",
        figure=rows_figure([bars], rows, axis),
    )


def _disk_hover(row: Row, one: Disk) -> str:
    return hover(row.label, f"a file of {format_bytes(one.file_bytes)}", *_rates(one.best_bytes_per_s, one.bytes_per_s))


def _grouped(values: Iterable[T], key: Callable[[T], Any]) -> list[tuple[Any, list[T]]]:
    """Values by key, keys in rising order."""
    return [(of, list(group)) for of, group in groupby(sorted(values, key=key), key=key)]
