"""What the launcher and its ranks say to each other: one JSON value a line over a Unix socket in a private folder.

A rank says Hello, then Ready once torch is imported; the launcher sends one Measure to every rank; each answers with Progress (rank 0
only) and one of Measured, Unavailable or Failed. End, or the closed socket of a launcher that died, ends the rank.
"""

import socket
from typing import Final, TypeAlias

import msgspec

from hwbench.core.record import Case, Samples
from hwbench.core.value import Value
from hwbench.core.workload import Check

SOCKET_VARIABLE: Final = "HWBENCH_SOCKET"
"""Environment variable that tells a rank where the launcher listens."""
STORE_VARIABLE: Final = "HWBENCH_STORE"
"""Environment variable that names the file in which ranks find each other (torch's file store: no listening port)."""
LOG_VARIABLE: Final = "HWBENCH_LOG"
"""Environment variable with the beginning of the path of a rank's log: `-rank-N.log` follows."""


class Hello(Value, tag=True):
    """The first line of a rank, before it imports torch."""

    rank: int
    pid: int
    host: str


class Ready(Value, tag=True):
    """Torch is imported and may be used."""

    rank: int


class Measure(Value, tag=True):
    """Measure one case; `share_s` is the time from its cold call to its last sample."""

    case: Case
    share_s: float


class End(Value, tag=True):
    """No more cases: leave."""


class Progress(Value, tag=True):
    """How far the case in hand is; `samples` counts those after the warm-up."""

    rank: int
    phase: str
    samples: int = 0


class Measured(Value, tag=True):
    """The samples of one rank, and what it saw beside them."""

    rank: int
    samples: Samples
    check: Check | None
    first_loss: float | None
    last_loss: float | None
    warnings: tuple[str, ...] = ()


class Unavailable(Value, tag=True):
    """What the case needs is not here; the rank is fit for the next case."""

    rank: int
    reason: str


class Failed(Value, tag=True):
    """The last line of a rank that an error ends; `at_s` is CLOCK_MONOTONIC, the same for all ranks of a machine."""

    rank: int
    reason: str
    at_s: float


FromRank: TypeAlias = Hello | Ready | Progress | Measured | Unavailable | Failed
ToRank: TypeAlias = Measure | End

_TO_RANK: Final[msgspec.json.Decoder[ToRank]] = msgspec.json.Decoder(ToRank)
_FROM_RANK: Final[msgspec.json.Decoder[FromRank]] = msgspec.json.Decoder(FromRank)


def send(connection: socket.socket, message: FromRank | ToRank) -> None:
    """Send one message as one line. Raises OSError where the other end is gone."""
    connection.sendall(msgspec.json.encode(message) + b"\n")


def decode_from_rank(line: bytes) -> FromRank:
    """A line that a rank sent."""
    return _FROM_RANK.decode(line)


def decode_to_rank(line: bytes) -> ToRank:
    """A line that the launcher sent."""
    return _TO_RANK.decode(line)
