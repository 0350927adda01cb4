"""The floor of CPU time: what disturbs only adds, and who doesn't tell is left as it was measured."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.analyse.busy import floor_s, undisturbed
from hwbench.analyse.throughput import rows
from hwbench.core.record import Record
from tests.made_runs import SHAPES, WORKLOADS, record


def told(of: Record, *, thread: float = 0.5, process: float = 0.7, calls: int = 1) -> Record:
    """The record with CPU times as shares of its wall times."""
    assert of.measurement is not None
    ranks = tuple(
        msgspec.structs.replace(
            rank,
            cpu_s=tuple(thread * wall for wall in rank.wall_s),
            process_cpu_s=tuple(process * wall for wall in rank.wall_s),
            calls_per_sample=calls,
        )
        for rank in of.measurement.ranks
    )
    return msgspec.structs.replace(of, measurement=msgspec.structs.replace(of.measurement, ranks=ranks))


def test_a_lone_rank_is_judged_by_its_thread_and_several_by_their_processes() -> None:
    step_s = SHAPES["gpt"].step_s
    assert floor_s([told(record("gpt", spread=0))]) == pytest.approx(0.5 * step_s)
    assert floor_s([told(record("gpt", layout="dp=2", spread=0))]) == pytest.approx(0.7 * step_s)
    assert floor_s([told(record("gpt", spread=0), calls=4)]) == pytest.approx(0.5 * step_s / 4)


def test_records_without_the_process_time_and_accelerators_are_judged_by_the_wall() -> None:
    (row,) = rows((record("gpt"),), run="r", workloads=WORKLOADS)
    assert floor_s([record("gpt")]) is None
    assert floor_s([told(record("gpt", device="cuda"))]) is None
    assert floor_s([told(record("gpt")), record("gpt", process=1)]) is None
    assert floor_s([]) is None
    assert undisturbed(row, [record("gpt")]) == row


@given(st.lists(st.floats(1.0, 20.0), min_size=1, max_size=6))
def test_a_disturbed_process_changes_nothing_beside_a_quiet_one(factors: list[float]) -> None:
    quiet = told(record("gpt", spread=0))
    others = [told(record("gpt", process=1 + i, slower=factor, spread=0)) for i, factor in enumerate(factors)]
    assert floor_s([quiet, *others]) == pytest.approx(floor_s([quiet]))


def test_rates_follow_the_time() -> None:
    made = told(record("gpt", spread=0))
    (row,) = rows((made,), run="r", workloads=WORKLOADS)
    better = undisturbed(row, [made])
    assert better.step_time_s == pytest.approx(row.step_time_s / 2)
    assert better.flops_per_s == pytest.approx(2 * row.flops_per_s)
    assert better.bytes_per_s == pytest.approx(2 * row.bytes_per_s)
    assert better.items_per_s == pytest.approx(2 * row.items_per_s)
