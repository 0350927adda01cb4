"""Reading a run back: every record that can be read is kept, every one that can't is named with its file, line and reason."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from hwbench.core import codec
from hwbench.core.errors import UserError
from hwbench.core.record import SCHEMA, Record, Run, RunHeader

from ._names import HEADER, RECORDS_PATTERN


class _Versioned(msgspec.Struct):
    """The one field that every version of every stored value has."""

    schema: int


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
    records: list[Record] = []
    problems: list[str] = []
    for path in sorted(folder.glob(RECORDS_PATTERN)):
        _read_records(path, records, problems)
    settled = _settled(records)
    known = {_identity(record) for record in settled}
    finished = all((case.key, case.process) in known for case in header.cases)
    return Run(path=str(folder), header=header, records=settled, problems=tuple(problems), finished=finished)


def _read_records(path: Path, records: list[Record], problems: list[str]) -> None:
    try:
        data = path.read_bytes()
    except OSError as error:
        problems.append(f"{path}: can't read: {error.strerror or error}")
        return
    lines = data.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            _check_schema(line, f"line {number}")
            records.append(codec.from_json(line, Record, source=f"line {number}"))
        except UserError as error:
            torn = " (the last line, torn when its writer was killed)" if number == len(lines) else ""
            problems.append(f"{path}: {error.message}{torn}")


def _check_schema(text: str | bytes, source: str) -> None:
    found = codec.from_json(text, _Versioned, source=source).schema
    if found > SCHEMA:
        hint = "read it with the hwbench that wrote it, or a later one"
        raise UserError(f"{source}: written in format {found} by a later hwbench; this one reads up to format {SCHEMA}", hint=hint)
    if found < 1:
        raise UserError(f"{source}: key schema: expected a format number from 1 to {SCHEMA}, found {found}")


def _settled(records: Iterable[Record]) -> tuple[Record, ...]:
    """One record a case and process, in the order of their first appearance."""
    best: dict[tuple[str, int], Record] = {}
    for record in records:
        before = best.get(_identity(record))
        if before is None or before.outcome != "done":
            best[_identity(record)] = record
    return tuple(best.values())


def _identity(record: Record) -> tuple[str, int]:
    return record.case.key, record.case.process
