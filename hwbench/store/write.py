"""Writing a run: its folder and header once, then one line a record, synced, so that a kill loses at most what is being measured."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import msgspec

from hwbench.core import codec
from hwbench.core.errors import MeasurementError, UserError
from hwbench.core.record import NodeHeader, NodeOutcome, Record, RunHeader

from ._names import HEADER, node_file, outcomes_file, records_file


def new_run_id(now: datetime | None = None) -> str:
    """An id that sorts by time: UTC date, time and milliseconds, such as 20261103-141502-381."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    return f"{moment:%Y%m%d-%H%M%S}-{moment.microsecond // 1000:03d}"


def check_writable(results: Path) -> None:
    """Make the results folder and write and remove a file in it; UserError names the folder and the reason when that fails."""
    probe = results / f".writable-{os.getpid()}"
    try:
        results.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise _unwritable(results, error) from error


def create_run(results: Path, header: RunHeader) -> Path:
    """Make the folder of a new run, named after `header.id`, with its header, and return it; a taken id gets a number behind it."""
    for attempt in range(1000):
        run_id = header.id if not attempt else f"{header.id}-{attempt + 1}"
        folder = results / run_id
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not results.is_dir():
                raise UserError(f"{results}: not a folder", hint="give another folder to --results") from None
            continue
        except OSError as error:
            raise _unwritable(results, error) from error
        codec.write_atomic(folder / HEADER, codec.to_json(msgspec.structs.replace(header, id=run_id), pretty=True))
        return folder
    raise UserError(f"{results}: {header.id} and a thousand names after it are taken", hint="give another folder to --results")


def join_run(results: Path, header: RunHeader) -> Path:
    """The folder of a run that another node began: the same one on a shared file system, else one of its own with the same header."""
    folder = results / header.id
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / HEADER).is_file():
            codec.write_atomic(folder / HEADER, codec.to_json(header, pretty=True))
    except OSError as error:
        raise _unwritable(results, error) from error
    return folder


@contextmanager
def node_writing(folder: Path, header: NodeHeader) -> Iterator[IO[bytes]]:
    """Write down what a node is, and open the file of how its ranks fare for `append`; UserError where it can't be written."""
    with ExitStack() as stack:
        try:
            codec.write_atomic(folder / node_file(header.node, header.host), codec.to_json(header, pretty=True))
            file = stack.enter_context((folder / outcomes_file(header.node, header.host)).open("ab+"))
            _end_torn_line(file)
        except OSError as error:
            raise _unwritable(folder, error) from error
        yield file


@contextmanager
def writing(folder: Path, host: str | None = None) -> Iterator[IO[bytes]]:
    """The records file of this node, open for `append`, with the node's lock held: UserError where another process is writing it.

    A last line that a kill tore gets its newline first, so that the next record starts a line of its own.
    """
    name = records_file(host or socket.gethostname())
    with ExitStack() as stack:
        try:
            _lock(stack.enter_context((folder / f".{name}.lock").open("wb")), folder)
            file = stack.enter_context((folder / name).open("ab+"))
            _end_torn_line(file)
        except OSError as error:
            raise _unwritable(folder, error) from error
        yield file


def append(file: IO[bytes], record: Record | NodeOutcome) -> None:
    """Add one record, or one node's outcome, as one line and wait until the disk has it; MeasurementError where it fails (full disk)."""
    try:
        file.write(codec.to_json(record) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
        hint = "make room, then continue with --resume"
        raise MeasurementError(f"{file.name}: can't add a record: {error.strerror or error}", hint=hint) from error


def _lock(lock: IO[bytes], folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        hint = "wait until it ends, or start a new run; two runs may share a results folder"
        raise UserError(f"{folder}: this run is still being written by another process", hint=hint) from None


def _end_torn_line(file: IO[bytes]) -> None:
    size = file.seek(0, os.SEEK_END)
    if size:
        file.seek(size - 1)
        if file.read(1) != b"\n":
            file.write(b"\n")


def _unwritable(results: Path, error: OSError) -> UserError:
    return UserError(f"{results}: can't write results: {error.strerror or error}", hint="give a folder you may write to with --results")
