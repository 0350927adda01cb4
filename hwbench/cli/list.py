"""List what there is: workloads, layouts, models, clusters, suites, reports."""

import sys
from typing import TYPE_CHECKING

import click

from hwbench.core.codec import to_json
from hwbench.core.errors import unknown_name
from hwbench.core.registry import ROOMS, Kind, names

if TYPE_CHECKING:
    from rich.table import Table

KINDS = tuple(ROOMS)
ABOUT: dict[Kind, str] = {
    "workloads": "what `hwbench run` measures",
    "layouts": "ways to split a step over ranks, for --layout",
    "models": "presets for `hwbench size --model`",
    "clusters": "profiles for `hwbench size --cluster`",
    "suites": "lists of what to measure, for `hwbench run --suite`",
    "reports": "output formats, for `hwbench report --format`",
}


@click.command()
@click.argument("kind", required=False, metavar="[KIND]")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object: kind -> name -> one line about it.")
def command(kind: str | None, as_json: bool) -> None:
    """List what there is, with a line about each; KIND is one of workloads, layouts, models, clusters, suites, reports.

    Nothing is imported to do so: names are files, and the line is the first of a file's docstring or its description.

    \b
    hwbench list clusters
    hwbench list models --json
    """
    if kind is not None and kind not in KINDS:
        raise unknown_name("kind", kind, KINDS)
    found = {one: names(one) for one in KINDS if kind in (None, one)}
    if as_json:
        click.echo(to_json(found, pretty=True), nl=False)
        return
    from rich.console import Console

    console = Console(file=sys.stdout)
    for index, (one, entries) in enumerate(found.items()):
        if index:
            console.print()
        console.print(f"{one}: {ABOUT[one]}", style="bold", highlight=False)
        console.print(_table(entries))


def _table(entries: dict[str, str]) -> "Table":
    """Names and their lines."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="cyan")
    table.add_column(overflow="fold")
    for name, line in entries.items():
        table.add_row(escape(name), escape(line))
    if not entries:
        table.add_row("none yet", "")
    return table
