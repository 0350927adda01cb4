"""A live A/B comparison from start to verdict: rounds of the kernels still open, looks at their times, confirmation in fresh processes."""

import contextlib
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from hwbench.analyse.ab import ALPHA, FEWEST_ROUNDS
from hwbench.analyse.sequential import (
    CHANGES,
    CONFIRM_ALPHA,
    FEWEST_ROUNDS_FOR_CHANGE,
    LOOKS,
    Judgement,
    Look,
    agrees,
    concluded,
    confirmed,
    judged,
    looked,
    paid,
    spent,
)
from hwbench.analyse.sessions import Session
from hwbench.core.ab import AbKernel, AbResult, Clock
from hwbench.core.comparison import Comparison
from hwbench.core.record import MachineState
from hwbench.core.value import Value
from hwbench.run import duel, duel_contest, duel_places, duel_rows, state
from hwbench.run.duel_contest import Contest, Job
from hwbench.run.duel_places import Place
from hwbench.run.duel_refs import Ref
from hwbench.run.duel_rows import Block
from hwbench.run.interrupt import Interrupt, interruptible

CONFIRM_SHARE_FRACTION: Final = 0.35
"""Of a kernel's time, kept for the nurseries that have to confirm a change."""
LEAST_SHARE_FRACTION: Final = 0.5
"""Of a kernel's time, for measuring: only where starting took longer than the rest, on a crowded machine, is the budget overrun."""
CROWDED_FRACTION: Final = 0.5
"""Of the time in which some process waited for a CPU."""
Say = Callable[[str], None]
Tick = Callable[[float, float, str], None]
"""Told after every round: wall seconds so far, the most there may be, and what is going on."""


class Plan(Value):
    """What is to be compared, and how long it may take."""

    base: Ref
    candidate: Ref
    job: Job
    budget_s: float
    """Wall time a kernel, everything included."""
    threshold_fraction: float
    clock: Clock
    session: str = ""
    """Where the samples go; empty for nowhere."""
    time_limit_s: float
    raised: bool = False


@dataclass(kw_only=True)
class Course:
    """One kernel's way to a verdict."""

    contest: Contest
    blocks: list[Block] = field(default_factory=list)
    look: Look | None = None
    over: bool = False
    confirmed: bool | None = None
    comparison: Comparison | None = None
    """What is said in the end."""


@dataclass(kw_only=True)
class Match:
    """A comparison while it runs."""

    plan: Plan
    duel: duel.Duel
    places: tuple[Place, Place]
    say: Say
    tick: Tick
    began_s: float
    dice: random.Random
    courses: list[Course] = field(default_factory=list)
    rounds: int = 0


def compare(plan: Plan, say: Say, tick: Tick) -> tuple[AbResult, tuple[Block, ...]]:
    """Compare two versions live; returns what was found, and every sample.

    `say` is told a line whenever something is decided, `tick` how far it is after each round. A change is confirmed in fresh processes
    before it is called one. Raises UserError, UnavailableError, MeasurementError and Interrupted; nothing is left running, no
    worktree behind.
    """
    began_s, before = time.monotonic(), state.read()
    with _match(plan, say, tick) as match:
        _measure(match)
        for course in match.courses:
            assert course.look is not None
            course.comparison = concluded(course.look)
        _confirm(match, [course for course in match.courses if course.comparison and course.comparison.verdict in CHANGES])
        told = {role: dict(nursery.told) for role, nursery in zip(duel.ROLES, match.duel.nurseries, strict=True)}
        refused = match.duel.refused_priority
        labels = [place.label for place in match.places]
    around = state.between(before, state.read())
    result = AbResult(
        base=labels[0],
        candidate=labels[1],
        clock=plan.clock,
        threshold_fraction=plan.threshold_fraction,
        kernels=tuple(_kernel(course, plan.clock) for course in match.courses),
        duration_s=time.monotonic() - began_s,
        state=around,
        versions={role: {"torch": facts["ready"], "python": facts["python"], "hwbench": facts["hwbench"]} for role, facts in told.items()},
        warnings=_warnings(around, match.courses, refused=refused),
    )
    return result, tuple(block for course in match.courses for block in course.blocks)


