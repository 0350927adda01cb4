"""OpenMetrics text, written: for Prometheus' textfile collector and its like; one series a case and process."""

import statistics
from collections.abc import Callable, Iterable
from typing import Final

from hwbench.core.comparability import comparison_key
from hwbench.core.record import Measurement, Record, Run

from ._told import Writer


def _items_per_s(of: Measurement) -> float:
    """Total work over total time, as everywhere in hwbench."""
    return of.items_per_step * len(of.step_wall_s) / sum(of.step_wall_s)


FAMILIES: Final[tuple[tuple[str, str, str, Callable[[Measurement], float]], ...]] = (
    ("hwbench_step_seconds", "seconds", "Median time of one call of the step.", lambda of: statistics.median(of.step_wall_s)),
    ("hwbench_step_floor_seconds", "seconds", "Shortest time of one call of the step.", lambda of: min(of.step_wall_s)),
    ("hwbench_items_per_second", "", "Work done in a second, in the items of the label.", _items_per_s),
    ("hwbench_samples", "", "Samples behind the figures.", lambda of: float(len(of.step_wall_s))),
)
"""Gauges: name, unit, help, and what is written of a measurement."""


def write(run: Run) -> tuple[bytes, ...]:
    """OpenMetrics 1.0 text: an info about the run, gauges of what was measured, and a gauge that is 1 for each case that was not done."""
    measured = [(record, record.measurement) for record in run.records if record.outcome == "done" and record.measurement]
    usable = [(record, of) for record, of in measured if of.step_wall_s and min(of.step_wall_s) > 0]
    header = run.header
    about = {
        "run": header.id,
        "commit": header.commit or "",
        "version": header.hwbench_version,
        "machine": comparison_key(header.inventory),
    }
    lines = ["# TYPE hwbench_run info", "# HELP hwbench_run The run that these figures are of.", f"hwbench_run_info{_labels(about)} 1"]
    for name, unit, meaning, figure in FAMILIES:
        values = (f"{name}{_labels(_case(record, of))} {figure(of)!r}" for record, of in usable)
        lines += [*_heading(name, unit, meaning), *values]
    undone = (f"hwbench_not_done{_labels(_case(one) | {'outcome': one.outcome})} 1" for one in run.records if one.outcome != "done")
    lines += [*_heading("hwbench_not_done", "", "A case that failed or was skipped."), *undone, "# EOF"]
    return ("\n".join(lines).encode() + b"\n",)


def _heading(name: str, unit: str, meaning: str) -> Iterable[str]:
    yield f"# TYPE {name} gauge"
    if unit:
        yield f"# UNIT {name} {unit}"
    yield f"# HELP {name} {meaning}"


def _case(record: Record, of: Measurement | None = None) -> dict[str, str]:
    case = record.case
    told = {"workload": case.workload, "case": case.key, "layout": case.layout, "dtype": case.dtype, "device": case.device}
    return told | {"process": str(case.process)} | ({"item": of.item_unit} if of else {})


def _labels(of: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in of.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


WRITER: Final = Writer(suffix=".txt", write=write)
