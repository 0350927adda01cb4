"""Rules against runs: what fails, what can't be told, what is refused, and the false alarms of many cases."""

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwbench.analyse.gate import checked_rules, gate, slowdown_limit, welch_p
from hwbench.analyse.saved import compare_saved
from hwbench.core.errors import UserError
from hwbench.core.gate import GateResult, Judgement, Rule, Rules
from hwbench.core.inventory import Cpu, Inventory
from hwbench.core.record import Record, Run
from tests.made_runs import failed, inventory, record, run

NOISE = (0.99, 0.995, 1.0, 1.005, 1.01, 1.002, 0.998)


def measured(slower: float = 1.0, *, processes: int = 7, names: Sequence[str] = ("gpt",), **other: Any) -> Run:
    """A run of some workloads, each process at its own pace around `slower`."""
    records = [
        record(name, process=process, slower=slower * NOISE[process], spread=0.001) for name in names for process in range(processes)
    ]
    return run(tuple(records), **{"id": f"run-{slower}", **other})


def later(made: Run, seconds: float) -> Run:
    """The same run, measured so many seconds later."""
    from datetime import datetime, timedelta

    def moved(text: str) -> str:
        return (datetime.fromisoformat(text) + timedelta(seconds=seconds)).isoformat()

    records = tuple(msgspec.structs.replace(one, started_at=moved(one.started_at)) for one in made.records)
    header = msgspec.structs.replace(made.header, started_at=moved(made.header.started_at))
    return msgspec.structs.replace(made, header=header, records=records)


def judged(rule: Rule, candidate: Run, baseline: Run | None = None) -> GateResult:
    return gate(Rules(rules=(rule,)), candidate, baseline)


def only(result: GateResult) -> Judgement:
    (one,) = result.judgements
    return one


SLOWDOWN = Rule(workload="gpt", largest_slowdown="5%")


@pytest.mark.parametrize(("slower", "status"), [(1.0, "passed"), (1.2, "failed"), (0.8, "passed"), (1.03, "passed")])
@pytest.mark.parametrize("metric", ["step_time_s", "floor_s", "items_per_s", "flops_per_s", "bytes_per_s"])
def test_a_slowdown_beyond_the_limit_fails(slower: float, status: str, metric: Any) -> None:
    one = only(judged(msgspec.structs.replace(SLOWDOWN, metric=metric), measured(slower), measured()))
    assert (one.status, one.fails) == (status, status == "failed")
    assert one.value == pytest.approx(slower, rel=0.02)
    assert one.limit == 1.05


def test_too_few_processes_can_not_tell_and_pass_unless_the_rule_says_fail() -> None:
    one = only(judged(SLOWDOWN, measured(1.5, processes=3), measured(processes=3)))
    assert (one.status, one.fails) == ("can't tell", False)
    assert "a verdict needs 5 a side" in one.why
    assert only(judged(msgspec.structs.replace(SLOWDOWN, cant_tell="fail"), measured(1.5, processes=3), measured(processes=3))).fails


def test_another_machine_can_not_tell_and_is_named() -> None:
    other = measured()
    elsewhere = msgspec.structs.replace(inventory(), cpu=Cpu(model="Another CPU"))
    other = msgspec.structs.replace(other, header=msgspec.structs.replace(other.header, inventory=elsewhere))
    result = judged(msgspec.structs.replace(SLOWDOWN, older_baseline="trust"), measured(1.5), other)
    assert only(result).status == "can't tell"
    assert "cpu.model Another CPU → AMD" in result.flags[0]


def test_another_version_of_torch_is_flagged_and_judged() -> None:
    other = measured()
    here = inventory()
    older = msgspec.structs.replace(here, software=msgspec.structs.replace(here.software, torch="2.12.0"))
    result = judged(SLOWDOWN, measured(1.5), msgspec.structs.replace(other, header=msgspec.structs.replace(other.header, inventory=older)))
    assert only(result).status == "failed"
    assert result.flags == ("not the same for both: software.torch 2.12.0 → 2.13.0",)


def test_cpu_time_decides_where_both_sides_have_it_unless_the_rule_says_wall() -> None:
    def waiting(made: Run) -> Run:
        """The same CPU times, in twice the wall time: others were running."""

        def slept(one: Record) -> Record:
            assert one.measurement is not None
            ranks = tuple(msgspec.structs.replace(r, wall_s=tuple(2 * s for s in r.wall_s)) for r in one.measurement.ranks)
            return msgspec.structs.replace(one, measurement=msgspec.structs.replace(one.measurement, ranks=ranks))

        return msgspec.structs.replace(made, records=tuple(slept(one) for one in made.records))

    assert only(judged(SLOWDOWN, waiting(measured()), measured(id="base"))).status == "passed"
    assert only(judged(msgspec.structs.replace(SLOWDOWN, clock="wall"), waiting(measured()), measured(id="base"))).status == "failed"


