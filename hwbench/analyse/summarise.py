"""Runs to a Summary: rows, roofs, scaling, what was not measured and why, and what speaks against the figures."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from hwbench.core.ceilings import Ceilings
from hwbench.core.comparability import comparison_facts
from hwbench.core.inventory import Inventory
from hwbench.core.prediction import SizingAnswer
from hwbench.core.profile import ClusterProfile
from hwbench.core.record import Case, Record, Run, Samples, fault
from hwbench.core.summary import FactByNode, FactByRun, NotMeasured, RunFacts, Summary, Throughput, Verified
from hwbench.core.workload import Workload

from .ceiling_words import sentences as ceiling_sentences
from .ceilings import ceilings as measured_ceilings
from .configurations import configurations
from .findings import findings
from .fleet import fleet, sentences
from .roofline import judged, roofs
from .scaling import curves, scaling, with_scaling_gaps
from .sweeps import sweeps
from .throughput import case_name, labelled, reading_order, rows

LONGEST_FACT: Final = 120


def summarise(
    runs: Sequence[Run],
    *,
    made_at: str,
    hwbench_version: str,
    workloads: Mapping[str, Workload] | None = None,
    sizing: SizingAnswer | None = None,
    verified: Sequence[Verified] = (),
    profiles: Mapping[str, ClusterProfile] | None = None,
) -> Summary:
    """Everything a report of these runs shows; the first run is the one whose machine is described.

    `made_at` is UTC, ISO 8601. `workloads` maps names to what is installed here, for kinds and defaults; a missing one is judged by
    its records. `profiles` maps ids of runs to their cluster profiles, for prices. No run, or runs without one usable record, make a
    Summary that says so.
    """
    known = workloads or {}
    measured = labelled([row for run in runs for row in rows(run.records, run=run.header.id, workloads=known)])
    ceilings = roofs(measured)
    judged_rows = tuple(sorted(with_scaling_gaps(judged(measured, ceilings)), key=reading_order))
    facts = tuple(_facts(run) for run in runs)
    scaled, differing = scaling(judged_rows), _differences(runs)
    lost = tuple(one for run in runs for one in _not_measured(run, known))
    hosts, nodes = fleet(runs, known), tuple(fact for run in runs for fact in _node_differences(run))
    curves_of = tuple(found for found in map(measured_ceilings, runs) if _any_ceiling(found))
    return Summary(
        title=_title(runs),
        made_at=made_at,
        hwbench_version=hwbench_version,
        findings=(*findings(judged_rows, ceilings, scaled, sizing, verified), *_ceiling_sentences(curves_of)),
        runs=facts,
        inventory=runs[0].header.inventory if runs else None,
        versions=runs[0].header.versions if runs else {},
        differences=differing,
        throughput=judged_rows,
        roofs=ceilings,
        scaling=scaled,
        not_measured=lost,
        verified=tuple(verified),
        ceilings=curves_of,
        sweeps=sweeps(runs, judged_rows, known),
        curves=curves(scaled),
        sizing=sizing,
        warnings=(*(sentences(hosts) if hosts else ()), *_warnings(runs, judged_rows), *_uneven(nodes)),
        measured_fraction=_measured_fraction(facts),
        configurations=configurations(runs, judged_rows, lost, differing, scaled, profiles) if len(runs) > 1 else None,
        fleet=hosts,
        nodes=nodes,
    )


def _any_ceiling(found: Ceilings) -> bool:
    return any((found.streams, found.latencies, found.products, found.exchanges, found.transfers, found.disks))


def _ceiling_sentences(found: Sequence[Ceilings]) -> Iterator[str]:
    """What runs of the ceilings say; of other suites' few products the roofs tell already."""
    for of in found:
        if of.streams or of.latencies or of.exchanges:
            yield from (f"{f'Run {of.run}: ' if len(found) > 1 else ''}{said}" for said in ceiling_sentences(of))


def _title(runs: Sequence[Run]) -> str:
    if not runs:
        return "hwbench: no runs"
    machines = dict.fromkeys(_machine(run) for run in runs)
    days = dict.fromkeys(run.header.started_at[:10] for run in runs)
    return f"{', '.join(machines)}, {', '.join(days)}"


