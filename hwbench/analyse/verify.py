"""Predicted beside measured: what the calibrated model says of steps that the same run measured, with the error."""

from collections.abc import Callable, Iterator, Mapping

from hwbench.core.errors import UserError
from hwbench.core.prediction import Prediction
from hwbench.core.record import Case, Record, Run
from hwbench.core.summary import Verified
from hwbench.core.workload import Workload

from .throughput import rows

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
            measured_s=row.step_time_s,
            predicted_s=predicted.step_time_s,
            error_fraction=predicted.step_time_s / row.step_time_s - 1,
            fitted=fitted(case),
            bottleneck=predicted.bottleneck,
        )


def _by_case(records: tuple[Record, ...]) -> list[list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.case.key, []).append(record)
    return list(groups.values())
