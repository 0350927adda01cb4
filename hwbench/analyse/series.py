"""A history from elsewhere: CSV with a value a point, oldest first."""

import csv
import io
import itertools
import math
from pathlib import Path
from typing import Final

from hwbench.core.codec import read_text
from hwbench.core.comparison import Series
from hwbench.core.errors import UserError

VALUE_COLUMN: Final = "value"
TIME_COLUMN: Final = "timestamp"
_HINT: Final = f"a history is a CSV file with a column {VALUE_COLUMN!r} (lower is better) and, if known, {TIME_COLUMN!r}, oldest first"


def read_series(path: Path) -> Series:
    """The series in a CSV file; UserError names the file, the row and what is wrong with it."""
    return parse_series(read_text(path, what="history"), source=str(path))


def parse_series(text: str, *, source: str) -> Series:
    """The series in CSV text: positive values in file order. Empty cells, NaN, zero and less are left out and counted in `note`."""
    try:
        reader = csv.DictReader(io.StringIO(text.lstrip("\ufeff")), strict=True)
        names = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = names
        if VALUE_COLUMN not in names:
            raise UserError(f"{source}: not a history: it lacks the column {VALUE_COLUMN!r}", hint=_HINT)
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UserError(f"{source}: not a CSV file: {error}", hint=_HINT) from error
    indices, values, times = [], [], []
    for index, (line, row) in enumerate(rows):
        value = _value(row[VALUE_COLUMN], f"{source}: row {line}")
        if math.isnan(value):
            continue
        indices.append(index)
        values.append(value)
        times.append(row.get(TIME_COLUMN) or "")
    backwards = sum(after < before for before, after in itertools.pairwise(times) if before and after)
    if not values:
        raise UserError(f"{source}: the history holds no positive values", hint=_HINT)
    return Series(indices=tuple(indices), values=tuple(values), times=tuple(times), note=_note(len(rows) - len(values), backwards))


def _value(cell: str | None, where: str) -> float:
    """The cell as a positive number, NaN where it holds none that a measurement can be; UserError where it is no number."""
    text = (cell or "").strip()
    try:
        value = float(text) if text else math.nan
    except ValueError:
        raise UserError(f"{where}: the value is {text!r}, not a number", hint=_HINT) from None
    return value if 0 < value < math.inf else math.nan


def _note(missing: int, backwards: int) -> str:
    parts = []
    if missing:
        parts.append(f"{missing} row{'s' if missing > 1 else ''} without a positive value left out")
    if backwards:
        parts.append(f"the clock went backwards {backwards} time{'s' if backwards > 1 else ''}: points are taken in file order")
    return "; ".join(parts)
