"""Records to a Summary: total work over total time, intervals over processes, nothing lost and nothing invented."""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwbench.analyse.summarise import summarise
from hwbench.core import codec
from hwbench.core.record import Case, Record, Run
from hwbench.core.summary import Summary, Throughput
from hwbench.core.workload import Check
from tests.made_runs import SHAPES, WORKLOADS, demo_run, failed, record, run, sizing_answer


def summary(*runs: Run, **other: Any) -> Summary:
    return summarise(runs, made_at="2026-11-20T10:00:00+00:00", hwbench_version="0.1.0", **({"workloads": WORKLOADS} | other))


def only(made: Summary) -> Throughput:
    (row,) = made.throughput
    return row


def with_measurement(of: Record, **changes: Any) -> Record:
    assert of.measurement is not None
    return msgspec.structs.replace(of, measurement=msgspec.structs.replace(of.measurement, **changes))


def with_walls(of: Record, walls: list[float], calls: int = 1) -> Record:
    assert of.measurement is not None
    rank = msgspec.structs.replace(
        of.measurement.ranks[0], wall_s=tuple(walls), cpu_s=tuple(walls), involuntary_switches=(), calls_per_sample=calls
    )
    return with_measurement(of, ranks=(rank,))


def test_rate_is_total_work_over_total_time_and_not_a_mean_of_rates() -> None:
    row = only(summary(run((with_walls(record("gpt"), [1.0, 3.0]),))))
    assert row.items_per_s == pytest.approx(2 * SHAPES["gpt"].items / 4.0)  # the mean of the rates would be 2/3 of an item more
    assert row.flops_per_s == pytest.approx(2 * SHAPES["gpt"].flops / 4.0)


def test_calls_timed_together_count_as_many_steps() -> None:
    row = only(summary(run((with_walls(record("gpt"), [1.0, 1.0], calls=10),))))
    assert row.step_time_s == pytest.approx(0.1)
    assert row.items_per_s == pytest.approx(20 * SHAPES["gpt"].items / 2.0)


def test_step_time_is_the_median_over_processes_of_the_median_sample() -> None:
    walls = [[1.0, 1.0, 9.0], [2.0, 2.0, 2.0], [3.0, 3.0, 3.0]]
    records = tuple(with_walls(record("gpt", process=i), w) for i, w in enumerate(walls))
    row = only(summary(run(records)))
    assert row.step_time_s == 2.0
    assert row.processes_s == (1.0, 2.0, 3.0)
    assert row.step_interval_s is not None
    assert row.step_interval_s.low < 1.0 < 3.0 < row.step_interval_s.high
    assert row.noisy
    assert any(warning.startswith("noisy") for warning in row.warnings)


def test_one_process_has_no_interval_and_the_report_says_so() -> None:
    made = summary(run((record("gpt"),)))
    assert only(made).step_interval_s is None
    assert only(made).spread_fraction is not None
    assert any("one process only" in warning for warning in made.warnings)


def test_slowest_rank_decides() -> None:
    of = record("gpt", layout="dp=2")
    assert of.measurement is not None
    fast, slow = of.measurement.ranks
    slow = msgspec.structs.replace(slow, wall_s=tuple(2 * wall for wall in fast.wall_s))
    row = only(summary(run((with_measurement(of, ranks=(fast, slow)),))))
    assert row.step_best_s == pytest.approx(2 * min(fast.wall_s))
    assert row.world_size == 2


def test_settings_are_what_differs_from_the_defaults() -> None:
    row = only(summary(run((record("gpt", config={"size": 1024, "batch": 8}),))))
    assert row.settings == "size=1024"
    unknown = only(summary(run((record("gpt", config={"size": 1024, "batch": 8}),)), workloads={}))
    assert unknown.settings == "batch=8, size=1024"
    assert unknown.kind == "training"  # judged by its record: it has parameters and a loss


def test_labels_name_only_what_differs() -> None:
    made = summary(run((record("gpt"), record("gpt", dtype="bf16"), record("lstm"))))
    assert {(row.workload, row.label) for row in made.throughput} == {
        ("gpt", "single · fp32"),
        ("gpt", "single · bf16"),
        ("lstm", "single"),
    }


def test_every_loss_of_a_case_is_said() -> None:
    planned = Case(workload="attention", config={"size": 512, "batch": 8}, layout="dp=2")
    empty = msgspec.structs.replace(record("lstm"), measurement=None)
    done = record("gpt")
    lost = failed("gpt", "killed", layout="dp=2", process=1)
    made = summary(run((done, lost, empty), cases=(done.case, lost.case, empty.case, planned), finished=False))
    said = {(entry.case, entry.outcome): entry.reason for entry in made.not_measured}
    assert said["gpt dp=2 fp32 cpu, process 2", "failed"] == "killed"
    assert "holds no measurement" in said["lstm single fp32 cpu, process 1", "failed"]
    assert "--resume" in said["attention dp=2 fp32 cpu, process 1", "not reached"]
    assert any("did not finish" in warning for warning in made.warnings)


def test_a_failure_made_good_by_resume_is_no_failure() -> None:
    made = summary(run((failed("gpt", "killed"), record("gpt"))))
    assert made.not_measured == ()
    assert made.runs[0].done == 1
    assert made.runs[0].failed == 0


def test_a_repetition_recorded_twice_counts_once() -> None:
    assert only(summary(run((record("gpt"), record("gpt"))))).processes == 1


