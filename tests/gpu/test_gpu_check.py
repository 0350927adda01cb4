"""`make gpu-check` where there is no accelerator, and its table."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("gpu_check.py")


def check(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run((sys.executable, str(SCRIPT), *words), capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.heavy
def test_without_an_accelerator_it_says_so_in_one_line_and_exits_3() -> None:
    if torch.accelerator.is_available():
        pytest.skip("there is an accelerator here: `make gpu-check` checks it")
    done = check()
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.startswith("gpu-check: no accelerator here (torch ")
    assert done.stderr.count("\n") == 1


@pytest.mark.heavy
def test_what_is_not_reached_in_time_has_failed_and_stands_in_the_table() -> None:
    done = check("--device", "cpu", "--minutes", "0.001")
    assert done.returncode == 4
    lines = done.stdout.splitlines()
    assert lines[0].startswith("CPU (a rehearsal), torch ")
    assert "0 of 11 passed" in lines[0]
    assert "| workloads | **failed** | not reached in time |" in lines
