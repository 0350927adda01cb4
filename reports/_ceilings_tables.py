"""The measured ceilings as tables: every number that the curves show, and what was not measured."""

from collections.abc import Sequence

from hwbench.core.ceilings import Ceilings
from hwbench.core.inventory import Gap
from hwbench.core.units import format_bytes, format_fraction, format_rate, format_seconds

from ._tables import Table

Found = Sequence[Ceilings]


def tables(found: Found) -> tuple[Table, ...]:
    """All of them; one without rows is left out."""
    made = (streams(found), latencies(found), products(found), exchanges(found), copies(found))
    return tuple(table for table in made if table.rows)


def _table(
    found: Found, caption: str, columns: Sequence[str], rows: Sequence[tuple[str, tuple[str, ...], bool]], numeric: set[int]
) -> Table:
    """Rows of (run, cells, noisy), with a column for the run where there are several."""
    several = len(found) > 1
    return Table(
        caption,
        (*columns, *(("Run",) if several else ())),
        tuple((*cells, *((run,) if several else ())) for run, cells, _ in rows),
        frozenset(numeric),
        frozenset(index for index, (_, _, noisy) in enumerate(rows) if noisy),
    )


def streams(found: Found) -> Table:
    """Bandwidth of streams."""
    rows = [
        (
            of.run,
            (
                one.kernel, format_bytes(one.working_set_bytes), one.level, str(one.threads),
                (one.cpus if one.node is None else f"node {one.node}") or "not bound", one.pages,
                format_rate(one.best_bytes_per_s, "B/s"), format_rate(one.bytes_per_s, "B/s"),
            ),
            one.noisy,
        )
        for of in found
        for one in of.streams
    ]  # fmt: skip
    columns = ("Stream", "Working set", "Level", "Threads", "CPUs", "Pages", "At best", "Over all samples")
    return _table(found, "Bandwidth of streams", columns, rows, {1, 3, 6, 7})


def latencies(found: Found) -> Table:
    """Times of dependent loads."""
    rows = [
        (
            of.run,
            (format_bytes(one.working_set_bytes), one.level, one.pages, format_seconds(one.best_latency_s), format_seconds(one.latency_s)),
            one.noisy,
        )
        for of in found
        for one in of.latencies
    ]
    return _table(found, "Time of a load", ("Working set", "Level", "Pages", "At best", "Typical"), rows, {0, 3, 4})


def products(found: Found) -> Table:
    """Matrix products, all shapes."""
    rows = [
        (
            of.run,
            (
                f"{one.m:,} × {one.n:,} × {one.k:,}", one.dtype, one.device, one.layout, format_rate(one.best_flops_per_s, "FLOP/s"),
                format_rate(one.flops_per_s, "FLOP/s"), format_fraction(one.efficiency_fraction),
            ),
            one.noisy,
        )
        for of in found
        for one in of.products
    ]  # fmt: skip
    columns = ("Shape", "Type", "Device", "Layout", "At best", "Over all samples", "Of the type's best")
    return _table(found, "Matrix products", columns, rows, {0, 4, 5, 6})


def exchanges(found: Found) -> Table:
    """Collectives."""
    rows = [
        (
            of.run,
            (
                one.collective, format_bytes(one.message_bytes), one.device, one.layout, str(one.ranks), format_seconds(one.time_s),
                format_rate(one.algbw_bytes_per_s, "B/s"), format_rate(one.busbw_bytes_per_s, "B/s"),
            ),
            one.noisy,
        )
        for of in found
        for one in of.exchanges
    ]  # fmt: skip
    columns = ("Collective", "Message", "Device", "Layout", "Ranks", "Time", "algbw", "busbw")
    return _table(found, "Collectives", columns, rows, {1, 4, 5, 6, 7})


def copies(found: Found) -> Table:
    """Copies to and from accelerators, and files."""
    rows = []
    for of in found:
        for one in of.transfers:
            what = f"{one.direction.replace('_', ' ')}, {one.device}{'' if one.pinned else ', not pinned'}"
            rates = format_rate(one.best_bytes_per_s, "B/s"), format_rate(one.bytes_per_s, "B/s")
            rows.append((of.run, (what, format_bytes(one.message_bytes), *rates), one.noisy))
        for disk in of.disks:
            rates = format_rate(disk.best_bytes_per_s, "B/s"), format_rate(disk.bytes_per_s, "B/s")
            what = f"disk, {disk.direction}, {disk.folder or 'temporary folder'}"
            rows.append((of.run, (what, format_bytes(disk.file_bytes), *rates), disk.noisy))
    return _table(found, "Copies and files", ("Copy", "Size", "At best", "Over all samples"), rows, {1, 2, 3})


def gaps(found: Found) -> tuple[str, ...]:
    """Sentences: what of the ceilings was not measured, and why."""
    several = len(found) > 1
    return tuple(f"{f'run {of.run}: ' if several else ''}{_gap(gap)}" for of in found for gap in of.gaps)


def _gap(gap: Gap) -> str:
    name = gap.path.removeprefix("ceilings.")
    return gap.reason if gap.reason.startswith(f"{name}: ") else f"{name}: {gap.reason}"
