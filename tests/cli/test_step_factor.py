"""What software and layouts added to a run's own training steps goes into its calibrated profile, and not into the error reported of it."""

import pytest
from msgspec.structs import replace

from hwbench.analyse.calibrate import calibrate
from hwbench.cli._planning import sends
from hwbench.cli._verification import verified, with_layout_work, with_step_factor
from hwbench.cli.report import installed_workloads
from hwbench.core.codec import to_builtins
from hwbench.core.layout import parse_layout
from hwbench.core.record import Case, Measurement, Record, Run, Samples
from hwbench.core.registry import load
from hwbench.core.sourcing import unsourced
from hwbench.core.workload import Workload
from hwbench.planner.step import rank_work_s
from tests.made_runs import CHECK, run


def record(name: str, step_s: float, **config: object) -> Record:
    workload = load("workloads", name, Workload)
    settings = workload.config(**config)
    cost = workload.cost(settings, "fp32")
    walls = tuple(step_s for _ in range(8))
    samples = Samples(rank=0, host="bench-1", warmup_wall_s=(step_s,), wall_s=walls, cpu_s=walls)
    return Record(
        case=Case(workload=name, config=to_builtins(settings), dtype="fp32"),
        outcome="done",
        started_at="2026-11-20T09:30:00+00:00",
        duration_s=1.0,
        measurement=Measurement(
            ranks=(samples,), items_per_step=cost.items, item_unit=cost.item_unit, flops_per_step=cost.flops, bytes_per_step=cost.bytes,
            parameters=cost.parameters, check=CHECK, first_loss=9.0 if cost.training else None, last_loss=8.0 if cost.training else None,
        ),
    )  # fmt: skip


def made(*factors: float) -> Run:
    """A run of ceilings and of training steps that take `factors` times what the ceilings predict."""
    ceilings = (record("matmul", 0.02, m=1024, n=1024, k=1024), record("triad", 0.1))
    sizes = [256, 384, 512][: len(factors)]
    steps = [record("gpt", 1.0, hidden=size, layers=3) for size in sizes]
    bare = run((*ceilings, *steps))
    predicted = {one.label: one.predicted_s for one in verified([bare], installed_workloads([bare]))}
    assert len(predicted) == len(factors)
    timed = []
    for factor, size, step in zip(factors, sizes, predicted.values(), strict=True):
        timed.append(record("gpt", factor * step, hidden=size, layers=3))
    return run((*ceilings, *timed))


def test_the_median_ratio_is_the_factor() -> None:
    one = made(1.5, 1.8, 1.6)
    profile = with_step_factor(calibrate(one), one)
    assert profile.efficiency.step_factor == pytest.approx(1.6)
    assert profile.efficiency.step_factor_spread == pytest.approx(1.15)
    assert unsourced(profile) == []
    assert any("3 training steps of this run (gpt) took 1.60 times" in note for note in profile.notes)


def test_the_error_that_is_reported_does_not_know_the_factor() -> None:
    one = made(1.5, 1.8, 1.6)
    errors = sorted(line.error_fraction for line in verified([one], installed_workloads([one])))
    assert errors == pytest.approx([1 / 1.8 - 1, 1 / 1.6 - 1, 1 / 1.5 - 1])


def test_one_step_tells_no_spread_and_a_disturbed_ceiling_no_factor_below_one() -> None:
    one = made(0.7)
    profile = with_step_factor(calibrate(one), one)
    assert profile.efficiency.step_factor == 1.0
    assert profile.efficiency.step_factor_spread is None
    assert any("the ceilings were disturbed" in note for note in profile.notes)


def test_without_training_steps_nothing_changes() -> None:
    one = run((record("matmul", 0.02, m=1024, n=1024, k=1024), record("triad", 0.1)))
    profile = calibrate(one)
    assert with_step_factor(profile, one) == replace(profile)


def of_ranks(one: Record, layout: str, ranks: int, cpu_s: float) -> Record:
    """The record under a layout, each rank busy for so many CPU seconds a step."""
    assert one.measurement is not None
    (samples,) = one.measurement.ranks
    cpus = tuple(cpu_s for _ in samples.wall_s)
    each = tuple(replace(samples, rank=rank, cpu_s=cpus, process_cpu_s=cpus) for rank in range(ranks))
    return replace(one, case=replace(one.case, layout=layout), measurement=replace(one.measurement, ranks=each))


def with_layouts(own_s: dict[str, float]) -> Run:
    """A run in which two ranks under each of these layouts take so long beside computing and the collectives that dp steps tell of."""
    bare = (record("matmul", 0.02, m=1024, n=1024, k=1024), record("triad", 0.1))
    alone = [of_ranks(record("gpt", 0.3, hidden=size, layers=2), "single", 1, 0.3) for size in (128, 256, 384)]
    shared = [
        of_ranks(one, "dp=2", 2, 0.3 + one.measurement.parameters * 4 / 1e9)
        for one in alone
        if one.measurement and one.measurement.parameters
    ]
    known = run((*bare, *alone, *shared))
    profile = calibrate(known)
    divided = []
    for text, seconds in own_s.items():
        workload, layout = load("workloads", "gpt", Workload), parse_layout(text)
        cost = workload.cost(workload.config(hidden=256, layers=2), "fp32")
        compute_s, sending_s = rank_work_s(cost, layout, profile, sends(cost, layout), 1)
        whole_s, _ = rank_work_s(cost, parse_layout("single"), profile, (), 1)
        messages = sum(one.count for one in sends(cost, layout))
        divided.append(of_ranks(alone[1], text, 2, 0.3 * compute_s / whole_s + sending_s + messages * seconds))
    return run((*bare, *alone, *shared, *divided))


def test_what_a_layout_does_for_each_message_is_found_again() -> None:
    one = with_layouts({"tp=2": 1e-3, "fsdp=2": 2e-3, "cp=2": -1e-3})
    profile = with_layout_work(calibrate(one), one)
    assert profile.efficiency.message_s == pytest.approx({"tp": 1e-3, "fsdp": 2e-3})
    assert unsourced(profile) == []
    cost = load("workloads", "gpt", Workload).cost(load("workloads", "gpt", Workload).config(hidden=256, layers=2), "fp32")
    layout = parse_layout("tp=2")
    (_, less), (_, more) = (rank_work_s(cost, layout, each, sends(cost, layout), 1) for each in (calibrate(one), profile))
    assert more - less == pytest.approx(1e-3 * sum(transfer.count for transfer in sends(cost, layout)))


def test_without_divided_steps_there_is_no_layout_work() -> None:
    one = made(1.5, 1.8, 1.6)
    profile = calibrate(one)
    assert with_layout_work(profile, one) == replace(profile)
