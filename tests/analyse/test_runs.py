"""Two stored runs: verdicts, and everything that speaks against them."""

from typing import Any

import msgspec
import pytest

from hwbench.analyse.runs import compare_runs
from hwbench.core.comparison import RunsComparison
from hwbench.core.errors import UserError
from hwbench.core.record import Record, Run
from tests.made_runs import SHAPES, failed, measurement, record, run


def of(*names: str, slower: float = 1.0, processes: int = 6, id: str = "a", **case: Any) -> Run:
    records = [
        record(name, process=process, slower=slower * (1 + 0.002 * process), **case) for process in range(processes) for name in names
    ]
    return run(tuple(records), id=id)


def with_machine(of_run: Run, **cpu: Any) -> Run:
    inventory = msgspec.structs.replace(of_run.header.inventory, cpu=msgspec.structs.replace(of_run.header.inventory.cpu, **cpu))
    return msgspec.structs.replace(of_run, header=msgspec.structs.replace(of_run.header, inventory=inventory))


def verdicts(found: RunsComparison) -> list[str]:
    return [one.comparison.verdict for one in found.cases]


@pytest.mark.parametrize(("slower", "verdict"), [(1.2, "slower"), (1 / 1.2, "faster"), (1.0, "same")])
def test_verdicts_with_ratio_interval_and_what_would_have_been_seen(slower: float, verdict: str) -> None:
    found = compare_runs(of("gpt", "triad"), of("gpt", "triad", slower=slower, id="b"))
    assert verdicts(found) == [verdict, verdict]
    for one in found.cases:
        of_case = one.comparison
        assert of_case.ratio == pytest.approx(slower, rel=0.03)
        assert None not in (of_case.ratio_low, of_case.ratio, of_case.ratio_high, of_case.minimum_detectable_effect)
        assert (of_case.ratio_low or 0.0) < (of_case.ratio or 0.0) < (of_case.ratio_high or 0.0)
        assert (one.base_processes, one.candidate_processes, one.clock) == (6, 6, "cpu")
    assert any("not interleaved" in note for note in found.notes)
    assert any("by chance" in note for note in found.notes)


def test_one_process_never_gives_a_verdict() -> None:
    found = compare_runs(of("gpt", processes=1), of("gpt", processes=1, slower=3.0, id="b"))
    assert verdicts(found) == ["can't tell"]
    assert found.cases[0].comparison.ratio == pytest.approx(3.0, rel=0.05)
    assert found.cases[0].comparison.ratio_low is None
    assert "a verdict needs 5 a side" in found.cases[0].comparison.note


def test_several_ranks_are_judged_by_wall_time() -> None:
    found = compare_runs(of("gpt", layout="dp=2"), of("gpt", layout="dp=2", slower=1.3, id="b"))
    assert (found.cases[0].clock, verdicts(found)) == ("wall", ["slower"])
    assert compare_runs(of("gpt"), of("gpt", id="b"), clock="wall").cases[0].clock == "wall"


def test_another_kind_of_machine_gives_no_verdict_unless_that_is_what_is_asked() -> None:
    base, other = of("gpt"), with_machine(of("gpt", slower=2.0, id="b"), model="Another CPU")
    found = compare_runs(base, other)
    assert not found.same_machine
    assert verdicts(found) == ["can't tell"]
    assert found.cases[0].comparison.ratio == pytest.approx(2.0, rel=0.03)
    assert found.cases[0].comparison.note.startswith("another machine")
    assert ("cpu.model", "Another CPU") in [(one.path, one.after) for one in found.differences]
    assert "different kinds" in found.notes[0]
    assert verdicts(compare_runs(base, other, across_machines=True)) == ["slower"]


def test_other_software_is_named_and_judged() -> None:
    other = with_machine(of("gpt", slower=1.2, id="b"), microcode="0xdead")
    found = compare_runs(of("gpt"), other)
    assert found.same_machine
    assert [one.path for one in found.differences] == ["cpu.microcode"]
    assert verdicts(found) == ["slower"]


