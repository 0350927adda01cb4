"""Ctrl-C and SIGTERM: the first asks the run to end cleanly, a second one ends the process as the system would."""

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Final

from hwbench.core.errors import Interrupted

_STATUS: Final = {signal.SIGINT: 130, signal.SIGTERM: 143}
_NAME: Final = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


@dataclass(kw_only=True)
class Interrupt:
    """Whether a signal came. `wakes` becomes readable when one does, so that waiting for ranks ends at once."""

    wakes: socket.socket
    came: signal.Signals | None = None

    def check(self) -> None:
        """Raise Interrupted, with the documented exit status, if a signal came."""
        if self.came is not None:
            raise Interrupted(f"interrupted by {_NAME[self.came]}", exit_code=_STATUS[self.came])


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Catch SIGINT and SIGTERM for as long as the context lasts; to be entered in the main thread."""
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    reading.setblocking(False)
    interrupt = Interrupt(wakes=reading)
    before = {number: signal.getsignal(number) for number in _STATUS}

    def note(number: int, _frame: FrameType | None) -> None:
        interrupt.came = signal.Signals(number)
        for each in _STATUS:
            signal.signal(each, signal.SIG_DFL)

    woken = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    for number in _STATUS:
        signal.signal(number, note)
    try:
        yield interrupt
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        reading.close()
        writing.close()
