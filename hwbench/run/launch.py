"""One launch of ranks through torch's launcher: start it, talk with the ranks, end it. No torch in this process.

Nothing listens on the network but gloo on the loopback interface: torch's launcher and the ranks meet through files in a private
folder, and ranks talk with hwbench over a Unix socket there. Everything started here dies with this process, `kill -9` included.
"""

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hwbench.core.errors import MeasurementError

from . import protocol, reasons
from .environment import rank_environment
from .folders import private_folder
from .interrupt import Interrupt
from .worker import die_with_parent

START_LIMIT_S: Final = 300.0
"""Ranks that have not imported torch by then are given up."""
_END_S: Final = 5.0
_HANG_UP_S: Final = 10.0
"""How long torch's launcher may take to end the other ranks and say why."""


class RanksFailed(MeasurementError):
    """The ranks of a launch ended or hang; the message is the reason that goes into the record."""


@dataclass(kw_only=True)
class Ranks:
    """The ranks of one launch as long as they live."""

    world_size: int
    launcher: subprocess.Popen[bytes]
    log: Path
    interrupt: Interrupt
    selector: selectors.BaseSelector
    oom_kills: int | None
    lines: dict[socket.socket, bytearray] = field(default_factory=dict)
    """Bytes of each connection that are no whole line yet."""
    rank_of: dict[int, int] = field(default_factory=dict)
    """Rank by process id."""
    failures: list[protocol.Failed] = field(default_factory=list)


@contextlib.contextmanager
def launched(world_size: int, log: Path, interrupt: Interrupt, start_limit_s: float = START_LIMIT_S) -> Iterator[Ranks]:
    """Ranks that have imported torch and wait for cases; ended, all of them, when the context is left.

    `log` is the file for what torch's launcher prints; rank N's lies beside it. Raises RanksFailed and Interrupted.
    """
    with contextlib.ExitStack() as stack:
        private = stack.enter_context(private_folder())
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(private / "socket"))
        listener.listen(world_size)
        selector = stack.enter_context(selectors.DefaultSelector())
        selector.register(listener, selectors.EVENT_READ)
        selector.register(interrupt.wakes, selectors.EVENT_READ)
        oom_kills = reasons.kernel_oom_kills()
        launcher = _start(world_size, log, private)
        ranks = Ranks(world_size=world_size, launcher=launcher, log=log, interrupt=interrupt, selector=selector, oom_kills=oom_kills)
        stack.callback(_kill, ranks)
        _await_ready(ranks, time.monotonic() + start_limit_s)
        yield ranks
        _end(ranks)


def next_log(logs: Path) -> Path:
    """The log file of the next launch of a run, numbered after those that are there: a resumed run has some already."""
    return logs / f"launch-{sum(1 for _ in logs.glob('launch-???.log')) + 1:03d}.log"


def _start(world_size: int, log: Path, private: Path) -> subprocess.Popen[bytes]:
    command = (
        *(sys.executable, "-P", "-m", "torch.distributed.run"),
        *("--nnodes", "1", "--nproc-per-node", str(world_size), "--max-restarts", "0", "--monitor-interval", "0.1"),
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", str(private / "rendezvous"), "--rdzv-conf", "store_type=file"),
        *("--rdzv-id", "hwbench", "--log-dir", str(private / "torch"), "-m", "hwbench.run.worker"),
    )
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        # A session of its own: no terminal's Ctrl-C reaches it, and the kernel's autogroup scheduling counts it apart.
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=rank_environment() | _meeting_place(private, log),
            start_new_session=True,
            preexec_fn=die_with_parent,  # one prctl call; there is no other way to set it
        )


def _meeting_place(private: Path, log: Path) -> dict[str, str]:
    """Where the ranks of one launch find each other, hwbench, and their logs."""
    return {
        protocol.SOCKET_VARIABLE: str(private / "socket"),
        protocol.STORE_VARIABLE: str(private / "store"),
        protocol.LOG_VARIABLE: str(log.with_suffix("").resolve()),
    }


def _await_ready(ranks: Ranks, until_s: float) -> None:
    ready: set[int] = set()
    while len(ready) < ranks.world_size:
        for message in receive(ranks, until_s, f"rank {len(ready)} did not start"):
            if isinstance(message, protocol.Ready):
                ready.add(message.rank)


