"""Say which of two versions is slower, from recorded A/B sessions or two stored runs."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from hwbench.core.codec import to_json
from hwbench.core.comparison import Comparison
from hwbench.core.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

Clock = Literal["cpu", "wall"]
JSON_FIELDS = ("kernel", "verdict", "ratio", "ratio_low", "ratio_high", "minimum_detectable_effect")


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="BASE CANDIDATE | --session FILE...")
@click.option("--session", is_flag=True, help="All arguments are recorded A/B sessions (CSV, also gzipped).")
@click.option("--clock", type=click.Choice(["cpu", "wall"]), default="cpu", show_default=True, help="Which time of a session is compared.")
@click.option(
    "--threshold", type=click.FloatRange(0, 100, min_open=True), help="Smallest change that matters, in %.  [default: 5, for a session 2]"
)
@click.option("--rename", "renamed", multiple=True, metavar="OLD=NEW", help="A workload of BASE that CANDIDATE calls NEW; may be repeated.")
@click.option("--across-machines", is_flag=True, help="Give verdicts even though the machines are of different kinds.")
@click.option("--results", type=click.Path(path_type=Path), default=Path("hwbench-results"), show_default=True, help="The results folder.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: for sessions a list, one object a file; for runs one object.")
def command(
    sources: tuple[str, ...],
    session: bool,
    clock: str,
    threshold: float | None,
    renamed: tuple[str, ...],
    across_machines: bool,
    results: Path,
    as_json: bool,
) -> None:
    """Say which of two versions is slower: B against A, or CANDIDATE against BASE.

    Four verdicts: slower, faster, same (the whole interval lies within the threshold), can't tell (with the smallest change
    that the data would have shown). Informs, and exits 0 whatever the verdict; `hwbench gate` is what fails.

    BASE and CANDIDATE are stored runs: an id, the beginning of one, or the path of a run's folder. A verdict on them needs five
    processes a side (`hwbench run --processes 5`), and can't tell code from a machine that changed meanwhile; `hwbench ab` can.

    \b
    hwbench compare 20261120 20261121
    hwbench compare 20261120 20261121 --rename embed=embedding --json
    hwbench compare --session session.csv.gz
    """
    if session:
        _sessions(sources, "wall" if clock == "wall" else "cpu", 2.0 if threshold is None else threshold, as_json)
    else:
        _runs(sources, "wall" if clock == "wall" else "cpu", threshold, dict(map(_pair, renamed)), across_machines, results, as_json)


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise UserError(f"--rename {text!r}: expected OLD=NEW", hint="such as --rename embed=embedding")
    return old, new


def _runs(
    sources: tuple[str, ...],
    clock: Clock,
    threshold: float | None,
    renamed: dict[str, str],
    across_machines: bool,
    results: Path,
    as_json: bool,
) -> None:
    from hwbench import store
    from hwbench.analyse.runs import compare_runs
    from hwbench.analyse.stored import STORED_THRESHOLD_FRACTION

    from ._compare_view import comparison_view

    if len(sources) != 2:
        raise UserError(f"expected two runs, BASE and CANDIDATE, found {len(sources)}", hint="recorded sessions take --session")
    base, candidate = (store.read_run(store.find_run(results, wanted)) for wanted in sources)
    fraction = STORED_THRESHOLD_FRACTION if threshold is None else threshold / 100
    found = compare_runs(base, candidate, clock=clock, threshold_fraction=fraction, across_machines=across_machines, renamed=renamed)
    if as_json:
        click.echo(to_json(found, pretty=True), nl=False)
        return
    from rich.console import Console

    Console(file=sys.stdout, highlight=False).print(comparison_view(found, fraction))


def _sessions(sources: tuple[str, ...], clock: Clock, threshold: float, as_json: bool) -> None:
    """Judge recorded A/B sessions."""
    from hwbench.analyse.ab import judge_session
    from hwbench.analyse.sessions import read_session

    judged = [(source, judge_session(read_session(Path(source)), clock=clock, threshold_fraction=threshold / 100)) for source in sources]
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
        console.print(source, markup=False, highlight=False, soft_wrap=True)
        console.print(_table(found))
        for comparison in found:
            if comparison.note:
                console.print(f"{comparison.kernel}: {comparison.note}", markup=False, highlight=False)
    console.print(f"B against A; changes below {threshold:g} % count as same; intervals at 98.5 %.", markup=False)


def _table(found: list[Comparison]) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table("kernel", "verdict", "time B / A", "interval", "detectable")
    for c in found:
        ratio = "–" if c.ratio is None else f"{c.ratio:.3f}"
        interval = "–" if c.ratio_low is None or c.ratio_high is None else f"{c.ratio_low:.3f} to {c.ratio_high:.3f}"
        detectable = "–" if c.minimum_detectable_effect is None else f"{100 * c.minimum_detectable_effect:.1f} %"
        table.add_row(escape(c.kernel), c.verdict, ratio, interval, detectable)
    return table