@contextlib.contextmanager
def _match(plan: Plan, say: Say, tick: Tick) -> Iterator[Match]:
    """Both versions in place and started. Leaving ends all processes first and removes worktrees then, also after a signal."""
    began_s = time.monotonic()
    tick(0.0, plan.budget_s * len(plan.job.workloads), "starting")
    with contextlib.ExitStack() as stack:
        interrupt: Interrupt = stack.enter_context(interruptible())
        private = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hwbench-ab-", ignore_cleanup_errors=True)))
        base = stack.enter_context(duel_places.placed(plan.base, private / "base"))
        candidate = stack.enter_context(duel_places.placed(plan.candidate, private / "candidate"))
        places = (base, candidate)
        for place in places:
            for name in plan.job.workloads:
                place.workload(name)
        if plan.session:
            duel_rows.create(Path(plan.session))
        of = stack.enter_context(duel.opened(private, interrupt, plan.time_limit_s, raised=plan.raised))
        duel.start(of, places)
        yield Match(plan=plan, duel=of, places=places, say=say, tick=tick, began_s=began_s, dice=random.Random())  # noqa: S311  # an order, not a secret


def _measure(match: Match) -> None:
    """Rounds over all open kernels, in random order, until each is settled or out of the time that confirming leaves."""
    plan, kernels = match.plan, len(match.plan.job.workloads)
    start_s = (time.monotonic() - match.began_s) / kernels
    allowance_s = plan.budget_s * (1 - CONFIRM_SHARE_FRACTION)
    allowance_s = max(allowance_s - start_s, LEAST_SHARE_FRACTION * allowance_s)
    for index in range(kernels):
        contest = duel_contest.begin(match.duel, plan.job, match.places, index, allowance_s)
        _name_apart(contest, match.courses)
        match.courses.append(Course(contest=contest))
    while playing := [course for course in match.courses if not course.over]:
        for course in match.dice.sample(playing, len(playing)):
            _play(match, course)
            _look(match, course)
        match.rounds += 1


def _name_apart(contest: Contest, others: Sequence[Course]) -> None:
    """Two kernels never share a name: rows of one could not be told from the other's."""
    names = {course.contest.name for course in others}
    if contest.name in names:
        contest.name = next(name for n in range(2, len(names) + 2) if (name := f"{contest.name} #{n}") not in names)


def _play(match: Match, course: Course) -> None:
    blocks = duel_contest.play(match.duel, course.contest, match.rounds, match.dice)
    course.blocks += blocks
    most_s = match.plan.budget_s * len(match.plan.job.workloads)
    match.tick(time.monotonic() - match.began_s, most_s, f"{course.contest.name}, round {course.contest.rounds}")
    if match.plan.session:
        duel_rows.append(Path(match.plan.session), blocks)


def _look(match: Match, course: Course) -> None:
    """Judge a kernel where it is time; end it where it is settled or another round would take it past its time."""
    contest = course.contest
    out_of_time = duel_contest.is_out_of_time(contest)
    fraction = 1.0 if out_of_time else contest.spent_s / contest.allowance_s
    early = fraction < LOOKS[course.look.looks if course.look else 0] or contest.rounds < FEWEST_ROUNDS_FOR_CHANGE
    if early and not out_of_time:
        return
    began_s = time.monotonic()
    course.look = looked(judge(course.blocks, match.plan), fraction, course.look)
    looks = {one.contest.name: one.look for one in match.courses if one.look}
    for name, look in paid(looks, len(match.plan.job.workloads)).items():
        next(one for one in match.courses if one.contest.name == name).look = look
    contest.spent_s += time.monotonic() - began_s
    for one in match.courses:
        if one.look and not one.over and (one.look.settled or (one is course and out_of_time)):
            one.over = True
            duel_contest.end(match.duel, one.contest)
            match.say(f"{one.contest.name}: {brief(concluded(one.look))} ({one.contest.rounds} rounds, {one.contest.spent_s:.0f} s)")


def brief(of: Comparison) -> str:
    """A comparison in a few words."""
    if of.ratio is None or of.ratio_low is None or of.ratio_high is None:
        return f"{of.verdict}: {of.note}"
    return f"{of.verdict}, {of.ratio:.3f} ({of.ratio_low:.3f} to {of.ratio_high:.3f})"


def judge(blocks: Sequence[Block], plan: Plan, alpha: float = ALPHA) -> Judgement:
    """One kernel's blocks, compared as `hwbench compare --session` compares them."""
    return judged(session_of(blocks), 0, clock=plan.clock, threshold_fraction=plan.threshold_fraction, alpha=alpha)


