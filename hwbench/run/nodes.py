"""Launchers of several nodes find each other: node 0 listens at the endpoint, the others join it, and all agree on one run.

What is measured is decided on node 0 alone. Nothing here is secret: whoever reaches the endpoint may join, as with torch's own stores,
so it belongs on a cluster's own network.
"""

import errno
import selectors
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec
import psutil

from hwbench.core.errors import MeasurementError
from hwbench.core.record import RunHeader
from hwbench.core.units import format_seconds

from . import links, protocol
from .launch import Elsewhere, Meeting
from .links import Link
from .placement import Place

JOIN_LIMIT_S: Final = 300.0
"""How long node 0 waits for the others, and they for it: batch systems start nodes minutes apart."""
_FIRST_LINE_S: Final = 5.0
_MOST_FIRST_BYTES: Final = 1 << 16
_SAME_VERSIONS: Final = ("torch", "python")
"""Ranks of different versions of these may not understand each other, or wait for each other in vain."""


@dataclass(kw_only=True)
class Team:
    """All launchers of a run as node 0 sees them."""

    place: Place
    address: str
    interface: str | None
    cpus: int
    """CPUs of the node that has the fewest."""
    fewest: str
    """That node."""
    links: tuple[Link, ...]
    launches: int = 0

    @property
    def broken(self) -> str:
        """Which nodes are gone, and why; '' while all are there."""
        return "; ".join(f"{link.name} {link.lost}" for link in self.links if link.lost)


@dataclass(frozen=True, kw_only=True)
class Membership:
    """The run as another node sees it that has joined."""

    place: Place
    link: Link
    header: RunHeader
    address: str
    interface: str | None


@contextmanager
def gathered(place: Place, ours: protocol.Join, header: RunHeader, limit_s: float = JOIN_LIMIT_S) -> Iterator[Team]:
    """Node 0's side: all other nodes, joined and welcomed; they are told when the context is left that the run is over.

    MeasurementError where the port is taken, where a node does not come within `limit_s`, or brings other versions.
    """
    with ExitStack() as stack:
        listener = stack.enter_context(_listening(place, ours.host))
        address = listener.getsockname()[0]
        joined: dict[int, tuple[Link, protocol.Join]] = {}
        stack.callback(_part_from, joined)
        until_s = time.monotonic() + limit_s
        while len(joined) < place.nodes - 1:
            if time.monotonic() > until_s:
                raise MeasurementError(_absent(place, joined, limit_s))
            _take_in(listener, place, ours, joined, min(limit_s, links.SILENT_S))
        for link, _ in joined.values():
            links.say(link, protocol.Welcome(header=header, address=address))
        joins = {0: ours} | {node: join for node, (_, join) in sorted(joined.items())}
        least = min(joins.values(), key=lambda join: join.cpus)
        yield Team(
            place=place,
            address=address,
            interface=interface_of(address),
            cpus=least.cpus,
            fewest=f"node {least.node} ({least.host})",
            links=tuple(joined[node][0] for node in sorted(joined)),
        )


@contextmanager
def joined(place: Place, ours: protocol.Join, limit_s: float = JOIN_LIMIT_S) -> Iterator[Membership]:
    """Another node's side: the run it has joined. MeasurementError where node 0 can't be reached within `limit_s`, or refuses."""
    with _connected(place, limit_s) as connection:
        link = links.opened(connection, 0, place.host, min(limit_s, links.SILENT_S))
        links.say(link, ours)
        welcome = _answer(link, time.monotonic() + limit_s)
        if isinstance(welcome, protocol.Refused):
            raise MeasurementError(f"node 0 ({place.host}) refused node {place.node} ({ours.host}): {welcome.reason}")
        interface = interface_of(connection.getsockname()[0])
        yield Membership(place=place, link=link, header=welcome.header, address=welcome.address, interface=interface)


