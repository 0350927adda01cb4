"""The index always says what reading every file says, whatever happened to the files or to the index."""

import json
import math
import os
import shutil
import statistics
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwbench import store
from hwbench.core.comparability import comparison_key, machine_key
from hwbench.core.errors import UserError
from hwbench.core.record import Case, Energy, Measurement, Record, Run, Samples, fault
from hwbench.core.workload import METRICS, Check, Evaluation
from hwbench.store import index
from hwbench.store.rows import quantile, sql_columns
from tests.store.test_store import header, write

ALL = "SELECT run, case_key, process, outcome, fault, samples, step_floor_s, step_median_s, cpu_median_s FROM measurements ORDER BY ALL"


def samples(*wall_s: float, rank: int = 0, cpu_s: tuple[float, ...] = (), calls: int = 1) -> Samples:
    return Samples(rank=rank, host="node", warmup_wall_s=(), wall_s=wall_s, cpu_s=cpu_s, calls_per_sample=calls)


def measured(*ranks: Samples, items: int = 1) -> Measurement:
    return Measurement(
        ranks=ranks, items_per_step=items, item_unit="token", flops_per_step=None, bytes_per_step=None, parameters=None, check=None
    )


def done(case: Case, measurement: Measurement | None = None, started_at: str = "2026-11-20T09:30:00+00:00", **other: Any) -> Record:
    used = measurement or measured(samples(2.0, 1.0, 4.0))
    return Record(case=case, outcome="done", started_at=started_at, duration_s=1.0, measurement=used, **other)


def new_run(results: Path, *records: Record, run_id: str = "20260101-000000-000", host: str = "node") -> Path:
    folder = store.create_run(results, header(run_id))
    write(folder, *records, host=host)
    return folder


def directly(results: Path) -> list[tuple[Any, ...]]:
    """What `ALL` must give: every run read whole, figures made by the standard library."""
    rows = [_row(folder.name, record) for folder in store.list_runs(results) for run in [_read(folder)] if run for record in run.records]
    return sorted(rows, key=repr)


def _read(folder: Path) -> Run | None:
    try:
        return store.read_run(folder)
    except UserError:
        return None


def _row(name: str, record: Record) -> tuple[Any, ...]:
    case, why = record.case, fault(record) if record.outcome == "done" else ""
    floor = median = cpu = None
    count = 0
    if record.outcome == "done" and not why and record.measurement:
        walls = record.measurement.step_wall_s
        first = record.measurement.ranks[0]
        cpus = [value / first.calls_per_sample for value in first.cpu_s if 0 < value < math.inf]
        floor, median, count = min(walls), statistics.median(walls), len(walls)
        cpu = statistics.median(cpus) if cpus and len(record.measurement.ranks) == 1 else None
    return name, case.key, case.process, record.outcome, why, count, floor, median, cpu


def by_index(results: Path) -> list[tuple[Any, ...]]:
    return sorted(index.select(results, ALL).rows, key=repr)


def same(one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> bool:
    """Equal but for the last bit of a median."""
    return len(one) == len(other) and all(
        a == b or (isinstance(a, float) and isinstance(b, float) and math.isclose(a, b, rel_tol=1e-12))
        for first, second in zip(one, other, strict=True)
        for a, b in zip(first, second, strict=True)
    )


names = st.text(st.characters(codec="utf-8"), max_size=6)
seconds = st.one_of(st.floats(0, 1e9), st.sampled_from([0.0, -1.0, 1e-300, 1.7e308, 5e-324]))
cases = st.builds(
    Case,
    workload=names,
    config=st.dictionaries(names, st.one_of(st.integers(), names, st.none(), st.lists(st.booleans(), max_size=2)), max_size=2),
    process=st.integers(0, 2),
    threads=st.one_of(st.just(1), st.integers()),
)
ranks = st.builds(
    Samples,
    rank=st.integers(0, 3),
    host=names,
    warmup_wall_s=st.just(()),
    wall_s=st.lists(seconds, max_size=5).map(tuple),
    cpu_s=st.lists(seconds, max_size=5).map(tuple),
    calls_per_sample=st.one_of(st.just(1), st.integers(-1, 9)),
    involuntary_switches=st.lists(st.integers(), max_size=2).map(tuple),
    resident_peak_bytes=st.one_of(st.none(), st.integers()),
)
measurements = st.builds(
    Measurement,
    ranks=st.lists(ranks, max_size=3).map(tuple),
    items_per_step=st.integers(),
    item_unit=names,
    flops_per_step=st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
    bytes_per_step=st.none(),
    parameters=st.none(),
    check=st.one_of(st.none(), st.builds(Check, name=names, error=st.just(0.0), tolerance=st.just(1.0), reference=names)),
)
records = st.builds(
    Record,
    case=cases,
    outcome=st.sampled_from(["done", "done", "done", "failed", "skipped"]),
    reason=names,
    started_at=st.one_of(names, st.datetimes().map(datetime.isoformat)),
    duration_s=st.just(1.0),
    measurement=st.one_of(st.none(), measurements),
    warnings=st.lists(names, max_size=2).map(tuple),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(st.lists(records, max_size=4), min_size=1, max_size=3), st.binary(max_size=40))
def test_whatever_was_recorded_the_index_says_what_reading_says(
    tmp_path_factory: pytest.TempPathFactory, runs: list[list[Record]], noise: bytes
) -> None:
    results = tmp_path_factory.mktemp("any")
    for number, run in enumerate(runs):
        folder = new_run(results, *run, run_id=f"2026010{number}-000000-000")
    with (folder / "records-node.jsonl").open("ab") as file:
        file.write(noise)
    found = index.select(results, ALL)
    assert same(sorted(found.rows, key=repr), directly(results))
    assert len(found.problems) == sum(len(store.read_run(f).problems) for f in store.list_runs(results))


CASE = Case(workload="w", config={"n": 1})


def grow(results: Path) -> None:
    write(store.list_runs(results)[0], done(msgspec.structs.replace(CASE, process=7)))


def new(results: Path) -> None:
    new_run(results, done(CASE), run_id="20270101-000000-000")


def gone(results: Path) -> None:
    shutil.rmtree(store.list_runs(results)[0])


def all_gone(results: Path) -> None:
    for folder in store.list_runs(results):
        shutil.rmtree(folder)


def another_node(results: Path) -> None:
    write(store.list_runs(results)[1], done(msgspec.structs.replace(CASE, process=8)), host="other")


def header_broken(results: Path) -> None:
    (store.list_runs(results)[1] / "run.json").write_text("{")


def rewritten(results: Path) -> None:
    path = store.list_runs(results)[0] / "records-node.jsonl"
    path.write_bytes(path.read_bytes().replace(b"2.0,1.0,4.0", b"3.0,3.0,3.0"))


@pytest.mark.parametrize("change", [grow, new, gone, all_gone, another_node, header_broken, rewritten])
def test_a_stale_index_is_brought_up_to_date(tmp_path: Path, change: Callable[[Path], None]) -> None:
    for number in range(4):
        new_run(tmp_path, done(CASE), run_id=f"2026010{number}-000000-000")
    assert len(by_index(tmp_path)) == 4
    change(tmp_path)
    assert same(by_index(tmp_path), directly(tmp_path))
    assert len(list((tmp_path / ".index").glob("*.parquet"))) <= 1


@given(st.data())
@settings(max_examples=8, deadline=None)
def test_any_order_of_changes_gives_what_reading_gives(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    results = tmp_path_factory.mktemp("changes")
    for step in range(data.draw(st.integers(1, 5))):
        runs = store.list_runs(results)
        what = data.draw(st.sampled_from(["new", "grow", "gone"])) if runs else "new"
        if what == "new":
            new_run(results, done(CASE), run_id=f"2026020{step}-000000-000")
        elif what == "grow":
            write(data.draw(st.sampled_from(runs)), done(msgspec.structs.replace(CASE, process=10 + step)))
        else:
            shutil.rmtree(data.draw(st.sampled_from(runs)))
        assert same(by_index(results), directly(results))


def test_many_runs_lie_in_several_files_and_only_those_that_changed_are_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "RUNS_A_PART", 3)
    folders = [new_run(tmp_path, done(CASE), run_id=f"202601{number:02}-000000-000") for number in range(10, 18)]
    assert same(by_index(tmp_path), directly(tmp_path))
    before = {path.name for path in (tmp_path / ".index").glob("*.parquet")}
    assert len(before) == 3
    write(folders[0], done(msgspec.structs.replace(CASE, process=3)))
    shutil.rmtree(folders[1])
    assert same(by_index(tmp_path), directly(tmp_path))
    assert len(before & {path.name for path in (tmp_path / ".index").glob("*.parquet")}) == 2


def damaged_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_bytes((folder / "manifest.json").read_bytes()[:-20])


def other_format(folder: Path) -> None:
    plain = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(plain | {"format": 999}))


def missing_part(folder: Path) -> None:
    next(folder.glob("*.parquet")).unlink()


def short_part(folder: Path) -> None:
    path = next(folder.glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:100])


def damaged_part(folder: Path) -> None:
    """The same size and time, as after a fault of the disk."""
    path = next(folder.glob("*.parquet"))
    stat = path.stat()
    path.write_bytes(path.read_bytes()[:-40] + b"x" * 40)
    os.utime(path, ns=(stat.st_mtime_ns, stat.st_mtime_ns))


def everything(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize("damage", [damaged_manifest, other_format, missing_part, short_part, damaged_part, everything])
@pytest.mark.parametrize("stale", [False, True])
def test_a_damaged_index_is_built_again(tmp_path: Path, damage: Callable[[Path], None], stale: bool) -> None:
    new_run(tmp_path, done(CASE))
    by_index(tmp_path)
    if stale:
        new(tmp_path)
    damage(tmp_path / ".index")
    assert same(by_index(tmp_path), directly(tmp_path))


def test_what_a_killed_build_left_is_removed(tmp_path: Path) -> None:
    new_run(tmp_path, done(CASE))
    (tmp_path / ".index").mkdir()
    for name in ("part-left.parquet", ".rows-left.jsonl"):
        (tmp_path / ".index" / name).write_bytes(b"half")
    by_index(tmp_path)
    left = {path.name for path in (tmp_path / ".index").iterdir()}
    assert not left & {"part-left.parquet", ".rows-left.jsonl"}


def test_all_who_may_read_the_runs_may_read_the_index(tmp_path: Path) -> None:
    folder = new_run(tmp_path, done(CASE))
    by_index(tmp_path)
    modes = {path.stat().st_mode for path in (*(tmp_path / ".index").glob("part-*"), tmp_path / ".index" / "manifest.json")}
    assert modes == {(folder / "records-node.jsonl").stat().st_mode}


def test_no_runs_have_no_rows(tmp_path: Path) -> None:
    assert by_index(tmp_path) == []
    assert index.refresh(tmp_path / "nothing").runs == ()
    assert not (tmp_path / "nothing").exists()


def test_corrupt_lines_are_left_out_and_named_also_when_asked_again(tmp_path: Path) -> None:
    folder = new_run(tmp_path, done(CASE))
    with (folder / "records-node.jsonl").open("ab") as file:
        file.write(b'{"schema":1}\n')
    for _ in range(2):
        found = index.select(tmp_path, "SELECT count(*) FROM measurements")
        assert found.rows == ((1,),)
        assert "line 2: missing key 'case'" in found.problems[0]


def test_a_row_says_where_its_record_lies(tmp_path: Path) -> None:
    folder = new_run(tmp_path, *(done(msgspec.structs.replace(CASE, process=process)) for process in range(3)))
    for process, file, offset, length in index.select(tmp_path, "SELECT process, file, offset_bytes, length_bytes FROM measurements").rows:
        line = (folder / file).read_bytes()[offset : offset + length]
        assert msgspec.json.decode(line, type=Record).case.process == process


def test_a_clock_that_was_set_back_is_marked(tmp_path: Path) -> None:
    times = ("2026-11-20T09:30:00Z", "2026-11-20T09:31:00+00:00", "2026-11-20T08:31:00+00:00", "no time")
    new_run(tmp_path, *(done(msgspec.structs.replace(CASE, process=i), started_at=when) for i, when in enumerate(times)))
    marked = index.select(tmp_path, "SELECT clock_backwards FROM measurements ORDER BY process").rows
    assert marked == ((False,), (False,), (True,), (False,))


def test_columns_of_a_measurement(tmp_path: Path) -> None:
    record = done(
        CASE,
        measured(samples(4.0, 2.0, 6.0, 8.0, cpu_s=(0.0, 2.0, 4.0, 6.0), calls=2), items=2**70),
        warnings=("a", "b"),
    )
    folder = new_run(tmp_path, record)
    columns = tuple(sql_columns())
    row = dict(zip(columns, index.select(tmp_path, "SELECT * FROM measurements").rows[0], strict=True))
    inventory = store.read_header(folder).inventory
    assert row["machine_key"] == machine_key(inventory)
    assert row["comparison_key"] == comparison_key(inventory)
    assert (row["step_floor_s"], row["step_median_s"], row["step_mean_s"]) == (1.0, 2.5, 2.5)
    assert (row["cpu_floor_s"], row["cpu_median_s"]) == (1.0, 2.0)  # a clock that stood still tells nothing
    assert row["items_per_step"] is None  # more than a table's integer holds
    assert row["warnings"] == "a\nb"
    assert row["config"] == '{"n":1}'
    assert row["started_at"] == datetime(2026, 11, 20, 9, 30)


def test_columns_of_a_training_step(tmp_path: Path) -> None:
    told = Energy(device_j=None, host_j=30.0, span_s=9.0)
    step = msgspec.structs.replace(
        measured(msgspec.structs.replace(samples(4.0, 2.0, 6.0), energy=told)),
        executed_flops_per_step=7.0,
        first_loss=9.0,
        last_loss=8.0,
        evaluation=Evaluation(metrics={"perplexity": 512.5, "accuracy": 0.25}, data="held_out"),
    )
    new_run(tmp_path, done(CASE, step))
    row = dict(zip(sql_columns(), index.select(tmp_path, "SELECT * FROM measurements").rows[0], strict=True))
    assert (row["first_loss"], row["last_loss"], row["executed_flops_per_step"], row["energy_per_step_j"]) == (9.0, 8.0, 7.0, 10.0)
    assert (row["perplexity"], row["accuracy"], row["evaluated_on"]) == (512.5, 0.25, "held_out")
    assert [row[name] for name in METRICS[2:]] == [None] * 4


@settings(deadline=None)
@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=40))
def test_quantiles_are_those_of_the_standard_library(values: list[float]) -> None:
    cuts = statistics.quantiles(values, n=20, method="inclusive")
    ordered = sorted(values)
    for place, fraction in ((0, 0.05), (4, 0.25), (9, 0.5), (18, 0.95)):
        assert quantile(ordered, fraction) == pytest.approx(cuts[place], rel=1e-9)


def test_a_folder_that_cannot_be_written_is_indexed_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "results"
    new_run(results, done(CASE))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    assert same(by_index(results), directly(results))
    assert not (results / ".index").exists()
    assert list((tmp_path / "cache" / "hwbench").iterdir())


@pytest.mark.parametrize("name", ["a[1]*b?", "with space 'quoted'", "ü{x,y}"])
def test_folders_of_any_name(tmp_path: Path, name: str) -> None:
    results = tmp_path / name
    new_run(results, done(CASE))
    by_index(results)
    new(results)
    assert same(by_index(results), directly(results))
