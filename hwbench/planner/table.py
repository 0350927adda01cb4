"""Predicting a table of training steps: one line out for every line in, in order."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hwbench.core.codec import write_atomic
from hwbench.core.errors import UserError

from .conformal import doubt, interval
from .constants import Constants
from .model import evaluate
from .reading import Setup, read_setup
from .rows import columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEADER = ("id", "step_time_s", "step_time_low_s", "step_time_high_s", "memory_bytes_per_accelerator", "reason")


class Line(NamedTuple):
    """What is predicted of one row; times in seconds, or None with the reason why it can't be expressed."""

    step_s: float | None
    low_s: float | None
    high_s: float | None
    memory_bytes: float | None
    reason: str = ""


class Readable(NamedTuple):
    """The rows of a table that can be expressed, and why the others can't."""

    setups: tuple[Setup, ...]
    places: NDArray[np.int64]
    reasons: dict[int, str]


def readable(table: Sequence[Mapping[str, str]]) -> Readable:
    """Read every row that can be read; a row that can't keeps its reason."""
    setups: list[Setup] = []
    index: list[int] = []
    reasons: dict[int, str] = {}
    for place, row in enumerate(table):
        try:
            setups.append(read_setup(row))
        except UserError as error:
            reasons[place] = f"{error.message} ({error.hint})" if error.hint else error.message
        else:
            index.append(place)
    return Readable(tuple(setups), np.array(index, dtype=np.int64), reasons)


def predict_table(table: Sequence[Mapping[str, str]], constants: Constants, width: float) -> list[Line]:
    """A line for every row of a table; `width` is the conformal quantile that the doubt of a row is multiplied by."""
    read = readable(table)
    lines = [Line(None, None, None, None, read.reasons.get(place, "")) for place in range(len(table))]
    if not read.setups:
        return lines
    rows = columns(read.setups)
    steps = evaluate(rows, constants)
    low, high = interval(steps.step_s, width * doubt(rows))
    numbers = np.stack([steps.step_s, low, high, steps.memory.total_bytes], axis=1).tolist()
    for place, (step, lower, upper, memory) in zip(read.places.tolist(), numbers, strict=True):
        lines[place] = Line(step, lower, upper, memory)
    return lines


def write_predictions(path: Path, ids: Sequence[str], lines: Sequence[Line]) -> None:
    """Write the predictions as CSV, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for name, line in zip(ids, lines, strict=True):
        writer.writerow([name, *(_text(value) for value in line[:4]), line.reason])
    write_atomic(path, text.getvalue().encode())


def ids_of(table: Sequence[Mapping[str, str]]) -> list[str]:
    """The rows' ids, or their line numbers where a table has none."""
    return [row.get("id") or str(place) for place, row in enumerate(table, start=1)]


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
