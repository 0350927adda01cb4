"""The run itself: cases in, events out, one record a case whatever happens to it. The receiver of the events writes the records down."""

import math
import re
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from hwbench.core.layout import parse_layout
from hwbench.core.record import Case, Measurement, Outcome, Record
from hwbench.core.units import format_bytes, format_seconds
from hwbench.core.value import Value

from . import cases as casework
from . import launch, nodes, protocol, schedule, state
from .events import Advanced, Event, Launching, Recorded, Started
from .interrupt import Interrupt, interruptible
from .largest import footprint_bytes

DEFAULT_TIME_LIMIT_S: Final = 600.0
_STRAGGLERS_S: Final = 5.0
"""How long the other ranks may take to find unavailable what one of them found so."""
_SAMPLING_FRACTION: Final = 0.7
"""Of a case's time limit, in which samples begin: the rest is for building, evaluating, profiling and checking."""
_FAILED_LAUNCHES: Final = 2
_LONGEST_NAME: Final = 120
"""Of a folder; file systems take 255."""


class Options(Value):
    """How a run is to be made."""

    time_budget_s: float | None = None
    """For the whole run; every case gets its share."""
    case_time_s: float | None = None
    """The most a case may take; None is schedule.FREE_SHARE_S without a budget, and no bound with one."""
    time_limit_s: float = DEFAULT_TIME_LIMIT_S
    """A case that takes longer hangs: it fails, and its ranks are replaced."""
    spent_s: float = 0.0
    """What of the budget is used up already."""
    traces: str = ""
    """Folder under which every case gets a folder with its profiler's trace; '' for none."""
    trial: bool = False
    """Cases are only to show whether they run: few calls, no check."""
    train_steps: int = 0
    """Calls of a training step that are made at least, within the time limit."""
    memory_limit_bytes: int | None = None
    """What the memory of each rank may grow by in a case; None for as much as there is."""
    cpus: int
    """Whole CPUs that the run may use: on several nodes those of the one that has the fewest."""


@dataclass(kw_only=True)
class _Course:
    """Where a run is."""

    options: Options
    logs: Path
    interrupt: Interrupt
    total: int
    began_s: float
    left: schedule.Left
    team: nodes.Team | None
    number: int = 0
    failed_launches: int = 0
    """Launches in a row whose ranks did not get as far as importing torch."""

    def now(self) -> schedule.Left:
        """What is left at this moment."""
        if self.options.time_budget_s is None:
            return self.left
        spent_s = self.options.spent_s + time.monotonic() - self.began_s
        return msgspec.structs.replace(self.left, budget_s=self.options.time_budget_s - spent_s)


def execute(cases: tuple[Case, ...], options: Options, logs: Path, team: nodes.Team | None = None) -> Generator[Event, None, None]:
    """Measure the cases in launches of ranks, and yield what happens; every case ends in exactly one Recorded.

    `logs` is the folder for what ranks and torch's launcher print; `team` are the other nodes over which ranks are spread, if any.
    Raises Interrupted after Ctrl-C or SIGTERM, with nothing left running.
    Close the iterator (contextlib.closing) where it may not be exhausted.
    """
    groups = schedule.groups(cases)
    with interruptible() as interrupt:
        course = _Course(
            options=options,
            logs=logs,
            interrupt=interrupt,
            total=len(cases),
            began_s=time.monotonic(),
            left=schedule.Left(cases=len(cases), launches=len(groups), most_s=_most_s(options)),
            team=team,
        )
        for number, group in enumerate(groups):
            course.left = schedule.ahead(groups, number, course.left)
            yield from _group(group, course)


def _most_s(options: Options) -> float:
    if options.case_time_s is not None:
        return options.case_time_s
    return schedule.FREE_SHARE_S if options.time_budget_s is None else math.inf