def _machine(run: Run) -> str:
    """The host's name and what it is, as far as known: 'node7 (PowerEdge R750)'."""
    machine = run.header.inventory.machine
    hosts = dict.fromkeys(rank.host for r in run.records if r.measurement for rank in r.measurement.ranks)
    name = machine.host_name or " and ".join(hosts) or "unnamed machine"
    return f"{name} ({machine.product_name})" if machine.product_name else name


def _facts(run: Run) -> RunFacts:
    header, outcomes = run.header, [record.outcome for record in _latest(run.records)]
    wall_s, fraction = _wall(run)
    return RunFacts(
        id=header.id,
        started_at=header.started_at,
        command=" ".join(header.command),
        suite=header.suite,
        commit=header.commit,
        hwbench_version=header.hwbench_version,
        finished=run.finished,
        done=outcomes.count("done"),
        failed=outcomes.count("failed"),
        skipped=outcomes.count("skipped"),
        wall_s=wall_s,
        measured_fraction=fraction,
    )


def _latest(records: Sequence[Record]) -> list[Record]:
    """One record for each repetition of each case: a done one if there is one, else the last."""
    latest: dict[tuple[str, int], Record] = {}
    for record in records:
        place = (record.case.key, record.case.process)
        if place not in latest or record.outcome == "done" or latest[place].outcome != "done":
            latest[place] = record
    return list(latest.values())


def _wall(run: Run) -> tuple[float | None, float | None]:
    """Wall time from the run's start to its last record's end, and the share of it between a case's first warm-up call and last sample.

    Of a step on several ranks the slowest rank's counts. None where there are no records, or their times can't be read.
    """
    start, ends = _seconds(run.header.started_at), [_end(record) for record in run.records]
    known = [end for end in ends if end is not None]
    if start is None or not known or max(known) <= start:
        return None, None
    wall_s = max(known) - start
    return wall_s, min(1.0, sum(_called_s(record) for record in run.records) / wall_s)


def _called_s(record: Record) -> float:
    return max((_rank_s(rank) for rank in (record.measurement.ranks if record.measurement else ())), default=0.0)


def _rank_s(rank: Samples) -> float:
    """Seconds from the first warm-up call to the last sample; of records that don't tell, those in calls of the step alone.

    There, after the first three, a warm-up time is the mean of as many calls as a sample has.
    """
    if rank.span_s is not None:
        return rank.span_s
    return sum(rank.warmup_wall_s[:3]) + rank.calls_per_sample * sum(rank.warmup_wall_s[3:]) + sum(rank.wall_s)


def _end(record: Record) -> float | None:
    start = _seconds(record.started_at)
    return None if start is None else start + record.duration_s


