"""What the index says of itself: which Parquet files hold which runs, and what those runs' files looked like when they were read.

The manifest is the index's point of commitment: it is written last and whole, and a Parquet file that it does not name is nothing.
"""

import os
from pathlib import Path
from typing import Final

from hwbench.core import codec
from hwbench.core.errors import UserError
from hwbench.core.value import Value

from ._names import HEADER

FORMAT: Final = 2
"""Raised whenever a column or its meaning changes: an index of another format is built anew."""
FILE: Final = "manifest.json"
FOLDER: Final = ".index"
_PREFIX, _SUFFIX = "records-", ".jsonl"  # RECORDS_PATTERN, without a glob for each of ten thousand folders

Signature = tuple[tuple[str, int, int], ...]
"""Name, size in bytes and time of change in ns of each of a run's files, by name."""


class Part(Value):
    """A Parquet file of the index: what it looked like when it was written, and the runs in it, each in no other."""

    size_bytes: int
    changed_ns: int
    runs: tuple[str, ...]


class Indexed(Value):
    """One run as it was read; `problems` are its lines that could not be."""

    signature: Signature
    problems: tuple[str, ...] = ()


class Manifest(Value):
    """All that is in the index."""

    format: int = FORMAT
    parts: dict[str, Part] = {}
    """By file name."""
    runs: dict[str, Indexed] = {}
    """By the name of the run's folder."""


def load(folder: Path) -> Manifest:
    """The index's manifest; an empty one where there is none, it is damaged, of another format, or one of its files is not there."""
    try:
        found = codec.read_json(folder / FILE, Manifest, what="index")
    except UserError:
        return Manifest()
    whole = found.format == FORMAT and all(stamp(folder / name) == (part.size_bytes, part.changed_ns) for name, part in found.parts.items())
    held = [run for part in found.parts.values() for run in part.runs]
    return found if whole and len(held) == len(found.runs) and set(held) == found.runs.keys() else Manifest()


def save(folder: Path, manifest: Manifest) -> None:
    """Make this the index. UserError where it can't be written."""
    codec.write_atomic(folder / FILE, codec.to_json(manifest))


def scan(results: Path) -> dict[str, Signature]:
    """Every run of the results folder by its folder's name, with its signature as of now."""
    try:
        with os.scandir(results) as entries:
            folders = [entry.path for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UserError(f"{results}: can't read the results folder: {error.strerror or error}") from error
    found = ((os.path.basename(folder), signature(folder)) for folder in sorted(folders))  # noqa: PTH119  # ten thousand times
    return {name: files for name, files in found if any(file[0] == HEADER for file in files)}


def signature(folder: str | Path) -> Signature:
    """Of one run's folder; empty where it can't be read (it was just deleted, or is not ours to see)."""
    try:
        with os.scandir(folder) as entries:
            ours = [entry for entry in entries if entry.name == HEADER or (entry.name.startswith(_PREFIX) and entry.name.endswith(_SUFFIX))]
            stats = [(entry.name, entry.stat()) for entry in ours]
    except OSError:
        return ()
    return tuple(sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats))


def stamp(path: Path) -> tuple[int, int] | None:
    """Size in bytes and time of change in ns of a file; None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns
