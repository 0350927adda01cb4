"""What a node other than the first does in a run: start ranks when node 0 says so, pass on what both sides say, note how ranks fared."""

import math
import selectors
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from hwbench.core.errors import MeasurementError
from hwbench.core.record import Case, NodeOutcome, Outcome, RankOutcome, Record

from . import launch, links, protocol
from .interrupt import Interrupt, interruptible
from .launch import Elsewhere, Meeting
from .nodes import Membership


@dataclass(kw_only=True)
class _Current:
    """The case in hand on this node, and which of its ranks have answered."""

    node: int
    ranks: range
    case: Case | None = None
    started_at: str = ""
    answers: dict[int, RankOutcome] = field(default_factory=dict)


def follow(member: Membership, logs: Path) -> Generator[NodeOutcome, None, None]:
    """Serve node 0 until it says farewell; one value a case that ran here, failures included. MeasurementError where node 0 is gone.

    `logs` is the folder for what ranks print. Raises Interrupted after Ctrl-C or SIGTERM, with nothing left running.
    """
    with interruptible() as interrupt:
        while order := _next_launch(member, interrupt):
            yield from _serve(member, order, logs, interrupt)


def outcome_of_node(node: int, ranks: Iterable[int], record: Record) -> NodeOutcome:
    """How one node's ranks fared, from the record of the whole case."""
    fared = tuple(RankOutcome(rank=rank, outcome=record.outcome, reason=record.reason) for rank in ranks)
    return NodeOutcome(node=node, case_key=record.case.key, process=record.case.process, started_at=record.started_at, ranks=fared)


def _next_launch(member: Membership, interrupt: Interrupt) -> protocol.Launch | None:
    """The next order to start ranks; None at the end of the run."""
    with selectors.DefaultSelector() as selector:
        selector.register(member.link.connection, selectors.EVENT_READ, data=member.link)
        selector.register(interrupt.wakes, selectors.EVENT_READ)
        while not member.link.lost:
            heard, member.link.unread = member.link.unread, []
            heard += [message for key, _ in selector.select(0 if heard else 1.0) if key.data for message in links.hear(member.link)]
            interrupt.check()
            for number, message in enumerate(heard, start=1):
                if isinstance(message, protocol.Farewell):
                    return None
                if not isinstance(message, protocol.Launch):
                    continue
                if not any(isinstance(later, protocol.Stop) for later in heard[number:]):
                    return message
                links.say(member.link, protocol.Stopped())  # taken back before it was begun
            links.keep_alive(member.link)
    raise MeasurementError(f"{member.link.name} {member.link.lost}", hint="what was measured is on node 0")


def _serve(member: Membership, order: protocol.Launch, logs: Path, interrupt: Interrupt) -> Generator[NodeOutcome, None, None]:
    """One launch on this node, to its end."""
    place = member.place
    meeting = Meeting(nodes=place.nodes, node=place.node, address=member.address, port=order.port, interface=member.interface)
    elsewhere = Elsewhere(meeting=meeting, links=(member.link,), leads=False)
    log = logs / f"node-{place.node:04d}-launch-{order.number:03d}.log"
    current = _Current(node=place.node, ranks=range(place.node * order.ranks, (place.node + 1) * order.ranks))
    try:
        with launch.launched(order.ranks, log, interrupt, elsewhere=elsewhere) as ranks:
            yield from _relay(ranks, current)
    except launch.RanksFailed as error:
        if not isinstance(error, launch.StoppedFromElsewhere):
            links.say(member.link, protocol.Lost(reason=error.message, complaint=error.complaint))
        if current.case is not None:
            yield _over(current, "failed", error.message)
    finally:
        links.say(member.link, protocol.Stopped())


def _relay(ranks: launch.Ranks, current: _Current) -> Generator[NodeOutcome, None, None]:
    """Node 0's orders to the ranks, until it says End; what ranks answer is passed on where it is read."""
    while True:
        for message in launch.receive(ranks, math.inf, ""):
            if isinstance(message, protocol.End):
                return
            if isinstance(message, protocol.Measure):
                current.case, current.started_at, current.answers = message.case, _utc_now(), {}
                launch.order(ranks, message)
            elif isinstance(message, protocol.Measured | protocol.Unavailable):
                current.answers[message.rank] = _fared(message)
        if current.case is not None and len(current.answers) == len(current.ranks):
            yield _over(current, "done", "")


def _fared(answer: protocol.Measured | protocol.Unavailable) -> RankOutcome:
    if isinstance(answer, protocol.Unavailable):
        return RankOutcome(rank=answer.rank, outcome="skipped", reason=answer.reason)
    return RankOutcome(rank=answer.rank, outcome="done")


def _over(current: _Current, rest: Outcome, reason: str) -> NodeOutcome:
    """The case in hand is over; ranks that did not answer fared as `rest` says."""
    assert current.case is not None
    fared = tuple(current.answers.get(rank) or RankOutcome(rank=rank, outcome=rest, reason=reason) for rank in current.ranks)
    case, current.case = current.case, None
    return NodeOutcome(node=current.node, case_key=case.key, process=case.process, started_at=current.started_at, ranks=fared)


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
