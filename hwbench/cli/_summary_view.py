"""A summary in the terminal: throughput, ceilings, scaling, sizing, what was not measured, and the warnings; readable at 60 columns."""

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hwbench.core.summary import Summary, Throughput
from hwbench.core.units import format_fraction, format_rate, format_seconds, format_usd, significant

MOST_NOTES = 6
"""As many warnings, and cases not measured, as a terminal shows; the report has them all."""


def summary_view(summary: Summary) -> Group:
    """What `console.print` shows of a summary. Texts from outside are never read as markup."""
    return Group(*_parts(summary))


def _parts(summary: Summary) -> Iterator[RenderableType]:
    yield Text(summary.title, style="bold")
    for heading, table in (
        ("Throughput", _throughput(summary)),
        ("Loss and evaluation", _learning(summary)),
        ("Measured ceilings", _roofs(summary)),
        ("Scaling against one rank", _scaling(summary)),
        ("Prediction against measurement", _verified(summary)),
        ("Sizing, predicted", _sizing(summary)),
    ):
        if table is not None:
            yield Text(f"\n{heading}", style="bold")
            yield table
    yield from _notes("Not measured", (f"{lost.case}: {lost.outcome}: {lost.reason}" for lost in summary.not_measured))
    yield from _notes("Before you rely on it", summary.warnings)


def _throughput(summary: Summary) -> RenderableType | None:
    rows = [
        (f"{row.workload} {row.label}", _rate(row), format_seconds(row.step_time_s), _spread(row), _share(row.roof_fraction))
        for row in summary.throughput
    ]
    styles = ["yellow" if row.noisy else "" for row in summary.throughput]
    return _table(("case", "rate", "step", "spread", "of roof"), rows, styles)


def _learning(summary: Summary) -> RenderableType | None:
    """The first metric of each training step is the one to judge it by; a star where it is of a batch learned by heart."""
    rows = [
        (
            f"{row.workload} {row.label}",
            "–" if row.first_loss is None or row.last_loss is None else f"{row.first_loss:.3g} → {row.last_loss:.3g}",
            next((f"{name} {significant(value)}{'*' * (row.evaluated_on == 'batch')}" for name, value in row.metrics.items()), "–"),
        )
        for row in summary.throughput
        if row.losses or row.metrics
    ]
    return _table(("case (*: of its own batch, learned by heart)", "loss", "evaluated"), rows)


def _rate(row: Throughput) -> str:
    if row.rate_unit in ("B/s", "FLOP/s"):
        return format_rate(row.rate_per_s, row.rate_unit)
    amount = significant(row.rate_per_s) if row.rate_per_s < 1e6 else format_rate(row.rate_per_s, "")
    return f"{amount.strip()} {row.rate_unit}"


def _spread(row: Throughput) -> str:
    if row.spread_fraction is None:
        return "–"
    return f"{'>100 %' if row.spread_fraction > 1 else f'±{format_fraction(row.spread_fraction, 2)}'}{' !' if row.noisy else ''}"


def _share(fraction: float | None) -> str:
    return "–" if fraction is None else format_fraction(fraction, 2)


def _roofs(summary: Summary) -> RenderableType | None:
    rows = [
        (
            f"{'memory' if roof.dtype is None else roof.dtype} {roof.layout}",
            format_rate(roof.rate, "B/s" if roof.dtype is None else "FLOP/s"),
            f"{roof.name}, {roof.device}",
        )
        for roof in summary.roofs
    ]
    return _table(("ceiling", "rate", "measured by"), rows)


def _verified(summary: Summary) -> RenderableType | None:
    rows = [
        (
            f"{row.workload} {row.layout}",
            format_seconds(row.predicted_s),
            format_seconds(row.measured_s),
            "calibrated" if row.fitted else f"{100 * row.error_fraction:+.0f} %",
        )
        for row in summary.verified
    ]
    return _table(("step", "predicted", "measured", "error"), rows)


def _scaling(summary: Summary) -> RenderableType | None:
    rows = [
        (f"{value.workload} {value.label}", f"{significant(value.speedup)} ×", _share(value.efficiency_fraction))
        for value in summary.scaling
    ]
    return _table(("case", "speed-up", "of ideal"), rows)


def _sizing(summary: Summary) -> RenderableType | None:
    if summary.sizing is None:
        return None
    rows = [
        (
            option.cluster,
            f"{option.nodes:,}",
            f"{format_seconds(option.train_time_s)}{'' if option.meets_deadline else ' !'}",
            format_usd(option.cost_usd),
        )
        for option in summary.sizing.sizings
    ]
    rows += [(refused.name, "–", "can't", "–") for refused in summary.sizing.rejected]
    return _table(("cluster", "nodes", "time to train", "cost"), rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str] = ()) -> RenderableType | None:
    """A table without lines, the first column to the left, the others to the right; None without rows."""
    if not rows:
        return None
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for index, name in enumerate(columns):
        table.add_column(name, justify="left" if index == 0 else "right", overflow="fold", no_wrap=index > 0, ratio=None)
    for index, row in enumerate(rows):
        table.add_row(*map(Text, row), style=styles[index] if styles else "")
    return table


def _notes(heading: str, lines: Iterable[str]) -> Iterator[RenderableType]:
    listed = list(lines)
    if not listed:
        return
    yield Text(f"\n{heading}", style="bold")
    for line in listed[:MOST_NOTES]:
        yield Padding(Text(f"- {line}"), (0, 0, 0, 1))
    if len(listed) > MOST_NOTES:
        yield Padding(Text(f"… and {len(listed) - MOST_NOTES} more; the report has them all"), (0, 0, 0, 1))
