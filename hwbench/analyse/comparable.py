"""Whether two stored runs may be compared at all: the same machine, and the same session. Pure."""

from datetime import datetime
from typing import Final, NamedTuple

from hwbench.core.comparability import differences
from hwbench.core.inventory import Inventory
from hwbench.core.record import Run

SESSION_GAP_S: Final = 3600.0
"""Runs whose measurements are further apart than this are not of one session: what else runs on a machine changes within the hour."""


class Doubts(NamedTuple):
    """Why the two runs may not be compared: other machines, or other sessions; empty where nothing is wrong."""

    machine: str
    session: str


def doubts(before: Inventory, after: Inventory, apart_s: float | None) -> Doubts:
    """What speaks against comparing figures of two machines, measured `apart_s` seconds from each other (None: not known)."""
    facts = [f"{one.path} was {_short(one.before)}, is {_short(one.after)}" for one in differences(before, after)]
    hosts = before.machine.host_name, after.machine.host_name
    if facts:
        return Doubts(f"the machines differ: {'; '.join(facts[:3])}{f' and {len(facts) - 3} more' if len(facts) > 3 else ''}", "")
    if None not in hosts and hosts[0] != hosts[1]:
        return Doubts("", f"the runs were measured on two machines of one kind, {hosts[0]} and {hosts[1]}")
    if apart_s is None:
        return Doubts("", "when the runs were measured is not known: the baseline may be of another session")
    if apart_s > SESSION_GAP_S:
        advice = "measure the baseline again beside the candidate"
        return Doubts("", f"the baseline was not measured in one session with the candidate ({_hours(apart_s)} apart): {advice}")
    return Doubts("", "")


def apart_s(first: Run, second: Run) -> float | None:
    """Seconds between the end of one run and the begin of the other; 0 where they overlap, None where a time is not one."""
    if any("started_at" in (run.header.settings.get("unknown") or {}) for run in (first, second)):
        return None
    try:
        spans = [_span(run) for run in (first, second)]
    except (ValueError, TypeError):
        return None
    return max(0.0, spans[1][0] - spans[0][1], spans[0][0] - spans[1][1])


def _span(run: Run) -> tuple[float, float]:
    begun = datetime.fromisoformat(run.header.started_at).timestamp()
    ends = [datetime.fromisoformat(record.started_at).timestamp() + record.duration_s for record in run.records]
    return begun, max([begun, *ends])


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds < 172800 else f"{seconds / 86400:.0f} days"


def _short(value: object) -> str:
    text = "not seen" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
