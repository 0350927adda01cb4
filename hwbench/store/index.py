"""A derived index over all runs: Parquet files beside them, safe to delete, brought up to date by whoever asks.

A run is the unit: one whose files changed since is read again, whole. Readers take no lock: they read the manifest, which is replaced
atomically, and try again where a file it names has gone meanwhile. Writers of the index hold its lock; writers of runs never know of it.
"""

import fcntl
import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from hwbench.core.errors import UserError
from hwbench.core.value import Value

from . import _manifest
from ._manifest import Manifest, Part, Signature
from ._parts import Job, Written, connect, remove_unnamed, write_part
from .rows import sql_columns

RUNS_A_PART: Final = 250
"""What one Parquet file holds: few enough to be written anew in a blink when one of its runs has grown."""
RUNS_WORTH_PROCESSES: Final = 500
"""From so many stale runs on, starting processes of their own pays."""
MOST_PROCESSES: Final = 4

Progress = Callable[[int, int], None]
"""Told of how many of how many stale runs have been read."""


class Selected(Value):
    """The answer to a query: rows as DuckDB gives them, and what of the store could not be read."""

    rows: tuple[tuple[Any, ...], ...]
    problems: tuple[str, ...]


class Index(Value):
    """An index that is up to date: its folder and its files."""

    folder: Path
    parts: tuple[str, ...]
    runs: tuple[str, ...]
    problems: tuple[str, ...]


def select(results: Path, sql: str, parameters: dict[str, Any] | None = None, *, progress: Progress | None = None) -> Selected:
    """Rows of `sql` over the table `measurements` (the columns of `rows.Row`), after bringing the index up to date.

    A damaged index is built again. UserError where neither the results folder nor the user's cache can hold it.
    """
    import duckdb

    for _ in range(3):
        index = refresh(results, progress=progress)
        try:
            return Selected(rows=tuple(_fetched(index, sql, parameters or {})), problems=index.problems)
        except (duckdb.IOException, duckdb.InvalidInputException, duckdb.SerializationException, duckdb.InternalException):
            if refresh(results).parts == index.parts:  # nobody replaced them: they are damaged
                drop(results)
    raise UserError(f"{_home(results)}: the index can't be read, three times over", hint="delete that folder; it is only derived")


def refresh(results: Path, *, progress: Progress | None = None) -> Index:
    """The index of all runs as they are now: what is stale is read, what is gone is left out. UserError where it can't be written."""
    runs = _manifest.scan(results)
    folder, manifest = _nearest(results, runs)
    if not _is_current(manifest, runs):
        with _locked(folder):
            runs, manifest = _manifest.scan(results), _manifest.load(folder)  # another process may have done it while we waited
            manifest = _updated(results, folder, runs, manifest, progress)
    problems = tuple(problem for run in manifest.runs.values() for problem in run.problems)
    return Index(folder=folder, parts=tuple(sorted(manifest.parts)), runs=tuple(manifest.runs), problems=problems)


def drop(results: Path) -> None:
    """Forget the index; the next question builds it again."""
    folder = _home(results)
    if folder.is_dir():
        with _locked(folder):
            (folder / _manifest.FILE).unlink(missing_ok=True)


def _fetched(index: Index, sql: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connect() as connection:
        if index.parts:
            files = [str(index.folder / part) for part in index.parts]
            connection.read_parquet(files).create_view("measurements")
        else:
            columns = ", ".join(f"{name} {type_}" for name, type_ in sql_columns().items())
            connection.execute(f"CREATE TABLE measurements ({columns})")
        return connection.execute(sql, parameters).fetchall()


def _home(results: Path) -> Path:
    """Where the index of these results lies: beside the runs, or in the user's cache where that folder can't be written."""
    if os.access(results, os.W_OK) or not results.is_dir():
        return results / _manifest.FOLDER
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "hwbench" / f"index-{hashlib.sha256(str(results.resolve()).encode()).hexdigest()[:16]}"


def _nearest(results: Path, runs: dict[str, Signature]) -> tuple[Path, Manifest]:
    """The index beside the runs where it is current, even one that this user may only read; else the one that this user may write."""
    beside, home = results / _manifest.FOLDER, _home(results)
    manifest = _manifest.load(beside)
    return (beside, manifest) if home == beside or _is_current(manifest, runs) else (home, _manifest.load(home))


def _is_current(manifest: Manifest, runs: dict[str, Signature]) -> bool:
    return manifest.runs.keys() == runs.keys() and all(manifest.runs[name].signature == signature for name, signature in runs.items())


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the index's lock, after waiting for whoever has it; the system frees it when its holder dies."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise UserError(
            f"{folder}: can't write the index: {error.strerror or error}", hint="is the folder yours, and the disk not full?"
        ) from error


