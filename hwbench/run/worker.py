"""One rank: started by torch's launcher, told by hwbench's what to measure, ended by the death of either. It writes no records.

Any error that a workload raises ends the rank after one line to the launcher: ranks that wait for it in a collective could not go
on, so all of them are replaced. What this machine merely lacks (UnavailableError) costs only the case.
"""

import ctypes
import faulthandler
import os
import re
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

from hwbench.core.errors import HwbenchError
from hwbench.core.units import format_bytes

from . import hanging, protocol

_PR_SET_PDEATHSIG: Final = 1
"""prctl(2): the signal this process gets when the one that started it dies."""
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None
"""Loaded here, since `die_with_parent` runs between fork and exec too, where loading a library is not safe."""
PROGRESS_EVERY_S: Final = 1.0
_ASKED: Final = re.compile(r"tried to allocate ([\d.]+) ?([KMGT]iB|bytes)", re.IGNORECASE)
"""How torch's allocators say what they could not have: in bytes on a CPU, in MiB or GiB on an accelerator."""
_OUT_OF_MEMORY: Final = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")


def main() -> None:
    """Say hello, import torch, measure what is asked for until the launcher says End or is gone."""
    rank = int(os.environ["RANK"])
    die_with_parent()
    _write_log(Path(f"{os.environ[protocol.LOG_VARIABLE]}-rank-{rank}.log"))
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.environ[protocol.SOCKET_VARIABLE])
    protocol.send(connection, protocol.Hello(rank=rank, pid=os.getpid(), host=socket.gethostname()))
    sys.excepthook = _last_words(connection, rank)
    from . import rank as measuring  # imports torch, which takes seconds

    protocol.send(connection, protocol.Ready(rank=rank))
    for order in _orders(connection):
        protocol.send(connection, measuring.answer(order, rank, _reporter(connection, rank)))
        measuring.tidy()
    os._exit(0)  # torch's teardown takes a second and can wait for ranks that are gone


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the one that started it dies (Linux; elsewhere the closed socket has to do)."""
    if _LIBC:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _write_log(path: Path) -> None:
    """From here on all that this process prints, the last words of a crash in native code included, goes to a file of its own."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    faulthandler.enable()
    if hasattr(faulthandler, "register"):  # where there are signals
        faulthandler.register(hanging.SIGNAL, all_threads=False)


def _orders(connection: socket.socket) -> Iterator[protocol.Measure]:
    with connection.makefile("rb") as lines:
        for line in lines:
            order = protocol.decode_to_rank(line)
            if isinstance(order, protocol.End):
                return
            yield order


def _last_words(connection: socket.socket, rank: int) -> Callable[[type[BaseException], BaseException, TracebackType | None], None]:
    """An excepthook that tells the launcher why this rank ends, prints the traceback to the log, and leaves at once."""

    def hook(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        failed = protocol.Failed(rank=rank, reason=reason_of(error), at_s=time.monotonic())
        try:
            protocol.send(connection, failed)
        except OSError:
            print("the launcher is gone", file=sys.stderr)  # noqa: T201  # into the log
        traceback.print_exception(kind, error, where)
        sys.stderr.flush()
        os._exit(1)

    return hook


def reason_of(error: BaseException) -> str:
    """An error as one line, memory exhaustion named as such."""
    text = error.message if isinstance(error, HwbenchError) else str(error)
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if isinstance(error, MemoryError) or any(words in text.lower() for words in _OUT_OF_MEMORY):
        asked = _ASKED.search(text)
        size = f"{_size(asked)} were asked for: " if asked else ""
        return f"out of memory: {size}{first or type(error).__name__}"
    if isinstance(error, HwbenchError):
        return first
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _size(asked: re.Match[str]) -> str:
    return format_bytes(float(asked[1])) if asked[2].lower() == "bytes" else f"{asked[1]} {asked[2]}"


def _reporter(connection: socket.socket, rank: int) -> Callable[[str, int], None]:
    """Progress to the launcher, from rank 0: each phase, and within one at most once a second, since it disturbs what is measured."""
    said, said_s = "", 0.0

    def report(phase: str, samples: int) -> None:
        nonlocal said, said_s
        now_s = time.perf_counter()
        if rank == 0 and (phase != said or now_s - said_s >= PROGRESS_EVERY_S):
            said, said_s = phase, now_s
            protocol.send(connection, protocol.Progress(rank=rank, phase=phase, samples=samples))

    return report


if __name__ == "__main__":
    main()
