"""Predicted beside measured: only training steps, the right sign of the error, and nothing where nothing can be said."""

import pytest

from hwbench.analyse.verify import verify
from hwbench.core.errors import UserError
from hwbench.core.prediction import Memory, Prediction
from hwbench.core.record import Case
from tests import made_runs
from tests.analyse.test_busy import told

MEMORY = Memory(weights_bytes=0, gradients_bytes=0, optimizer_bytes=0, activations_bytes=0, buffers_bytes=0)


def predicted(step_time_s: float) -> Prediction:
    return Prediction(
        layout="single", step_time_s=step_time_s, parts=(), low_s=None, high_s=None, basis="", memory=MEMORY, memory_capacity_bytes=None,
        flops_per_step=1.0, tokens_per_step=1, mfu_fraction=None, bottleneck="compute",
    )  # fmt: skip


def found(predict: object) -> dict[str, object]:
    run = made_runs.demo_run()
    workloads = {"gpt": made_runs.workload("training"), "lstm": made_runs.workload("kernel")}
    rows = verify(run, predict, fitted=lambda case: case.layout != "single", workloads=workloads)  # type: ignore[arg-type]
    return {f"{row.workload} {row.layout}": row for row in rows}


def test_each_training_step_stands_once_with_the_error_of_its_prediction() -> None:
    rows = found(lambda case: predicted(1.0))
    assert {key for key in rows if key.startswith("gpt")} == {"gpt single", "gpt dp=2"}
    assert not any(key.startswith("lstm") for key in rows)
    single = rows["gpt single"]
    assert single.error_fraction == pytest.approx(1.0 / single.measured_s - 1)  # type: ignore[attr-defined]
    assert not single.fitted  # type: ignore[attr-defined]
    assert rows["gpt dp=2"].fitted  # type: ignore[attr-defined]


def test_a_disturbed_step_is_compared_by_its_cpu_time() -> None:
    quiet, disturbed = told(made_runs.record("gpt"), thread=0.99), told(made_runs.record("gpt"), thread=0.5)
    for record, clock, share in ((quiet, "wall", 1.0), (disturbed, "cpu", 0.5)):
        (row,) = verify(
            made_runs.run((record,)), lambda _: predicted(1.0), fitted=lambda _: False, workloads={"gpt": made_runs.workload("training")}
        )
        assert row.clock == clock
        assert row.measured_s == pytest.approx(share * made_runs.SHAPES["gpt"].step_s, rel=0.05)
        assert row.error_fraction == pytest.approx(1.0 / row.measured_s - 1)


def test_what_can_not_be_predicted_is_left_out() -> None:
    def refuse(case: Case) -> Prediction:
        raise UserError(f"{case.workload}: the profile lacks a number")

    assert found(refuse) == {}
