"""Predicted beside measured: what the calibrated model says of steps that were measured, with the error."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from hwbench.core.errors import UserError
from hwbench.core.prediction import Prediction
from hwbench.core.record import Case, Record, Run
from hwbench.core.summary import Verified
from hwbench.core.workload import Workload

from .busy import floor_s
from .throughput import rows

DISTURBED_FRACTION: Final = 0.05
"""Where the wall time of a step is more than this above its CPU time, others were running, and its CPU time is compared."""
Predict = Callable[[Case], Prediction]


def verify(run: Run, predict: Predict, *, fitted: Callable[[Case], bool], workloads: Mapping[str, Workload]) -> Iterator[Verified]:
    """One line a training step of the run. `predict` says how long a case should take; `fitted` whether calibration already knew.

    A case that `predict` refuses (UserError: the profile lacks a number) is left out: there is nothing to compare.
    """
    for group in _by_case(run.records):
        measured = rows(group, run=run.header.id, workloads=workloads)
        if not measured or measured[0].kind != "training":
            continue
        case, row = group[0].case, measured[0]
        measured_s, clock = _measured(row.step_time_s, group)
        try:
            predicted = predict(case)
        except UserError:
            continue
        yield Verified(
            run=row.run,
            workload=row.workload,
            label=row.settings,
            layout=row.layout,
            dtype=row.dtype,
            measured_s=measured_s,
            clock=clock,
            predicted_s=predicted.step_time_s,
            error_fraction=predicted.step_time_s / measured_s - 1,
            fitted=fitted(case),
            bottleneck=predicted.bottleneck,
        )


def _measured(wall_s: float, records: list[Record]) -> tuple[float, str]:
    """The time to compare with, and by which clock."""
    cpu_s = floor_s(record for record in records if record.outcome == "done")
    if cpu_s is None or wall_s <= (1 + DISTURBED_FRACTION) * cpu_s:
        return wall_s, "wall"
    return cpu_s, "cpu"


def _by_case(records: tuple[Record, ...]) -> list[list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.case.key, []).append(record)
    return list(groups.values())
