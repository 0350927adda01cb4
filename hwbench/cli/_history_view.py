"""A history in the terminal: a line of bars a series, its changes with what else changed there; readable at 60 columns."""

from collections.abc import Iterator
from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from hwbench.core.history import Change, History, HistorySeries
from hwbench.core.units import format_seconds, significant

from ._sparkline import sparkline

MOST_QUIET: Final = 12
"""As many series without a change as a terminal shows with their bars; --json and --html have them all."""
MOST_PROBLEMS: Final = 6


def history_view(of: History) -> Group:
    """What `console.print` shows of a history. Texts from outside are never read as markup."""
    return Group(*_parts(of))


def _parts(of: History) -> Iterator[RenderableType]:
    yield Text(of.title, style="bold")
    changed = [one for one in of.series if one.changes]
    quiet = [one for one in of.series if not one.changes]
    for one in (*changed, *quiet[:MOST_QUIET]):
        yield from _series(one)
    if len(quiet) > MOST_QUIET:
        yield Text(f"\nand {len(quiet) - MOST_QUIET} more series without a change of level")
    if of.problems:
        yield Text("\nNot readable in the store", style="bold yellow")
        more = [f"and {len(of.problems) - MOST_PROBLEMS} more"] if len(of.problems) > MOST_PROBLEMS else []
        for problem in (*of.problems[:MOST_PROBLEMS], *more):
            yield _indented(f"• {problem}")


def _series(of: HistorySeries) -> Iterator[RenderableType]:
    yield Text(f"\n{of.name}", style="bold")
    first, last = of.points[0], of.points[-1]
    runs = f"{len(of.points):,} runs" if len(of.points) > 1 else "1 run"
    yield _indented(f"{of.machine}; {runs}, {first.started_at[:10] or first.run} to {last.started_at[:10] or last.run}", style="dim")
    yield Padding(Text(sparkline([point.value_s for point in of.points], width=56)), (0, 0, 0, 2))
    yield _indented(f"now {format_seconds(last.value_s)} ({of.clock} time, floor over processes)", style="dim")
    if not of.changes:
        yield _indented("no change of level")
    for change in of.changes:
        yield from _change(change)
    for note in of.notes:
        yield _indented(f"note: {note}", style="dim")


def _change(of: Change) -> Iterator[RenderableType]:
    line = Text(f"{of.id}  ", style="dim")
    line.append(change_words(of), style=_style(of))
    line.append(f", {format_seconds(of.found.before)} → {format_seconds(of.found.after)}")
    yield Padding(line, (0, 0, 0, 2))
    yield _indented(f"from run {of.first_run} (between {of.last_run_before} and {of.surely_after})", left=4)
    for why in of.explanation:
        yield _indented(f"• {why}", left=4)
    if of.acknowledged is not None:
        yield _indented(f"acknowledged: {of.acknowledged}", left=4, style="green")


def change_words(of: Change) -> str:
    """'slower by 5.2 %', 'slower by 5.2 %, then recovered', 'suspect: slower by 5.2 %, too young to confirm'."""
    ratio = of.found.ratio
    words = f"{'slower' if ratio > 1 else 'faster'} by {significant(100 * abs(ratio - 1), 2)} %"
    if of.found.suspect:
        reason = of.found.explanation.rpartition("; ")[2]
        return f"suspect: {words}, {reason}"
    return f"{words}, then recovered" if of.found.recovered else words


def _style(of: Change) -> str:
    if of.found.suspect or of.acknowledged is not None or of.found.recovered:
        return "yellow"
    return "bold red" if of.found.ratio > 1 else "green"


def _indented(text: str, *, left: int = 2, style: str = "") -> Padding:
    return Padding(Text(text, style=style), (0, 0, 0, left))
