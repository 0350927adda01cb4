"""One launch of ranks through torch's launcher: start it, talk with the ranks, end it. No torch in this process.

On one machine nothing listens on the network but gloo on the loopback interface: torch's launcher and the ranks meet through files in a
private folder, and ranks talk with hwbench over a Unix socket there. Over several nodes each has its launch, all started by node 0's: ranks
meet at a port of node 0, and what other nodes' ranks say comes over `links`. Everything started here dies with this process, `kill -9`
included.
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

from . import hanging, links, protocol, reasons
from .environment import rank_environment
from .folders import private_folder
from .interrupt import Interrupt
from .links import Link
from .worker import die_with_parent

START_LIMIT_S: Final = 300.0
"""Ranks that have not imported torch by then are given up."""
_END_S: Final = 5.0
_HANG_UP_S: Final = 10.0
"""How long torch's launcher may take to end the other ranks and say why."""
_PART_S: Final = 20.0
"""How long other nodes may take to end their ranks; one that needs longer is given up."""


class RanksFailed(MeasurementError):
    """The ranks of a launch ended or hang; the message is the reason that goes into the record."""

    complaint: bool = False
    """Whether the reason is that a rank lost its peer, which says that another one went first."""


class StoppedFromElsewhere(RanksFailed):
    """Node 0 had this node's ranks ended, or is gone."""


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Where the ranks of several nodes meet, as one node needs to know it."""

    nodes: int
    node: int
    address: str
    port: int
    interface: str | None


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """The other nodes of a launch: those that take orders from here, or the one that gives them."""

    meeting: Meeting
    links: tuple[Link, ...]
    leads: bool
    """Whether this is node 0."""


@dataclass(kw_only=True)
class Ranks:
    """The ranks of one launch as long as they live."""

    world_size: int
    """Ranks that answer here: of all nodes on node 0, elsewhere the node's own."""
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
    elsewhere: Elsewhere | None = None
    bystanders: tuple[Link, ...] = ()
    """Nodes that have no ranks in this launch; they have to hear that it goes on."""
    verdicts: dict[int, protocol.Lost] = field(default_factory=dict)
    """What other nodes say about the end of their ranks, by node."""

    @property
    def links(self) -> tuple[Link, ...]:
        """All other nodes that are connected with this one."""
        return (*(self.elsewhere.links if self.elsewhere else ()), *self.bystanders)

    @property
    def followers(self) -> tuple[Link, ...]:
        """The nodes that take orders from here."""
        return self.elsewhere.links if self.elsewhere and self.elsewhere.leads else ()


@contextlib.contextmanager
def launched(
    world_size: int,
    log: Path,
    interrupt: Interrupt,
    start_limit_s: float = START_LIMIT_S,
    elsewhere: Elsewhere | None = None,
    bystanders: tuple[Link, ...] = (),
) -> Iterator[Ranks]:
    """Ranks that have imported torch and wait for cases; ended, all of them, when the context is left.

    `log` is the file for what torch's launcher prints; rank N's lies beside it. `world_size` counts the ranks of all nodes where this is
    node 0, and on the other nodes those of the node. `bystanders` are nodes without a rank. Raises RanksFailed and Interrupted.
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
        here = world_size // elsewhere.meeting.nodes if elsewhere and elsewhere.leads else world_size
        launcher = _start(here, log, private, elsewhere.meeting if elsewhere else None)
        ranks = Ranks(
            world_size=world_size,
            launcher=launcher,
            log=log,
            interrupt=interrupt,
            selector=selector,
            oom_kills=oom_kills,
            elsewhere=elsewhere,
            bystanders=bystanders,
        )
        for link in ranks.links:
            if not link.lost:
                selector.register(link.connection, selectors.EVENT_READ, data=link)
        stack.callback(_part, ranks)
        stack.callback(_kill, ranks)
        _await_ready(ranks, time.monotonic() + start_limit_s)
        yield ranks
        _end(ranks)


def next_log(logs: Path) -> Path:
    """The log file of the next launch of a run, numbered after those that are there: a resumed run has some already."""
    return logs / f"launch-{sum(1 for _ in logs.glob('launch-???.log')) + 1:03d}.log"


def _start(world_size: int, log: Path, private: Path, meeting: Meeting | None) -> subprocess.Popen[bytes]:
    command = (
        *(sys.executable, "-P", "-m", "torch.distributed.run", "--nproc-per-node", str(world_size)),
        *("--max-restarts", "0", "--monitor-interval", "0.1", "--log-dir", str(private / "torch")),
        *(_at_files(private) if meeting is None else _at_port(meeting)),
        *("-m", "hwbench.run.worker"),
    )
    log.parent.mkdir(parents=True, exist_ok=True)
    place = _meeting_place(private, log) | ({} if meeting else {protocol.STORE_VARIABLE: str(private / "store")})
    with log.open("ab") as output:
        # A session of its own: no terminal's Ctrl-C reaches it, and the kernel's autogroup scheduling counts it apart.
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=rank_environment(meeting.interface if meeting else None) | place,
            start_new_session=True,
            preexec_fn=die_with_parent,  # one prctl call; there is no other way to set it
        )


def _at_files(private: Path) -> tuple[str, ...]:
    """Options of torch's launcher by which one machine's ranks meet through files: nothing listens."""
    meeting = ("--rdzv-backend", "c10d", "--rdzv-endpoint", str(private / "rendezvous"), "--rdzv-conf", "store_type=file")
    return ("--nnodes", "1", "--rdzv-id", "hwbench", *meeting)


def _at_port(meeting: Meeting) -> tuple[str, ...]:
    """Options by which several nodes' launchers meet at node 0, each keeping the number it has in the run."""
    where = ("--master-addr", meeting.address, "--master-port", str(meeting.port))
    return ("--nnodes", str(meeting.nodes), "--node-rank", str(meeting.node), *where)