def _group(group: schedule.Group, course: _Course) -> Iterator[Event]:
    """All cases of a group, in as many launches as failures make necessary."""
    waiting = list(group.cases)
    spread = course.team if group.world_size > 1 else None
    if refusal := casework.too_few_cpus(waiting[0], course.options.cpus, spread.place.nodes if spread else 1):
        refusal += f" (the fewest CPUs are {spread.cpus}, on {spread.fewest})" if spread else ""
        yield from (_over(case, "failed" if spread else "skipped", refusal, course) for case in waiting)
        return
    while waiting:
        if spread and spread.broken:
            yield from (_over(case, "failed", spread.broken, course) for case in waiting)
            return
        if not schedule.affords_launch(course.now()):
            yield from (_skipped(case, _no_time(course), course) for case in waiting)
            return
        left = course.now()
        yield Launching(ranks=group.world_size, cases=len(waiting), left_s=schedule.left_s(left) + left.launch_s)
        yield from _launch(group.world_size, waiting, course)


def _launch(world_size: int, waiting: list[Case], course: _Course) -> Iterator[Event]:
    """One launch: takes cases from `waiting` until none is left or the ranks are lost."""
    log = launch.next_log(course.logs)
    began_s = time.monotonic()
    try:
        spread = course.team if world_size > 1 else None
        elsewhere = nodes.launch_everywhere(spread, world_size) if spread else None
        idle = course.team.links if course.team and not spread else ()
        with launch.launched(world_size, log, course.interrupt, elsewhere=elsewhere, bystanders=idle) as ranks:
            course.left = msgspec.structs.replace(course.left, launch_s=time.monotonic() - began_s)
            course.failed_launches = 0
            while waiting:
                fit = yield from _case(ranks, waiting.pop(0), course)
                if not fit:
                    return
    except launch.RanksFailed as error:  # before any case: once may be chance, twice is how it is
        course.failed_launches += 1
        while waiting and course.failed_launches >= _FAILED_LAUNCHES:
            yield _over(waiting.pop(0), "failed", error.message, course)


def _case(ranks: launch.Ranks, case: Case, course: _Course) -> Generator[Event, None, bool]:
    """One case; returns whether the ranks are fit for another."""
    left = course.now()
    share_s = schedule.share_s(left)
    if share_s is None:
        yield _skipped(case, _no_time(course), course)
        return True
    yield Started(number=course.number + 1, total=course.total, case=case, share_s=share_s, left_s=schedule.left_s(left))
    started_at, began_s, before = _utc_now(), time.monotonic(), state.read()
    try:
        answers = yield from _answers(ranks, _order(case, share_s, course), course)
    except launch.RanksFailed as error:
        yield _over(case, "failed", _with_size(error.message, case), course, started_at, time.monotonic() - began_s)
        return False
    around = state.between(before, state.read())
    duration_s = time.monotonic() - began_s
    record = _record(case, answers, started_at, duration_s)
    warnings = (*record.warnings, *state.warnings_of(around, course.options.cpus))
    yield _recorded(msgspec.structs.replace(record, state=around, warnings=warnings), course, share_s)
    return len(answers) == ranks.world_size


def _with_size(reason: str, case: Case) -> str:
    """A reason that speaks of memory says how much the case takes, where it doesn't say what was asked for."""
    if "out of memory" not in reason or "were asked for" in reason:
        return reason
    return f"{reason}; its tensors take about {format_bytes(footprint_bytes(case))}"


def _order(case: Case, share_s: float, course: _Course) -> protocol.Measure:
    folder = ""
    if course.options.traces:
        name = re.sub(r"[^\w=.-]+", "-", casework.name_of(case)).strip("-")
        folder = str(Path(course.options.traces).resolve() / f"{course.number + 1:03d}-{name}"[:_LONGEST_NAME])
    return protocol.Measure(
        case=case,
        share_s=share_s,
        trace=folder,
        trial=course.options.trial,
        train_steps=course.options.train_steps,
        longest_s=_SAMPLING_FRACTION * course.options.time_limit_s,
        memory_limit_bytes=course.options.memory_limit_bytes,
    )