def launch_everywhere(team: Team, world_size: int) -> Elsewhere:
    """Tell the other nodes to start their share of a launch's ranks; what node 0's own launch needs to know of them."""
    team.launches += 1
    port = _free_port(team.address)
    for link in team.links:
        link.stopped = False
        links.say(link, protocol.Launch(number=team.launches, ranks=world_size // team.place.nodes, port=port))
    meeting = Meeting(nodes=team.place.nodes, node=0, address=team.address, port=port, interface=team.interface)
    return Elsewhere(meeting=meeting, links=team.links, leads=True)


def interface_of(address: str) -> str | None:
    """The network interface that has this address; None where none of this machine's has."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address.partition("%")[0] == address for one in addresses):
            return name
    return None


def _listening(place: Place, host: str) -> socket.socket:
    where = f"node 0 ({host}): {place.host}:{place.port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(address[0]), place.port), family=family, backlog=max(16, place.nodes), reuse_port=False)
    except socket.gaierror as error:
        raise MeasurementError(f"{where}: {error.strerror or error}", hint="give an address of node 0 that all nodes reach") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise MeasurementError(f"{where} is in use by another process", hint="give another port to --rdzv-endpoint") from error
        if error.errno == errno.EADDRNOTAVAIL:
            hint = "start --node-rank 0 on the host of --rdzv-endpoint"
            raise MeasurementError(f"{where} is not an address of this machine", hint=hint) from error
        raise MeasurementError(f"{where}: can't listen: {error.strerror or error}") from error


def _take_in(
    listener: socket.socket, place: Place, ours: protocol.Join, joined: dict[int, tuple[Link, protocol.Join]], silent_s: float
) -> None:
    """Wait a second for a node to come, and take it in. MeasurementError where its versions don't fit or a joined one is gone."""
    for link, _ in joined.values():
        links.keep_alive(link)
        _drain(link)
        if link.lost:
            raise MeasurementError(f"{link.name} {link.lost}")
    listener.settimeout(1.0)
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        return
    join = _first_line(connection)
    if join is None:
        connection.close()
        return
    link = links.opened(connection, join.node, join.host, silent_s)
    if not 0 < join.node < place.nodes or join.node in joined:
        links.say(link, protocol.Refused(reason=_no_place(join.node, place, joined)))
        connection.close()
        return
    if why := unlike(ours, join):
        links.say(link, protocol.Refused(reason=why))
        connection.close()
        raise MeasurementError(f"{link.name}: {why}", hint="install the same versions on all nodes")
    joined[join.node] = (link, join)


def unlike(ours: protocol.Join, theirs: protocol.Join) -> str:
    """Which versions keep two nodes from one run; '' where none does."""
    mine = {"hwbench": ours.hwbench_version, **ours.versions}
    its = {"hwbench": theirs.hwbench_version, **theirs.versions}
    different = [name for name in ("hwbench", *_SAME_VERSIONS) if mine.get(name) != its.get(name)]
    here, there = f"node {ours.node} ({ours.host})", f"node {theirs.node} ({theirs.host})"
    return "; ".join(f"{there} has {name} {its.get(name)}, {here} has {mine.get(name)}" for name in different)


def _no_place(node: int, place: Place, joined: Mapping[int, tuple[Link, protocol.Join]]) -> str:
    if node in joined:
        return f"{joined[node][0].name} is here already: give each node a --node-rank of its own"
    return f"--node-rank {node}: expected 1 to {place.nodes - 1}, since --nnodes is {place.nodes} on node 0"


def _first_line(connection: socket.socket) -> protocol.Join | None:
    """What a node says first; None for a stranger, such as a port scanner."""
    connection.settimeout(_FIRST_LINE_S)
    data = bytearray()
    try:
        while b"\n" not in data and len(data) < _MOST_FIRST_BYTES:
            more = connection.recv(_MOST_FIRST_BYTES)
            if not more:
                return None
            data += more
        message = protocol.decode(bytes(data).partition(b"\n")[0])
    except (OSError, msgspec.MsgspecError):
        return None
    return message if isinstance(message, protocol.Join) else None


def _drain(link: Link) -> None:
    """Hear what a node says while others are waited for: that it is alive, or gone."""
    with selectors.DefaultSelector() as selector:
        selector.register(link.connection, selectors.EVENT_READ)
        if selector.select(0):
            links.hear(link)


def _absent(place: Place, joined: Mapping[int, tuple[Link, protocol.Join]], limit_s: float) -> str:
    absent = ", ".join(str(node) for node in range(1, place.nodes) if node not in joined)
    return f"node {absent} did not join at {place.host}:{place.port} within {format_seconds(limit_s)}"


def _part_from(joined: Mapping[int, tuple[Link, protocol.Join]]) -> None:
    for link, _ in joined.values():
        links.say(link, protocol.Farewell())
        link.connection.close()


def _connected(place: Place, limit_s: float) -> socket.socket:
    """A connection to node 0, which may start later than the others."""
    until_s = time.monotonic() + limit_s
    while True:
        try:
            return socket.create_connection((place.host, place.port), timeout=5.0)
        except OSError as error:
            if time.monotonic() > until_s:
                why = f"node 0 at {place.host}:{place.port} can't be reached within {format_seconds(limit_s)}: {error.strerror or error}"
                raise MeasurementError(f"node {place.node} ({socket.gethostname()}): {why}") from error
            time.sleep(0.5)


def _answer(link: Link, until_s: float) -> protocol.Welcome | protocol.Refused:
    """Node 0's answer to a Join, which comes when all nodes are there."""
    with selectors.DefaultSelector() as selector:
        selector.register(link.connection, selectors.EVENT_READ)
        while not link.lost and time.monotonic() < until_s:
            heard = links.hear(link) if selector.select(1.0) else []
            for number, message in enumerate(heard, start=1):
                if isinstance(message, protocol.Welcome | protocol.Refused):
                    link.unread = heard[number:]
                    return message
            links.keep_alive(link)
    raise MeasurementError(f"{link.name} {link.lost or 'did not begin the run: not all nodes have come'}")


def _free_port(address: str) -> int:
    """A port that nobody listens at, for torch's launchers; where another process takes it meanwhile, the launch fails and is repeated."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])
