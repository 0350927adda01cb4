"""What the launcher and its ranks say to each other, one JSON value a line over a Unix socket in a private folder; and what launchers say.

A rank says Hello, then Ready once torch is imported; the launcher sends one Measure to every rank; each answers with Progress (rank 0
only) and one of Measured, Unavailable or Failed. End, or the closed socket of a launcher that died, ends the rank.

Launchers of several nodes talk over TCP: the others Join node 0, which says Welcome or Refused. A Launch starts ranks everywhere; what
ranks answer elsewhere is passed on to node 0, and orders for ranks come from it. Every Launch is answered by one Stopped, whatever
happened, after a Lost where ranks failed. Alive is said every few seconds, so that a node that was cut off is known; Farewell ends it all.
"""

import socket
from typing import Final, Literal, TypeAlias

import msgspec

from hwbench.core.record import Case, RunHeader, Samples
from hwbench.core.value import Value
from hwbench.core.workload import Check, Evaluation

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
    trace: str = ""
    """Folder for a profiler's trace of an extra repeat; '' for none."""
    trial: bool = False
    """Only to see whether the case runs: a few calls, neither profiled nor checked."""
    train_steps: int = 0
    """Calls of a training step that are made at least, within `longest_s`."""
    longest_s: float | None = None
    """How long after the first call the last sample may begin; None for as long as it takes."""
    memory_limit_bytes: int | None = None
    """What the rank's private memory may grow by (RLIMIT_DATA); None for as much as there is."""


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
    losses: tuple[float, ...] = ()
    """Means over all ranks; empty for kernels."""
    batches: Literal["repeated", "new"] | None = None
    evaluation: Evaluation | None = None
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


class Join(Value, tag=True):
    """The first line of another node's launcher to node 0."""

    node: int
    host: str
    hwbench_version: str
    versions: dict[str, str]
    cpus: int
    """Whole CPUs that its ranks may use."""
    accelerators: int


class Welcome(Value, tag=True):
    """The node is in: the run, and under which address it finds node 0's ranks."""

    header: RunHeader
    address: str


class Refused(Value, tag=True):
    """The node may not join, and why."""

    reason: str


class Launch(Value, tag=True):
    """Start so many ranks; torch's launchers meet at this port of node 0."""

    number: int
    ranks: int
    port: int


class Stop(Value, tag=True):
    """End the ranks now. `inquire`: they hang, so look which of them is to blame first."""

    inquire: bool = False


class Stopped(Value, tag=True):
    """No rank of the last launch is left on this node."""


class Lost(Value, tag=True):
    """The ranks of this node failed or hang, and why. `complaint`: only that they lost their peers."""

    reason: str
    complaint: bool = False


class Alive(Value, tag=True):
    """Nothing new."""


class Farewell(Value, tag=True):
    """The run is over."""


FromRank: TypeAlias = Hello | Ready | Progress | Measured | Unavailable | Failed
ToRank: TypeAlias = Measure | End
FromNode: TypeAlias = Join | Lost | Stopped | Alive | FromRank
ToNode: TypeAlias = Welcome | Refused | Launch | Stop | Alive | Farewell | ToRank
Message: TypeAlias = FromNode | ToNode

_TO_RANK: Final[msgspec.json.Decoder[ToRank]] = msgspec.json.Decoder(ToRank)
_FROM_RANK: Final[msgspec.json.Decoder[FromRank]] = msgspec.json.Decoder(FromRank)
_MESSAGE: Final[msgspec.json.Decoder[Message]] = msgspec.json.Decoder(Message)


def send(connection: socket.socket, message: Message) -> None:
    """Send one message as one line. Raises OSError where the other end is gone."""
    connection.sendall(msgspec.json.encode(message) + b"\n")


def decode_from_rank(line: bytes) -> FromRank:
    """A line that a rank sent."""
    return _FROM_RANK.decode(line)


def decode_to_rank(line: bytes) -> ToRank:
    """A line that the launcher sent."""
    return _TO_RANK.decode(line)


def decode(line: bytes) -> Message:
    """A line that another node's launcher sent. Raises msgspec.MsgspecError for one that is none."""
    return _MESSAGE.decode(line)
