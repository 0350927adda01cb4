"""The workflow of docs/ci.md works as written: its steps run in order, in a repository with a base and a candidate."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

import pytest

PAGE: Final = (Path(__file__).parent.parent / "docs" / "ci.md").read_text()


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


class Step(NamedTuple):
    name: str
    script: str


def steps(job: str) -> list[Step]:
    """The named steps of a job with their `run:`, one line or a block."""
    part = re.split(r"^  (?=\w+:$)", block("yaml"), flags=re.MULTILINE)
    (lines,) = ([*text.splitlines()[1:]] for text in part if text.startswith(f"{job}:\n"))
    found = []
    name = ""
    for number, line in enumerate(lines):
        if match := re.match(r"^ {6}- name: (.*)$", line):
            name = match[1]
        elif match := re.match(r"^ {8}run: (.*)$", line):
            body = [text[10:] for text in _deeper(lines[number + 1 :])]
            found.append(Step(name, "\n".join(body) if match[1] == "|" else match[1]))
    return found


def _deeper(lines: list[str]) -> list[str]:
    end = next((i for i, line in enumerate(lines) if not line.startswith(" " * 10)), len(lines))
    return lines[:end]


PYTEST_BENCHMARK = "def test_scale(benchmark):\n    benchmark(lambda: sum(range(1000)))\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository whose commit `base` is checked out beside the candidate by the workflow."""
    project = tmp_path / "project"
    (project / "bench").mkdir(parents=True)
    (project / "bench" / "scale.py").write_text(block("python"))
    (project / "bench" / "test_scale.py").write_text(PYTEST_BENCHMARK)
    (project / "gate.toml").write_text(block("toml"))
    committed = ["commit", "-q", "--allow-empty", "-m", "a change"]
    for words in (["init", "-q"], ["add", "."], committed, ["tag", "base"], committed):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=project, check=True, capture_output=True)
    program = tmp_path / "bin"
    program.mkdir()
    for name, script in (("hwbench", f'exec {shlex.quote(sys.executable)} -m hwbench "$@"'), ("gh", 'echo "gh $*" > ../gh.txt')):
        (program / name).write_text(f"#!/bin/sh\n{script}\n")
        (program / name).chmod(0o755)
    return project


def carried_out(project: Path, step: Step, processes: int) -> subprocess.CompletedProcess[str]:
    """A step as the runner starts it: `bash -e`, with the job's environment, the measurements made short."""
    paths = f"{project.parent / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    told = {"BASE_REF": "base", "PROCESSES": str(processes), "CASE_TIME": "0.2s", "PULL_REQUEST": "7"}
    environment = os.environ | told | {"PATH": paths, "GITHUB_STEP_SUMMARY": str(project.parent / "summary.md")}
    return subprocess.run(["bash", "-e", "-c", step.script], cwd=project, env=environment, capture_output=True, text=True, timeout=300)


def test_both_jobs_have_steps() -> None:
    assert [step.name for step in steps("gate")] == [
        "Install",
        "Check out the base beside the candidate",
        "Measure the base",
        "Measure the candidate",
        "Gate",
        "Show it in the summary and as a comment",
    ]
    assert len(steps("pytest")) == 4
    assert all(step.script for job in ("gate", "pytest") for step in steps(job))


@pytest.mark.heavy
def test_the_gate_runs_as_written(checkout: Path) -> None:
    for step in steps("gate")[1:]:
        ran = carried_out(checkout, step, processes=1)
        assert ran.returncode == 0, f"{step.name}\n{ran.stdout}{ran.stderr}"
    summary = (checkout.parent / "summary.md").read_text()
    assert summary.startswith("### ✅ hwbench gate: no check of 2 failed")
    assert "a verdict needs 5" in summary
    assert (checkout.parent / "gh.txt").read_text() == "gh pr comment 7 --body-file gate.md --edit-last --create-if-none\n"
    assert "<testsuite " in (checkout / "gate.xml").read_text()
    rules = checkout / "gate.toml"
    rules.write_text(rules.read_text().replace("1e5", "1e15"))
    failing = carried_out(checkout, next(step for step in steps("gate") if step.name == "Gate"), processes=1)
    assert failing.returncode == 1
    assert "::error title=" in failing.stdout


@pytest.mark.heavy
def test_the_pytest_job_runs_as_written(checkout: Path) -> None:
    pytest.importorskip("pytest_benchmark")
    for step in steps("pytest")[1:]:
        ran = carried_out(checkout, step, processes=2)
        assert ran.returncode == 0, f"{step.name}\n{ran.stdout}{ran.stderr}"
    assert "Verdict (time x, interval)" in ran.stdout
