"""Reading a run back: every record that can be read is kept, every one that can't is named with its file, line and reason."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from hwbench.core import codec
from hwbench.core.errors import UserError
from hwbench.core.record import SCHEMA, Node, NodeHeader, NodeOutcome, Record, Run, RunHeader

from ._names import HEADER, NODES_PATTERN, RECORDS_PATTERN, outcomes_file, records_file, records_host


class _Versioned(msgspec.Struct):
    """The one field that every version of every stored value has."""

    schema: int


class Line(NamedTuple):
    """One record and where it lies: its file, the line's first byte there, and its length without the newline."""

    record: Record
    path: Path
    offset_bytes: int
    length_bytes: int


class NodeRecords(NamedTuple):
    """What one launcher wrote into a run's folder."""

    host: str
    """As its ranks call it; where it measured nothing as in its file's name, with '_' for characters that a name can't hold."""
    records: tuple[Record, ...]


def read_header(folder: Path) -> RunHeader:
    """The header of a run. UserError where it is missing, damaged, or of a later format than this hwbench reads."""
    path = folder / HEADER
    text = codec.read_text(path, what="run header")
    _check_schema(text, str(path))
    return codec.from_json(text, RunHeader, source=str(path))


def read_run(folder: Path) -> Run:
    """A run with, for each of its cases and processes, what is known last: a done record before any other, else the latest.

    A record that can't be read becomes a line of `problems`. `finished` says that every case of the header has a record.
    UserError as `read_header`.
    """
    header = read_header(folder)
    problems: list[str] = []
    records = tuple(line.record for line in settled_lines(folder, problems))
    nodes = _nodes(folder, problems)
    known = {_identity(record) for record in records}
    finished = all((case.key, case.process) in known for case in header.cases)
    return Run(path=str(folder), header=header, records=records, problems=tuple(problems), finished=finished, nodes=nodes)


def records_by_node(folder: Path) -> tuple[NodeRecords, ...]:
    """The settled records of each node's own file, by host: nodes that measured the same case each by itself all count."""
    found = []
    for path in sorted(folder.glob(RECORDS_PATTERN)):
        records = tuple(line.record for line in _settled(_read_lines(path, [])))
        hosts = {rank.host for record in records if record.measurement is not None for rank in record.measurement.ranks}
        own = next((host for host in hosts if records_file(host) == path.name), records_host(path))
        found.append(NodeRecords(own, records))
    return tuple(found)


def _nodes(folder: Path, problems: list[str]) -> tuple[Node, ...]:
    """The nodes of a run whose files are in its folder, by number; what can't be read joins `problems`."""
    found: list[Node] = []
    for path in sorted(folder.glob(NODES_PATTERN)):
        try:
            text = codec.read_text(path, what="node's header")
            _check_schema(text, str(path))
            header = codec.from_json(text, NodeHeader, source=str(path))
        except UserError as error:
            problems.append(error.message)
            continue
        outcomes = folder / outcomes_file(header.node, header.host)
        found.append(Node(header=header, outcomes=tuple(_outcomes(outcomes, problems))))
    return tuple(sorted(found, key=lambda node: node.header.node))


def _outcomes(path: Path, problems: list[str]) -> Iterator[NodeOutcome]:
    try:
        lines = path.read_bytes().split(b"\n") if path.exists() else []
    except OSError as error:
        problems.append(f"{path}: can't read: {error.strerror or error}")
        return
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield codec.from_json(line, NodeOutcome, source=f"line {number}")
            except UserError as error:
                problems.append(f"{path}: {error.message}")


def settled_lines(folder: Path, problems: list[str]) -> tuple[Line, ...]:
    """The records of a run, one a case and process, in the order of their first appearance; what can't be read joins `problems`."""
    files = sorted(folder.glob(RECORDS_PATTERN))
    return _settled(line for path in files for line in _read_lines(path, problems))


def _read_lines(path: Path, problems: list[str]) -> Iterator[Line]:
    try:
        data = path.read_bytes()
    except OSError as error:
        problems.append(f"{path}: can't read: {error.strerror or error}")
        return
    lines = data.split(b"\n")
    offset = 0
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield Line(_decoded(line, f"line {number}"), path, offset, len(line))
            except UserError as error:
                torn = " (the last line, torn when its writer was killed)" if number == len(lines) else ""
                problems.append(f"{path}: {error.message}{torn}")
        offset += len(line) + 1


_DECODER = msgspec.json.Decoder(Record)


def _decoded(line: bytes, source: str) -> Record:
    """The record of a line; only where that fails is it asked again, for its format's number and then for what is wrong."""
    try:
        record = _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        _check_schema(line, source)
        return codec.from_json(line, Record, source=source)
    _check_number(record.schema, source)
    return record


def _check_schema(text: str | bytes, source: str) -> None:
    _check_number(codec.from_json(text, _Versioned, source=source).schema, source)


def _check_number(found: int, source: str) -> None:
    if found > SCHEMA:
        hint = "read it with the hwbench that wrote it, or a later one"
        raise UserError(f"{source}: written in format {found} by a later hwbench; this one reads up to format {SCHEMA}", hint=hint)
    if found < 1:
        raise UserError(f"{source}: key schema: expected a format number from 1 to {SCHEMA}, found {found}")


def _settled(lines: Iterable[Line]) -> tuple[Line, ...]:
    """One a case and process, in the order of their first appearance."""
    best: dict[tuple[str, int], Line] = {}
    for line in lines:
        identity = _identity(line.record)
        before = best.get(identity)
        if before is None or before.record.outcome != "done":
            best[identity] = line
    return tuple(best.values())


def _identity(record: Record) -> tuple[str, int]:
    return record.case.key, record.case.process
