"""From the results folder to a History: what `hwbench history` does with stored runs."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

import hwbench
from hwbench.core.comparability import Difference, differences
from hwbench.core.errors import UserError, unknown_name
from hwbench.core.history import Acknowledgement, Change, History, HistorySeries


def stored_history(results: Path, workloads: Sequence[str], threshold_fraction: float) -> History:
    """The series of these workloads (all, where none is named) with their changes. UserError where there are no usable runs."""
    from hwbench.analyse.history import series_of
    from hwbench.store.acknowledged import read_acknowledged
    from hwbench.store.history import measured

    found, problems = measured(results, workloads, progress=_progress if sys.stderr.isatty() else None)
    if not found:
        hint = "measure with `hwbench run`, or name the folder with --results"
        raise UserError(f"{results}: no run here has a measurement that can be used", hint=hint)
    said, unsaid = read_acknowledged(results)
    series = series_of(
        found, facts=lambda old, new: _facts(results, old, new), acknowledged=said, smallest_change_fraction=threshold_fraction
    )
    return History(
        title=_title(results, series, len({one.run for one in found})),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        hwbench_version=hwbench.__version__,
        series=series,
        problems=(*problems, *unsaid),
    )


def acknowledge(results: Path, of: History, wanted: str, note: str) -> Change:
    """Write down what is said of a change, named by its id or an unambiguous beginning of it, and return the change."""
    from hwbench.store.acknowledged import acknowledge as write

    known = {change.id: (series, change) for series in of.series for change in series.changes}
    matches = [id_ for id_ in known if wanted and id_.startswith(wanted)]
    if len(matches) > 1:
        raise UserError(f"change {wanted!r} could be any of {', '.join(matches)}", hint="give more of the id")
    if not matches:
        raise unknown_name("change", wanted, known)
    series, change = known[matches[0]]
    said = Acknowledgement(
        at=of.made_at,
        change=change.id,
        case_key=series.case_key,
        machine_key=series.machine_key,
        run=change.first_run,
        slower=change.found.ratio > 1,
        note=note,
    )
    write(results, said)
    return change


def _facts(results: Path, before: str, after: str) -> tuple[Difference, ...]:
    from hwbench.store import read_header

    first, second = (read_header(results / run).inventory for run in (before, after))
    return differences(first, second)


def _title(results: Path, series: Sequence[HistorySeries], runs: int) -> str:
    changes = sum(not change.found.suspect for one in series for change in one.changes)
    suspects = sum(change.found.suspect for one in series for change in one.changes)
    also = f", {suspects} suspect{'s' if suspects != 1 else ''}" if suspects else ""
    return f"{results}: {runs:,} runs, {len(series)} series, {changes} change{'s' if changes != 1 else ''} of level{also}"


def _progress(done: int, total: int) -> None:
    """On stderr while a large index is built."""
    if total >= 100:
        click.echo(f"\rindexing runs: {done:,} of {total:,}", err=True, nl=done >= total)
