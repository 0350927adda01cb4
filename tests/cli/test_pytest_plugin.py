"""The pytest plugin under real pytest and real pytest-benchmark, in processes of its own, on benchmarks that take a known time.

The benchmarks' clock is theirs (`--benchmark-timer`): it goes on by what a benchmark says it takes, so that the figures don't
depend on the machine that runs the tests.
"""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pytest_benchmark")
pytestmark = pytest.mark.heavy

BENCHMARKS = """
import os, random
import clock

dice = random.Random()  # another seed in every process, as other processes are other figures

def takes(seconds):
    pace = seconds * dice.gauss(1.0, float(os.environ.get("SPREAD", "0.002")))
    return lambda: clock.advance(pace)

def test_steady(benchmark):
    benchmark.pedantic(takes(0.010), rounds=8)

def test_slowed(benchmark):
    benchmark.pedantic(takes(0.020 * float(os.environ.get("SLOWER", "1"))), rounds=8)

def test_plain():
    assert True
"""
CLOCK = """
now = 0.0

def advance(seconds):
    global now
    now += seconds

def timer():
    return now
"""


def written(folder: Path) -> Path:
    (folder / "clock.py").write_text(CLOCK)
    (folder / "test_it.py").write_text(BENCHMARKS)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --benchmark-timer=clock.timer\nfilterwarnings = error\npythonpath = .\n")
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return written(tmp_path)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved baseline of five processes, made once."""
    folder = written(tmp_path_factory.mktemp("base"))
    run(folder, "--hwbench-processes=5", "--benchmark-save=base")
    return folder


@pytest.fixture
def saved(project: Path, base: Path) -> Path:
    """The project's own copy of the baseline."""
    shutil.copytree(base / ".benchmarks", project / ".benchmarks")
    return next((project / ".benchmarks").rglob("0001_base.json"))


@cache
def installed() -> bool:
    """Whether the installed hwbench says that it has the plugin; an older installation of a checkout doesn't."""
    probe = "import importlib.metadata as m; print([p.value for p in m.entry_points(group='pytest11')])"
    shown = subprocess.run([sys.executable, "-P", "-c", probe], cwd="/", capture_output=True, text=True, check=True).stdout
    return "hwbench.cli._pytest" in shown


def run(project: Path, *words: str, status: int = 0, **environment: Any) -> str:
    plugin = () if installed() else ("-p", "hwbench.cli._pytest")
    command = [sys.executable, "-m", "pytest", *plugin, *words]
    variables = {**os.environ, "COLUMNS": "250", **{name: str(value) for name, value in environment.items()}}
    variables.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_saving_adds_the_machine_and_each_process(saved: Path) -> None:
    file = json.loads(saved.read_text())
    assert len(file["machine_info"]["hwbench"]["comparison_key"]) == 16
    assert "cpu.model" in file["machine_info"]["hwbench"]["facts"]
    values = file["hwbench"]["process_minima_s"]
    assert {name: len(each) for name, each in values.items()} == {"test_it.py::test_steady": 5, "test_it.py::test_slowed": 5}
    assert values["test_it.py::test_slowed"][0] == file["benchmarks"][1]["stats"]["min"]


def test_the_table_has_one_column_more_and_only_a_slowdown_ends_with_1(project: Path, saved: Path) -> None:
    bare = run(project, "-p", "no:hwbench") if installed() else ""
    same = run(project, "--hwbench-compare=0001", "--hwbench-fail=slower:3%")
    heading = next(line for line in same.splitlines() if line.startswith("Name (time in"))
    assert heading.endswith("Verdict (time x, interval)")
    if bare:
        theirs = next(line for line in bare.splitlines() if line.startswith("Name (time in")).split()
        assert heading.split() == [*theirs, "Verdict", "(time", "x,", "interval)"]
    rows = {line.split()[0]: line for line in same.splitlines() if line.startswith("test_s")}
    assert " same 1.00 (" in rows["test_steady"]
    assert " same 1.00 (" in rows["test_slowed"]
    assert "3 passed" in same
    slower = run(project, "--hwbench-compare=0001", "--hwbench-fail=slower:3%", status=1, SLOWER=1.1)
    rows = {line.split()[0]: line for line in slower.splitlines() if line.startswith("test_s")}
    assert " same 1.00 (" in rows["test_steady"]
    assert " slower 1.1" in rows["test_slowed"]
    assert "slower by more than 3 %: test_it.py::test_slowed" in slower
    assert "3 passed" in slower, "the tests themselves pass"


def test_a_file_of_one_process_and_a_stored_run_are_baselines_too(project: Path) -> None:
    run(project, "--benchmark-json=one.json")
    against_file = run(project, "--hwbench-compare=one.json", "--hwbench-fail=slower:3%", status=1, SLOWER=1.5)
    assert "1 and 5 processes, taken to spread alike" in against_file
    subprocess.run([sys.executable, "-m", "pytest", "-q", "--benchmark-json=two.json"], cwd=project, check=True, capture_output=True)
    command = [sys.executable, "-c", "from hwbench.cli.main import main; main()", "import", "one.json", "two.json", "--commit", "base"]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    (stored,) = (project / "hwbench-results").iterdir()
    against_run = run(project, f"--hwbench-compare={stored.name}", "--hwbench-fail=slower:3%", status=1, SLOWER=1.5)
    assert f"against run {stored.name}" in against_run
    assert "2 and 5 processes" in against_run


def test_noise_can_not_tell(project: Path, saved: Path) -> None:
    assert saved.is_file()
    shown = run(project, "--hwbench-compare=0001", "--hwbench-fail=slower:3%", SPREAD=0.2, SLOWER=1.03)
    assert "can't tell" in next(line for line in shown.splitlines() if line.startswith("test_slowed"))


def test_another_runner_gives_no_verdict_and_says_what_changed(project: Path, saved: Path) -> None:
    file = json.loads(saved.read_text())
    file["machine_info"]["hwbench"]["facts"]["cpu.model"] = "The old runner's CPU"
    saved.write_text(json.dumps(file))
    shown = run(project, "--hwbench-compare=0001", "--hwbench-processes=1", "--hwbench-fail=slower:3%", SLOWER=2)
    assert "the machines are of different kinds: cpu.model The old runner's CPU → " in shown
    assert "no verdict can be given" in shown
    assert "slower" not in next(line for line in shown.splitlines() if line.startswith("test_slowed"))


def test_an_older_baseline_is_flagged(project: Path, saved: Path) -> None:
    file = json.loads(saved.read_text())
    file["datetime"] = "2024-01-01T00:00:00+00:00"
    saved.write_text(json.dumps(file))
    assert "was not measured in one session with the candidate" in run(project, "--hwbench-compare=0001", "--hwbench-processes=1")


def test_a_renamed_benchmark_is_named_with_its_nearest(project: Path, saved: Path) -> None:
    saved.write_text(saved.read_text().replace("test_slowed", "test_slow"))
    shown = run(project, "--hwbench-compare=0001", "--hwbench-processes=1")
    assert "test_it.py::test_slowed: not in " in shown
    assert "was it test_it.py::test_slow?" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--hwbench-compare=0099",), "'0099' is no file, no saved benchmark in "),
        (("--hwbench-compare=test_it.py",), "test_it.py: not valid JSON"),
        (("--hwbench-compare=empty.json",), "empty.json: not a file of pytest-benchmark"),
        (("--hwbench-compare=a/b/c",), "'a/b/c' is no file"),
        (("--hwbench-fail=slower:3%",), "--hwbench-fail needs --hwbench-compare=REF"),
        (
            ("--hwbench-compare=0099", "--hwbench-fail=mean:5%"),
            "--hwbench-fail: expected slower:PERCENT such as slower:3%, found 'mean:5%'",
        ),
        (("--hwbench-processes=0",), "--hwbench-processes: expected 1 to 1000, found 0"),
        (("-p", "no:benchmark", "-o", "addopts=", "--hwbench-compare=1"), "--hwbench-compare needs pytest-benchmark"),
    ],
)
def test_a_mistake_is_said_before_anything_is_measured(project: Path, words: tuple[str, ...], message: str) -> None:
    (project / "empty.json").write_text("{}")
    shown = run(project, *words, status=4)
    assert message in shown
    assert "Traceback" not in shown
    assert "passed" not in shown


def test_without_pytest_benchmark_it_is_not_there(project: Path) -> None:
    probe = "import sys\ndef test_light():\n    assert not {'numpy', 'torch', 'msgspec', 'hwbench.analyse'} & set(sys.modules)\n"
    (project / "test_it.py").write_text(probe)
    assert "1 passed" in run(project, "-p", "no:benchmark", "-o", "addopts=", "-W", "error")


def test_what_the_first_process_writes_is_written_once(project: Path) -> None:
    run(project, "--hwbench-processes=3", "--benchmark-autosave", "--benchmark-json=all.json", "--junitxml=junit.xml")
    assert len(list((project / ".benchmarks").rglob("*.json"))) == 1
    assert (project / "junit.xml").read_text().count("<testcase ") == 3
    assert len(json.loads((project / "all.json").read_text())["hwbench"]["process_minima_s"]["test_it.py::test_steady"]) == 3


def test_hwbenchs_own_kernels(tmp_path: Path) -> None:
    shown = run(tmp_path, "--pyargs", "hwbench.benchmarks", "-k", "attention", "--benchmark-max-time=0.1", "--benchmark-min-rounds=1")
    assert "test_kernel[attention]" in shown
    assert "1 passed" in shown
