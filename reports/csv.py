"""CSV: one row a case and run, SI units in the column names, for a spreadsheet or a data frame."""

import csv
import io
from typing import Any, Final

import msgspec

from hwbench.core.summary import Report, Summary, Throughput
from hwbench.core.workload import METRICS

_LEFT_OUT: Final = ("samples_s", "processes_s", "step_interval_s", "warnings", "gaps", "ranks", "split", "losses", "metrics")
_SPLIT: Final = ("compute_s", "exposed_communication_s", "bubble_s", "other_s")


def render(summary: Summary) -> str:
    """RFC 4180 with a heading line. Unknown is an empty cell. Texts that a spreadsheet would run as a formula get a quote in front."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=_columns())
    writer.writeheader()
    writer.writerows(_row(row) for row in summary.throughput)
    return out.getvalue()


def _columns() -> list[str]:
    return [
        *(name for name in Throughput.__struct_fields__ if name not in _LEFT_OUT),
        "step_low_s",
        "step_high_s",
        *_SPLIT,
        *METRICS,
        "warnings",
        "gaps",
    ]


def _row(row: Throughput) -> dict[str, Any]:
    plain = {name: getattr(row, name) for name in Throughput.__struct_fields__ if name not in _LEFT_OUT}
    plain |= {"warnings": "; ".join(row.warnings), "gaps": "; ".join(row.gaps)}
    if row.step_interval_s is not None:
        plain |= {"step_low_s": row.step_interval_s.low, "step_high_s": row.step_interval_s.high}
    if row.split is not None:
        plain |= {name: getattr(row.split, name) for name in _SPLIT}
    plain |= {name: row.metrics.get(name) for name in METRICS}
    return {name: _harmless(value) if isinstance(value, str) else value for name, value in msgspec.to_builtins(plain).items()}


def _harmless(text: str) -> str:
    """Text that no spreadsheet takes for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


REPORT: Final = Report(suffix=".csv", render=render)
