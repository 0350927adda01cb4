"""Find when a figure changed: change points in series from CSV files."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwbench.core.codec import to_json
from hwbench.core.comparison import ChangePoint, Series
from hwbench.core.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

_BARS = "▁▂▃▄▅▆▇█"
_SPARKLINE_WIDTH = 60


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="FILE.csv...")
@click.option(
    "--threshold", default=2.0, show_default=True, type=click.FloatRange(0, 100, min_open=True), help="Smallest change shown, in %."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, one object a file, of confirmed changes.")
def command(sources: tuple[str, ...], threshold: float, as_json: bool) -> None:
    """Find when a figure changed, in CSV files with a column `value` (lower is better), oldest first.

    Informs, and exits 0 whatever it finds. A change that was later undone stays listed; suspects, too young or too unsure of
    their place to confirm, are shown apart and are not in the JSON.
    """
    for source in sources:
        if not source.endswith(".csv"):
            raise UserError(f"{source!r} is not a .csv file", hint="give series as FILE.csv with a column 'value'")
    from hwbench.analyse.changepoints import change_points, confirmed
    from hwbench.analyse.series import read_series

    series = [(source, read_series(Path(source))) for source in sources]
    found = [(source, one, change_points(one.values, smallest_change_fraction=threshold / 100)) for source, one in series]
    if as_json:
        _print_json([(source, one, confirmed(changes)) for source, one, changes in found])
    else:
        _print_tables(found)


def _print_json(found: list[tuple[str, Series, list[ChangePoint]]]) -> None:
    """The list on stdout, with indices of the file's rows; notes on stderr."""
    files = [
        {"file": source, "change_points": [{"index": one.indices[c.index], "ratio": c.ratio} for c in changes]}
        for source, one, changes in found
    ]
    click.echo(to_json(files, pretty=True), nl=False)
    for source, one, _ in found:
        if one.note:
            click.echo(f"hwbench: {source}: {one.note}", err=True)


def _print_tables(found: list[tuple[str, Series, list[ChangePoint]]]) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    for source, one, changes in found:
        console.print(f"{source}: {len(one.values)} points", markup=False)
        console.print(f"  {sparkline(one.values)}", markup=False)
        if one.note:
            console.print(f"  note: {one.note}", markup=False)
        _print_changes(console, one, [c for c in changes if not c.suspect])
        for change in changes:
            if change.suspect:
                console.print(f"  suspect: {change.explanation}", markup=False)


def _print_changes(console: "Console", one: Series, changes: list[ChangePoint]) -> None:
    from rich.markup import escape
    from rich.table import Table

    if not changes:
        console.print("  no confirmed change of level", markup=False)
        return
    table = Table("point", "when", "between", "before", "after", "change", "what")
    for c in changes:
        place, low, high = (str(one.indices[i]) for i in (c.index, c.index_low, c.index_high))
        change = f"{100 * (c.ratio - 1):+.1f} %"
        table.add_row(place, escape(one.times[c.index]), f"{low} to {high}", f"{c.before:.4g}", f"{c.after:.4g}", change, _word(c))
    console.print(table)


def _word(change: ChangePoint) -> str:
    word = "slower" if change.ratio > 1 else "faster"
    return f"{word}, then recovered" if change.recovered else word


def sparkline(values: tuple[float, ...], width: int = _SPARKLINE_WIDTH) -> str:
    """At most `width` bars from the lowest to the highest value; longer series by the medians of equal parts."""
    import statistics

    parts = min(width, len(values))
    points = [statistics.median(values[i * len(values) // parts : (i + 1) * len(values) // parts]) for i in range(parts)]
    low, span = min(points), (max(points) - min(points)) or 1.0
    return "".join(_BARS[min(len(_BARS) - 1, int((p - low) / span * len(_BARS)))] for p in points)
