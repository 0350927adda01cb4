"""What an A/B session records: one row a timed call, in the columns that `hwbench compare --session` reads."""

import csv
import gzip
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from hwbench.core.errors import UserError
from hwbench.core.value import Value

COLUMNS: Final = (
    "round", "process", "kernel", "side", "block", "call", "wall_ns", "cpu_ns", "involuntary_switches", "minor_faults", "load_avg_1min",
)  # fmt: skip
SIDES: Final = ("A", "B")


class Block(Value):
    """One block of calls by one process; the four columns have one element a sample, times in nanoseconds of one call."""

    round: int
    process: int
    """How often the process was replaced before; both sides are replaced together."""
    kernel: str
    side: int
    """0 for A, the base; 1 for B, the candidate."""
    pair: int
    wall_ns: tuple[int, ...]
    cpu_ns: tuple[int, ...]
    switches: tuple[int, ...]
    faults: tuple[int, ...]
    load_1min: float


def create(path: Path) -> None:
    """Begin a session file with its header. UserError where there is one already, or it can't be written."""
    try:
        with path.open("xb") as file:
            file.write(_packed(path, ",".join(COLUMNS) + "\n"))
    except FileExistsError as error:
        raise UserError(f"{path}: exists already", hint="a session is never overwritten: give another name, or remove it") from error
    except OSError as error:
        raise UserError(f"{path}: can't write: {error.strerror or error}", hint="choose another place, or make it writable") from error


def append(path: Path, blocks: Iterable[Block]) -> None:
    """Add blocks to a session file, synced, so that a killed session keeps its rounds. A gzip file gets one more member."""
    try:
        with path.open("ab") as file:
            file.write(_packed(path, text(blocks)))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"{path}: can't write: {error.strerror or error}", hint="is the disk full?") from error


def text(blocks: Iterable[Block]) -> str:
    """The blocks as CSV lines, without a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for block in blocks:
        where = (block.round, block.process, block.kernel, SIDES[block.side], block.pair)
        calls = zip(block.wall_ns, block.cpu_ns, block.switches, block.faults, strict=True)
        load = f"{block.load_1min:.2f}"
        writer.writerows((*where, call, *columns, load) for call, columns in enumerate(calls))
    return out.getvalue()


def _packed(path: Path, lines: str) -> bytes:
    data = lines.encode()
    return gzip.compress(data, compresslevel=6, mtime=0) if path.suffix == ".gz" else data