def order(ranks: Ranks, message: protocol.ToRank) -> None:
    """Send every rank the same message; a rank that is gone shows when its answer is waited for."""
    for connection in ranks.lines:
        with contextlib.suppress(OSError):
            protocol.send(connection, message)


def receive(ranks: Ranks, until_s: float, late: str) -> list[protocol.FromRank]:
    """Wait for something to happen, a second at most, and return what ranks said, if anything.

    Raises RanksFailed when a rank failed or is gone, or when time.monotonic() passes `until_s` (then `late` is in the reason); Interrupted
    after a signal.
    """
    messages = _heard(ranks, min(1.0, max(0.0, until_s - time.monotonic())))
    if ranks.failures or _lost(ranks):
        raise RanksFailed(_autopsy(ranks))
    if not messages and time.monotonic() >= until_s:
        _kill(ranks)  # who hangs does not listen either
        raise RanksFailed(late)
    return messages


def _heard(ranks: Ranks, timeout_s: float) -> list[protocol.FromRank]:
    messages: list[protocol.FromRank] = []
    for key, _ in ranks.selector.select(timeout_s):
        connection = key.fileobj
        ranks.interrupt.check()
        if connection in ranks.lines:
            messages += _read(ranks, connection)
        elif isinstance(connection, socket.socket) and connection is not ranks.interrupt.wakes:
            accepted, _ = connection.accept()
            ranks.lines[accepted] = bytearray()
            ranks.selector.register(accepted, selectors.EVENT_READ)
    ranks.interrupt.check()
    return messages


def _read(ranks: Ranks, connection: socket.socket) -> list[protocol.FromRank]:
    """Whole lines from one rank; a closed connection is dropped."""
    try:
        data = connection.recv(1 << 20)
    except ConnectionError:
        data = b""
    if not data:
        ranks.selector.unregister(connection)
        ranks.lines.pop(connection)
        connection.close()
        return []
    *whole, rest = (bytes(ranks.lines[connection]) + data).split(b"\n")
    ranks.lines[connection] = bytearray(rest)
    messages = [protocol.decode_from_rank(line) for line in whole]
    for message in messages:
        if isinstance(message, protocol.Hello):
            ranks.rank_of[message.pid] = message.rank
        elif isinstance(message, protocol.Failed):
            ranks.failures.append(message)
    return messages


def _lost(ranks: Ranks) -> bool:
    return len(ranks.rank_of) > len(ranks.lines) or ranks.launcher.poll() is not None


def _autopsy(ranks: Ranks) -> str:
    """Let torch's launcher end the other ranks and say how they ended; then put the reason in one line."""
    until_s = time.monotonic() + _HANG_UP_S
    while ranks.launcher.poll() is None and time.monotonic() < until_s:
        _heard(ranks, 0.1)
    text = reasons.read_tail(ranks.log)
    exits = reasons.exit_codes(text, ranks.rank_of)
    last_lines = {rank: reasons.telling_line(reasons.read_tail(_rank_log(ranks.log, rank))) for rank in exits}
    oom_kills = reasons.kernel_oom_kills()
    oom = oom_kills is not None and ranks.oom_kills is not None and oom_kills > ranks.oom_kills
    launcher = (ranks.launcher.poll() or 0, reasons.telling_line(text))
    return reasons.reason(ranks.failures, exits, last_lines, launcher, out_of_memory=oom)


def _rank_log(log: Path, rank: int) -> Path:
    return log.with_name(f"{log.stem}-rank-{rank}.log")


def _end(ranks: Ranks) -> None:
    """Tell the ranks to leave and wait a little; who stays is killed by the caller."""
    order(ranks, protocol.End())
    with contextlib.suppress(subprocess.TimeoutExpired):
        ranks.launcher.wait(_END_S)


def _kill(ranks: Ranks) -> None:
    """End everything that is left. Ranks die with torch's launcher (see worker.die_with_parent); who has a session is killed with it."""
    if ranks.launcher.poll() is None:
        for pid in ranks.rank_of:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        ranks.launcher.kill()
        ranks.launcher.wait()
    for connection in ranks.lines:
        connection.close()