def _updated(results: Path, folder: Path, runs: dict[str, Signature], manifest: Manifest, progress: Progress | None) -> Manifest:
    """Bring the index to these runs, job by job, each committed when done: a build that is killed goes on from there."""
    import duckdb

    remove_unnamed(folder, manifest)
    jobs = _jobs(results, folder, runs, manifest)
    done, total = 0, sum(len(job.read) for job in jobs)
    now = _holding(manifest, {file: part for file, part in manifest.parts.items() if not runs.keys().isdisjoint(part.runs)})
    _manifest.save(folder, now)
    try:
        for written in _done(jobs):
            now = _with(now, written)
            _manifest.save(folder, now)
            done += len(written.indexed)
            if progress is not None:
                progress(done, total)
    except duckdb.Error:
        if not manifest.parts:
            raise
        return _updated(results, folder, runs, Manifest(), progress)  # an older Parquet file is damaged
    remove_unnamed(folder, now)
    return now


def _jobs(results: Path, folder: Path, runs: dict[str, Signature], manifest: Manifest) -> list[Job]:
    """What to write: each file with a run that changed or went, without it; stale runs in files of their own, the last file filled up."""
    stale = [name for name, signature in runs.items() if name not in manifest.runs or manifest.runs[name].signature != signature]
    dead = set(stale) | (manifest.runs.keys() - runs.keys())
    kept = {file: tuple(name for name in part.runs if name not in dead) for file, part in manifest.parts.items()}
    tail = min(kept, key=lambda file: len(kept[file]), default=None)
    if tail is None or not stale or len(kept[tail]) >= RUNS_A_PART:
        tail = None
    changed = [file for file, part in manifest.parts.items() if file != tail and kept[file] and len(kept[file]) < len(part.runs)]
    jobs = [Job(results, folder, (), kept[file], file) for file in changed]
    room = RUNS_A_PART - len(kept[tail]) if tail else RUNS_A_PART
    for names in _chunks(stale, room):
        jobs.append(Job(results, folder, tuple((name, runs[name]) for name in names), kept[tail] if tail else (), tail))
        tail = None
    return jobs


def _chunks(names: Sequence[str], first: int) -> Iterator[Sequence[str]]:
    """The names in order, at most `first` and then at most RUNS_A_PART at a time."""
    start, room = 0, first
    while start < len(names):
        yield names[start : start + room]
        start, room = start + room, RUNS_A_PART


def _done(jobs: Sequence[Job]) -> Iterable[Written]:
    """The jobs' results, in order; many are shared among processes of their own."""
    processes = min(MOST_PROCESSES, len(os.sched_getaffinity(0)), len(jobs))
    if processes < 2 or sum(len(job.read) for job in jobs) < RUNS_WORTH_PROCESSES:
        yield from map(write_part, jobs)
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(write_part, jobs)


def _with(manifest: Manifest, written: Written) -> Manifest:
    """The manifest with a new file in the place of the one that it replaces."""
    parts = {file: part for file, part in manifest.parts.items() if file != written.replaces} | {written.name: written.part}
    return _holding(msgspec.structs.replace(manifest, runs=manifest.runs | written.indexed), parts)


def _holding(manifest: Manifest, parts: dict[str, Part]) -> Manifest:
    """The manifest of these files alone: a run is known by the file that holds it."""
    held = sorted(name for part in parts.values() for name in part.runs)
    return Manifest(parts=parts, runs={name: manifest.runs[name] for name in held})
