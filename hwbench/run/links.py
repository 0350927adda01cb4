"""One launcher's connection to another node's: whole messages in, messages out, and whether anybody is still there."""

import socket
import time
from dataclasses import dataclass, field
from typing import Final

import msgspec

from hwbench.core.units import format_seconds

from . import protocol

ALIVE_EVERY_S: Final = 2.0
SILENT_S: Final = 30.0
"""A node that says nothing for so long is cut off: fifteen times what it is silent for when all is well."""
_SEND_LIMIT_S: Final = 10.0
_READ_BYTES: Final = 1 << 20


@dataclass(kw_only=True)
class Link:
    """The other end of a connection, as far as it is known."""

    node: int
    host: str
    connection: socket.socket
    silent_s: float = SILENT_S
    pending: bytearray = field(default_factory=bytearray)
    """Bytes that are no whole line yet."""
    unread: list[protocol.Message] = field(default_factory=list)
    """What came together with the message that was waited for, and is to be heard next."""
    heard_s: float = field(default_factory=time.monotonic)
    spoke_s: float = 0.0
    lost: str = ""
    """Why nothing more will come from there; '' while it may."""
    stopped: bool = True
    """Whether it has no ranks of the last launch any more."""

    @property
    def name(self) -> str:
        """The node for people."""
        return f"node {self.node} ({self.host})"


def opened(connection: socket.socket, node: int, host: str, silent_s: float = SILENT_S) -> Link:
    """A link over a connected socket."""
    connection.settimeout(_SEND_LIMIT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Link(node=node, host=host, connection=connection, silent_s=silent_s)


def say(link: Link, message: protocol.Message) -> None:
    """Send a message; one that can't be sent shows as a lost link."""
    if link.lost:
        return
    link.spoke_s = time.monotonic()
    try:
        protocol.send(link.connection, message)
    except OSError as error:
        link.lost = f"can't be reached: {error.strerror or error}"


def hear(link: Link) -> list[protocol.Message]:
    """What has come, to be called where the connection is readable; Alive is heard but not passed on."""
    try:
        data = link.connection.recv(_READ_BYTES)
    except OSError as error:
        link.lost = link.lost or f"the connection broke: {error.strerror or error}"
        return []
    if not data:
        link.lost = link.lost or "hwbench has ended there (it closed the connection)"
        return []
    link.heard_s = time.monotonic()
    *whole, rest = (bytes(link.pending) + data).split(b"\n")
    link.pending = bytearray(rest)
    try:
        messages = [protocol.decode(line) for line in whole]
    except msgspec.MsgspecError as error:
        link.lost = f"sent what is no message: {error}"
        return []
    return [message for message in messages if not isinstance(message, protocol.Alive)]


def keep_alive(link: Link) -> None:
    """Say that we are here, now and then, and give up a node that has been silent for too long."""
    now_s = time.monotonic()
    if now_s - link.spoke_s >= ALIVE_EVERY_S:
        say(link, protocol.Alive())
    if not link.lost and now_s - link.heard_s > link.silent_s:
        link.lost = f"cut off: nothing was heard from it for {format_seconds(link.silent_s)}"
