"""Two versions side by side: two nurseries, measured processes forked from them, orders and answers. No torch in this process.

Everything started here listens nowhere but on a Unix socket in a private folder, and dies with this process, `kill -9` included.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hwbench.core.errors import HwbenchError, MeasurementError, UnavailableError, UserError

from . import duel_side, reasons
from .duel_places import Place, environment
from .environment import SETTINGS
from .interrupt import Interrupt

START_LIMIT_S: Final = 180.0
"""A nursery that has not imported torch by then is given up."""
ROLES: Final = ("base", "candidate")
_FAULTS: Final[dict[str, type[HwbenchError]]] = {duel_side.USER: UserError, duel_side.UNAVAILABLE: UnavailableError}


@dataclass(kw_only=True)
class Channel:
    """A connection that speaks lines of JSON."""

    connection: socket.socket
    rest: bytes = b""
    inbox: list[dict[str, Any]] = field(default_factory=list)
    closed: bool = False


@dataclass(kw_only=True)
class Nursery:
    """One version's process that imports torch once and is forked."""

    side: int
    place: Place
    process: subprocess.Popen[bytes]
    log: Path
    channel: Channel | None = None
    told: dict[str, Any] = field(default_factory=dict)
    """Versions of torch, Python and hwbench."""

    @property
    def name(self) -> str:
        """How errors call it."""
        return f"{ROLES[self.side]} ({self.place.label})"


@dataclass(kw_only=True)
class Worker:
    """A measured process."""

    nursery: Nursery
    pid: int
    channel: Channel


@dataclass(kw_only=True)
class Duel:
    """The two sides of a comparison as long as they live."""

    private: Path
    time_limit_s: float
    raised: bool
    """Whether measured processes are to be preferred to others."""
    interrupt: Interrupt
    listener: socket.socket
    selector: selectors.BaseSelector
    nurseries: list[Nursery] = field(default_factory=list)
    strangers: list[Channel] = field(default_factory=list)
    """Connections that have not said yet who they are."""
    started: int = 0
    refused_priority: bool = False


@contextlib.contextmanager
def opened(private: Path, interrupt: Interrupt, time_limit_s: float, *, raised: bool = False) -> Iterator[Duel]:
    """A duel without sides yet; all that it starts is ended when the context is left.

    `time_limit_s` is what building, or one block, may take; `raised` gives processes a higher priority where the system allows it.
    """
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(private / "socket"))
        listener.listen(8)
        selector = stack.enter_context(selectors.DefaultSelector())
        selector.register(listener, selectors.EVENT_READ)
        selector.register(interrupt.wakes, selectors.EVENT_READ)
        duel = Duel(
            private=private, time_limit_s=time_limit_s, raised=raised, interrupt=interrupt,
            listener=listener, selector=selector,
        )  # fmt: skip
        stack.callback(_close, duel)
        yield duel


def start(duel: Duel, places: tuple[Place, Place]) -> None:
    """Start a nursery for each version, in place of those there were, and wait until both are ready.

    UnavailableError where an interpreter lacks torch or hwbench's needs; MeasurementError where one hangs or crashes.
    """
    _end_nurseries(duel)
    duel.started += 1
    for side, place in enumerate(places):
        duel.nurseries.append(_started(duel, side, place))
    until_s = time.monotonic() + START_LIMIT_S
    for nursery in duel.nurseries:
        _until(duel, lambda nursery=nursery: _introduced(duel, nursery) or _gone(nursery), until_s)  # type: ignore[misc]
        if nursery.channel is None:
            raise _not_started(nursery)
        nursery.told = _answer(duel, nursery, nursery.channel, until_s, "starting")


def fork(duel: Duel, side: int) -> Worker:
    """A fresh measured process of a version."""
    nursery = duel.nurseries[side]
    assert nursery.channel is not None
    until_s = time.monotonic() + duel.time_limit_s
    _tell(nursery.channel, {"do": "fork"})
    pid = int(_answer(duel, nursery, nursery.channel, until_s, "starting a process")["forked"])
    _until(duel, lambda: _stranger(duel, "process", pid) is not None, until_s)
    channel = _stranger(duel, "process", pid)
    if channel is None:
        raise MeasurementError(f"{nursery.name}: a process did not start{_last_words(nursery)}")
    duel.strangers.remove(channel)
    hello = channel.inbox.pop(0)
    duel.refused_priority |= duel.raised and not hello["raised"]
    return Worker(nursery=nursery, pid=pid, channel=channel)


def ask(duel: Duel, worker: Worker, order: dict[str, Any], doing: str) -> dict[str, Any]:
    """The worker's answer to an order; `doing` says in an error what it was at.

    Raises what the worker reports as the user's fault or as unavailable, and MeasurementError where it fails, ends or hangs.
    """
    _tell(worker.channel, order)
    return _answer(duel, worker.nursery, worker.channel, time.monotonic() + duel.time_limit_s, doing, worker.pid)


def share_imports(duel: Duel, worker: Worker) -> None:
    """Let the worker's nursery import what the worker had to: later forks are spared it."""
    modules = ask(duel, worker, {"do": "imports"}, "telling what it imported")["modules"]
    nursery = worker.nursery
    assert nursery.channel is not None
    _tell(nursery.channel, {"do": "import", "modules": modules})
    _answer(duel, nursery, nursery.channel, time.monotonic() + START_LIMIT_S, "importing")


def dismiss(duel: Duel, worker: Worker) -> None:
    """End a measured process and wait until it is gone."""
    _drop(duel, worker.channel)
    nursery = worker.nursery
    if nursery.channel is not None and not nursery.channel.closed:
        _status(duel, nursery, worker.pid)


