"""Predictions for what a run measured: the calibrated machine, the workload's cost and the layout's messages, put together."""

from collections.abc import Mapping, Sequence

from hwbench.core import codec
from hwbench.core.errors import UserError
from hwbench.core.layout import parse_layout
from hwbench.core.prediction import Prediction
from hwbench.core.profile import ClusterProfile
from hwbench.core.record import Case, Run
from hwbench.core.summary import Verified
from hwbench.core.workload import Workload

from ._planning import sends


def verified(runs: Sequence[Run], workloads: Mapping[str, Workload]) -> tuple[Verified, ...]:
    """Every training step of the runs beside its prediction; nothing for a run without the ceilings that calibration needs."""
    from hwbench.analyse.calibrate import calibrate
    from hwbench.analyse.verify import verify

    found: list[Verified] = []
    for run in runs:
        try:
            profile = calibrate(run)
        except UserError:  # no matrix product was measured
            continue
        found += verify(run, lambda case, here=profile: _predict(case, here, workloads), fitted=_fitted, workloads=workloads)  # type: ignore[misc]
    return tuple(found)


def _predict(case: Case, profile: ClusterProfile, workloads: Mapping[str, Workload]) -> Prediction:
    from hwbench.planner.step import predict_step

    workload = workloads[case.workload]
    cost = workload.cost(codec.convert(case.config, workload.config, source=case.workload), case.dtype)
    layout = parse_layout(case.layout)
    return predict_step(cost, layout, profile, transfers=sends(cost, layout), micro_batches=1)


def _fitted(case: Case) -> bool:
    """Calibration takes the cost of communication from training steps that several ranks share."""
    return case.layout != "single"
