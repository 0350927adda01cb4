"""OpenMetrics text, written: for Prometheus' textfile collector and its like; one series a case and process."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from hwbench.core.comparability import comparison_key
from hwbench.core.record import Measurement, Record, Run
from hwbench.core.summary import Throughput
from hwbench.core.workload import METRICS

from ._figures import Figures, told
from ._told import Writer

FAMILIES: Final[tuple[tuple[str, str, str, str], ...]] = (
    ("hwbench_step_seconds", "seconds", "step_time_s", "Median time of one call of the step."),
    ("hwbench_step_floor_seconds", "seconds", "step_best_s", "Shortest time of one call of the step."),
    ("hwbench_items_per_second", "", "items_per_s", "Work over the total time of all samples, in the items of the label."),
    ("hwbench_samples", "", "samples", "Samples behind the figures."),
    ("hwbench_flops_per_second", "", "flops_per_s", "Model FLOPs over time: masked attention counts in full, recomputation does not."),
    ("hwbench_executed_flops_per_second", "", "executed_flops_per_s", "FLOPs that the hardware did over time."),
    ("hwbench_bytes_per_second", "", "bytes_per_s", "Least memory traffic over time: every operand moved once."),
    ("hwbench_intensity_flops_per_byte", "", "intensity_flops_per_byte", "Executed FLOPs a byte of least traffic."),
    ("hwbench_roof_ratio", "ratio", "roof_fraction", "Reached rate over the roof at this intensity that the same run measured."),
    ("hwbench_mfu_ratio", "ratio", "mfu_fraction", "Model FLOP/s over the run's matrix-product rate of one rank times the ranks."),
    ("hwbench_hfu_ratio", "ratio", "hfu_fraction", "Executed FLOP/s over the same."),
    ("hwbench_energy_per_step_joules", "joules", "energy_per_step_j", "Energy of one call, idle power included."),
    ("hwbench_resident_peak_bytes", "bytes", "resident_peak_bytes", "Peak resident size of the rank that needs most."),
    ("hwbench_device_peak_bytes", "bytes", "device_peak_bytes", "Peak of the accelerator's allocator, of the rank that needs most."),
    ("hwbench_loss", "", "last_loss", "Loss of the last sample."),
    *((f"hwbench_{name}", "", name, f"The model's {name}; data says of what.") for name in METRICS),
)
"""Gauges: name, unit, which figure of a record it is, and help. What is unknown is not written."""


def write(run: Run, figures: Figures) -> tuple[bytes, ...]:
    """OpenMetrics 1.0 text: an info about the run, gauges of what was measured, and a gauge that is 1 for each case that was not done."""
    measured = [(record, row, record.measurement) for record, row in zip(run.records, figures, strict=True)]
    usable = [(_case(record, of), _figures(record, row)) for record, row, of in measured if row and of]
    header = run.header
    about = {
        "run": header.id,
        "commit": header.commit or "",
        "version": header.hwbench_version,
        "machine": comparison_key(header.inventory),
    }
    lines = ["# TYPE hwbench_run info", "# HELP hwbench_run The run that these figures are of.", f"hwbench_run_info{_labels(about)} 1"]
    for name, unit, figure, meaning in FAMILIES:
        values = (
            f"{name}{_labels(case | _about(figure, known))} {float(known[figure])!r}" for case, known in usable if known[figure] is not None
        )
        lines += [*_heading(name, unit, meaning), *values]
    undone = (f"hwbench_not_done{_labels(_case(one) | {'outcome': one.outcome})} 1" for one in run.records if one.outcome != "done")
    lines += [*_heading("hwbench_not_done", "", "A case that failed or was skipped."), *undone, "# EOF"]
    return ("\n".join(lines).encode() + b"\n",)


def _figures(record: Record, row: Throughput) -> dict[str, Any]:
    return told(record, row) | {"step_best_s": row.step_best_s, "samples": row.samples}


def _about(figure: str, known: Mapping[str, Any]) -> dict[str, str]:
    """Metrics are nothing without what they are of."""
    return {"data": known["evaluated_on"] or "unknown"} if figure in METRICS else {}


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
