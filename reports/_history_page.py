"""A history as one self-contained page: every series that changed with its plot and its changes, and all series in a table."""

from collections.abc import Sequence
from typing import Final

from hwbench.core.history import Change, History, HistorySeries
from hwbench.core.units import UNKNOWN, format_seconds, significant

from ._figure_history import plot
from ._page import page
from ._plot import Plot
from ._tables import Table

MOST_PLOTS: Final = 24
"""As many series as are drawn, those with changes first; the table has them all."""


def render(history: History) -> str:
    """The page: everything in it, no request leaves it."""
    changed = [one for one in history.series if one.changes]
    quiet = [one for one in history.series if not one.changes]
    drawn = changed[:MOST_PLOTS]
    return page(
        "history.html.j2",
        title=history.title,
        made_at=history.made_at,
        hwbench_version=history.hwbench_version,
        findings=findings(history.series),
        changed=[(one, plot(one), _changes(one)) for one in drawn],
        undrawn=len(changed) - len(drawn),
        quiet=_plots(quiet[: MOST_PLOTS - len(drawn)]),
        series=_series(history.series),
        problems=history.problems,
    )


def findings(series: Sequence[HistorySeries]) -> tuple[str, ...]:
    """What the page says first: how many changes of each kind, and the largest slowdown that nobody acknowledged and nothing undid."""
    changes = [(one, change) for one in series for change in one.changes]
    sure = [(one, change) for one, change in changes if not change.found.suspect]
    if not changes:
        return (f"No change of level in {_count(len(series), 'series', 'series')}.",)
    slower = [pair for pair in sure if pair[1].found.ratio > 1]
    recovered = sum(change.found.recovered for _, change in slower)
    known = sum(change.acknowledged is not None for _, change in sure)
    text = (
        f"{_count(len(sure), 'change', 'changes')} of level in {_count(len(series), 'series', 'series')}: {len(slower)} slower "
        f"({recovered} of them recovered later), {len(sure) - len(slower)} faster; {known} acknowledged; "
        f"{_count(len(changes) - len(sure), 'suspect', 'suspects')}, not to be relied on."
    )
    open_ = [pair for pair in slower if pair[1].acknowledged is None and not pair[1].found.recovered]
    if not open_:
        return (text,)
    one, change = max(open_, key=lambda pair: pair[1].found.ratio)
    return (
        text,
        f"The largest slowdown that stands: {one.name}, {_words(change)} from run {change.first_run} ({'; '.join(change.explanation)}).",
    )


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _words(change: Change) -> str:
    ratio = change.found.ratio
    return f"{'slower' if ratio > 1 else 'faster'} by {significant(100 * abs(ratio - 1), 2)} %"


def _state(change: Change) -> str:
    """What became of it: suspect and why, recovered, acknowledged and why, or that it stands."""
    if change.found.suspect:
        return f"suspect: {change.found.explanation.rpartition('; ')[2]}"
    parts = ["recovered later"] if change.found.recovered else []
    parts += [f"acknowledged: {change.acknowledged}"] if change.acknowledged is not None else []
    return "; ".join(parts) or "stands"


def _changes(of: HistorySeries) -> Table:
    rows = tuple(
        (
            _words(change), f"{format_seconds(change.found.before)} → {format_seconds(change.found.after)}", change.first_run,
            f"{change.last_run_before} to {change.surely_after}", "; ".join(change.explanation), _state(change), change.id,
        )
        for change in of.changes
    )  # fmt: skip
    news = (i for i, change in enumerate(of.changes) if not change.found.suspect and not change.found.recovered and change.found.ratio > 1)
    marked = frozenset(i for i in news if of.changes[i].acknowledged is None)
    columns = ("Change", "Level", "From run", "Between runs", "What else changed there", "State", "Id")
    return Table("Changes", columns, rows, marked=marked)


def _plots(series: Sequence[HistorySeries]) -> list[Plot]:
    return [plot(one) for one in series]


def _series(series: Sequence[HistorySeries]) -> Table:
    columns = ("Case", "Machine", "Runs", "First", "Newest", "Now", "Clock", "Changes", "Notes")
    rows = tuple(
        (
            one.name, one.machine, f"{len(one.points):,}", one.points[0].started_at or one.points[0].run,
            one.points[-1].started_at or one.points[-1].run, format_seconds(one.points[-1].value_s), one.clock,
            str(len(one.changes)) if one.changes else UNKNOWN, "; ".join(one.notes),
        )
        for one in series
    )  # fmt: skip
    return Table("Every series", columns, rows, numeric=frozenset({2, 5, 7}))