def session_of(blocks: Sequence[Block]) -> Session:
    """Blocks as the session that their CSV file holds; at least one."""
    lengths = [len(block.wall_ns) for block in blocks]
    names = tuple(sorted({block.kernel for block in blocks}))

    def each(values: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.repeat(np.asarray(values, dtype=np.int64), lengths)

    return Session(
        round=each([block.round for block in blocks]),
        process=each([block.process for block in blocks]),
        kernel=each([names.index(block.kernel) for block in blocks]),
        kernel_names=names,
        side=each([block.side for block in blocks]),
        block=each([block.pair for block in blocks]),
        call=np.concatenate([np.arange(length) for length in lengths]),
        wall_ns=np.concatenate([np.asarray(block.wall_ns, dtype=np.float64) for block in blocks]),
        cpu_ns=np.concatenate([np.asarray(block.cpu_ns, dtype=np.float64) for block in blocks]),
    )


def _confirm(match: Match, doubtful: Sequence[Course]) -> None:
    """Measure again in processes that share nothing with the ones before, and take back a change that these don't show."""
    if not doubtful:
        return
    began_s = time.monotonic()
    match.say(f"confirming {', '.join(course.contest.name for course in doubtful)} in fresh processes")
    duel.start(match.duel, match.places)
    start_s = (time.monotonic() - began_s) / len(doubtful)
    for course in doubtful:
        assert course.comparison is not None
        share_s = match.plan.budget_s * CONFIRM_SHARE_FRACTION
        fresh = _measured_again(match, course, max(share_s - start_s, LEAST_SHARE_FRACTION * share_s))
        pooled = judge(course.blocks, match.plan).comparison
        course.comparison = confirmed(course.comparison, pooled, fresh)
        course.confirmed = course.comparison.verdict in CHANGES
        match.say(f"{course.contest.name}: {brief(course.comparison)}; {course.comparison.note}")


def _measured_again(match: Match, course: Course, allowance_s: float) -> Comparison:
    """What new processes alone show within so long; looked at as often as the first ones, and paid for. Their blocks join the kernel's."""
    before, already = course.contest, len(course.blocks)
    index = match.courses.index(course)
    contest = duel_contest.begin(match.duel, match.plan.job, match.places, index, allowance_s, before.process + 1)
    contest.name, course.contest, paid_fraction = before.name, contest, 0.0
    for look in LOOKS:
        while contest.rounds < FEWEST_ROUNDS or (contest.spent_s < look * allowance_s and not duel_contest.is_out_of_time(contest)):
            _play(match, course)
            match.rounds += 1
        found = judge(course.blocks[already:], match.plan, CONFIRM_ALPHA * (spent(look) - paid_fraction)).comparison
        paid_fraction = spent(look)
        if course.comparison and agrees(course.comparison, found):
            break
    duel_contest.end(match.duel, contest)
    contest.rounds += before.rounds
    contest.spent_s += before.spent_s
    contest.unsteady += before.unsteady
    return found


def _kernel(course: Course, clock: Clock) -> AbKernel:
    assert course.comparison is not None
    pairs = _pairs(course.blocks, clock)
    calls = sum(len(block.switches) for block in course.blocks)
    return AbKernel(
        comparison=course.comparison,
        rounds=course.contest.rounds,
        processes=course.contest.process + 1,
        looks=course.look.looks if course.look else 0,
        duration_s=course.contest.spent_s,
        confirmed=course.confirmed,
        involuntary_switches_per_call=sum(sum(block.switches) for block in course.blocks) / calls,
        pair_round=tuple(pair[0] for pair in pairs),
        base_s=tuple(pair[1] for pair in pairs),
        candidate_s=tuple(pair[2] for pair in pairs),
    )


def _pairs(blocks: Sequence[Block], clock: Clock) -> list[tuple[int, float, float]]:
    """(round, base, candidate) of every block pair: the fastest warm call of each, in seconds."""
    fastest: dict[tuple[int, int], dict[int, float]] = {}
    for block in blocks:
        times = block.cpu_ns if clock == "cpu" else block.wall_ns
        fastest.setdefault((block.round, block.pair), {})[block.side] = min(times[1:] or times) / 1e9
    return [(number, sides[0], sides[1]) for (number, _), sides in fastest.items()]


def _warnings(around: MachineState, courses: Sequence[Course], *, refused: bool) -> tuple[str, ...]:
    found = list(state.warnings_of(around, state.usable_cpus()))
    if around.cpu_pressure_fraction is not None and around.cpu_pressure_fraction > CROWDED_FRACTION:
        found.append(f"some process waited for a CPU during {100 * around.cpu_pressure_fraction:.0f} % of the time")
        if refused:
            found.append("the system refused the measured processes a higher priority, which would have helped (root or CAP_SYS_NICE)")
    for course in courses:
        processes = 2 * (course.contest.process + 1)
        if 2 * course.contest.unsteady > processes:
            found.append(
                f"{course.contest.name}: {course.contest.unsteady} of {processes} processes came to no steady state in their warm-up"
            )
    return tuple(found)
