"""Whether two stored runs may be compared at all: the same machine, and the same session. Pure."""

from datetime import datetime
from typing import Final, NamedTuple

from hwbench.core.comparability import difference_texts, differences, machine_key
from hwbench.core.inventory import Inventory
from hwbench.core.record import Run

SESSION_GAP_S: Final = 3600.0
"""Runs whose measurements are further apart than this are not of one session: what else runs on a machine changes within the hour."""


class Doubts(NamedTuple):
    """What speaks against comparing two runs; empty where nothing does.

    `machine`: they were measured on machines of different kinds; `session`: not in one session; `changed`: which other stable
    facts differ, such as the version of torch, which may be just what is being judged.
    """

    machine: str = ""
    session: str = ""
    changed: str = ""


def doubts(before: Inventory, after: Inventory, apart_s: float | None) -> Doubts:
    """What speaks against comparing figures of two machines, measured `apart_s` seconds from each other (None: not known)."""
    facts = "; ".join(difference_texts(differences(before, after), most=3))
    if machine_key(before) != machine_key(after):
        return Doubts(machine=f"the machines are of different kinds: {facts}")
    return Doubts(session=_session_doubt(before, after, apart_s), changed=f"not the same for both: {facts}" if facts else "")


def _session_doubt(before: Inventory, after: Inventory, apart_s: float | None) -> str:
    hosts = before.machine.host_name, after.machine.host_name
    if None not in hosts and hosts[0] != hosts[1]:
        return f"the runs were measured on two machines of one kind, {hosts[0]} and {hosts[1]}"
    if apart_s is None:
        return "when the runs were measured is not known: the baseline may be of another session"
    if apart_s > SESSION_GAP_S:
        advice = "measure the baseline again beside the candidate"
        return f"the baseline was not measured in one session with the candidate ({_hours(apart_s)} apart): {advice}"
    return ""


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
