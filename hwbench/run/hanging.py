"""Which ranks keep the others waiting when no answer comes: processes that are stopped, and what the others' Python stacks show.

A rank prints its stack on SIGUSR1 (faulthandler, in C: it works while the interpreter waits in a collective); see worker.py.
"""

import contextlib
import os
import re
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .reasons import rank_log, read_tail

SIGNAL: Final = signal.SIGUSR1
_ANSWER_S: Final = 0.5
"""Writing a stack takes a millisecond; more on a machine that is busy, which hanging ranks often make it."""
_FRAME: Final = re.compile(r'^  File "([^"]+)", line (\d+) in (\S+)', re.MULTILINE)
_STATE: Final = re.compile(r"\)\s+(\S)")
_WAITING: Final = "torch/distributed/"
"""A stack whose innermost frame is in there waits for other ranks."""


def blamed(log: Path, rank_of: Mapping[int, int]) -> str:
    """What the ranks of this node do instead of answering, in one line; '' where all of them wait for others or nothing can be seen.

    `rank_of` maps process ids to ranks; `log` is that of the launch.
    """
    states = {rank: _state(pid) for pid, rank in sorted(rank_of.items(), key=lambda item: item[1])}
    sizes = {rank: _size(rank_log(log, rank)) for rank in states}
    for pid in rank_of:
        with contextlib.suppress(OSError):
            os.kill(pid, SIGNAL)
    time.sleep(_ANSWER_S)
    said = []
    for rank, state in states.items():
        if state in ("T", "t"):
            said.append(f"rank {rank} is stopped (SIGSTOP, or a debugger)")
        elif state == "D":
            said.append(f"rank {rank} waits for a device or a file system that does not answer")
        elif where := place(read_tail(rank_log(log, rank))[-max(0, _size(rank_log(log, rank)) - sizes[rank]) :]):
            said.append(f"rank {rank} is in {where}")
    return ", ".join(said)


def place(stack: str) -> str:
    """The innermost frame of a stack as faulthandler prints it: 'wait (model.py, line 3)'; '' for none, or one that waits for ranks."""
    frames = _FRAME.findall(stack.rpartition("most recent call first")[2])
    if not frames or any(_WAITING in path for path, _, _ in frames[:2]):
        return ""
    path, line, function = frames[0]
    return f"{function} ({Path(path).name}, line {line})"


def _state(pid: int) -> str:
    """The state letter of a process (proc(5), stat); '' where it is gone or can't be read."""
    try:
        match = _STATE.search(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    return match.group(1) if match else ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