def _meeting_place(private: Path, log: Path) -> dict[str, str]:
    """Where the ranks of one launch find hwbench and their logs."""
    return {protocol.SOCKET_VARIABLE: str(private / "socket"), protocol.LOG_VARIABLE: str(log.with_suffix("").resolve())}


def _await_ready(ranks: Ranks, until_s: float) -> None:
    ready: set[int] = set()
    while len(ready) < ranks.world_size:
        for message in receive(ranks, until_s, f"rank {len(ready)} did not start"):
            if isinstance(message, protocol.Ready):
                ready.add(message.rank)


def order(ranks: Ranks, message: protocol.ToRank) -> None:
    """Send every rank the same message, those of nodes that take orders from here too; a rank that is gone shows when its answer is due."""
    for connection in ranks.lines:
        with contextlib.suppress(OSError):
            protocol.send(connection, message)
    for link in ranks.followers:
        links.say(link, message)


def receive(ranks: Ranks, until_s: float, late: str) -> list[protocol.Message]:
    """Wait for something to happen, a second at most, and return what ranks and other nodes said, if anything.

    Raises RanksFailed when a rank failed or is gone, or when time.monotonic() passes `until_s` (then `late` is in the reason); Interrupted
    after a signal.
    """
    messages = _heard(ranks, min(1.0, max(0.0, until_s - time.monotonic())))
    _obey(ranks, messages)
    if ranks.failures or _lost(ranks):
        failed = RanksFailed(_cause(ranks))
        failed.complaint = reasons.is_complaint(failed.message)
        raise failed
    if not messages and time.monotonic() >= until_s:
        raise RanksFailed(f"{late}{_who_hangs(ranks)}")
    return messages


def _obey(ranks: Ranks, messages: list[protocol.Message]) -> None:
    """On a node that takes orders: end where node 0 wants it or is gone. Raises StoppedFromElsewhere."""
    if ranks.elsewhere is None or ranks.elsewhere.leads:
        return
    (leader,) = ranks.elsewhere.links
    for message in messages:
        if isinstance(message, protocol.Stop):
            blamed = hanging.blamed(ranks.log, ranks.rank_of) if message.inquire else ""
            if blamed:
                links.say(leader, protocol.Lost(reason=blamed))
            raise StoppedFromElsewhere(blamed or "ended by node 0")
    if leader.lost:
        raise StoppedFromElsewhere(f"{leader.name} {leader.lost}")


def _who_hangs(ranks: Ranks) -> str:
    """Which ranks are to blame for an answer that never came, as far as their processes tell; all are ended."""
    blamed = hanging.blamed(ranks.log, ranks.rank_of)
    _kill(ranks)  # who hangs does not listen either
    _part(ranks, inquire=True)
    found = [_of_node(ranks, None, blamed)] if blamed else []
    found += [_of_node(ranks, node, verdict.reason) for node, verdict in sorted(ranks.verdicts.items())]
    found += [f"{link.name} {link.lost}" for link in ranks.followers if link.lost]
    return f"; {'; '.join(found)}" if found else ""


