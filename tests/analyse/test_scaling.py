"""Weak scaling: items a second against those of one rank, never against another case's."""

import pytest

from hwbench.analyse.scaling import scaling, with_scaling_gaps
from hwbench.analyse.throughput import rows
from hwbench.core.record import Record
from hwbench.core.summary import Scaling, Throughput
from tests.made_runs import WORKLOADS, record


def made(*records: Record) -> tuple[Throughput, ...]:
    return rows(records, run="r", workloads=WORKLOADS)


def one(*records: Record) -> Scaling:
    (value,) = scaling(made(*records))
    return value


def test_twice_the_work_in_the_same_time_is_ideal() -> None:
    value = one(record("gpt", spread=0.0), record("gpt", layout="dp=2", spread=0.0))
    assert value.speedup == pytest.approx(2.0)
    assert value.efficiency_fraction == pytest.approx(1.0)
    assert value.interval is None


def test_a_slower_step_is_lost_efficiency() -> None:
    value = one(record("gpt", spread=0.0), record("gpt", layout="dp=2", slower=1.25, spread=0.0))
    assert value.speedup == pytest.approx(1.6)
    assert value.efficiency_fraction == pytest.approx(0.8)


def test_interval_holds_the_efficiency() -> None:
    alone = [record("gpt", process=i) for i in range(4)]
    value = one(*alone, *(record("gpt", layout="dp=2", process=i, slower=1.1) for i in range(4)))
    assert value.interval is not None
    assert value.interval.low < value.efficiency_fraction < value.interval.high


@pytest.mark.parametrize(
    "other", [record("gpt", dtype="bf16"), record("gpt", threads=2), record("gpt", config={"size": 1, "batch": 8}), record("lstm")]
)
def test_only_single_of_the_same_case_counts(other: Record) -> None:
    assert scaling(made(other, record("gpt", layout="dp=2"))) == ()


def test_missing_single_is_a_gap() -> None:
    row, alone = with_scaling_gaps(made(record("gpt", layout="dp=2"), record("lstm")))
    assert any("single of the same case was not measured" in gap for gap in row.gaps)
    assert alone.gaps == ()
