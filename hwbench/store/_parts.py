"""Parquet files of the index: rows of some runs, read from their records or taken over from an older file."""

import os
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from hwbench.core.errors import UnavailableError, UserError
from hwbench.core.moments import moment

from . import _manifest
from ._manifest import Indexed, Part, Signature
from .read import Line, read_header, settled_lines
from .rows import Place, Row, row_of, run_columns, sql_columns

if TYPE_CHECKING:
    import duckdb

MEMORY_LIMIT: Final = "384MB"
"""Of DuckDB in one process; larger results are spilled to the disk."""
MOST_THREADS: Final = 4


class Job(NamedTuple):
    """One Parquet file to write: runs to read, and runs to take over from an older file."""

    results: Path
    folder: Path
    """Of the index."""
    read: tuple[tuple[str, Signature], ...]
    """Names of runs with their files' signature from before they are read, so that a file which grows meanwhile is stale again."""
    keep: tuple[str, ...] = ()
    old: str | None = None
    """The Parquet file that holds them."""


class Written(NamedTuple):
    """What a job made: the file's name and content, what it says of the runs it read, and the file that it replaces."""

    name: str
    part: Part
    indexed: dict[str, Indexed]
    replaces: str | None


def connect(threads: int | None = None) -> "duckdb.DuckDBPyConnection":
    """A DuckDB in memory that loads nothing from anywhere. UnavailableError where the package is not installed."""
    try:
        import duckdb
    except ImportError as error:
        raise UnavailableError(f"can't import duckdb: {error}", hint="install it: pip install duckdb") from error
    count = threads or min(MOST_THREADS, len(os.sched_getaffinity(0)))
    return duckdb.connect(
        ":memory:",
        config={
            "threads": count,
            "memory_limit": MEMORY_LIMIT,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "temp_directory": tempfile.gettempdir(),
        },
    )


def write_part(job: Job) -> Written:
    """Do a job. Raises duckdb.Error where the older file is damaged, UserError where the disk is full."""
    indexed: dict[str, Indexed] = {}
    try:
        with tempfile.NamedTemporaryFile(dir=job.folder, prefix=".rows-", suffix=".jsonl") as file:
            for row in _rows(job, indexed):
                file.write(msgspec.json.encode(row) + b"\n")
            file.flush()
            # Not a name of tempfile's: such a file is its owner's alone, and the index is for all who may read the runs.
            path = job.folder / f"part-{uuid.uuid4().hex[:16]}.parquet"
            _copy(Path(file.name), job, path)
        stat = path.stat()
    except OSError as error:
        raise UserError(
            f"{job.folder}: can't write the index: {error.strerror or error}", hint="make room, or delete the folder"
        ) from error
    part = Part(size_bytes=stat.st_size, changed_ns=stat.st_mtime_ns, runs=tuple(sorted((*indexed, *job.keep))))
    return Written(path.name, part, indexed, job.old)


def _rows(job: Job, indexed: dict[str, Indexed]) -> Iterator[Row]:
    for name, signature in job.read:
        problems: list[str] = []
        yield from run_rows(job.results / name, problems)
        indexed[name] = Indexed(signature=signature, problems=tuple(problems))


def run_rows(folder: Path, problems: list[str]) -> Iterator[Row]:
    """The rows of one run; what can't be read becomes a problem, and a run whose header can't be read has no rows."""
    try:
        shared = run_columns(folder.name, read_header(folder))
    except UserError as error:
        problems.append(error.message)
        return
    lines = settled_lines(folder, problems)
    late = set_back(lines)
    for line in lines:
        place = Place(line.path.name, line.offset_bytes, line.length_bytes)
        yield row_of(shared, line.record, place, clock_backwards=(line.path, line.offset_bytes) in late)


def set_back(lines: Iterable[Line]) -> set[tuple[Path, int]]:
    """The places of records that say that they began before one that stands above them in the same file."""
    found: set[tuple[Path, int]] = set()
    latest: dict[Path, datetime] = {}
    for line in sorted(lines, key=lambda line: (line.path, line.offset_bytes)):
        began = moment(line.record.started_at)
        if began is None:
            continue
        if began < latest.get(line.path, began):
            found.add((line.path, line.offset_bytes))
        latest[line.path] = max(began, latest.get(line.path, began))
    return found


def _copy(rows: Path, job: Job, target: Path) -> None:
    """Write the new rows, and those kept of the old file, to `target`."""
    types = ", ".join(f"{name}: '{type_}'" for name, type_ in sql_columns().items())
    sources = [f"SELECT * FROM read_json($rows, format = 'newline_delimited', columns = {{{types}}})"]  # noqa: S608  # our own names
    parameters: dict[str, object] = {"rows": str(rows)}
    if job.old is not None:
        sources.append("SELECT * FROM read_parquet($old) WHERE list_contains($keep, run)")
        parameters |= {"old": str(job.folder / job.old), "keep": list(job.keep)}
    with connect(threads=1) as connection:
        connection.execute(f"CREATE TEMP TABLE part AS {' UNION ALL BY NAME '.join(sources)}", parameters)
        connection.table("part").order("run, file, offset_bytes").write_parquet(str(target), compression="zstd")


def remove_unnamed(folder: Path, manifest: _manifest.Manifest) -> None:
    """Delete Parquet files that the manifest does not name, and rows that a killed build left; only with the index's lock held."""
    for path in (*folder.glob("part-*.parquet"), *folder.glob(".rows-*.jsonl")):
        if path.name not in manifest.parts:
            path.unlink(missing_ok=True)
