"""Two stored runs, case by case, and what stored runs can't tell: they were not interleaved, and a process is one value."""

import difflib
import statistics
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final, Literal, NamedTuple

import msgspec

from hwbench.core.comparability import differences, machine_key
from hwbench.core.comparison import CANT_TELL, CaseComparison, Comparison, RunsComparison, Unmatched
from hwbench.core.errors import UserError, unknown_name
from hwbench.core.moments import moment
from hwbench.core.record import Case, Measurement, Record, Run, fault

from .ab import ALPHA
from .naming import Named, telling_settings
from .stored import STORED_NOTE, STORED_THRESHOLD_FRACTION, compare_process_values

Clock = Literal["cpu", "wall"]
NEAREST_CUTOFF: Final = 0.4
"""Similarity of two names (difflib's ratio) from which one may be the other's new name."""


class _Side(NamedTuple):
    """One run's processes of one case: those that can be used, and why the others can't."""

    case: Case
    measured: list[Measurement]
    lost: list[str]


def compare_runs(
    base: Run,
    candidate: Run,
    *,
    clock: Clock = "cpu",
    threshold_fraction: float = STORED_THRESHOLD_FRACTION,
    across_machines: bool = False,
    renamed: Mapping[str, str] | None = None,
) -> RunsComparison:
    """Every case that both runs measured, and those that only one did.

    `clock` "cpu" takes the thread's CPU time for lone single-threaded ranks on a CPU where both runs know it, wall time elsewhere.
    Verdicts are withheld where the machines are of different kinds, unless `across_machines`. `renamed` gives workloads of `base` the
    name that they have in `candidate`; UserError where `base` has no such workload.
    """
    before, after = _sides(_with_names(base, renamed or {})), _sides(candidate)
    both = [key for key in before if key in after and before[key].measured and after[key].measured]
    same = machine_key(base.header.inventory) == machine_key(candidate.header.inventory)
    names = _names([side.case for side in (*before.values(), *after.values())])
    made = [_case(names[key], before[key], after[key], clock, threshold_fraction) for key in both]
    if not same and not across_machines:
        made = [_withheld(one) for one in made]
    return RunsComparison(
        base=base.header.id,
        candidate=candidate.header.id,
        same_machine=same,
        differences=differences(base.header.inventory, candidate.header.inventory),
        cases=tuple(made),
        only_base=_unmatched(before, after, names, "CANDIDATE"),
        only_candidate=_unmatched(after, before, names, "BASE"),
        notes=tuple(_notes(base, candidate, made)),
    )


def _with_names(run: Run, renamed: Mapping[str, str]) -> Run:
    """The run with its workloads called as `renamed` says."""
    known = {record.case.workload for record in run.records}
    for old in renamed:
        if old not in known:
            raise unknown_name(f"workload in run {run.header.id}:", old, known)
    records = tuple(msgspec.structs.replace(record, case=_called(record.case, renamed)) for record in run.records)
    header = msgspec.structs.replace(run.header, cases=tuple(_called(case, renamed) for case in run.header.cases))
    return msgspec.structs.replace(run, records=records, header=header)


def _called(case: Case, renamed: Mapping[str, str]) -> Case:
    return msgspec.structs.replace(case, workload=renamed[case.workload]) if case.workload in renamed else case


def _sides(run: Run) -> dict[str, _Side]:
    """By case key, in the order of the run: its cases with their records; one without any was not reached."""
    sides: dict[str, _Side] = {}
    for case in (*run.header.cases, *(record.case for record in run.records)):
        sides.setdefault(case.key, _Side(case, [], []))
    for record in run.records:
        side, why = sides[record.case.key], _lost(record)
        if why or record.measurement is None:
            side.lost.append(f"process {record.case.process}: {why}")
        else:
            side.measured.append(record.measurement)
    return sides


def _lost(record: Record) -> str:
    if record.outcome != "done":
        return f"{record.outcome}: {record.reason}" if record.reason else record.outcome
    return fault(record)


def _names(cases: Sequence[Case]) -> dict[str, str]:
    told = telling_settings(Named(case.key, case.workload, case.config | _compiled(case), case.threads) for case in cases)
    return {
        case.key: f"{case.workload}{f' ({told[case.key]})' if told[case.key] else ''} {case.layout} {case.dtype} {case.device}"
        for case in cases
    }


def _compiled(case: Case) -> dict[str, bool]:
    return {"compile": True} if case.compile else {}


