"""Series of stored runs: changes, what else changed there, acknowledgements, odd clocks."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwbench.analyse.history import NOTHING_RECORDED, floor_s, series_of
from hwbench.analyse.naming import Named, telling_settings
from hwbench.core.comparability import Difference
from hwbench.core.history import Acknowledgement, HistorySeries, Measured

START = datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)
DICE = random.Random(3)


def point(number: int, value: float = 1.0, **other: Any) -> Measured:
    noisy = tuple(value * DICE.lognormvariate(0, 0.004) for _ in range(4))
    fields: dict[str, Any] = {
        "run": f"run{number:03}", "run_started_at": START + timedelta(days=number), "commit": f"c{number:03}", "torch": "2.12.0",
        "host": "node1", "machine": "CPU", "machine_key": "m", "comparison_key": "k", "workload": "gpt", "config": '{"size":1}',
        "case_key": "gpt(size=1)", "layout": "single", "dtype": "fp32", "device": "cpu", "threads": 1, "ranks": 1, "floors_s": noisy,
        "cpu_floors_s": noisy,
    }  # fmt: skip
    return Measured(**(fields | other))


def step(count: int = 60, at: int = 30, size: float = 1.1, **after: Any) -> list[Measured]:
    return [point(n, size if n >= at else 1.0, **(after if n >= at else {})) for n in range(count)]


def one(measured: list[Measured], **other: Any) -> HistorySeries:
    (series,) = series_of(measured, facts=other.pop("facts", lambda before, after: ()), **other)
    return series


def test_a_change_names_its_runs_and_what_changed_there() -> None:
    asked: list[tuple[str, str]] = []

    def facts(before: str, after: str) -> tuple[Difference, ...]:
        asked.append((before, after))
        changed = (("software.kernel_release", "6.1", "6.2"), ("software.torch", "2.12.0", "2.13.0"), ("tuning.turbo", None, True))
        return tuple(Difference(path=path, before=old, after=new) for path, old, new in changed)

    series = one(step(torch="2.13.0", comparison_key="other", host="node2"), facts=facts)
    (change,) = series.changes
    assert change.found.ratio == pytest.approx(1.1, rel=0.01)
    assert change.first_run == "run030"
    assert (change.last_run_before, change.surely_after) == asked[0]
    assert change.explanation[1:] == (
        "torch 2.12.0 → 2.13.0", "host node1 → node2", "software.kernel_release 6.1 → 6.2", "tuning.turbo not seen → true",
    )  # fmt: skip
    assert change.explanation[0].startswith("commit c02")


def test_where_nothing_recorded_changed_that_is_said_and_facts_are_not_asked_for() -> None:
    def facts(before: str, after: str) -> tuple[Difference, ...]:
        raise AssertionError

    same = [msgspec.structs.replace(p, commit="c") for p in step()]
    assert one(same, facts=facts).changes[0].explanation == (NOTHING_RECORDED,)


def test_slower_then_recovered_stays_listed() -> None:
    series = one([point(n, 1.1 if 20 <= n < 40 else 1.0) for n in range(60)])
    assert [(round(c.found.ratio, 1), c.found.recovered) for c in series.changes] == [(1.1, True), (0.9, False)]


def test_a_young_change_is_a_suspect() -> None:
    changes = one(step(count=33, at=30, size=1.3)).changes
    assert [c.found.suspect for c in changes] == [True]


def said(of: HistorySeries, run: str, note: str = "known", *, slower: bool = True) -> Acknowledgement:
    return Acknowledgement(at="2026", change="x", case_key=of.case_key, machine_key=of.machine_key, run=run, slower=slower, note=note)


def test_an_acknowledgement_holds_when_the_place_moves_a_little_and_the_last_word_counts() -> None:
    measured = step()
    plain = one(measured)
    for run in ("run028", "run030", "run032"):
        assert one(measured, acknowledged=[said(plain, run, "old"), said(plain, run)]).changes[0].acknowledged == "known"
    for wrong in (said(plain, "run010"), said(plain, "run030", slower=False)):
        assert one(measured, acknowledged=[wrong]).changes[0].acknowledged is None
    elsewhere = msgspec.structs.replace(said(plain, "run030"), machine_key="other")
    assert one(measured, acknowledged=[elsewhere]).changes[0].acknowledged is None


def test_the_id_of_a_change_stays_as_runs_are_added() -> None:
    measured = step(count=80)
    assert one(measured[:60]).changes[0].id == one(measured).changes[0].id


def test_machines_and_cases_are_apart_and_what_is_news_comes_first() -> None:
    quiet = [point(n, machine_key="a") for n in range(60)]
    other_case = [point(n, workload="lstm", case_key="lstm()", config="{}") for n in range(60)]
    found = series_of([*quiet, *other_case, *step()], facts=lambda before, after: ())
    assert [(s.workload, s.machine_key, len(s.changes)) for s in found] == [("gpt", "m", 1), ("gpt", "a", 0), ("lstm", "m", 0)]
    assert len({s.id for s in found}) == 3


def test_a_compiled_case_is_told_from_the_plain_one() -> None:
    compiled = [point(n, case_key="gpt(size=1) compiled") for n in range(5)]
    found = series_of([*[point(n) for n in range(5)], *compiled], facts=lambda before, after: ())
    assert sorted(one.settings for one in found) == ["", "compile=True"]


def test_the_clock_is_cpu_only_where_every_run_knows_it() -> None:
    assert one(step()).clock == "cpu"
    assert one([*step(), point(60, cpu_floors_s=(None, 1.0, 1.0, 1.0))]).clock == "wall"
    assert one([point(n, ranks=2) for n in range(3)]).clock == "wall"
    assert one([point(n, device="cuda:0") for n in range(3)]).clock == "wall"
    assert one([point(n, threads=2) for n in range(3)]).clock == "wall"


def test_odd_clocks_and_lone_processes_are_noted() -> None:
    odd = [point(0, run_started_at=None), point(1, clock_backwards=True), point(2, floors_s=(1.0,), cpu_floors_s=(1.0,))]
    notes = " ".join(one(odd).notes)
    assert "the clock went backwards during run run001" in notes
    assert "no time of day in run run000" in notes
    assert "1 of 3 runs measured it in one process" in notes
    assert one([point(n) for n in range(3)]).notes == ()


def test_one_run_is_a_series_without_changes() -> None:
    assert one([point(0)]).changes == ()


@settings(deadline=None)
@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=30))
def test_the_floor_lies_between_the_smallest_value_and_the_median(values: list[float]) -> None:
    ordered = sorted(values)
    assert ordered[0] * (1 - 1e-12) <= floor_s(values) <= ordered[(len(values) - 1) // 2] * (1 + 1e-12)


def test_settings_tell_only_what_differs() -> None:
    cases = [Named("a", "w", {"size": 1, "x": 2}, 1), Named("b", "w", {"size": 3, "x": 2}, 4), Named("c", "v", {"size": 1}, 1)]
    assert telling_settings(cases) == {"a": "size=1, threads=1", "b": "size=3, threads=4", "c": ""}
