"""The results folder: written line by line, read back whatever happened to it."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench import store
from hwbench.core.errors import UserError
from hwbench.core.inventory import Inventory
from hwbench.core.record import Case, Outcome, Record, RunHeader

CASES = tuple(Case(workload="w", config={"n": n}, process=p) for p in range(2) for n in range(2))


def header(run_id: str = "20260101-000000-000") -> RunHeader:
    return RunHeader(
        id=run_id, started_at="2026", hwbench_version="0", command=(), suite=None, cases=CASES, inventory=Inventory(), versions={}
    )


def record(case: Case = CASES[0], outcome: Outcome = "done", reason: str = "") -> Record:
    return Record(case=case, outcome=outcome, reason=reason, started_at="2026", duration_s=1.0)


def write(folder: Path, *records: Record, host: str = "node") -> None:
    with store.writing(folder, host) as file:
        for each in records:
            store.append(file, each)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    folder = store.create_run(tmp_path / "results", header())
    write(folder, *(record(case) for case in CASES))
    run = store.read_run(folder)
    assert run.header == header()
    assert run.records == tuple(record(case) for case in CASES)
    assert run.finished
    assert run.problems == ()


def test_a_run_that_misses_a_case_is_not_finished(tmp_path: Path) -> None:
    folder = store.create_run(tmp_path, header())
    write(folder, *(record(case) for case in CASES[:-1]))
    assert not store.read_run(folder).finished


def test_a_retry_replaces_a_failure_but_nothing_replaces_what_is_done(tmp_path: Path) -> None:
    folder = store.create_run(tmp_path, header())
    write(folder, record(outcome="failed", reason="first"), record(outcome="failed", reason="second"))
    assert [r.reason for r in store.read_run(folder).records] == ["second"]
    write(folder, record(), record(outcome="skipped", reason="late"))
    assert [r.outcome for r in store.read_run(folder).records] == ["done"]


def test_records_of_several_nodes_are_read_together(tmp_path: Path) -> None:
    folder = store.create_run(tmp_path, header())
    write(folder, record(CASES[0]), host="a")
    write(folder, record(CASES[1]), host="b/../c")
    assert len(store.read_run(folder).records) == 2
    assert {p.name for p in folder.glob("*.jsonl")} == {"records-a.jsonl", "records-b_.._c.jsonl"}


def test_a_torn_last_line_is_named_and_the_next_record_is_kept(tmp_path: Path) -> None:
    folder = store.create_run(tmp_path, header())
    write(folder, record(CASES[0]))
    path = folder / "records-node.jsonl"
    path.write_bytes(path.read_bytes() + b'{"schema":1,"case":{"wor')
    problem = store.read_run(folder).problems[0]
    assert "records-node.jsonl: line 2" in problem
    assert "torn" in problem
    write(folder, record(CASES[1]))
    run = store.read_run(folder)
    assert [r.case for r in run.records] == [CASES[0], CASES[1]]
    assert len(run.problems) == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"\xff\xfe", "line 2"),
        (b"[]", "line 2: expected object, found array"),
        (b'{"schema":1}', "line 2: missing key 'case'"),
        (b'{"schema":99,"anything":1}', "written in format 99 by a later hwbench; this one reads up to format 1"),
        (b'{"schema":0}', "expected a format number from 1 to 1, found 0"),
        (b'{"schema":"1"}', "line 2: key schema: expected int, found str"),
        (b"[" * 100_000, "line 2"),
    ],
)
def test_a_corrupt_record_is_named_and_the_rest_is_kept(tmp_path: Path, line: bytes, says: str) -> None:
    folder = store.create_run(tmp_path, header())
    write(folder, record(CASES[0]))
    with (folder / "records-node.jsonl").open("ab") as file:
        file.write(line + b"\n")
    write(folder, record(CASES[1]))
    run = store.read_run(folder)
    assert [r.case for r in run.records] == [CASES[0], CASES[1]]
    assert len(run.problems) == 1
    assert says in run.problems[0]


OLD_RECORD = (
    '{"schema":1,"case":{"workload":"w","config":{"n":0}},"outcome":"done","started_at":"2026","duration_s":1.0,"measurement":{"ranks":['
    '{"rank":0,"host":"a","warmup_wall_s":[2.0],"wall_s":[1.0],"cpu_s":[0.9]}],"items_per_step":1,"item_unit":"token","flops_per_step":1.0,'
    '"bytes_per_step":1.0,"parameters":0,"check":null}}'
)
"""As the first hwbench wrote it, without the keys that came later."""


def test_a_record_of_the_first_format_reads_with_what_it_does_not_tell_unknown(tmp_path: Path) -> None:
    folder = store.create_run(tmp_path, header())
    (folder / "records-node.jsonl").write_text(f"{OLD_RECORD}\n", encoding="utf-8")
    run = store.read_run(folder)
    assert run.problems == ()
    (found,) = run.records
    assert found.measurement is not None
    assert (found.measurement.kind, found.measurement.executed_flops_per_step) == (None, None)
    (rank,) = found.measurement.ranks
    assert rank.span_s is None
    assert rank.process_cpu_s == ()


@given(st.binary(max_size=300))
def test_reading_survives_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = store.create_run(tmp_path_factory.mktemp("any"), header())
    write(folder, record(CASES[0]))
    with (folder / "records-node.jsonl").open("ab") as file:
        file.write(data)
    assert store.read_run(folder).records[0] == record(CASES[0])


@given(st.data())
def test_cutting_a_file_anywhere_loses_at_most_the_line_that_is_cut(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = store.create_run(tmp_path_factory.mktemp("cut"), header())
    write(folder, *(record(case) for case in CASES))
    path = folder / "records-node.jsonl"
    whole = path.read_bytes()
    length = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:length])
    assert len(store.read_run(folder).records) >= whole[:length].count(b"\n")


def test_a_header_of_a_later_format_is_refused(tmp_path: Path) -> None:
    folder = store.create_run(tmp_path, header())
    plain = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(plain | {"schema": 2, "news": 1}))
    with pytest.raises(UserError, match="written in format 2 by a later hwbench"):
        store.read_run(folder)


def test_two_runs_of_one_moment_get_folders_of_their_own(tmp_path: Path) -> None:
    first, second = store.create_run(tmp_path, header()), store.create_run(tmp_path, header())
    assert first != second
    assert store.read_run(second).header.id == second.name
    assert store.list_runs(tmp_path) == (first, second)


def test_ids_sort_by_time() -> None:
    assert store.new_run_id() <= store.new_run_id()


def test_a_run_being_written_is_refused_to_others(tmp_path: Path) -> None:
    folder = store.create_run(tmp_path, header())
    program = "import sys; from pathlib import Path; from hwbench import store\nwith store.writing(Path(sys.argv[1]), 'node'): pass"
    command = (sys.executable, "-c", program, str(folder))
    with store.writing(folder, "node"):
        refused = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
        assert "still being written by another process" in refused.stderr
    assert subprocess.run(command, check=False, cwd=Path(__file__).parents[2]).returncode == 0


def test_unwritable_results_are_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for results in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="can't write results"):
            store.check_writable(results)
    with pytest.raises(UserError):
        store.create_run(tmp_path / "file", header())
    store.check_writable(tmp_path / "new" / "deep")
    assert list((tmp_path / "new" / "deep").iterdir()) == []


def test_runs_are_found_by_id_prefix_and_path(tmp_path: Path) -> None:
    a, b = (store.create_run(tmp_path, header(run_id)) for run_id in ("20260101-000000-000", "20260202-000000-000"))
    (tmp_path / "no-run").mkdir()
    assert store.list_runs(tmp_path) == (a, b)
    assert store.find_run(tmp_path) == b
    assert store.find_run(tmp_path, "20260101") == a
    assert store.find_run(tmp_path, str(a)) == a
    assert store.find_run(tmp_path / "elsewhere", str(a / "run.json")) == a


@pytest.mark.parametrize(
    ("wanted", "says", "hint"),
    [
        ("2026", "could be any of 2", "more of the id"),
        ("20260201-000000-000", "unknown run", "did you mean 20260202-000000-000?"),
        ("./nowhere", "not a run's folder", "folder that hwbench run printed"),
        ("", "unknown run", "20260101"),
    ],
)
def test_a_run_that_is_not_there_is_explained(tmp_path: Path, wanted: str, says: str, hint: str) -> None:
    for run_id in ("20260101-000000-000", "20260202-000000-000"):
        store.create_run(tmp_path, header(run_id))
    with pytest.raises(UserError, match=says) as caught:
        store.find_run(tmp_path, wanted)
    assert hint in caught.value.hint


def test_no_runs_at_all(tmp_path: Path) -> None:
    assert store.list_runs(tmp_path / "nothing") == ()
    with pytest.raises(UserError, match="no runs here"):
        store.find_run(tmp_path / "nothing")


def test_headers_are_read_alone(tmp_path: Path) -> None:
    folder = store.create_run(tmp_path, header())
    assert store.read_header(folder) == msgspec.structs.replace(header(), id=folder.name)
    (folder / "run.json").unlink()
    with pytest.raises(UserError, match="can't read the run header"):
        store.read_header(folder)
