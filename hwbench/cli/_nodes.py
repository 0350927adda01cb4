"""A run on several nodes, as the command line wires it: node 0 leads and writes the records, the others serve and write their own files."""

import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

import hwbench
from hwbench import store
from hwbench.core.errors import MeasurementError
from hwbench.core.inventory import Inventory
from hwbench.core.layout import parse_layout
from hwbench.core.record import Case, NodeHeader, NodeOutcome, Record, RunHeader
from hwbench.probe.inventory import take_inventory
from hwbench.run import nodes, origin, protocol, state
from hwbench.run.events import Event, Recorded
from hwbench.run.execute import Options, execute
from hwbench.run.follow import follow, outcome_of_node
from hwbench.run.placement import Place


def events(todo: Sequence[Case], options: Options, folder: Path, header: RunHeader, place: Place | None) -> Generator[Event, None, None]:
    """What happens while the cases are measured, on one machine or led by this one; nodes that don't come fail every case."""
    if place is None:
        yield from execute(tuple(todo), options, folder / "logs")
        return
    with ExitStack() as stack:
        limit_s = min(nodes.JOIN_LIMIT_S, options.time_limit_s)
        try:
            team = stack.enter_context(nodes.gathered(place, _join(place, header.inventory), header, limit_s))
        except MeasurementError as error:
            click.echo(f"hwbench: {error.message}", err=True)
            yield from _all_failed(todo, error.message)
            return
        file = stack.enter_context(store.node_writing(folder, _node(place, header.inventory, team.interface)))
        spread = msgspec.structs.replace(options, cpus=team.cpus)
        happening = stack.enter_context(closing(execute(tuple(todo), spread, folder / "logs", team)))
        for event in happening:
            if isinstance(event, Recorded):
                store.append(file, outcome_of_node(0, _ranks_here(event.record.case, place), event.record))
            yield event


def serve(place: Place, results: Path, time_limit_s: float) -> None:
    """Be another node of a run that node 0 leads, until it is over. MeasurementError where ranks failed here or node 0 is gone."""
    store.check_writable(results)
    inventory, outcomes = take_inventory(), list[NodeOutcome]()
    with ExitStack() as stack:
        member = stack.enter_context(nodes.joined(place, _join(place, inventory), min(nodes.JOIN_LIMIT_S, time_limit_s)))
        folder = store.join_run(results, member.header)
        click.echo(f"node {place.node} of {place.nodes} serves run {member.header.id}", err=True)
        file = stack.enter_context(store.node_writing(folder, _node(place, inventory, member.interface)))
        for outcome in stack.enter_context(closing(follow(member, folder / "logs"))):
            store.append(file, outcome)
            outcomes.append(outcome)
    failed = sum(any(rank.outcome == "failed" for rank in outcome.ranks) for outcome in outcomes)
    if failed:
        raise MeasurementError(f"{failed} of {len(outcomes)} cases failed on node {place.node}; their ends are in {folder}")
    click.echo(f"node {place.node}: {len(outcomes)} cases ran here, noted in {folder}")


def usable_cpus(inventory: Inventory) -> int:
    """Whole CPUs that this process may use, quotas of its control group included."""
    effective = inventory.limits.effective_cpus
    return state.usable_cpus() if effective is None else max(1, min(int(effective), state.usable_cpus()))


def slots(inventory: Inventory, device: str) -> int:
    """Ranks that a machine can hold on this kind of device."""
    return usable_cpus(inventory) if device == "cpu" else _accelerators(inventory)


def _join(place: Place, inventory: Inventory) -> protocol.Join:
    return protocol.Join(
        node=place.node,
        host=socket.gethostname(),
        hwbench_version=hwbench.__version__,
        versions=origin.versions(),
        cpus=usable_cpus(inventory),
        accelerators=_accelerators(inventory),
    )


def _node(place: Place, inventory: Inventory, interface: str | None) -> NodeHeader:
    return NodeHeader(
        node=place.node,
        host=socket.gethostname(),
        started_at=_utc_now(),
        slots=slots(inventory, origin.device_of("auto", inventory)),
        interface=interface,
        inventory=inventory,
        versions=origin.versions(),
    )


def _accelerators(inventory: Inventory) -> int:
    return len(inventory.accelerators.devices) if inventory.accelerators else 0


def _ranks_here(case: Case, place: Place) -> range:
    """The ranks that node 0 holds: its share of the layout, or the one of `single`."""
    return range(max(1, parse_layout(case.layout).world_size // place.nodes))


def _all_failed(todo: Sequence[Case], reason: str) -> Iterator[Event]:
    for number, case in enumerate(todo, start=1):
        record = Record(case=case, outcome="failed", reason=reason, started_at=_utc_now(), duration_s=0.0)
        yield Recorded(number=number, total=len(todo), record=record, left_s=0.0)


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
