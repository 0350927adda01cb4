"""`hwbench ab` as a user has it: real versions, real processes, tiny budgets; what goes wrong is one line, and nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from hwbench.cli._ab_view import BARS, picture
from hwbench.core.ab import AbKernel
from hwbench.core.comparison import Comparison

ROOT = Path(__file__).parents[2]
WORKLOAD = """
from hwbench.core.value import Value
from hwbench.core.workload import Block, Check, Cost, Kernel, Operator, Workload

class Config(Value):
    units: int = UNITS
    deed: str = ""

def cost(config, dtype):
    operator = Operator(name="sum", kind="memory", flops=1.0, bytes=4.0)
    return Cost(blocks=(Block(name="sum", parameters=0, operators=(operator,)),), dtype=dtype, items=1)

def build(config, context):
    import os, time, torch
    a = torch.ones(96, 96)
    calls = 0
    def run():
        nonlocal calls
        calls += 1
        if calls == 30 and config.deed == "killed":
            os.kill(os.getpid(), 11)
        if calls == 30 and config.deed == "hangs":
            time.sleep(3600)
        if config.deed == "raises":
            raise ValueError("the candidate raised")
        for _ in range(config.units):
            torch.mm(a, a)
    error = 1.0 if config.deed == "wrong" else 0.0
    return Kernel(run=run, check=lambda: Check(name="sum", error=error, tolerance=0.5, reference="closed form"))

WORKLOAD = Workload(kind="kernel", config=Config, cost=cost, build=build)
"""


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "hwbench", "ab", *words]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}


def ab(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), cwd=folder, env=environment(), capture_output=True, text=True, timeout=240, check=False)


def git(folder: Path, *words: str) -> str:
    names = ("-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(("git", "-C", str(folder), *names, *words), check=True, capture_output=True, text=True).stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository whose second commit made its workload half as slow again."""
    git(tmp_path, "init", "--quiet")
    for units in (20, 30):
        (tmp_path / "mine.py").write_text(WORKLOAD.replace("UNITS", str(units)))
        git(tmp_path, "add", "mine.py")
        git(tmp_path, "commit", "--quiet", "-m", f"{units} units")
    return tmp_path


