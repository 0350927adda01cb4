"""What people said of changes: one line each, only ever added, in `acknowledged.jsonl` of the results folder."""

import fcntl
import os
from pathlib import Path
from typing import Final

from hwbench.core import codec
from hwbench.core.errors import UserError
from hwbench.core.history import Acknowledgement

FILE: Final = "acknowledged.jsonl"


def acknowledge(results: Path, said: Acknowledgement) -> None:
    """Add a line and wait until the disk has it. UserError where the file can't be written."""
    path = results / FILE
    try:
        with path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            torn = size and os.pread(file.fileno(), 1, size - 1) != b"\n"
            file.write((b"\n" if torn else b"") + codec.to_json(said) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(
            f"{path}: can't write: {error.strerror or error}", hint="the results folder must be one that you may write to"
        ) from error


def read_acknowledged(results: Path) -> tuple[tuple[Acknowledgement, ...], tuple[str, ...]]:
    """All that was said, oldest first, and the lines that can't be read with the reason."""
    path = results / FILE
    if not path.is_file():
        return (), ()
    said, problems = [], []
    for number, line in enumerate(codec.read_text(path, what="list of acknowledged changes").split("\n"), start=1):
        if line.strip():
            try:
                said.append(codec.from_json(line, Acknowledgement, source=f"{path}: line {number}"))
            except UserError as error:
                problems.append(error.message)
    return tuple(said), tuple(problems)