def _case(name: str, base: _Side, candidate: _Side, clock: Clock, threshold_fraction: float) -> CaseComparison:
    lone = base.case.threads == 1 and base.case.device.partition(":")[0] == "cpu"
    cpu = [[_cpu_median_s(of) for of in side.measured] for side in (base, candidate)]
    used: Clock = "cpu" if clock == "cpu" and lone and all(value is not None for side in cpu for value in side) else "wall"
    wall = [[statistics.median(of.step_wall_s) for of in side.measured] for side in (base, candidate)]
    first, second = ([value for value in side if value is not None] for side in (cpu if used == "cpu" else wall))
    found = compare_process_values(name, first, second, threshold_fraction=threshold_fraction)
    lost = [f"{word} lost {why}" for word, side in (("BASE", base), ("CANDIDATE", candidate)) for why in side.lost]
    return CaseComparison(
        case=name,
        case_key=base.case.key,
        clock=used,
        base_s=statistics.median(first),
        candidate_s=statistics.median(second),
        base_processes=len(first),
        candidate_processes=len(second),
        comparison=msgspec.structs.replace(found, note="; ".join([*lost, *_own_note(found)])),
    )


def _own_note(found: Comparison) -> list[str]:
    """The comparison's note without what holds for all stored runs, which is said once."""
    own = found.note.removesuffix(STORED_NOTE).removesuffix("; ")
    return [own] if own else []


def _cpu_median_s(of: Measurement) -> float | None:
    """Median CPU time of a call of a lone rank; None where it is not known or its clock stood still."""
    if len(of.ranks) != 1 or not of.ranks[0].cpu_s:
        return None
    value = statistics.median(of.ranks[0].cpu_s) / of.ranks[0].calls_per_sample
    return value if value > 0 else None


def _withheld(of: CaseComparison) -> CaseComparison:
    why = "; ".join(filter(None, ("another machine", of.comparison.note)))
    return msgspec.structs.replace(of, comparison=msgspec.structs.replace(of.comparison, verdict=CANT_TELL, note=why))


def _unmatched(mine: Mapping[str, _Side], theirs: Mapping[str, _Side], names: Mapping[str, str], other: str) -> tuple[Unmatched, ...]:
    """The cases that this side measured and the other did not, with the nearest that only the other has."""
    spare = {key: side for key, side in theirs.items() if side.measured and key not in mine}
    found = []
    for key, side in mine.items():
        if not side.measured or (key in theirs and theirs[key].measured):
            continue
        if key in theirs:
            found.append(Unmatched(case=names[key], why=f"{other}: {theirs[key].lost[0] if theirs[key].lost else 'not reached'}"))
        else:
            found.append(Unmatched(case=names[key], why=f"not among the cases of {other}", nearest=_nearest(side.case, spare, names)))
    return tuple(found)


def _nearest(case: Case, spare: Mapping[str, _Side], names: Mapping[str, str]) -> str:
    """The case among `spare` that may be the same under another name; those alike but for the workload's name come first."""
    twins = {key: side for key, side in spare.items() if _called(side.case, {side.case.workload: case.workload}).key == case.key}
    close = difflib.get_close_matches(case.key, list(twins or spare), n=1, cutoff=0.0 if twins else NEAREST_CUTOFF)
    return names[close[0]] if close else ""


def _notes(base: Run, candidate: Run, made: Sequence[CaseComparison]) -> list[str]:
    """What holds for the comparison as a whole, the weightiest first."""
    notes = []
    old, new = base.header, candidate.header
    if old.id == new.id:
        raise UserError(f"run {old.id} is given twice", hint="give two runs: hwbench compare BASE CANDIDATE")
    if machine_key(old.inventory) != machine_key(new.inventory):
        notes.append("the machines are of different kinds: a ratio tells of the machines, not of the code")
    if any(one.comparison.ratio is not None for one in made):
        notes.append(STORED_NOTE)
    judged = sum(one.comparison.ratio_low is not None for one in made)
    if judged > 1:
        notes.append(f"{judged} cases judged one by one: {judged * ALPHA:.2g} of them are expected to be called by chance alone")
    if old.commit and old.commit == new.commit and not old.commit.endswith("+"):
        notes.append(f"both runs are of commit {old.commit}: what differs is not the code of that checkout")
    if _before(new.started_at, old.started_at):
        notes.append("CANDIDATE began before BASE: given the wrong way round, or a clock was set back")
    notes += [_set_back(run) for run in (base, candidate) if any(_before(r.started_at, run.header.started_at) for r in run.records)]
    notes += [problem for run in (base, candidate) for problem in run.problems]
    return notes


def _before(first: str, second: str) -> bool:
    """Whether one stored time is more than a second before another; False where one of them is none."""
    times = moment(first), moment(second)
    return times[0] is not None and times[1] is not None and times[0] < times[1] - timedelta(seconds=1)


def _set_back(run: Run) -> str:
    return f"run {run.header.id}: a record says that it began before the run did: a clock went backwards, so don't rely on its order"
