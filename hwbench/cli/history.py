"""Find when a figure changed: in stored runs, or in series from CSV files."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwbench.core.codec import to_json
from hwbench.core.comparison import ChangePoint, Series
from hwbench.core.errors import UserError

from ._sparkline import sparkline
from ._writing import write_or_show

if TYPE_CHECKING:
    from rich.console import Console


@click.command()
@click.argument("sources", nargs=-1, metavar="[WORKLOAD]... | FILE.csv...")
@click.option(
    "--threshold", default=2.0, show_default=True, type=click.FloatRange(0, 100, min_open=True), help="Smallest change shown, in %."
)
@click.option("--results", type=click.Path(path_type=Path), default=Path("hwbench-results"), show_default=True, help="The results folder.")
@click.option("--acknowledge", "change", metavar="ID", help="Write down that the change with this id is known; needs --note.")
@click.option("--note", help="What is said of it: why it is accepted, or where it is being looked at.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with every series and its changes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: for CSV files a list of confirmed changes, one object a file.")
def command(
    sources: tuple[str, ...], threshold: float, results: Path, change: str | None, note: str | None, html: Path | None, as_json: bool
) -> None:
    """Find when a figure changed: in the stored runs of WORKLOADs (all by default), or in CSV files with a column `value`.

    Informs, and exits 0 whatever it finds. A change that was later undone stays listed, as does one that was acknowledged; suspects,
    too young or too unsure of their place to confirm, are marked. In stored runs each case has a series a kind of machine; where its
    level changed, the commits, versions and machine facts that changed there are named.

    \b
    hwbench history
    hwbench history gpt lstm --html history.html
    hwbench history gpt --acknowledge 3f2a91cc --note "the price of checkpoints, accepted"
    hwbench history series.csv --json
    """
    files = [source for source in sources if source.endswith(".csv")]
    if files and len(files) < len(sources):
        other = next(source for source in sources if source not in files)
        raise UserError(f"{other!r} is not a .csv file", hint="give either files or the names of workloads")
    if (change is None) != (note is None):
        raise UserError("--acknowledge ID and --note TEXT belong together", hint='hwbench history --acknowledge ID --note "why"')
    if files and (change is not None or html is not None):
        raise UserError("--acknowledge and --html are for stored runs, not for CSV files", hint="leave the files away")
    if files:
        _files(files, threshold, as_json)
    else:
        _stored(sources, threshold, results, (change, note), html, as_json)


def _stored(
    workloads: tuple[str, ...], threshold: float, results: Path, said: tuple[str | None, str | None], html: Path | None, as_json: bool
) -> None:
    from rich.console import Console

    from ._history_view import change_words, history_view
    from ._stored_history import acknowledge, stored_history

    found = stored_history(results, workloads, threshold / 100)
    change, note = said
    if change is not None and note is not None:
        known = acknowledge(results, found, change, note)
        click.echo(f"acknowledged {known.id}, {change_words(known)} from run {known.first_run}: {note}", err=as_json)
        found = stored_history(results, workloads, threshold / 100)
    if html is not None:
        from hwbench.reports._history_page import render

        if write_or_show(html, render(found).encode()):
            click.echo(f"history: {html}", err=as_json)
    if as_json:
        click.echo(to_json(found, pretty=True), nl=False)
    elif change is None and html is None:
        Console(file=sys.stdout, highlight=False).print(history_view(found))


def _files(sources: list[str], threshold: float, as_json: bool) -> None:
    """Histories from elsewhere."""
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
        console.print(f"{source}: {len(one.values)} points", markup=False, soft_wrap=True)
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
