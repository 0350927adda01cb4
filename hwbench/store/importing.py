"""Results of other tools into the store: one file is one process; files are never pooled; each file is kept beside its records."""

import hashlib
import importlib
import pkgutil
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from hwbench.core import codec
from hwbench.core.comparability import comparison_key
from hwbench.core.errors import UserError
from hwbench.core.record import Record, RunHeader
from hwbench.core.value import Value

from . import formats
from ._names import records_file
from .formats._machine import enriched as machine_facts
from .formats._machine import inventory_of
from .formats._told import Content, Reader, Told, Writer, parse
from .formats.pytest_benchmark import COPIES
from .write import create_run, new_run_id

__all__ = ["Source", "grouped", "inventory_of", "machine_facts", "read_source", "readers", "store_group", "told", "writers"]
_SHOWN_KEYS: Final = 6


class Source(Value):
    """A file to import: its path, its bytes, and what it tells."""

    path: str
    data: bytes
    told: Told


@cache
def readers() -> tuple[Reader, ...]:
    """Every format that can be read, one module of `formats` each."""
    return tuple(found for module in _modules() if (found := getattr(module, "READER", None)) is not None)


@cache
def writers() -> dict[str, Writer]:
    """Every format that can be written, by the name that `--format` takes."""
    found = {module.__name__.rpartition(".")[2].replace("_", "-"): getattr(module, "WRITER", None) for module in _modules()}
    return {name: writer for name, writer in found.items() if writer is not None}


def _modules() -> list[Any]:
    names = sorted(module.name for module in pkgutil.iter_modules(formats.__path__) if not module.name.startswith("_"))
    return [importlib.import_module(f"{formats.__name__}.{name}") for name in names]


def read_source(path: Path) -> Source:
    """One file of another tool. UserError names the file and what was expected and found, for what no reader knows."""
    text = codec.read_text(path, what="results file")
    return Source(path=str(path), data=path.read_bytes(), told=told(text, str(path)))


def told(text: str, source: str) -> Told:
    """What the text of a file tells; `source` names it in errors. UserError where no reader recognises it, or it is damaged."""
    content = parse(text, source)
    reader = next((one for one in readers() if one.recognises(content)), None)
    if reader is None:
        expected = "; ".join(f"{one.kind} ({one.looks_like})" for one in readers())
        raise UserError(f"{source}: no results file that hwbench knows: found {_found(content)}", hint=f"expected one of: {expected}")
    found = reader.read(content)
    if not found.records:
        raise UserError(f"{source}: a {reader.kind} file without a single result", hint="did the tool that wrote it run anything?")
    return msgspec.structs.replace(found, records=_distinct(found.records))


def _found(content: Content) -> str:
    """What a file holds, for people who gave the wrong one."""
    if isinstance(content.document, dict):
        keys = [repr(key[:40]) for key in list(content.document)[:_SHOWN_KEYS]]
        more = " …" if len(content.document) > _SHOWN_KEYS else ""
        return f"a JSON object with the keys {', '.join(keys)}{more}" if keys else "an empty JSON object"
    if content.document is not None:
        return f"JSON that is a {type(content.document).__name__}"
    if content.lines:
        return f"{len(content.lines)} JSON lines without a step time"
    begin = next((line.strip() for line in content.text.splitlines() if line.strip()), "")
    return f"text that begins {begin[:60]!r}" if begin else "an empty file"


def _distinct(records: Iterable[Record]) -> tuple[Record, ...]:
    """The records; one whose case is there already gets its number among them in its configuration, so that none replaces another."""
    seen: Counter[str] = Counter()
    kept = []
    for record in records:
        seen[record.case.key] += 1
        again = seen[record.case.key]
        case = msgspec.structs.replace(record.case, config=record.case.config | {"occurrence": again}) if again > 1 else record.case
        kept.append(msgspec.structs.replace(record, case=case))
    return tuple(kept)


def grouped(sources: Sequence[Source], commit: str | None = None) -> tuple[tuple[Source, ...], ...]:
    """Files that are processes of one run: of the same kind, commit and machine. Any other file is a run of its own.

    `commit` says of which commit all files are. Without it, files that name none, or whose checkout differed from it, stay
    apart: nothing says that they are of the same code. UserError where two files are the same: that is no second process.
    """
    _refuse_copies(sources)
    groups: dict[tuple[object, ...], list[Source]] = {}
    for index, source in enumerate(sources):
        told = source.told
        known = commit or (told.commit if not told.dirty else None)
        host = told.inventory.machine.host_name
        key = (told.kind, known, comparison_key(told.inventory), host) if known else (index,)
        groups.setdefault(key, []).append(source)
    return tuple(tuple(group) for group in groups.values())


def _refuse_copies(sources: Sequence[Source]) -> None:
    seen: dict[bytes, str] = {}
    for source in sources:
        digest = hashlib.sha256(source.data).digest()
        if digest in seen:
            hint = "give each file once: a copy is not a second process"
            raise UserError(f"{source.path}: the same file as {seen[digest]}", hint=hint)
        seen[digest] = source.path


def store_group(group: Sequence[Source], results: Path, *, hwbench_version: str, commit: str | None = None) -> Path:
    """Write files that are processes of one run as that run; returns its folder. UserError where the folder can't be written."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    header = _header(group, now, hwbench_version, commit)
    folder = create_run(results, header)
    for entry, source in zip(header.settings["imported"], group, strict=True):
        codec.write_atomic(folder / COPIES / entry["copy"], source.data)
    lines = b"".join(codec.to_json(record) + b"\n" for record in _records(group, now))
    codec.write_atomic(folder / records_file("imported"), lines)
    return folder


def _header(group: Sequence[Source], now: str, hwbench_version: str, commit: str | None) -> RunHeader:
    first = group[0].told
    moments = [source.told.started_at for source in group if source.told.started_at]
    copies = [
        {"copy": f"{index}-{_safe(Path(source.path).name)}", "file": source.path, "kind": source.told.kind, "version": source.told.version}
        for index, source in enumerate(group)
    ]
    begun = min(moments, default=now)
    return RunHeader(
        id=new_run_id(datetime.fromisoformat(begun)),
        started_at=begun,
        hwbench_version=hwbench_version,
        command=("hwbench", "import", *(source.path for source in group)),
        suite=None,
        cases=tuple(record.case for record in _records(group, now)),
        inventory=first.inventory,
        versions=first.versions,
        commit=commit or (f"{first.commit}+" if first.commit and first.dirty else first.commit),
        settings={"imported": copies, "imported_at": now, "unknown": first.unknown},
    )


def _records(group: Sequence[Source], now: str) -> Iterable[Record]:
    """All records, the n-th file as process n; those without a time of their own get the file's, or that of the import."""
    for process, source in enumerate(group):
        moment = source.told.started_at or now
        for record in source.told.records:
            case = msgspec.structs.replace(record.case, process=process)
            yield msgspec.structs.replace(record, case=case, started_at=record.started_at or moment)


def _safe(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-._") else "_" for c in name)[-100:]
