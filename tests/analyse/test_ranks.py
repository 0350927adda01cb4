"""What single ranks tell: shares of a profiled step, memory a rank, and who keeps the others waiting."""

import msgspec
import pytest

from hwbench.analyse.ranks import lagging, shares, split
from hwbench.analyse.throughput import rows
from hwbench.core.record import Measurement, Samples, TimeSplit
from tests.made_runs import SHAPES, WORKLOADS, measurement, record

SPLIT = TimeSplit(profiled_s=2.0, compute_s=1.0, communication_s=0.5, bubble_s=0.3, other_s=0.2)


def of(*changes: dict[str, object]) -> Measurement:
    """Two ranks and more, a dict of changes each."""
    made = measurement(SHAPES["gpt"], ranks=len(changes), spread=0.0)
    ranks = tuple(msgspec.structs.replace(rank, **change) for rank, change in zip(made.ranks, changes, strict=True))
    return msgspec.structs.replace(made, ranks=ranks)


def test_a_split_is_shares_of_the_unprofiled_step() -> None:
    step_s = SHAPES["gpt"].step_s
    found = split([of({"split": SPLIT}, {"split": SPLIT})], step_s)
    assert found is not None
    assert found.compute_s == pytest.approx(step_s / 2)
    assert found.compute_s + found.exposed_communication_s + found.bubble_s + found.other_s == pytest.approx(step_s)
    assert found.profiled_ratio == pytest.approx(2.0 / step_s)
    assert split([of({}, {})], step_s) is None


def test_the_rank_that_works_longer_is_named_and_not_the_one_that_waits() -> None:
    slow = tuple(2.0 for _ in range(20))
    found = shares([of({"cpu_s": tuple(1.0 for _ in range(20))}, {"cpu_s": slow, "host": "b"}, {"cpu_s": tuple(1.1 for _ in range(20))})])
    assert [one.lags_fraction is not None for one in found] == [False, True, False]
    assert lagging(found) == ("rank 1 on b lags: its own work takes 82 % longer than the ranks' median",)


def test_of_two_ranks_the_slower_one_lags() -> None:
    """On an accelerator, by what the profiled repeat computed there."""
    parts = (TimeSplit(profiled_s=2.0, compute_s=c, communication_s=2.0 - c, bubble_s=0.0, other_s=0.0) for c in (0.5, 1.5))
    quick, slow = ({"split": part, "device_peak_bytes": 7} for part in parts)
    assert [one.lags_fraction for one in shares([of(quick, slow)])] == [None, pytest.approx(2.0)]


def test_without_a_clock_of_its_own_work_no_rank_lags() -> None:
    unknown: dict[str, object] = {"cpu_s": ()}
    assert [one.busy_s for one in shares([of(unknown, unknown)])] == [None, None]


def test_memory_is_the_accelerators_where_there_is_one() -> None:
    first, second = shares([of({"device_peak_bytes": 7}, {"resident_peak_bytes": 9})])
    assert (first.memory_bytes, second.memory_bytes) == (7, 9)


def test_a_row_names_its_lagging_rank() -> None:
    made = record("gpt", layout="dp=2", spread=0.0)
    slow = of({}, {"cpu_s": tuple(9.0 for _ in range(20))})
    (row,) = rows([msgspec.structs.replace(made, measurement=slow)], run="r", workloads=WORKLOADS)
    assert any(warning.startswith("rank 1 on bench-1 lags") for warning in row.warnings)
    assert row.split is None


def test_old_samples_still_read() -> None:
    old = {"rank": 0, "host": "a", "warmup_wall_s": [1.0], "wall_s": [1.0], "cpu_s": [1.0]}
    assert msgspec.convert(old, Samples).split is None