def _started(duel: Duel, side: int, place: Place) -> Nursery:
    log = duel.private / f"{ROLES[side]}-{duel.started}.log"
    ours = SETTINGS | {
        duel_side.SOCKET_VARIABLE: str(duel.private / "socket"),
        duel_side.SIDE_VARIABLE: ROLES[side],
        duel_side.PRIORITY_VARIABLE: "raised" * duel.raised,
        "PYTHONSAFEPATH": "1",
    }
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                (place.python, "-P", duel_side.__file__),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=place.folder,
                env=environment(place, duel.private, ours),
                start_new_session=True,
            )
        except OSError as error:
            raise UnavailableError(f"{ROLES[side]} ({place.label}): can't start {place.python}: {error.strerror or error}") from error
    return Nursery(side=side, place=place, process=process, log=log)


def _introduced(duel: Duel, nursery: Nursery) -> bool:
    channel = _stranger(duel, "nursery", nursery.process.pid)
    if channel is not None:
        duel.strangers.remove(channel)
        channel.inbox.pop(0)
        nursery.channel = channel
    return nursery.channel is not None


def _gone(nursery: Nursery) -> bool:
    return nursery.process.poll() is not None


def _stranger(duel: Duel, kind: str, pid: int) -> Channel | None:
    """The connection whose first line says that it is this process."""
    return next((one for one in duel.strangers if one.inbox and kind in one.inbox[0] and one.inbox[0].get("pid") == pid), None)


def _not_started(nursery: Nursery) -> HwbenchError:
    status = nursery.process.poll()
    if status is None:
        return MeasurementError(f"{nursery.name}: not ready after {START_LIMIT_S:.0f} s{_last_words(nursery)}")
    hint = f"is {nursery.place.python} a Python of version 3.11 or later?"
    return UnavailableError(f"{nursery.name}: ended at its start ({_how(status)}){_last_words(nursery)}", hint=hint)


def _answer(duel: Duel, nursery: Nursery, channel: Channel, until_s: float, doing: str, pid: int | None = None) -> dict[str, Any]:
    """The next line of a channel, or the error that explains why there is none."""
    _until(duel, lambda: bool(channel.inbox) or channel.closed, until_s)
    if channel.inbox:
        message = channel.inbox.pop(0)
        if "failed" not in message:
            return message
        fault = _FAULTS.get(message["failed"], MeasurementError)
        raise fault(f"{nursery.name}: {message['message']}", hint=message.get("hint", ""))
    if not channel.closed:
        raise MeasurementError(f"{nursery.name}: no answer within {duel.time_limit_s:g} s while {doing}", hint="--time-limit gives it more")
    status = _status(duel, nursery, pid) if pid is not None and nursery.process.poll() is None else nursery.process.wait(5)
    raise MeasurementError(f"{nursery.name}: its process {_how(status)} while {doing}{_last_words(nursery)}")


def _status(duel: Duel, nursery: Nursery, pid: int) -> int:
    """How a fork ended: its nursery waits for it, and kills it where it lingers."""
    assert nursery.channel is not None
    _tell(nursery.channel, {"do": "reap", "pid": pid})
    return int(_answer(duel, nursery, nursery.channel, time.monotonic() + duel.time_limit_s, "ending a process")["status"])


def _how(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    return f"was killed by {signal.Signals(-status).name if -status in set(signal.Signals) else f'signal {-status}'}"


def _last_words(nursery: Nursery) -> str:
    line = reasons.telling_line(reasons.read_tail(nursery.log))
    return f": {line}" if line else ""


def _until(duel: Duel, condition: Callable[[], object], until_s: float) -> None:
    """Read what comes until the condition holds or time.monotonic() passes `until_s`. Raises Interrupted after a signal."""
    while not condition() and (left_s := until_s - time.monotonic()) > 0:
        for key, _ in duel.selector.select(min(left_s, 0.5)):
            if key.fileobj is duel.listener:
                _accept(duel)
            elif isinstance(key.data, Channel):
                _read(duel, key.data)
        duel.interrupt.check()


def _accept(duel: Duel) -> None:
    connection, _ = duel.listener.accept()
    channel = Channel(connection=connection)
    duel.selector.register(connection, selectors.EVENT_READ, channel)
    duel.strangers.append(channel)


def _read(duel: Duel, channel: Channel) -> None:
    try:
        data = channel.connection.recv(1 << 20)
    except ConnectionError:
        data = b""
    if not data:
        _drop(duel, channel)
        return
    *lines, channel.rest = (channel.rest + data).split(b"\n")
    channel.inbox += [json.loads(line) for line in lines]


def _tell(channel: Channel, order: dict[str, Any]) -> None:
    """Send an order; who is gone shows when the answer is waited for."""
    with contextlib.suppress(OSError):
        channel.connection.sendall(json.dumps(order).encode() + b"\n")


def _drop(duel: Duel, channel: Channel) -> None:
    if not channel.closed:
        channel.closed = True
        duel.selector.unregister(channel.connection)
        channel.connection.close()


def _end_nurseries(duel: Duel) -> None:
    """Kill the nurseries; their forks die with them."""
    for nursery in duel.nurseries:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(nursery.process.pid, signal.SIGKILL)
        nursery.process.wait()
        if nursery.channel is not None:
            _drop(duel, nursery.channel)
    duel.nurseries.clear()


def _close(duel: Duel) -> None:
    _end_nurseries(duel)
    for key in tuple(duel.selector.get_map().values()):
        if isinstance(key.data, Channel):
            _drop(duel, key.data)
