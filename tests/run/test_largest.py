"""The largest batch that fits: the search, what memory is free, and real workers that run out of it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.cli._find_batch import with_largest_batch
from hwbench.core.errors import MeasurementError, UserError
from hwbench.core.inventory import Inventory
from hwbench.core.record import Case
from hwbench.core.suite import Entry, Suite
from hwbench.run import cases, largest


def gpt(**settings: int) -> Case:
    small = {"hidden": 32, "layers": 1, "heads": 2, "vocabulary": 500, "seq_len": 32}
    entry = Entry(workload="gpt", set=small | settings)
    return cases.expand(Suite(description="", entries=(entry,)), "cpu")[0]


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_the_search_finds_the_largest_to_one_part_in_sixteen(limit: int, first: int) -> None:
    tries = largest.search(first, lambda batch: largest.Try(batch=batch, fits=batch <= limit, reason="" if batch <= limit else "too large"))
    found = largest.largest(tries)
    smallest_failed = min(one.batch for one in tries if not one.fits)
    assert found <= limit < smallest_failed
    assert smallest_failed - found <= max(1, found // largest.RESOLUTION)
    assert len(tries) <= 30
    assert len({one.batch for one in tries}) == len(tries)


def test_a_search_ends_where_everything_fits_and_where_nothing_does() -> None:
    assert largest.largest(largest.search(3, lambda batch: largest.Try(batch=batch, fits=True), most=100)) == 100
    with pytest.raises(MeasurementError, match="not even a batch of 1 fits: no room"):
        largest.search(5, lambda batch: largest.Try(batch=batch, fits=False, reason="no room"))


def test_the_guess_is_where_the_closed_form_meets_the_limit() -> None:
    case = gpt()
    batch = largest.guess(case, 1e9)
    assert largest.footprint_bytes(largest.sized(case, batch)) <= 1e9 < largest.footprint_bytes(largest.sized(case, batch + 1))
    assert largest.guess(case, 1.0) == 1


def test_a_workload_without_a_batch_is_refused() -> None:
    case = cases.expand(Suite(description="", entries=(Entry(workload="softmax"),)), "cpu")[0]
    with pytest.raises(UserError, match="softmax has no batch"):
        largest.field_of(case)
    with pytest.raises(UserError, match="wants one case, found 2"):
        with_largest_batch((gpt(), gpt(layers=2)), cpus=2, inventory=Inventory(), time_limit_s=60.0)


def test_free_memory_is_the_least_of_the_machine_and_its_control_groups(tmp_path: Path) -> None:
    assert largest.free_bytes(tmp_path) is None
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 16 kB\nMemAvailable:    8000 kB\n")
    assert largest.free_bytes(tmp_path) == 8000 * 1024
    (tmp_path / "proc/self/cgroup").write_text("0::/a/b\n")
    group = tmp_path / "sys/fs/cgroup/a"
    (group / "b").mkdir(parents=True)
    (group / "memory.max").write_text("5000000\n")
    (group / "memory.current").write_text("1000000\n")
    (group / "b/memory.max").write_text("max\n")
    (group / "b/memory.current").write_text("900000\n")
    assert largest.free_bytes(tmp_path) == 4000000


@pytest.mark.heavy
def test_workers_that_run_out_of_memory_are_failed_tries(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(largest, "free_bytes", lambda: 500 << 20)
    monkeypatch.setattr(largest, "RESOLUTION", 3)
    cache = cases.expand(
        Suite(description="", entries=(Entry(workload="decode_attention", set={"cache_len": 8192}),)), "cpu"
    )  # 16 MiB each
    (case,), found = with_largest_batch(cache, cpus=2, inventory=Inventory(), time_limit_s=120.0)
    assert found.limit_bytes == int(0.8 * (500 << 20))
    assert case.config["batch"] == found.batch
    assert 8 <= found.batch <= 25
    assert any(not one.fits and "out of memory" in one.reason and "were asked for" in one.reason for one in found.tries)
    assert f"batch={found.batch} fits" in capsys.readouterr().err
