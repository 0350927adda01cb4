"""Launches and shares of time."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from hwbench.core.record import Case
from hwbench.run import schedule

CASES = [
    Case(workload="w", config={"n": n}, layout=layout, process=process)
    for process in range(2)
    for n in range(3)
    for layout in ("single", "dp=2", "tp=2")
]

seconds = st.floats(0.0, 1e4)
left = st.builds(
    schedule.Left,
    cases=st.integers(1, 100),
    launches=st.integers(0, 20),
    wider=st.integers(0, 20),
    later=st.integers(0, 100),
    launch_s=seconds,
    case_s=st.none() | seconds,
    overrun_s=seconds,
    most_s=st.floats(schedule.SMALLEST_SHARE_S, 100.0),
    budget_s=st.none() | st.floats(-100.0, 1e4),
)


def test_cases_of_one_world_size_share_a_launch_in_every_process() -> None:
    found = schedule.groups(CASES)
    assert [(group.process, group.world_size, len(group.cases)) for group in found] == [(0, 1, 3), (0, 2, 6), (1, 1, 3), (1, 2, 6)]


@settings(deadline=None)
@given(st.permutations(CASES), st.text(max_size=20))
def test_shuffling_keeps_every_case_in_its_launch_and_is_the_same_for_a_seed(cases: list[Case], seed: str) -> None:
    ordered = schedule.shuffled(cases, seed)
    assert sorted(map(repr, ordered)) == sorted(map(repr, cases))
    launches = [[(case.process, case.layout != "single") for case in group.cases] for group in schedule.groups(ordered)]
    assert [len(set(launch)) for launch in launches] == [1] * 4
    assert schedule.groups(ordered) == schedule.groups(tuple(ordered))  # grouping again leaves the order alone
    assert schedule.shuffled(cases, seed) == ordered


def test_processes_go_through_their_cases_in_different_orders() -> None:
    cases = [Case(workload="w", config={"n": n}, process=process) for process in range(2) for n in range(20)]
    first, second = ([case.config["n"] for case in group.cases] for group in schedule.groups(schedule.shuffled(cases, "20261120-093000")))
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second


def test_only_what_is_not_settled_is_missing() -> None:
    settled = [(case.key, case.process) for case in CASES[:5]]
    assert schedule.missing(CASES, settled) == tuple(CASES[5:])


def test_without_a_budget_every_case_gets_the_same() -> None:
    assert schedule.share_s(schedule.Left(cases=100, launches=3)) == schedule.FREE_SHARE_S


def test_the_budget_is_divided_after_launches_and_overruns() -> None:
    assert schedule.share_s(schedule.Left(cases=10, launches=2, launch_s=5, budget_s=60)) == 5
    assert schedule.share_s(schedule.Left(cases=10, launches=2, launch_s=5, overrun_s=1, budget_s=60)) == 4
    assert schedule.share_s(schedule.Left(cases=10, launches=2, wider=1, launch_s=5, budget_s=60)) == 4.5
    assert schedule.share_s(schedule.Left(cases=10, launches=2, launch_s=5, budget_s=0.1)) is None
    assert schedule.affords_launch(schedule.Left(cases=1, launches=0, launch_s=5, budget_s=6))
    assert not schedule.affords_launch(schedule.Left(cases=1, launches=0, launch_s=5, budget_s=5))


def test_cases_of_the_first_launch_are_left_out_before_another_launch_is() -> None:
    left = schedule.Left(cases=12, launches=1, wider=1, later=6, launch_s=3.5, overrun_s=0.2, budget_s=13.6)
    assert schedule.share_s(left) == 0.5
    assert schedule.share_s(msgspec.structs.replace(left, budget_s=13.4)) is None
    assert schedule.share_s(msgspec.structs.replace(left, budget_s=13.4, launches=0, wider=0, later=0)) is not None


def test_later_repetitions_are_left_out_before_cases_of_this_one() -> None:
    found = schedule.groups(CASES)
    first = schedule.ahead(found, 0, schedule.Left(cases=len(CASES), launches=4, launch_s=5))
    assert (first.launches, first.repeated, first.wider, first.later) == (3, 2, 1, 6)
    assert schedule.share_s(msgspec.structs.replace(first, budget_s=17)) == schedule.SMALLEST_SHARE_S
    assert schedule.share_s(msgspec.structs.replace(first, budget_s=16)) is None
    last = schedule.ahead(found, 3, first)
    assert (last.launches, last.repeated, last.wider, last.later) == (0, 0, 0, 0)


@given(left)
def test_shares_are_never_too_small_to_measure_nor_more_than_there_is(what: schedule.Left) -> None:
    share = schedule.share_s(what)
    if share is not None:
        assert share >= schedule.SMALLEST_SHARE_S
        assert what.budget_s is None or share <= what.budget_s


@given(left)
def test_time_left_is_never_negative_nor_beyond_the_budget(what: schedule.Left) -> None:
    estimate = schedule.left_s(what)
    assert estimate >= 0
    assert what.budget_s is None or estimate <= max(0.0, what.budget_s)


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0.5, 50)), min_size=1, max_size=30))
def test_averages_over_cases(durations: list[tuple[float, float]]) -> None:
    now = schedule.Left(cases=len(durations), launches=0)
    for done, (duration_s, share) in enumerate(durations, start=1):
        now = schedule.after_case(now, done, duration_s, share)
    assert now.cases == 0
    assert now.case_s is not None
    assert abs(now.case_s - sum(d for d, _ in durations) / len(durations)) < 1e-6
    assert 0 <= now.overrun_s <= max(max(0.0, d - s) for d, s in durations) + 1e-9


def test_one_case_of_every_workload_comes_before_all_others() -> None:
    cases = [Case(workload=name, config={"n": n}) for name in "abc" for n in range(4)]
    for seed in ("x", "y", "z"):
        order = schedule.shuffled(cases, seed)
        assert {case.workload for case in order[:3]} == {"a", "b", "c"}
        assert sorted(case.key for case in order) == sorted(case.key for case in cases)
