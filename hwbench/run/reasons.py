"""Why ranks ended, in one line: from what they said, from what torch's launcher wrote about them, and from the kernel's counters."""

import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from .protocol import Failed

_EXIT: Final = re.compile(r"exitcode\s*:\s*(-?\d+) \(pid: (\d+)\)")
"""A line of torch's ChildFailedError: `exitcode  : -9 (pid: 123)`; negative is the signal."""
_TELLING: Final = re.compile(r"^(Fatal Python error\b|[\w.]*(Error|Exception|Interrupt)\b)")
_PEER_LOST: Final = re.compile(
    r"connection (closed|reset|refused)|closed by peer|broken pipe|remote process exited|socket.*timed? ?out", re.IGNORECASE
)
"""What gloo, NCCL and torch's stores say when a peer is gone."""
_STACK: Final = ("  ", "Extension modules:", "Current thread", "Thread 0x", "<no Python frame>", "====", "----", "W1", "E1", "I1")
_TAIL_BYTES: Final = 65536


def reason(
    failures: Sequence[Failed], exits: Mapping[int, int], last_lines: Mapping[int, str], launcher: tuple[int, str], *, out_of_memory: bool
) -> str:
    """One line that names the rank which went first and what ended it.

    `exits` maps ranks to exit codes (negative: a signal), `last_lines` to the telling line of their logs. A rank that ended without a word
    comes before one that complains that it lost its peer; SIGTERM is what torch's launcher ends the others with. `launcher`: its own
    exit code and telling line. `out_of_memory`: the kernel has killed some process for want of memory meanwhile.
    """
    spoke = {failed.rank for failed in failures}
    silent = {rank: code for rank, code in exits.items() if code and rank not in spoke}
    for rank, code in silent.items():
        if code != -signal.SIGTERM:
            return _ended(f"rank {rank}", code, last_lines.get(rank, ""), out_of_memory=out_of_memory)
    if failures:
        earliest = min(failures, key=lambda failed: failed.at_s)
        return f"rank {earliest.rank}: {earliest.reason}"
    for rank, code in silent.items():
        return _ended(f"rank {rank}", code, last_lines.get(rank, ""), out_of_memory=False)
    return _ended("torch's launcher", *launcher, out_of_memory=out_of_memory)


def exit_codes(launcher_log: str, rank_of: Mapping[int, int]) -> dict[int, int]:
    """Exit code by rank, from the log of torch's launcher; `rank_of` maps process ids to ranks."""
    return {rank_of[int(pid)]: int(code) for code, pid in _EXIT.findall(launcher_log) if int(pid) in rank_of}


def telling_line(log: str) -> str:
    """The line of a log that says most: the last that names an error, else the last that is no part of a stack; '' for an empty log."""
    lines = [line.rstrip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if _TELLING.match(line)]
    plain = [line for line in lines if not line.startswith(_STACK)]
    return (errors or plain or lines or [""])[-1].strip()


def is_complaint(text: str) -> bool:
    """Whether a rank's last words are about a peer that went before it."""
    return bool(_PEER_LOST.search(text))


def rank_log(log: Path, rank: int) -> Path:
    """The log of one rank, beside that of its launch."""
    return log.with_name(f"{log.stem}-rank-{rank}.log")


def read_tail(path: Path) -> str:
    """The end of a log file; '' where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def kernel_oom_kills(vmstat: Path = Path("/proc/vmstat")) -> int | None:
    """How many processes the kernel has killed for want of memory since boot (proc(5)); None where it doesn't tell."""
    for line in read_tail(vmstat).splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return None


def _ended(who: str, code: int, last_line: str, *, out_of_memory: bool) -> str:
    if code >= 0:
        return f"{who} ended with exit status {code}{_after(last_line)}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    if code == -signal.SIGKILL and out_of_memory:
        return f"{who}: out of memory: killed by the kernel ({name})"
    return f"{who} was killed by {name}{_after(last_line)}"


def _after(text: str) -> str:
    return f": {text}" if text else ""