def test_a_renamed_workload_is_found_and_compared_when_asked() -> None:
    base, renamed = of("gpt"), of("gpt", id="b", workload="gpt_small")
    found = compare_runs(base, renamed)
    assert [one.nearest for one in found.only_base] == ["gpt_small single fp32 cpu"]
    again = compare_runs(base, renamed, renamed={"gpt": "gpt_small"})
    assert (verdicts(again), again.only_base, again.only_candidate) == (["same"], (), ())
    with pytest.raises(UserError, match="unknown workload") as caught:
        compare_runs(base, renamed, renamed={"gtp": "gpt_small"})
    assert "did you mean gpt?" in caught.value.hint


def test_a_case_with_other_settings_is_not_the_same_case() -> None:
    found = compare_runs(of("gpt"), of("gpt", id="b", config={"size": 1024, "batch": 8}))
    assert found.cases == ()
    assert found.only_base[0].case == "gpt (size=512) single fp32 cpu"
    assert found.only_base[0].nearest == "gpt (size=1024) single fp32 cpu"
    assert "not among the cases of BASE" in found.only_candidate[0].why


def test_what_failed_or_was_not_reached_says_so() -> None:
    base, planned = of("gpt", "lstm", "triad"), of("gpt", "lstm", "triad").header.cases
    fails = tuple(failed("lstm", "out of memory", process=process) for process in range(2))
    candidate = run((*of("gpt").records, *fails), id="b", cases=planned)
    found = compare_runs(base, candidate)
    assert [one.case for one in found.cases] == ["gpt single fp32 cpu"]
    why = {one.case.split()[0]: one.why for one in found.only_base}
    assert "out of memory" in why["lstm"]
    assert why["triad"] == "CANDIDATE: not reached"


def broken(one: Record, wall_s: float) -> Record:
    assert one.measurement is not None
    rank = msgspec.structs.replace(one.measurement.ranks[0], wall_s=(wall_s,) * 3, cpu_s=(wall_s,) * 3)
    return msgspec.structs.replace(one, measurement=msgspec.structs.replace(one.measurement, ranks=(rank,)))


@pytest.mark.parametrize("wall_s", [0.0, -1.0, float("inf"), float("nan")])
def test_a_process_whose_clock_broke_is_left_out_and_named(wall_s: float) -> None:
    base = of("gpt")
    records = (broken(base.records[0], wall_s), *base.records[1:])
    found = compare_runs(msgspec.structs.replace(base, records=records), of("gpt", id="b"))
    assert found.cases[0].base_processes == 5
    assert "BASE lost process 0: a sample took no time" in found.cases[0].comparison.note


def test_a_thread_clock_that_stood_still_leaves_wall_time() -> None:
    base = of("gpt")
    assert base.records[0].measurement is not None
    rank = msgspec.structs.replace(base.records[0].measurement.ranks[0], cpu_s=(0.0,) * 20)
    still = msgspec.structs.replace(base.records[0], measurement=msgspec.structs.replace(base.records[0].measurement, ranks=(rank,)))
    assert compare_runs(msgspec.structs.replace(base, records=(still, *base.records[1:])), of("gpt", id="b")).cases[0].clock == "wall"


def test_clocks_that_went_backwards_are_said() -> None:
    late = of("gpt", id="b")
    late = msgspec.structs.replace(late, header=msgspec.structs.replace(late.header, started_at="2027-01-01T00:00:00+00:00"))
    notes = compare_runs(late, of("gpt")).notes
    assert any("began before BASE" in note for note in notes)
    assert any("a clock went backwards" in note and "run b" in note for note in notes)


def test_the_same_run_twice_is_the_users_error() -> None:
    with pytest.raises(UserError, match="given twice"):
        compare_runs(of("gpt"), of("gpt"))


def test_one_commit_twice_is_no_change_of_code() -> None:
    assert any("what differs is not the code" in note for note in compare_runs(of("gpt"), of("gpt", id="b")).notes)


def test_unequal_numbers_of_samples_and_processes() -> None:
    base = of("gpt", processes=5)
    few = tuple(
        msgspec.structs.replace(one, measurement=measurement(SHAPES["gpt"], count=1, seed=index))
        for index, one in enumerate(of("gpt").records)
    )
    found = compare_runs(base, run(few, id="b"))
    assert (found.cases[0].base_processes, found.cases[0].candidate_processes) == (5, 6)
    assert found.cases[0].comparison.ratio is not None


def test_runs_without_records() -> None:
    found = compare_runs(run((), id="a"), run((), id="b"))
    assert (found.cases, found.only_base, found.only_candidate) == ((), (), ())
