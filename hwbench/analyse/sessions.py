"""Recorded A/B sessions: CSV (plain or gzipped) into columns, without pandas.

A session holds one row a timed call. Two resident processes, A and B, take turns in blocks of some ten milliseconds; a
round is a fixed number of block pairs for each kernel; the processes are respawned every few rounds.
"""

import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hwbench.core.errors import UserError

SESSION_COLUMNS: Final = (
    "round",
    "process",
    "kernel",
    "side",
    "block",
    "call",
    "wall_ns",
    "cpu_ns",
    "involuntary_switches",
    "minor_faults",
    "load_avg_1min",
)
"""The columns of a session file, in the order `hwbench ab` writes them."""
NEEDED_COLUMNS: Final = SESSION_COLUMNS[:8]
_TEXT_COLUMNS: Final = ("kernel", "side")
_TEXT_WIDTHS: Final = (32, 256, 4096)
_GZIP_MAGIC: Final = b"\x1f\x8b"
_HINT: Final = f"a session is a CSV file with the columns {', '.join(NEEDED_COLUMNS)}"


@dataclass(frozen=True, kw_only=True)
class Session:
    """Columns of equal length, one element a timed call.

    `round`, `process` (respawn number), `block` (order within the round) and `call` (index within the block; 0 is cold) are
    whole numbers; `side` is 0 for A and 1 for B; `kernel` indexes `kernel_names`. Times are as recorded: one that is zero,
    negative or NaN is kept, so that the judgement can refuse it by name.
    """

    round: NDArray[np.int64]
    process: NDArray[np.int64]
    kernel: NDArray[np.int64]
    kernel_names: tuple[str, ...]
    side: NDArray[np.int64]
    block: NDArray[np.int64]
    call: NDArray[np.int64]
    wall_ns: NDArray[np.float64]
    cpu_ns: NDArray[np.float64]


def read_session(path: Path) -> Session:
    """The session in a .csv or .csv.gz file. UserError names the file and what is wrong with it."""
    return parse_session(_text(path), source=str(path))


def parse_session(text: str, *, source: str) -> Session:
    """The session in CSV text; `source` names it in errors. Columns in any order, unknown ones ignored."""
    header, _, body = text.partition("\n")
    names = [name.strip().strip('"') for name in header.strip("\ufeff\r").split(",")]
    missing = [name for name in NEEDED_COLUMNS if name not in names]
    if missing:
        raise UserError(f"{source}: not a recorded session: it lacks the columns {', '.join(missing)}", hint=_HINT)
    if not body.strip():
        raise UserError(f"{source}: the session holds no samples", hint="was the recording ended before its first round?")
    table = _table(body, names, source)
    kernel_names, kernel = np.unique(np.char.strip(table["kernel"]), return_inverse=True)
    numbers = {name: _whole(table[name], name, source) for name in ("round", "process", "block", "call")}
    return Session(
        **numbers,
        kernel=kernel.reshape(-1).astype(np.int64),
        kernel_names=tuple(str(name) for name in kernel_names),
        side=_sides(np.char.strip(table["side"]), source),
        wall_ns=table["wall_ns"],
        cpu_ns=table["cpu_ns"],
    )


def _text(path: Path) -> str:
    """The file's text, unpacked when its first bytes say gzip (not its name: files get renamed)."""
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if raw[:2] == _GZIP_MAGIC else raw).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})", hint=_HINT) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: a damaged gzip file: {error}", hint="was it copied to the end?") from error
    except OSError as error:
        raise UserError(f"{path}: can't read the session: {error.strerror or error}", hint="check the path and its permissions") from error


def _table(body: str, names: list[str], source: str) -> NDArray[np.void]:
    """The needed columns as a structured array. Empty cells are NaN; text columns are read wide enough for their longest."""
    while ",," in body:
        body = body.replace(",,", ",nan,")
    columns = tuple(names.index(name) for name in NEEDED_COLUMNS)
    for width in _TEXT_WIDTHS:
        kinds = [(name, f"U{width}" if name in _TEXT_COLUMNS else "f8") for name in NEEDED_COLUMNS]
        try:
            table = np.loadtxt(io.StringIO(body), dtype=kinds, delimiter=",", usecols=columns, quotechar='"', comments=None, ndmin=1)
        except ValueError as error:
            raise UserError(f"{source}: a row can't be read: {str(error).splitlines()[0]}", hint=_HINT) from error
        if max(int(np.char.str_len(table[name]).max()) for name in _TEXT_COLUMNS) < width:
            return table
    raise UserError(f"{source}: a kernel's name is longer than {_TEXT_WIDTHS[-1] - 1} characters", hint=_HINT)


def _whole(column: NDArray[np.float64], name: str, source: str) -> NDArray[np.int64]:
    bad = np.flatnonzero(~np.isfinite(column) | (column != np.round(column)) | (column < 0) | (column > 2**53))
    if len(bad):
        raise UserError(f"{source}: row {int(bad[0]) + 2}: {name} is {column[bad[0]]:g}, not a whole number of 0 or more", hint=_HINT)
    whole: NDArray[np.int64] = column.astype(np.int64)
    return whole


def _sides(column: NDArray[np.str_], source: str) -> NDArray[np.int64]:
    bad = np.flatnonzero((column != "A") & (column != "B"))
    if len(bad):
        raise UserError(f"{source}: row {int(bad[0]) + 2}: side is {str(column[bad[0]])!r}, expected A or B", hint=_HINT)
    return np.asarray(column == "B", dtype=np.int64)