def _seconds(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _measured_fraction(facts: Sequence[RunFacts]) -> float | None:
    known = [(run.wall_s, run.measured_fraction) for run in facts if run.wall_s is not None and run.measured_fraction is not None]
    total_s = sum(wall_s for wall_s, _ in known)
    return sum(wall_s * fraction for wall_s, fraction in known) / total_s if total_s else None


def _not_measured(run: Run, workloads: Mapping[str, Workload]) -> list[NotMeasured]:
    """Failed and skipped cases, done ones that hold nothing usable, and planned ones without a record; equal reasons once."""
    latest = _latest(run.records)
    lost: list[tuple[Case, str, str]] = [
        (record.case, record.outcome, record.reason or "no reason was recorded") for record in latest if record.outcome != "done"
    ]
    lost += [(record.case, "failed", fault(record)) for record in latest if record.outcome == "done" and fault(record)]
    seen = {(record.case.key, record.case.process) for record in latest}
    lost += [(case, "not reached", _why_not_reached(run)) for case in run.header.cases if (case.key, case.process) not in seen]
    grouped: dict[tuple[str, str, str], list[int]] = {}
    for case, outcome, reason in lost:
        grouped.setdefault((case_name(case, workloads.get(case.workload)), outcome, reason), []).append(case.process)
    repeated = max((case.process for case in run.header.cases), default=0) > 0
    return [
        NotMeasured(run=run.header.id, case=f"{name}{_processes(which) if repeated else ''}", outcome=outcome, reason=reason)
        for (name, outcome, reason), which in grouped.items()
    ]


def _processes(which: Sequence[int]) -> str:
    listed = ", ".join(str(process + 1) for process in sorted(set(which)))
    return f", process {listed}" if len(set(which)) == 1 else f", processes {listed}"


def _why_not_reached(run: Run) -> str:
    return "the time budget ended before it" if run.finished else "the run ended before it; hwbench run --resume continues"


def _warnings(runs: Sequence[Run], measured: Sequence[Throughput]) -> list[str]:
    """What holds for the whole report; what speaks against one row stands in that row."""
    several = len(runs) > 1
    said: list[str] = []
    if not measured:
        said.append("nothing was measured: no record of these runs holds a usable measurement")
    noisy = sum(row.noisy for row in measured)
    if noisy:
        said.append(f"{noisy} of {len(measured)} cases are noisy: their interval is more than 10 % of the median wide; they are marked")
    above = sum(row.roof_fraction is not None and row.roof_fraction > 1 for row in measured)
    if above:
        said.append(
            f"{above} of {len(measured)} cases are above their measured roof, which can't be: don't quote these figures; see their notes"
        )
    single = sum(row.processes == 1 for row in measured)
    if single:
        said.append(f"{single} of {len(measured)} cases ran in one process only: no interval for them; --processes 3 or more gives one")
    said.extend(_thread_note(measured))
    said.extend(_disturbed(measured))
    for run in runs:
        name = f"run {run.header.id}: " if several else ""
        left_out = sum(record.outcome == "skipped" for record in run.records)
        if left_out:
            said.append(
                f"{name}{left_out} of {len(run.header.cases)} measurements were left out; the reasons stand under what was not measured"
            )
        said.extend(f"{name}unreadable record left out: {problem}" for problem in run.problems)
        if not run.finished:
            said.append(f"{name}the run did not finish; hwbench run --resume continues it")
    return said


def _disturbed(measured: Sequence[Throughput]) -> list[str]:
    """How many cases carry warnings of their own, with the first of them: what stands folded beside the rows must not be missed."""
    warned = [row for row in measured if row.warnings]
    if not warned:
        return []
    first = warned[0]
    return [
        f"{len(warned)} of {len(measured)} cases carry warnings of their own, such as {first.workload} {first.label}: {first.warnings[0]}"
    ]


def _thread_note(measured: Sequence[Throughput]) -> list[str]:
    on_cpu = [row for row in measured if row.device.partition(":")[0] == "cpu"]
    if not on_cpu or any(row.threads != 1 for row in on_cpu):
        return []
    return ["every rank computes with one thread, so that layouts are comparable: single uses one core, and not the whole CPU"]


def _differences(runs: Sequence[Run]) -> tuple[FactByRun, ...]:
    """The stable facts of machine and software in which the runs differ, as short text; what a run lacks is empty."""
    flat = [_stable(run.header.inventory, run.header.versions) for run in runs]
    return tuple(FactByRun(fact=name, values=values) for name, values in _differing(flat))


def _node_differences(run: Run) -> Iterator[FactByNode]:
    """The stable facts in which the nodes of one run differ."""
    names = tuple(f"{node.header.node} ({node.header.host})" for node in run.nodes)
    for fact, values in _differing([_stable(node.header.inventory, node.header.versions) for node in run.nodes]):
        yield FactByNode(run=run.header.id, nodes=names, fact=fact, values=values)


def _uneven(facts: Sequence[FactByNode]) -> list[str]:
    """That the nodes of a run are not alike, with the first facts: a step is as slow as its slowest node."""
    by_run: dict[str, list[FactByNode]] = {}
    for fact in facts:
        by_run.setdefault(fact.run, []).append(fact)
    return [
        f"the nodes of run {run} differ in {', '.join(one.fact for one in found[:3])}{_more(found[3:])}" for run, found in by_run.items()
    ]


def _more(left: Sequence[object]) -> str:
    return f" and {len(left)} more facts" if left else ""


def _stable(inventory: Inventory, versions: Mapping[str, str]) -> dict[str, str]:
    return _flat(comparison_facts(inventory)) | {f"versions.{name}": version for name, version in versions.items()}


def _differing(flat: Sequence[Mapping[str, str]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Facts that are not the same everywhere, with their values; what is lacking is empty."""
    for name in dict.fromkeys(name for facts in flat for name in facts):
        values = tuple(facts.get(name, "") for facts in flat)
        if len(set(values)) > 1:
            yield name, values


def _flat(facts: Mapping[str, Any]) -> dict[str, str]:
    return {name: _short(value) for name, value in facts.items() if value is not None}


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= LONGEST_FACT else f"{text[: LONGEST_FACT - 1]}…"
