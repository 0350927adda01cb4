"""Two hundred processes write at once, real ones, while others bring the index up to date: nothing is lost."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from hwbench import store
from hwbench.core.history import Acknowledgement
from hwbench.core.record import Case
from hwbench.store import index
from hwbench.store.acknowledged import acknowledge, read_acknowledged
from tests.store.test_index import by_index, directly, done, same
from tests.store.test_store import header, write

WRITERS = 200
RECORDS = 5
READERS = 4


def children(count: int, work: Callable[[int], None]) -> list[int]:
    """Fork so many processes, each of which does `work(number)`; their ids."""
    ids = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            try:
                work(number)
                os._exit(0)
            except BaseException as error:  # noqa: BLE001  # the child must never return into pytest
                print(f"writer {number}: {error!r}", file=sys.__stderr__, flush=True)
                os._exit(1)
        ids.append(child)
    return ids


def wait(ids: list[int]) -> list[int]:
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in ids]


def records(number: int) -> list[Case]:
    return [Case(workload="w", config={"writer": number}, process=process) for process in range(RECORDS)]


def test_runs_of_one_moment(tmp_path: Path) -> None:
    start = time.monotonic() + 0.5

    def write_run(number: int) -> None:
        time.sleep(max(0.0, start - time.monotonic()))
        write(store.create_run(tmp_path, header()), *(done(case) for case in records(number)))

    assert wait(children(WRITERS, write_run)) == [0] * WRITERS
    runs = [store.read_run(folder) for folder in store.list_runs(tmp_path)]
    assert len(runs) == WRITERS
    assert not [problem for run in runs for problem in run.problems]
    found = {(record.case.config["writer"], record.case.process) for run in runs for record in run.records}
    assert found == {(writer, process) for writer in range(WRITERS) for process in range(RECORDS)}
    assert same(by_index(tmp_path), directly(tmp_path))


def test_nodes_of_one_run(tmp_path: Path) -> None:
    folder = store.create_run(tmp_path, header())

    def write_node(number: int) -> None:
        write(folder, *(done(case) for case in records(number)), host=f"node{number}")

    assert wait(children(WRITERS, write_node)) == [0] * WRITERS
    run = store.read_run(folder)
    assert run.problems == ()
    assert len(run.records) == WRITERS * RECORDS


def _index_until(results: str, runs: int) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if index.select(Path(results), "SELECT count(DISTINCT run) FROM measurements").rows[0][0] == runs:
            return
    raise TimeoutError


@pytest.mark.heavy
def test_the_index_while_it_is_written_by_several(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    readers = [context.Process(target=_index_until, args=(str(tmp_path), 40)) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    for number in range(40):
        folder = store.create_run(tmp_path, header(f"202601{number:02}-000000-000"))
        for case in records(number):
            write(folder, done(case))
    for reader in readers:
        reader.join()
    assert [reader.exitcode for reader in readers] == [0] * READERS
    assert same(by_index(tmp_path), directly(tmp_path))
    named = {path.name for path in (tmp_path / ".index").glob("part-*")}
    assert named == set(index.refresh(tmp_path).parts)


def said(number: int) -> Acknowledgement:
    return Acknowledgement(at="2026", change="0", case_key="c", machine_key="m", run="r", slower=True, note=f"note {number}\nof two lines")


def test_acknowledgements_of_many(tmp_path: Path) -> None:
    assert read_acknowledged(tmp_path) == ((), ())
    assert wait(children(50, lambda number: acknowledge(tmp_path, said(number)))) == [0] * 50
    found, problems = read_acknowledged(tmp_path)
    assert problems == ()
    assert sorted(found, key=lambda one: one.note) == sorted(map(said, range(50)), key=lambda one: one.note)


def test_an_acknowledgement_after_a_torn_line_is_kept(tmp_path: Path) -> None:
    (tmp_path / "acknowledged.jsonl").write_bytes(msgspec.json.encode(said(1)) + b'\n{"schema":1,"at')
    acknowledge(tmp_path, said(2))
    found, problems = read_acknowledged(tmp_path)
    assert [one.note[:6] for one in found] == ["note 1", "note 2"]
    assert "line 2" in problems[0]
