"""Who is to blame when no answer comes: read from stacks as faulthandler prints them, and from the state of real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hwbench.run.hanging import blamed, place

MODEL = '  File "/home/me/model.py", line 12 in forward\n'
WAITING = '  File "/venv/torch/distributed/distributed_c10d.py", line 2806 in all_reduce\n'
AGREEING = '  File "/x/hwbench/run/devices.py", line 80 in agree\n'


@pytest.mark.parametrize(
    ("stack", "where"),
    [
        ("", ""),
        (f"Current thread 0x1 (most recent call first):\n{MODEL}{AGREEING}", "forward (model.py, line 12)"),
        (f"Current thread 0x1 (most recent call first):\n{WAITING}{AGREEING}", ""),
        (f"Stack (most recent call first):\n{MODEL}Stack (most recent call first):\n{WAITING}", ""),
        ("a line of the workload's own\n", ""),
    ],
)
def test_the_innermost_frame_tells(stack: str, where: str) -> None:
    assert place(stack) == where


def test_a_stopped_process_is_named_and_one_that_is_gone_is_not(tmp_path: Path) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        os.kill(sleeper.pid, signal.SIGSTOP)
        while Path(f"/proc/{sleeper.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.01)
        said = blamed(tmp_path / "launch-001.log", {sleeper.pid: 3, 2**22 + 1: 4})
    finally:
        sleeper.kill()
        sleeper.wait()
    assert said == "rank 3 is stopped (SIGSTOP, or a debugger)"
