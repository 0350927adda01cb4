"""CSV, written: one row a sample, SI units in the column names; unknown is an empty cell."""

import csv
import io
from typing import Any, Final

from hwbench.core.record import Run

from ._figures import Figures
from ._samples import COLUMNS, rows
from ._told import Writer


def write(run: Run, figures: Figures) -> tuple[bytes, ...]:
    """RFC 4180 with a heading line. Texts that a spreadsheet would run as a formula get a quote in front (OWASP, CSV injection)."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=COLUMNS)
    writer.writeheader()
    writer.writerows({name: _harmless(value) for name, value in row.items()} for row in rows(run, figures))
    return (out.getvalue().encode(),)


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


WRITER: Final = Writer(suffix=".csv", write=write)