def test_a_baseline_of_another_session_can_not_tell_unless_it_is_trusted() -> None:
    candidate = later(measured(1.5), 86400)
    result = judged(SLOWDOWN, candidate, measured())
    assert only(result).status == "can't tell"
    assert "not measured in one session" in result.flags[0]
    assert "24.0 hours apart" in result.flags[0]
    trusted = judged(msgspec.structs.replace(SLOWDOWN, older_baseline="trust"), candidate, measured())
    assert only(trusted).status == "failed"
    assert trusted.flags == result.flags, "said all the same"
    assert judged(SLOWDOWN, later(measured(1.5), 1800), measured()).flags == ()


def test_a_baseline_whose_time_is_not_known_is_of_another_session() -> None:
    nameless = measured()
    header = msgspec.structs.replace(nameless.header, settings={"unknown": {"started_at": "the file doesn't tell"}})
    result = judged(SLOWDOWN, measured(1.5), msgspec.structs.replace(nameless, header=header))
    assert "when the runs were measured is not known" in result.flags[0]


@pytest.mark.parametrize(("limit", "status"), [(1.0, "passed"), (6870.0, "can't tell"), (1e9, "failed")])
def test_throughput_against_its_floor(limit: float, status: str) -> None:
    one = only(judged(Rule(workload="gpt", smallest_throughput=limit), measured()))
    assert (one.status, one.unit) == (status, "items/s")
    assert one.low is not None
    assert one.value is not None
    assert one.high is not None
    assert one.low <= one.value <= one.high


def test_one_process_fails_only_where_its_fastest_sample_does() -> None:
    alone = run((record("gpt", spread=0.1),))
    middle = only(judged(Rule(workload="gpt", smallest_throughput=1.0), alone))
    assert middle.status == "passed"
    assert "one process: no interval" in middle.why
    assert middle.high is not None
    assert only(judged(Rule(workload="gpt", smallest_throughput=middle.high * 0.99), alone)).status == "can't tell"
    assert only(judged(Rule(workload="gpt", smallest_throughput=middle.high * 1.01), alone)).status == "failed"


def test_work_that_is_not_counted_can_not_tell() -> None:
    embedding = run((record("embedding"),))
    one = only(judged(Rule(workload="embedding", metric="flops_per_s", smallest_throughput=1.0), embedding))
    assert (one.status, "not known" in one.why) == ("can't tell", True)


@pytest.mark.parametrize(("machine", "fits"), [("amd epyc*", True), ("Xeon*", False), ("0123456789abcdef", False)])
def test_required_machines(machine: str, fits: bool) -> None:
    one = only(judged(Rule(workload="gpt", smallest_throughput=1.0, machines=(machine,)), measured()))
    assert one.status == ("passed" if fits else "can't tell")
    assert fits or "AMD EPYC 7763" in one.why


def test_rules_choose_by_layout_dtype_and_settings() -> None:
    both = run((record("gpt"), record("gpt", layout="dp=2"), record("gpt", dtype="bf16"), record("triad")))
    assert len(judged(Rule(workload="*", smallest_throughput=1.0), both).judgements) == 4
    assert len(judged(Rule(workload="gpt", layout="single", dtype="fp32", smallest_throughput=1.0), both).judgements) == 1
    assert len(judged(Rule(workload="g*", set={"size": 512}, smallest_throughput=1.0), both).judgements) == 3


def test_a_name_with_brackets_is_taken_as_it_is() -> None:
    imported = run((record("gpt", workload="test_x.py::test[8-a]"),))
    assert only(judged(Rule(workload="test_x.py::test[8-a]", smallest_throughput=1.0), imported)).status == "passed"


def test_a_renamed_workload_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"no workload of run run-1\.0 is called 'gtp'") as error:
        judged(Rule(workload="gtp", smallest_throughput=1.0), measured())
    assert error.value.hint == "was it renamed to gpt?"
    with pytest.raises(UserError, match="gpt is measured, but not with dtype=bf16"):
        judged(Rule(workload="gpt", dtype="bf16", smallest_throughput=1.0), measured())


def test_what_one_side_lacks_can_not_tell_and_names_the_nearest() -> None:
    renamed = Rule(workload="*", largest_slowdown=0.05)
    result = judged(renamed, measured(names=("gpt", "lstm")), measured(names=("gpt", "triad")))
    said = {one.case.split("(")[0]: (one.status, one.why) for one in result.judgements}
    assert said["lstm"][0] == said["triad"][0] == "can't tell"
    assert said["lstm"][1].startswith("not in the baseline")
    assert said["triad"][1].startswith("in the baseline, but not in the candidate")


def test_a_case_that_failed_fails_the_gate() -> None:
    one = only(judged(Rule(workload="gpt", smallest_throughput=1.0), run((failed("gpt", "out of memory"),))))
    assert (one.check, one.status, one.fails, one.why) == ("measured", "failed", True, "out of memory")