@pytest.fixture
def started(project: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        processes.append(
            subprocess.Popen(command(*words), cwd=project, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.heavy
def test_a_commit_that_made_it_slower_fails_the_gate_and_leaves_only_what_was_asked_for(project: Path) -> None:
    words = ("--base", "HEAD~1", "--candidate", "HEAD", "mine.py", "--budget", "60s", "--fail", "slower:3%")
    done = ab(project, *words, "--json", "--session", "s.csv.gz", "--plot", "plot.html")
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    (only,) = found["comparisons"]
    assert only["verdict"] == "slower"
    assert only["ratio"] == pytest.approx(1.5, rel=0.15)
    assert only["ratio_low"] < 1.5 < only["ratio_high"] * 1.05
    assert only["confirmed"] is True
    assert "confirmed in fresh processes" in only["note"]
    assert "hwbench: 1 of 1 kernels slower by more than 3 %: mine.py" in done.stderr
    assert found["base"].startswith("HEAD~1 (")
    assert len(git(project, "worktree", "list").splitlines()) == 1
    assert "data-figure" in (project / "plot.html").read_text()
    judged = subprocess.run(
        [sys.executable, "-m", "hwbench", "compare", "--session", "s.csv.gz", "--json"],
        cwd=project, env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    (same,) = json.loads(judged.stdout)[0]["comparisons"]
    fields = ("kernel", "verdict", "ratio", "ratio_low", "ratio_high", "minimum_detectable_effect")
    assert [same[name] for name in fields] == [only[name] for name in fields]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("deed", "words"),
    [
        ("raises", "candidate (set:deed=raises): ValueError: the candidate raised"),
        ("killed", "candidate (set:deed=killed): its process was killed by SIGSEGV while "),
        ("hangs", "candidate (set:deed=hangs): no answer within 5 s while "),
        ("wrong", "candidate (set:deed=wrong): ValueError: correctness check sum: error 1 above 0.5"),
    ],
)
def test_a_candidate_that_fails_is_one_line_and_exit_4(project: Path, deed: str, words: str) -> None:
    done = ab(
        project,
        "--base",
        "same",
        "--candidate",
        f"set:deed={deed}",
        "mine.py",
        "--budget",
        "10s",
        "--time-limit",
        "5s",
        "--priority",
        "raised",
    )
    assert done.returncode == 4, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.heavy
def test_an_interpreter_without_torch_is_unavailable(project: Path) -> None:
    bare = project / "bare"
    subprocess.run((sys.executable, "-m", "venv", "--without-pip", str(bare)), check=True)
    done = ab(project, "--base", "same", "--candidate", "bare", "mine.py", "--budget", "10s")
    assert done.returncode == 3, done.stderr
    assert "hwbench: candidate (bare): can't import torch: No module named 'torch'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.heavy
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_no_process_no_worktree_and_the_rounds_so_far(
    project: Path, started: Callable[..., subprocess.Popen[str]], number: signal.Signals, status: int
) -> None:
    process = started("--base", "HEAD~1", "--candidate", "HEAD~1", "mine.py", "--budget", "60s", "--session", "s.csv")
    path, end = project / "s.csv", time.monotonic() + 60
    while not (path.exists() and len(path.read_text().splitlines()) > 10):
        assert time.monotonic() < end
        time.sleep(0.05)
    below = psutil.Process(process.pid).children(recursive=True)
    assert len(below) >= 4
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == status
    assert said.strip().splitlines()[-1].startswith("hwbench: interrupted by ")
    assert said.strip().endswith("; the rounds so far are in s.csv")
    _, alive = psutil.wait_procs(below, timeout=10)
    assert not alive
    assert len(git(project, "worktree", "list").splitlines()) == 1


@pytest.mark.heavy
def test_the_same_code_against_itself_tells_what_could_be_seen_here(project: Path) -> None:
    words = ("doctor", "--aa", "mine.py", "--budget", "20s", "--json")
    done = subprocess.run(
        [sys.executable, "-m", "hwbench", *words], cwd=project, env=environment(), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (only,) = found["kernels"]
    assert only["kernel"] == "mine.py"
    assert found["replays"] == only["replays"] > 0
    assert 0 <= found["false_alarm_fraction"] <= 1
    assert only["minimum_detectable_effect"] > 0
    assert found["state"]["load_1min"] is not None


def test_bad_words_are_refused_before_anything_is_started(tmp_path: Path) -> None:
    for words, expected in (
        (("--base", "HEAD", "--candidate", "same", "matmul"), "HEAD: "),
        (("--base", "same", "--candidate", "set:x", "matmul"), "expected NAME=VALUE"),
        (("--base", "same", "--candidate", "same", "matmull"), "unknown workload 'matmull'"),
        (("--base", "same", "--candidate", "same", "no.py"), "no.py: no such file"),
        (("--base", "same", "--candidate", "same", "matmul", "--fail", "slow"), "--fail 'slow': expected a verdict and a size"),
        (("--base", "same", "--candidate", "same", "matmul", "--budget", "1s"), "--budget 1s: starting two versions takes some seconds"),
    ):
        done = ab(tmp_path, *words)
        assert done.returncode == 2, done.stderr
        assert expected in done.stderr
        assert "Traceback" not in done.stderr


def kernel(ratios: list[float], ratio: float | None = 1.05) -> AbKernel:
    comparison = Comparison(kernel="k", verdict="can't tell")
    if ratio is not None:
        comparison = Comparison(kernel="k", verdict="slower", ratio=ratio, ratio_low=0.98 * ratio, ratio_high=1.02 * ratio)
    return AbKernel(
        comparison=comparison, rounds=1, processes=1, looks=1, duration_s=1.0,
        pair_round=(0,) * len(ratios), base_s=(1.0,) * len(ratios), candidate_s=tuple(ratios),
    )  # fmt: skip


def test_a_picture_shows_where_the_pairs_lie() -> None:
    title, bars, interval, axis = picture(kernel([1.05] * 9 + [0.5]))
    assert title == "  k: 10 block pairs, candidate / base"
    assert len({len(line) for line in (bars, interval, axis)}) == 1
    assert bars[2 + interval[2:].index("●")] == BARS[-1]
    assert interval[2 + 30] == "┼"
    assert axis[2 + 30] == "1"
    assert picture(kernel([])) == []
    assert "●" not in "".join(picture(kernel([1.0, 2.0], None)))
