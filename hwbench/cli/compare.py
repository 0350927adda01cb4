"""Say which of two versions is slower, from recorded A/B sessions or two stored runs."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwbench.core.codec import to_json
from hwbench.core.comparison import Comparison
from hwbench.core.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

JSON_FIELDS = ("kernel", "verdict", "ratio", "ratio_low", "ratio_high", "minimum_detectable_effect")


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="BASE CANDIDATE | --session FILE...")
@click.option("--session", is_flag=True, help="All arguments are recorded A/B sessions (CSV, also gzipped).")
@click.option("--clock", type=click.Choice(["cpu", "wall"]), default="cpu", show_default=True, help="Which time of a session is compared.")
@click.option(
    "--threshold", default=2.0, show_default=True, type=click.FloatRange(0, 100, min_open=True), help="Smallest change that matters, in %."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, one object a file.")
def command(sources: tuple[str, ...], session: bool, clock: str, threshold: float, as_json: bool) -> None:
    """Say which of two versions is slower: B against A, or CANDIDATE against BASE.

    Four verdicts: slower, faster, same (the whole interval lies within the threshold), can't tell (with the smallest change
    that the data would have shown). Informs, and exits 0 whatever the verdict; `hwbench gate` is what fails.
    """
    if not session:
        raise UserError("stored runs can't be compared here yet", hint="give recorded sessions: hwbench compare --session FILE...")
    from hwbench.analyse.ab import judge_session
    from hwbench.analyse.sessions import read_session

    judged = [
        (source, judge_session(read_session(Path(source)), clock="wall" if clock == "wall" else "cpu", threshold_fraction=threshold / 100))
        for source in sources
    ]
    if as_json:
        _print_json(judged)
    else:
        _print_tables(judged, threshold)


def _print_json(judged: list[tuple[str, list[Comparison]]]) -> None:
    """The list on stdout; notes, which have no place in it, on stderr."""
    files = [{"file": source, "comparisons": [{f: getattr(c, f) for f in JSON_FIELDS} for c in found]} for source, found in judged]
    click.echo(to_json(files, pretty=True), nl=False)
    for source, found in judged:
        for comparison in found:
            if comparison.note:
                click.echo(f"hwbench: {source}: {comparison.kernel}: {comparison.note}", err=True)


def _print_tables(judged: list[tuple[str, list[Comparison]]], threshold: float) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout)
    for source, found in judged:
        console.print(_table(source, found))
        for comparison in found:
            if comparison.note:
                console.print(f"{comparison.kernel}: {comparison.note}", markup=False, highlight=False)
    console.print(f"B against A; changes below {threshold:g} % count as same; intervals at 99 %.", markup=False)


def _table(source: str, found: list[Comparison]) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table("kernel", "verdict", "time B / A", "interval", "detectable", title=escape(source), title_justify="left")
    for c in found:
        ratio = "–" if c.ratio is None else f"{c.ratio:.3f}"
        interval = "–" if c.ratio_low is None or c.ratio_high is None else f"{c.ratio_low:.3f} to {c.ratio_high:.3f}"
        detectable = "–" if c.minimum_detectable_effect is None else f"{100 * c.minimum_detectable_effect:.1f} %"
        table.add_row(escape(c.kernel), c.verdict, ratio, interval, detectable)
    return table