def _heard(ranks: Ranks, timeout_s: float) -> list[protocol.Message]:
    messages: list[protocol.Message] = []
    for key, _ in ranks.selector.select(timeout_s):
        connection = key.fileobj
        ranks.interrupt.check()
        if isinstance(key.data, Link):
            messages += _heard_from(ranks, key.data)
        elif connection in ranks.lines:
            messages += _read(ranks, connection)
        elif isinstance(connection, socket.socket) and connection is not ranks.interrupt.wakes:
            accepted, _ = connection.accept()
            ranks.lines[accepted] = bytearray()
            ranks.selector.register(accepted, selectors.EVENT_READ)
    ranks.interrupt.check()
    for link in ranks.links:
        links.keep_alive(link)
        if link.lost and link.connection in ranks.selector.get_map():
            ranks.selector.unregister(link.connection)
    return messages


def _heard_from(ranks: Ranks, link: Link) -> list[protocol.Message]:
    """Messages of another node; what concerns the launch as a whole is noted."""
    messages = links.hear(link)
    for message in messages:
        if isinstance(message, protocol.Lost):
            ranks.verdicts[link.node] = message
        elif isinstance(message, protocol.Stopped):
            link.stopped = True
    return messages


def _read(ranks: Ranks, connection: socket.socket) -> list[protocol.Message]:
    """Whole lines from one rank, passed on to node 0 where this is another; a closed connection is dropped."""
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
        elif ranks.elsewhere and not ranks.elsewhere.leads:
            links.say(ranks.elsewhere.links[0], message)
    return [*messages]


def _lost(ranks: Ranks) -> bool:
    gone = any(link.lost for link in ranks.followers) or bool(ranks.verdicts)
    return gone or len(ranks.rank_of) > len(ranks.lines) or ranks.launcher.poll() is not None


def _cause(ranks: Ranks) -> str:
    """Why the ranks ended, by all nodes: any other end goes before that of a rank which lost its peer."""
    if not ranks.followers:
        return _autopsy(ranks)
    until_s = time.monotonic() + _HANG_UP_S
    while time.monotonic() < until_s and not _is_clear(ranks):
        _heard(ranks, 0.1)
    found = [(False, f"{link.name} {link.lost}") for link in ranks.followers if link.lost]
    found += [(verdict.complaint, _of_node(ranks, node, verdict.reason)) for node, verdict in sorted(ranks.verdicts.items())]
    if ranks.launcher.poll() is not None:
        own = _autopsy(ranks)
        found.insert(0, (reasons.is_complaint(own), _of_node(ranks, None, own)))
    return min(found, key=lambda one: one[0])[1] if found else "ranks were lost, and no node knows why"


def _is_clear(ranks: Ranks) -> bool:
    """Whether nothing more is to be learned: somebody ended without a word, or all have said why they ended."""
    if any(link.lost for link in ranks.followers) or any(not verdict.complaint for verdict in ranks.verdicts.values()):
        return True
    ended = ranks.launcher.poll() is not None
    return ended and (len(ranks.verdicts) == len(ranks.followers) or not ranks.failures)


def _of_node(ranks: Ranks, node: int | None, reason: str) -> str:
    """A reason with the node it comes from; None is this one, which has no name on one machine."""
    if ranks.elsewhere is None or not ranks.elsewhere.leads:
        return reason
    if node is None:
        return f"node 0 ({socket.gethostname()}): {reason}"
    return f"{next(link.name for link in ranks.followers if link.node == node)}: {reason}"


def _autopsy(ranks: Ranks) -> str:
    """Let torch's launcher end the other ranks and say how they ended; then put the reason in one line."""
    until_s = time.monotonic() + _HANG_UP_S
    while ranks.launcher.poll() is None and time.monotonic() < until_s:
        _heard(ranks, 0.1)
    text = reasons.read_tail(ranks.log)
    exits = reasons.exit_codes(text, ranks.rank_of)
    last_lines = {rank: reasons.telling_line(reasons.read_tail(reasons.rank_log(ranks.log, rank))) for rank in exits}
    oom_kills = reasons.kernel_oom_kills()
    oom = oom_kills is not None and ranks.oom_kills is not None and oom_kills > ranks.oom_kills
    launcher = (ranks.launcher.poll() or 0, reasons.telling_line(text))
    return reasons.reason(ranks.failures, exits, last_lines, launcher, out_of_memory=oom)


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


def _part(ranks: Ranks, *, inquire: bool = False) -> None:
    """Have the other nodes end their ranks, and wait until they have; one that does not say so in time is given up."""
    until_s = time.monotonic() + _PART_S
    for link in ranks.followers:
        if not link.stopped:
            links.say(link, protocol.Stop(inquire=inquire))
    while waiting := [link for link in ranks.followers if not (link.stopped or link.lost)]:
        if time.monotonic() > until_s:
            waiting[0].lost = "did not end its ranks"
        for key, _ in ranks.selector.select(0.5):
            if isinstance(key.data, Link):
                _heard_from(ranks, key.data)
        for link in waiting:
            links.keep_alive(link)
