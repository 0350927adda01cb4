"""Which cases share a launch of ranks, and how a run's time is divided among what is left of it. Pure."""

import itertools
import random
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from hwbench.core.layout import parse_layout
from hwbench.core.record import Case
from hwbench.core.value import Value

FREE_SHARE_S: Final = 10.0
"""Time a case may take where the run has no time budget."""
SMALLEST_SHARE_S: Final = 0.5
"""Below this a case is left out rather than measured badly."""
FIRST_LAUNCH_S: Final = 6.0
"""What a launch of ranks is taken to cost before one was seen: twice `import torch`."""
_REMEMBERED: Final = 10
"""Cases over which the overrun is averaged, roughly."""


class Group(Value):
    """Cases that the same ranks measure one after the other."""

    process: int
    world_size: int
    device: str
    cases: tuple[Case, ...]


class Left(Value):
    """What is still to do, and what the run knows of time. Times in seconds; `budget_s` None is no limit."""

    cases: int
    launches: int
    repeated: int = 0
    """Of these, how many belong to later process repetitions, which are the first to be left out."""
    wider: int = 0
    """Of the others, how many have more ranks than the launch that `launch_s` was seen at: ranks import torch at once, and meet."""
    later: int = 0
    """Cases of the others."""
    launch_s: float = FIRST_LAUNCH_S
    case_s: float | None = None
    """What a case took on average so far, None before the first."""
    overrun_s: float = 0.0
    """By how much cases have on average outlasted their share so far: building and checking come on top of it."""
    most_s: float = FREE_SHARE_S
    """The longest share, whatever the budget."""
    budget_s: float | None = None
    """Time left of the budget."""


def groups(cases: Iterable[Case]) -> tuple[Group, ...]:
    """Cases by launch: every process repetition goes through all cases before the next, so that repetitions lie far apart in time."""

    def launch(case: Case) -> tuple[int, int, str]:
        return case.process, parse_layout(case.layout).world_size, case.device

    ordered = sorted(cases, key=launch)
    return tuple(
        Group(process=process, world_size=world_size, device=device, cases=tuple(members))
        for (process, world_size, device), members in itertools.groupby(ordered, key=launch)
    )


def shuffled(cases: Iterable[Case], seed: str) -> tuple[Case, ...]:
    """The cases in the order in which they are measured: launch by launch, and at random within one, each time the same for a seed.

    What comes before a case (a hot processor, a grown heap) then differs from process to process and is not mistaken for the case's own.
    One case of every workload comes before all others: where time runs out, no workload is left out as a whole.
    """
    order: list[Case] = []
    for group in groups(cases):
        members = list(group.cases)
        random.Random(f"{seed} {group.process} {group.world_size} {group.device}").shuffle(members)  # noqa: S311  # no secret
        order += _one_of_each_first(members)
    return tuple(order)


def _one_of_each_first(cases: Iterable[Case]) -> list[Case]:
    first: dict[str, Case] = {}
    others = [case for case in cases if first.setdefault(case.workload, case) is not case]
    return [*first.values(), *others]


def ahead(all_groups: Sequence[Group], number: int, left: Left) -> Left:
    """What is left when the `number`-th group (from 0) begins: the launches behind it, those of its own repetition apart."""
    here, behind = all_groups[number], all_groups[number + 1 :]
    own = [group for group in behind if group.process == here.process]
    return msgspec.structs.replace(
        left,
        launches=len(behind),
        repeated=len(behind) - len(own),
        wider=sum(group.world_size > here.world_size for group in own),
        later=sum(len(group.cases) for group in own),
    )


def missing(cases: Sequence[Case], settled: Iterable[tuple[str, int]]) -> tuple[Case, ...]:
    """The cases whose (key, process) is not among the settled ones."""
    known = set(settled)
    return tuple(case for case in cases if (case.key, case.process) not in known)


def share_s(left: Left) -> float | None:
    """Seconds the next case may take: an equal part of what the launches to come leave; None where too little is left for it.

    Too little, too, is what this repetition's launches to come need for the smallest shares of their cases, doubled, since steps of more
    ranks take longer: some of many cases of this launch are missed less than all of another.
    """
    if left.budget_s is None:
        return left.most_s
    needed_s = _launches_s(left) - left.repeated * left.launch_s + left.later * 2 * SMALLEST_SHARE_S
    if left.budget_s - needed_s < SMALLEST_SHARE_S:
        return None
    equal_s = (left.budget_s - _launches_s(left)) / max(left.cases, 1)
    return min(max(SMALLEST_SHARE_S, equal_s - left.overrun_s), left.most_s)


def _launches_s(left: Left) -> float:
    """What the launches to come take: those of more ranks twice as long (3.6 s and 7 s for one and two ranks on two busy cores)."""
    return (left.launches + left.wider) * left.launch_s


def affords_launch(left: Left) -> bool:
    """Whether the budget has room for one more launch and a case in it."""
    return left.budget_s is None or left.budget_s >= left.launch_s + SMALLEST_SHARE_S


def left_s(left: Left) -> float:
    """An estimate of the seconds until the run is over: no more than the budget, less where cases end early."""
    each_s = share_s(left) or 0.0
    if left.case_s is not None:
        each_s = min(each_s + left.overrun_s, left.case_s)
    estimate_s = _launches_s(left) + left.cases * each_s
    return estimate_s if left.budget_s is None else max(0.0, min(estimate_s, left.budget_s))


def after_case(left: Left, done: int, duration_s: float, share: float | None) -> Left:
    """What is left after the `done`-th case; it took `duration_s`, and was to take `share` if it was measured."""
    before_s = left.case_s or 0.0
    overrun_s = left.overrun_s
    if share is not None:
        overrun_s = max(0.0, overrun_s + (duration_s - share - overrun_s) / min(done, _REMEMBERED))
    return msgspec.structs.replace(left, cases=left.cases - 1, case_s=before_s + (duration_s - before_s) / done, overrun_s=overrun_s)
