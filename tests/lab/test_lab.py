"""Two and four hosts on one machine: runs over them, at several link rates, and with a cable pulled in the middle of one."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from hwbench import store
from hwbench.core.record import Record, Run
from tests.lab.hosts import Lab, lab, listening, missing, processes_in, repository

pytestmark = [pytest.mark.heavy, pytest.mark.skipif(bool(missing()), reason=missing() or "there is a lab")]

PORT = 29400
MINE = str(repository() / "tests/run/behaving.py")
LIMIT_S = 240.0
SLOW_BITS_PER_S = 100e6
MESSAGE_BYTES = 4 << 20


@pytest.fixture(scope="module")
def two() -> Iterator[Lab]:
    with lab(2) as made:
        yield made


def started(of: Lab, folder: Path, *words: str) -> list[subprocess.Popen[str]]:
    """`hwbench run` on every host of the lab, each with a folder of its own; node 0 is told what to measure."""
    environment = os.environ | {"PYTHONPATH": str(repository())}
    launchers = []
    for host in of.hosts:
        place = folder / host.name
        place.mkdir(parents=True)
        where = ("--nnodes", str(len(of.hosts)), "--node-rank", str(host.number), "--rdzv-endpoint", f"{of.hosts[0].address}:{PORT}")
        said = words if host.number == 0 else ("--time-limit", "60s")
        command = [sys.executable, "-m", "hwbench", "run", *said, *where]
        with (place / "said").open("w") as output:
            launchers.append(of.start(host.number, command, cwd=place, env=environment, stdout=output, stderr=output))
    return launchers


def ended(launchers: list[subprocess.Popen[str]]) -> list[int]:
    try:
        return [launcher.wait(LIMIT_S) for launcher in launchers]
    finally:
        for launcher in launchers:
            launcher.kill()


def read(folder: Path, host: str = "lab0") -> Run:
    (path,) = store.list_runs(folder / host / "hwbench-results")
    return store.read_run(path)


def said(folder: Path, host: str) -> str:
    return (folder / host / "said").read_text()


def wait_for_record(folder: Path) -> None:
    end = time.monotonic() + LIMIT_S
    while not any('"done"' in path.read_text() for path in folder.glob("lab0/hwbench-results/*/records-*.jsonl")):
        assert time.monotonic() < end, said(folder, "lab0")
        time.sleep(0.1)


def algbw_bytes_per_s(record: Record) -> float:
    assert record.measurement is not None
    return float(record.case.config["message_bytes"]) / median(record.measurement.step_wall_s)


def test_a_slow_link_is_what_a_collective_measures(two: Lab, tmp_path: Path) -> None:
    """A training step and an all_reduce over two hosts; both nodes write down what they are and how their ranks fared."""
    two.limit(SLOW_BITS_PER_S)
    words = ("collective", "gpt", "--set", f"message_bytes={MESSAGE_BYTES}", "--set", "layers=1", "--set", "hidden=64", "--set", "heads=2")
    smaller = ("--set", "vocabulary=512", "--set", "seq_len=32", "--set", "micro_batch=2")
    launchers = started(two, tmp_path, *words, *smaller, "--layout", "dp=2", "--case-time", "4s")
    assert ended(launchers) == [0, 0], said(tmp_path, "lab0") + said(tmp_path, "lab1")
    run = read(tmp_path)
    assert {record.case.workload for record in run.records} == {"collective", "gpt"}
    for record in run.records:
        assert record.outcome == "done"
        assert record.measurement is not None
        assert [rank.host for rank in record.measurement.ranks] == ["lab0", "lab1"]
    (collective,) = (record for record in run.records if record.case.workload == "collective")
    (step,) = (record for record in run.records if record.case.workload == "gpt")
    assert step.measurement is not None
    parts = [rank.split for rank in step.measurement.ranks]
    assert all(part is not None and part.communication_s > 0 and part.bubble_s == 0 for part in parts), "gradients are on their way"
    link_bytes_per_s = SLOW_BITS_PER_S / 8
    assert 0.6 * link_bytes_per_s < algbw_bytes_per_s(collective) < 1.1 * link_bytes_per_s, "busbw of 2 ranks is algbw"
    (own,) = run.nodes
    (other,) = read(tmp_path, "lab1").nodes
    assert [(node.header.node, node.header.host, node.header.interface) for node in (own, other)] == [
        (0, "lab0", "eth0"),
        (1, "lab1", "eth0"),
    ]
    assert {rank.rank for outcome in other.outcomes for rank in outcome.ranks} == {1}
    assert [processes_in(host.namespace) for host in two.hosts] == [[], []]


def test_a_pulled_cable_ends_the_run_and_keeps_what_was_measured(two: Lab, tmp_path: Path) -> None:
    two.limit(None)
    launchers = started(two, tmp_path, MINE, "--set", "size=1,2,3,4", "--layout", "dp=2", "--case-time", "3s", "--time-limit", "8s")
    wait_for_record(tmp_path)
    assert listening(two.hosts[1].namespace) <= {two.hosts[1].address}, "gloo listens for its peers on the interface that reaches them"
    two.cut(1)
    began_s = time.monotonic()
    assert ended(launchers) == [4, 4], said(tmp_path, "lab0") + said(tmp_path, "lab1")
    assert time.monotonic() - began_s < 120
    run = read(tmp_path)
    done = [record for record in run.records if record.outcome == "done"]
    lost = [record for record in run.records if record.outcome == "failed"]
    assert done
    assert len(done) + len(lost) == 4
    assert all(re.search(r"node 1 \(lab1\).*(cut off|did not end)", record.reason) for record in lost), [record.reason for record in lost]
    assert "node 0" in said(tmp_path, "lab1")
    assert [processes_in(host.namespace) for host in two.hosts] == [[], []]


def test_four_hosts_find_each_other(tmp_path: Path) -> None:
    with lab(4) as made:
        made.limit(1e9)
        launchers = started(made, tmp_path, MINE, "--layout", "dp=4", "--case-time", "0.5s")
        assert ended(launchers) == [0, 0, 0, 0], "".join(said(tmp_path, host.name) for host in made.hosts)
        (record,) = read(tmp_path).records
        assert record.measurement is not None
        assert [rank.host for rank in record.measurement.ranks] == ["lab0", "lab1", "lab2", "lab3"]
