"""Series of stored runs: one a case and kind of machine, their changes, and what else changed where they did."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from hwbench.core.comparability import Difference, difference_texts
from hwbench.core.comparison import ChangePoint
from hwbench.core.history import Acknowledgement, Change, HistorySeries, Measured, Point

from .changepoints import MOST_POINTS, PLACE_TOLERANCE, SMALLEST_CHANGE_FRACTION, change_points
from .naming import Named, telling_settings

ID_DIGITS: Final = 8
NOTHING_RECORDED: Final = "nothing that is recorded changed here: the machine's state, or what is not recorded"

Facts = Callable[[str, str], tuple[Difference, ...]]
"""The stable facts in which the machines and software of two runs, given by their names, differ."""


def series_of(
    measured: Sequence[Measured],
    *,
    facts: Facts,
    acknowledged: Iterable[Acknowledgement] = (),
    smallest_change_fraction: float = SMALLEST_CHANGE_FRACTION,
) -> tuple[HistorySeries, ...]:
    """One series a case and kind of machine, from cases oldest first; those with changes nobody acknowledged come first.

    A run's value is the floor: the mean of the lower half of its processes' fastest samples, of the thread's CPU time where every
    run knows it for a lone single-threaded rank on a CPU, of wall time elsewhere. `facts` is asked for changes only.
    """
    groups: dict[tuple[str, str], list[Measured]] = {}
    for one in measured:
        groups.setdefault((one.case_key, one.machine_key), []).append(one)
    told = telling_settings(_named(group[-1]) for group in groups.values())
    said = tuple(acknowledged)
    made = [_series(group, told[group[-1].case_key], facts, said, smallest_change_fraction) for group in groups.values()]
    return tuple(sorted(made, key=lambda one: (not any(_is_news(change) for change in one.changes), one.name, one.machine_key)))


def floor_s(values: Sequence[float]) -> float:
    """Mean of the lower half of one value a process, the middle one included: the floor, where it was reached."""
    lower = sorted(values)[: (len(values) + 1) // 2]
    return sum(lower) / len(lower)


def _is_news(change: Change) -> bool:
    return change.acknowledged is None and not change.found.suspect


def _series(group: Sequence[Measured], settings: str, facts: Facts, said: Sequence[Acknowledgement], smallest: float) -> HistorySeries:
    last, clock = group[-1], "cpu" if all(_has_cpu(one) for one in group) else "wall"
    points = tuple(_point(one, clock) for one in group)
    found = change_points([point.value_s for point in points], smallest_change_fraction=smallest)
    mine = [one for one in said if (one.case_key, one.machine_key) == (last.case_key, last.machine_key)]
    return HistorySeries(
        id=_digest(last.case_key, last.machine_key),
        workload=last.workload,
        settings=settings,
        case_key=last.case_key,
        layout=last.layout,
        dtype=last.dtype,
        device=last.device,
        threads=last.threads,
        machine=last.machine,
        machine_key=last.machine_key,
        clock=clock,
        points=points,
        changes=tuple(_change(change, group, facts, mine) for change in found),
        notes=_notes(group),
    )


def _has_cpu(one: Measured) -> bool:
    lone = one.ranks == 1 and one.threads == 1 and one.device.partition(":")[0] == "cpu"
    return lone and all(value is not None for value in one.cpu_floors_s)


def _point(one: Measured, clock: str) -> Point:
    values = [value for value in one.cpu_floors_s if value is not None] if clock == "cpu" else one.floors_s
    return Point(
        run=one.run,
        started_at=one.run_started_at.isoformat(timespec="seconds") if one.run_started_at else "",
        value_s=floor_s(values),
        processes=len(one.floors_s),
        commit=one.commit,
        torch=one.torch,
    )


def _change(found: ChangePoint, group: Sequence[Measured], facts: Facts, said: Sequence[Acknowledgement]) -> Change:
    """The change with the runs around it; an acknowledgement holds for a change in the same direction at about the same run."""
    before, first, after = group[max(found.index_low - 1, 0)], group[found.index], group[found.index_high]
    near = {one.run for one in group[max(0, found.index_low - PLACE_TOLERANCE) : found.index_high + PLACE_TOLERANCE + 1]}
    notes = [one.note for one in said if one.run in near and one.slower == (found.ratio > 1)]
    return Change(
        id=_digest(first.case_key, first.machine_key, first.run),
        found=found,
        last_run_before=before.run,
        first_run=first.run,
        surely_after=after.run,
        explanation=_explanation(before, after, facts),
        acknowledged=notes[-1] if notes else None,
    )


def _explanation(before: Measured, after: Measured, facts: Facts) -> tuple[str, ...]:
    parts: list[str] = []
    if before.commit != after.commit:
        parts.append(f"commit {before.commit or 'unknown'} → {after.commit or 'unknown'}")
    if before.torch != after.torch:
        parts.append(f"torch {before.torch or 'unknown'} → {after.torch or 'unknown'}")
    if before.host != after.host:
        parts.append(f"host {before.host or 'unknown'} → {after.host or 'unknown'}")
    if before.comparison_key != after.comparison_key:
        parts += difference_texts([one for one in facts(before.run, after.run) if one.path != "software.torch"])
    return tuple(parts) or (NOTHING_RECORDED,)


def _notes(group: Sequence[Measured]) -> tuple[str, ...]:
    notes = []
    backwards = [one.run for one in group if one.clock_backwards]
    if backwards:
        notes.append(f"the clock went backwards during {_runs(backwards)}: their place in the order is uncertain")
    undated = [one.run for one in group if one.run_started_at is None]
    if undated:
        notes.append(f"no time of day in {_runs(undated)}: taken as the oldest")
    single = sum(len(one.floors_s) == 1 for one in group)
    if single:
        notes.append(f"{single} of {len(group)} runs measured it in one process: how much processes differ is not known there")
    if len(group) > MOST_POINTS:
        notes.append(f"only the newest {MOST_POINTS:,} runs are searched for changes")
    return tuple(notes)


def _runs(names: Sequence[str]) -> str:
    return f"run {names[0]}" if len(names) == 1 else f"{len(names)} runs ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"


def _named(one: Measured) -> Named:
    compiled = {"compile": True} if one.case_key.endswith(" compiled") else {}
    return Named(one.case_key, one.workload, json.loads(one.config) | compiled, one.threads)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:ID_DIGITS]