@pytest.mark.parametrize(("given_limit", "fraction"), [("5%", 0.05), (" 2.5 % ", 0.025), (0.1, 0.1), ("0.1", 0.1), ("300%", 3.0)])
def test_limits_as_people_write_them(given_limit: float | str, fraction: float) -> None:
    assert slowdown_limit(Rule(workload="x", largest_slowdown=given_limit)) == pytest.approx(fraction)


@pytest.mark.parametrize("given_limit", ["", "a lot", "-5%", 0, "5", "nan", "5%%"])
def test_a_limit_that_is_none_is_refused(given_limit: float | str) -> None:
    rule = Rule(workload="x", largest_slowdown=given_limit)
    with pytest.raises(UserError, match="largest_slowdown: expected"):
        checked_rules(Rules(rules=(rule,)), "rules.toml", has_baseline=True)


def test_rules_that_could_never_judge_are_refused() -> None:
    for rules, message in (
        (Rules(), "rules.toml: no rules"),
        (Rules(rules=(Rule(workload="x"),)), r"rules.toml: rule 1 \(x\): neither"),
        (Rules(rules=(SLOWDOWN,)), "needs a baseline, and none is given"),
        (Rules(rules=(Rule(workload="x", smallest_throughput=-1.0),)), "expected a positive number"),
        (Rules(schema=2, rules=(SLOWDOWN,)), "key schema: expected 1, found 2"),
    ):
        with pytest.raises(UserError, match=message):
            checked_rules(rules, "rules.toml", has_baseline=False)


def _cases(seed: int, count: int, slower: float) -> Run:
    dice = random.Random(seed)
    records: list[Record] = [
        record("gpt", process=process, slower=slower * dice.lognormvariate(0, 0.03), spread=0.001, config={"size": size, "batch": 1})
        for size in range(count)
        for process in range(6)
    ]
    return run(tuple(records), id=f"{seed}")


def test_many_cases_of_the_same_code_raise_no_alarm_and_a_real_slowdown_is_found() -> None:
    rule = Rule(workload="gpt", largest_slowdown="1%")
    alarms = sum(bool(judged(rule, _cases(2 * seed, 40, 1.0), _cases(2 * seed + 1, 40, 1.0)).failed) for seed in range(12))
    assert alarms <= 1, f"{alarms} of 12 gates over 40 cases of the same code failed"
    assert len(judged(rule, _cases(2, 40, 1.4), _cases(3, 40, 1.0)).failed) >= 38


def test_welch_is_scipys() -> None:
    import numpy as np
    from scipy import stats

    first, second = (1.0, 1.1, 1.2, 1.05), (1.3, 1.4, 1.2, 1.6, 1.5)
    assert welch_p(first, second) == pytest.approx(stats.ttest_ind(np.log(first), np.log(second), equal_var=False).pvalue)
    assert (welch_p((1.0,), second), welch_p((1.0, 1.0), (1.0, 1.0)), welch_p((1.0, 1.0), (2.0, 2.0))) == (1.0, 1.0, 0.0)


TIMES = st.lists(st.floats(1e-9, 1e3), max_size=8)


@given(st.dictionaries(st.text(max_size=3), st.tuples(TIMES, TIMES), max_size=5))
@settings(max_examples=150, deadline=None)
def test_saved_values_never_give_a_verdict_without_enough_processes(sides: dict[str, tuple[list[float], list[float]]]) -> None:
    for name, one in compare_saved(sides, threshold_fraction=0.05).items():
        base, candidate = sides[name]
        if len(base) + len(candidate) < 5 or not base or not candidate:
            assert one.verdict == "can't tell"
        if one.ratio_low is not None and one.ratio_high is not None and one.ratio is not None:
            assert one.ratio_low <= one.ratio * (1 + 1e-9)
            assert one.ratio <= one.ratio_high * (1 + 1e-9)


@pytest.mark.parametrize(("base", "verdict"), [((1.0,), "slower"), ((1.29,), "same"), ((1.7,), "faster"), ((1.0, 1.01), "slower")])
def test_one_saved_process_against_five(base: tuple[float, ...], verdict: str) -> None:
    found = compare_saved({"x": (base, (1.3, 1.301, 1.299, 1.302, 1.3))}, threshold_fraction=0.03)["x"]
    assert found.verdict == verdict
    assert "spread alike" in found.note


def test_zeros_and_nan_can_not_tell() -> None:
    for bad in (0.0, float("nan"), -1.0):
        assert compare_saved({"x": ((1.0, bad), (1.0,) * 5)}, threshold_fraction=0.03)["x"].verdict == "can't tell"


def test_an_empty_inventory_is_no_machine_of_a_rule() -> None:
    made = measured()
    bare = msgspec.structs.replace(made, header=msgspec.structs.replace(made.header, inventory=Inventory()))
    assert "an unknown CPU" in only(judged(Rule(workload="gpt", smallest_throughput=1.0, machines=("AMD*",)), bare)).why