def _answers(
    ranks: launch.Ranks, order: protocol.Measure, course: _Course
) -> Generator[Event, None, dict[int, protocol.Measured | protocol.Unavailable]]:
    """The ranks' answers to an order, by rank; progress is passed on meanwhile.

    Where one rank finds something unavailable and another does not, the latter waits for it in vain: then answers are missing.
    """
    limit_s = course.options.time_limit_s
    until_s = time.monotonic() + limit_s
    launch.order(ranks, order)
    answers: dict[int, protocol.Measured | protocol.Unavailable] = {}
    last = protocol.Progress(rank=0, phase="starting")
    while len(answers) < ranks.world_size:
        late = f"no answer within the time limit of {format_seconds(limit_s)} (last: {last.phase}, {last.samples} samples)"
        try:
            messages = launch.receive(ranks, until_s, late)
        except launch.RanksFailed:
            if any(isinstance(answer, protocol.Unavailable) for answer in answers.values()):
                return answers
            raise
        for message in messages:
            if isinstance(message, protocol.Progress):
                last = message
            elif isinstance(message, protocol.Measured | protocol.Unavailable):
                answers[message.rank] = message
            if isinstance(message, protocol.Unavailable):
                until_s = min(until_s, time.monotonic() + _STRAGGLERS_S)
        yield Advanced(phase=last.phase, samples=last.samples, left_s=schedule.left_s(course.now()))
    return answers


def _record(case: Case, answers: dict[int, protocol.Measured | protocol.Unavailable], started_at: str, duration_s: float) -> Record:
    """The record of a case to which every rank gave an answer."""
    for answer in answers.values():
        if isinstance(answer, protocol.Unavailable):
            return Record(case=case, outcome="skipped", reason=answer.reason, started_at=started_at, duration_s=duration_s)
    measured = [answer for _, answer in sorted(answers.items()) if isinstance(answer, protocol.Measured)]
    first, check = measured[0], measured[0].check
    wrong = check is not None and not check.passed
    reason = f"correctness check {check.name}: error {check.error:.3g} above {check.tolerance:.3g}" if check and wrong else ""
    return Record(
        case=case,
        outcome="failed" if wrong else "done",
        reason=reason,
        started_at=started_at,
        duration_s=duration_s,
        measurement=_measurement(case, measured),
        warnings=first.warnings,
    )


def _measurement(case: Case, measured: list[protocol.Measured]) -> Measurement:
    """All ranks' samples; work is counted over all ranks: every data-parallel rank does a whole step's work on each of its micro-batches.

    A collective's message counts once, as nccl-tests has it.
    """
    kind, cost, losses = casework.kind_of(case), casework.cost_of(case), measured[0].losses
    layout = parse_layout(case.layout)
    if kind == "training":  # the optimizer's work is done once, however many micro-batches there are
        more = layout.microbatches
        cost = msgspec.structs.replace(cost, items=cost.items * more, accumulation=cost.accumulation * more)
    copies = 1 if kind == "collective" else layout.data_ranks
    return Measurement(
        ranks=tuple(answer.samples for answer in measured),
        items_per_step=cost.items * copies,
        item_unit=cost.item_unit,
        flops_per_step=cost.flops * copies,
        executed_flops_per_step=cost.executed_flops * copies,
        bytes_per_step=cost.bytes * copies,
        parameters=cost.parameters,
        kind=kind,
        check=measured[0].check,
        first_loss=losses[0] if losses else None,
        last_loss=losses[-1] if losses else None,
        losses=losses,
        batches=measured[0].batches,
        evaluation=measured[0].evaluation,
    )


def _no_time(course: _Course) -> str:
    return f"left out: the time budget of {format_seconds(course.options.time_budget_s)} was used up"


def _skipped(case: Case, reason: str, course: _Course) -> Recorded:
    return _over(case, "skipped", reason, course)


def _over(case: Case, outcome: Outcome, reason: str, course: _Course, started_at: str = "", duration_s: float = 0.0) -> Recorded:
    return _recorded(Record(case=case, outcome=outcome, reason=reason, started_at=started_at or _utc_now(), duration_s=duration_s), course)


def _recorded(record: Record, course: _Course, share_s: float | None = None) -> Recorded:
    course.number += 1
    course.left = schedule.after_case(course.left, course.number, record.duration_s, share_s)
    return Recorded(number=course.number, total=course.total, record=record, left_s=schedule.left_s(course.now()))


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