def bad_times(of: Record) -> Record:
    return with_walls(of, [0.1, 0.0])


def ragged(of: Record) -> Record:
    other = record("gpt", layout="dp=2").measurement
    assert other is not None
    first, second = other.ranks
    return with_measurement(of, ranks=(first, msgspec.structs.replace(second, wall_s=second.wall_s[:3])))


def no_samples(of: Record) -> Record:
    return with_walls(of, [])


@pytest.mark.parametrize("spoil", [bad_times, ragged, no_samples])
def test_an_impossible_record_is_named_and_left_out(spoil: Callable[[Record], Record]) -> None:
    made = summary(run((spoil(record("gpt")), record("lstm"))))
    assert [row.workload for row in made.throughput] == ["lstm"]
    assert [(lost.case, lost.outcome) for lost in made.not_measured] == [("gpt single fp32 cpu", "failed")]


def test_failed_check_is_said_beside_the_figure() -> None:
    wrong = Check(name="output", error=0.5, tolerance=0.1, reference="float64")
    row = only(summary(run((with_measurement(record("gpt"), check=wrong),))))
    assert row.check.startswith("failed: output, error 0.5")
    assert any("correctness" in warning for warning in row.warnings)


def test_records_warnings_are_repeated_once() -> None:
    records = tuple(msgspec.structs.replace(record("gpt", process=i), warnings=("load 9.0 on 2 CPUs",)) for i in range(3))
    assert only(summary(run(records))).warnings.count("load 9.0 on 2 CPUs") == 1


def test_unreadable_records_are_named() -> None:
    made = summary(run((record("gpt"),), problems=("records-a.jsonl line 3: not JSON",)))
    assert "unreadable record left out: records-a.jsonl line 3: not JSON" in made.warnings


def test_runs_side_by_side_say_what_differs() -> None:
    first, second = demo_run(), demo_run(id="20261121-093000", slower=1.3, machine={"product_name": "Another Box"})
    made = summary(first, second)
    assert len(made.throughput) == 22
    assert "Another Box" in made.title
    assert ("machine.product_name", ("KVM Virtual Machine", "Another Box")) in [(fact.fact, fact.values) for fact in made.differences]
    assert {row.run for row in made.throughput} == {"20261120-093000", "20261121-093000"}


def test_measured_share_of_the_wall_time() -> None:
    of = record("gpt", at_s=0.0)
    assert of.measurement is not None
    (rank,) = of.measurement.ranks
    made = summary(run((of,)))
    called_s = sum(rank.wall_s) + sum(rank.warmup_wall_s)
    assert made.measured_fraction == pytest.approx(called_s / (9 + of.duration_s))


def test_the_share_is_exact_where_the_record_tells_its_span() -> None:
    of = record("gpt", at_s=0.0)
    assert of.measurement is not None
    ranks = tuple(msgspec.structs.replace(rank, span_s=0.9 * of.duration_s) for rank in of.measurement.ranks)
    told = msgspec.structs.replace(of, measurement=msgspec.structs.replace(of.measurement, ranks=ranks))
    assert summary(run((told,))).measured_fraction == pytest.approx(0.9 * of.duration_s / (9 + of.duration_s))


def test_without_runs_or_records_it_says_so() -> None:
    assert "no runs" in summary().title
    nothing = summary(run((failed("gpt", "no memory"),)))
    assert nothing.throughput == ()
    assert nothing.findings == ()
    assert any("nothing was measured" in warning for warning in nothing.warnings)


def test_findings_name_ceilings_training_scaling_and_sizing() -> None:
    findings = summary(demo_run(), sizing=sizing_answer()).findings
    assert [any(word in sentence for sentence in findings) for word in ("GB/s from memory", "MFU", "of ideal", "h100-sxm-ib")] == [True] * 4


def test_summary_survives_json() -> None:
    made = summary(demo_run(), sizing=sizing_answer())
    assert codec.from_json(codec.to_json(made), Summary, source="test") == made


walls = st.lists(st.floats(1e-6, 1e3, allow_nan=False), min_size=1, max_size=300)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(walls, st.integers(1, 50)), min_size=1, max_size=5))
def test_figures_lie_within_what_was_measured(processes: list[tuple[list[float], int]]) -> None:
    records = tuple(with_walls(record("gpt", process=i), w, calls) for i, (w, calls) in enumerate(processes))
    row = only(summary(run(records)))
    steps = [wall / calls for w, calls in processes for wall in w]
    slack = 1 + 1e-9
    assert min(steps) / slack <= row.step_time_s <= max(steps) * slack
    assert min(steps) / slack <= SHAPES["gpt"].items / row.items_per_s <= max(steps) * slack
    assert row.step_best_s == pytest.approx(min(steps))
    assert 1 <= len(row.samples_s) <= 200
    assert row.samples == len(steps)
    if row.step_interval_s is not None:
        assert row.step_interval_s.low <= row.step_time_s <= row.step_interval_s.high
    assert all(math.isfinite(value) for value in (row.items_per_s, row.flops_per_s, row.bytes_per_s))


@settings(max_examples=40, deadline=None)
@given(st.permutations(list(demo_run(processes=2).records)))
def test_order_of_records_does_not_matter(records: list[Record]) -> None:
    made, sorted_ones = summary(run(tuple(records))), summary(run(demo_run(processes=2).records))
    assert [(row.workload, row.layout, row.step_time_s) for row in made.throughput] == [
        (row.workload, row.layout, row.step_time_s) for row in sorted_ones.throughput
    ]
