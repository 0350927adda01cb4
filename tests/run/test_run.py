"""Real runs over torch's launcher: what goes wrong becomes a record, what is measured stays, nothing is left running."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from hwbench import store
from hwbench.core.record import Run

pytestmark = pytest.mark.heavy

MINE = str(Path(__file__).with_name("behaving.py"))
LIMIT_S = 300.0


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "hwbench", "run", *words]


def environment() -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}


def run(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A whole `hwbench run` in `folder`."""
    env = environment() | variables
    return subprocess.run(command(*words), cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def only_run(folder: Path) -> Run:
    (path,) = store.list_runs(folder / "hwbench-results")
    return store.read_run(path)


def wait_for(condition: Callable[[], object], limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def done_lines(folder: Path) -> list[str]:
    return [line for path in folder.glob("hwbench-results/*/records-*.jsonl") for line in path.read_text().splitlines() if '"done"' in line]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `hwbench run` in the background; whatever of it is left at the end of the test is killed."""
    processes: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        processes.append(
            subprocess.Popen(command(*words), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_whatever_goes_wrong_becomes_a_record_and_the_run_goes_on(tmp_path: Path) -> None:
    behaviours = {
        "raises": "rank 1: ValueError: the last rank raised",
        "killed": "rank 1 was killed by SIGKILL",
        "hangs": "no answer within the time limit of 5.00 s",
        "no_memory": "rank 1: out of memory: ",
        "segfault": "rank 1 was killed by SIGSEGV: Fatal Python error: Segmentation fault",
        "wrong": "correctness check sum: error 1 above 0.5",
        "unavailable": "this machine has no flux capacitor",
        "no_kernel": "torch has no fp32 for this on cpu: ",
        "fine": "",
    }
    done = run(
        tmp_path, MINE, "--set", f"behaviour={','.join(behaviours)}", "--layout", "dp=2", "--time-limit", "5s", "--case-time", "0.5s"
    )
    assert done.returncode == 4, done.stderr
    found = {str(record.case.config["behaviour"]): record for record in only_run(tmp_path).records}
    assert found.keys() == behaviours.keys()
    for behaviour, reason in behaviours.items():
        assert found[behaviour].reason.startswith(reason), found[behaviour].reason
    outcomes = {behaviour: record.outcome for behaviour, record in found.items()}
    assert outcomes.pop("fine") == "done"
    assert outcomes.pop("unavailable") == outcomes.pop("no_kernel") == "skipped"
    assert set(outcomes.values()) == {"failed"}
    assert "6 of 9 cases failed; 1 of 9 cases measured" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_finished_run_holds_every_sample(tmp_path: Path) -> None:
    done = run(tmp_path, MINE, "--layout", "single", "--layout", "dp=2", "--processes", "2", "--case-time", "0.5s")
    assert done.returncode == 0, done.stderr
    assert "4 of 4 cases measured, in hwbench-results/" in done.stdout
    found = only_run(tmp_path)
    assert found.finished
    assert [(r.case.layout, r.case.process) for r in found.records] == [("single", 0), ("dp=2", 0), ("single", 1), ("dp=2", 1)]
    for record in found.records:
        measurement = record.measurement
        assert measurement is not None
        ranks = 2 if record.case.layout == "dp=2" else 1
        assert [samples.rank for samples in measurement.ranks] == list(range(ranks))
        assert len({len(samples.wall_s) for samples in measurement.ranks}) == 1
        assert measurement.items_per_step == 64 * ranks
        assert measurement.check is not None
        assert measurement.check.passed
        assert len(measurement.step_wall_s) >= 5
        assert all(samples.resident_peak_bytes for samples in measurement.ranks)
        assert record.state.load_1min is not None
    assert {path.name for path in Path(found.path, "logs").iterdir()} >= {"launch-001.log", "launch-002-rank-1.log"}


def test_kill_ctrl_c_and_sigterm_lose_nothing_and_leave_nothing(tmp_path: Path, started: Callable[..., subprocess.Popen[str]]) -> None:
    """One run, killed with -9 in its second case, interrupted twice, and completed."""
    first = started(MINE, "--set", "size=1,2,3,4,5,6,7,8", "--layout", "dp=2", "--case-time", "3s")
    wait_for(lambda: len(done_lines(tmp_path)) >= 1)
    family = psutil.Process(first.pid).children(recursive=True)
    listening = [c.laddr.ip for process in family for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert listening, "gloo listens for its peers"
    assert set(listening) <= {"127.0.0.1", "::1"}
    refused = run(tmp_path, "--resume")
    assert refused.returncode == 2
    assert "still being written by another process" in refused.stderr

    first.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family), 10.0)
    kept = done_lines(tmp_path)

    for number, (sign, status) in enumerate([(signal.SIGINT, 130), (signal.SIGTERM, 143)]):
        again = started("--resume")
        wait_for(lambda n=number: len(done_lines(tmp_path)) >= len(kept) + n + 1)  # type: ignore[misc]
        family = psutil.Process(again.pid).children(recursive=True)
        again.send_signal(sign)
        _, said = again.communicate(timeout=20)
        assert again.returncode == status, said
        assert "--resume" in said
        assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family)
    assert done_lines(tmp_path)[: len(kept)] == kept

    last = run(tmp_path, "--resume")
    assert last.returncode == 0, last.stderr
    found = only_run(tmp_path)
    assert found.finished
    assert found.problems == ()
    assert [record.outcome for record in found.records] == ["done"] * 8
    assert len(done_lines(tmp_path)) == 8, "nothing is measured twice"
    assert run(tmp_path, "--resume").returncode == 0
    assert len(done_lines(tmp_path)) == 8


def test_a_device_that_is_not_here_is_skipped(tmp_path: Path) -> None:
    done = run(tmp_path, MINE, "--device", "xpu")
    assert done.returncode == 3, done.stderr
    (record,) = only_run(tmp_path).records
    assert record.outcome == "skipped"
    assert "has no xpu device here" in record.reason


def test_a_budget_that_is_too_small_leaves_cases_out_and_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, MINE, "--set", "size=1,2,3,4,5,6,7,8", "--time-budget", "1s")
    assert done.returncode == 3, "nothing at all was measured"
    assert {record.outcome for record in only_run(tmp_path).records} == {"skipped"}
    assert {record.reason for record in only_run(tmp_path).records} == {"left out: the time budget of 1.00 s was used up"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("embeding",), "unknown workload 'embeding'\n  try: did you mean embedding?"),
        ((MINE, "--layout", "dp=64"), "layout dp=64 needs dp=64 = 64 CPUs, one a rank; hwbench may use "),
        ((MINE, "--layout", "dp=two"), "dp expected a whole number, found 'two'"),
        ((MINE, "--set", "sice=1"), "did you mean size?"),
        ((MINE, "--dtype", "fp31"), "unknown dtype 'fp31'"),
        ((MINE, "--device", "cuda:1"), "expected a kind of device without a number"),
        ((MINE, "--time-budget", "soon"), "'soon' is not a duration"),
        ((MINE, "--suite", "quick"), "give workloads or --suite, not both"),
        (("--suite", "quik"), "did you mean quick?"),
        ((MINE, "--results", f"{MINE}/below"), "can't write results"),
        (("--resume",), "no runs here"),
        (("--resume", "2026", MINE), "--resume completes a run as it was started"),
        (("--resume", "2026", "--find-batch"), "--resume completes a run as it was started"),
        (("--resume", "2026", "--scaling", "strong"), "--resume completes a run as it was started"),
        (("--resume", "2026", "--train-steps", "9"), "--resume completes a run as it was started"),
        ((MINE, "--train-steps", "9"), "--train-steps: none of the workloads is a training step"),
        (("--suite", "bad.toml"), "bad.toml: missing key 'entries'"),
    ],
)
def test_bad_input_is_one_line_and_a_hint_before_anything_starts(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    (tmp_path / "bad.toml").write_text('description = "no entries"\n')
    done = run(tmp_path, *words)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert store.list_runs(tmp_path / "hwbench-results") == ()
