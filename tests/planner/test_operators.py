"""Times of operators from measured ones: the measured come back, work between and beyond them is in proportion, passes add up."""

from typing import get_args

import msgspec
import pytest
from hwbench.workloads import bert, gpt, lstm_lm, operator
from hypothesis import given
from hypothesis import strategies as st

from hwbench.core.layout import parse_layout
from hwbench.core.profile import Accelerator, ClusterProfile, Efficiency, Node, OperatorTime
from hwbench.core.workload import Cost, Operator
from hwbench.planner.compute import pass_time_s
from hwbench.planner.operators import measured_time_s, share_of_work
from hwbench.planner.step import predict_step

PEAK, BANDWIDTH, OVERHEAD_S = 100e9, 20e9, 8e-6
FUNCTIONS = [name for name in get_args(operator.Function) if name != "lstm"]


def made_time_s(flops: float, size: float) -> float:
    """The time that a machine of simple habits takes."""
    return OVERHEAD_S + flops / PEAK + size / BANDWIDTH


def operators_of(config: operator.Config) -> tuple[Operator, ...]:
    cost: Cost = operator.cost(config, "fp32")
    return cost.blocks[0].operators


def point(config: operator.Config, seconds: float | None = None) -> OperatorTime:
    """A measurement of an operator, as `analyse.operators` makes it."""
    cost = operator.cost(config, "fp32")
    first = operators_of(config)[0]
    return OperatorTime(
        time_s=made_time_s(cost.executed_flops, cost.bytes) if seconds is None else seconds,
        flops=cost.executed_flops,
        bytes=cost.bytes,
        m=first.m or 1,
        n=first.n or 1,
        k=first.k or 1,
        batch=first.batch,
    )


def profile(**operators: tuple[OperatorTime, ...]) -> ClusterProfile:
    return ClusterProfile(
        name="here",
        description="made up",
        accelerator=Accelerator(name="x", vendor="y", memory_bandwidth_bytes_per_s=BANDWIDTH, peak_flops_per_s={"fp32": PEAK}),
        node=Node(accelerators=1),
        efficiency=Efficiency(operators={"fp32": operators}),
        sources={},
    )


def sizes(function: str) -> list[operator.Config]:
    inner = 4 if function == "adamw" else 512
    return [
        operator.Config(function=function, rows=rows, width=width, inner=inner, heads=4, length=64)
        for rows in (128, 512)
        for width in (128, 512)
    ]


def everything() -> ClusterProfile:
    lstm = []
    for length, units in ((8, 96), (20, 256), (16, 128), (8, 256)):
        config = operator.Config(function="lstm", rows=640, width=128, inner=units, length=length)
        cost = operator.cost(config, "fp32")
        seconds = made_time_s(cost.executed_flops, cost.bytes) + length * 5 * OVERHEAD_S
        recurrent = next(op for op in operators_of(config) if op.kind == "recurrent")
        batch = 640 // length
        lstm.append(OperatorTime(time_s=seconds, flops=cost.flops, bytes=cost.bytes, m=batch, n=128, k=units, batch=recurrent.batch))
    points = {function: tuple(point(config) for config in sizes(function)) for function in FUNCTIONS}
    return profile(**points, lstm=tuple(lstm))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_work_between_and_beyond_the_measured_sizes_takes_its_time(function: str) -> None:
    here = everything()
    for rows, width in ((128, 128), (256, 256), (384, 512), (1024, 1024)):
        config = msgspec.structs.replace(sizes(function)[0], rows=rows, width=width)
        cost, found = operator.cost(config, "fp32"), 0.0
        for op in operators_of(config):
            seconds = measured_time_s(here, op, "fp32")
            assert seconds is not None
            found += seconds
        overheads = (len(operators_of(config)) - 1) * OVERHEAD_S  # clipping and the update are measured as one
        assert found == pytest.approx(made_time_s(cost.executed_flops, cost.bytes) + overheads, rel=0.05)


def test_a_size_that_is_off_the_rule_pulls_its_neighbours_along() -> None:
    """The measured slow size is met, a size near it is slower too, one far from it hardly."""
    slow = msgspec.structs.replace(point(sizes("gelu")[0]), time_s=2 * point(sizes("gelu")[0]).time_s)
    fast = tuple(point(msgspec.structs.replace(sizes("gelu")[0], rows=128 * 4**i)) for i in range(1, 6))
    here = profile(gelu=(slow, *fast))

    def ratio(rows: int) -> float:
        config = msgspec.structs.replace(sizes("gelu")[0], rows=rows)
        (op,) = operators_of(config)
        return (measured_time_s(here, op, "fp32") or 0.0) / point(config).time_s

    assert 1.6 < ratio(128) < 2.1
    assert 1.1 < ratio(192) < ratio(128)
    assert ratio(128 * 4**5) == pytest.approx(1.0, abs=0.1)


def test_passes_add_up_to_what_was_measured() -> None:
    here = everything()
    for function in FUNCTIONS:
        for op in operators_of(sizes(function)[1]):
            forward = pass_time_s(here, op, op.flops, op.bytes, 1.0, "fp32")
            backward = pass_time_s(here, op, op.backward_flops, op.backward_bytes, 1.0, "fp32")
            assert forward + backward == pytest.approx(measured_time_s(here, op, "fp32"))
            assert share_of_work(op, op.flops, op.bytes) > 0


def test_what_was_not_measured_goes_by_the_curves() -> None:
    (op,) = operators_of(sizes("gelu")[0])
    assert measured_time_s(everything(), op, "bf16") is None
    assert measured_time_s(profile(), op, "fp32") is None
    assert pass_time_s(profile(), op, 0.0, 1e9, 1.0, "fp32") == pytest.approx(1e9 / (0.85 * BANDWIDTH))


def test_an_lstm_layer_is_its_inputs_product_and_its_steps() -> None:
    here = everything()
    config = operator.Config(function="lstm", rows=480, width=128, inner=160, length=12)
    cost = operator.cost(config, "fp32")
    found = [measured_time_s(here, op, "fp32") for op in operators_of(config)]
    assert sum(seconds or 0.0 for seconds in found) == pytest.approx(made_time_s(cost.flops, cost.bytes) + 12 * 5 * OVERHEAD_S, rel=0.15)
    assert found[2] == 0.0  # the gates are in the steps


def test_sizes_too_alike_are_no_overhead() -> None:
    """One measurement, and several of as much traffic: twice the work is twice the time, whatever may be overhead in it."""
    one, other = (operator.Config(function="gelu", rows=rows, width=512) for rows in (256, 512))
    here = profile(gelu=(point(one, 1e-3),), add=(point(sizes("add")[1], 1e-3), point(sizes("add")[2], 1.1e-3)))
    assert measured_time_s(here, operators_of(other)[0], "fp32") == pytest.approx(2e-3)
    twice = msgspec.structs.replace(sizes("add")[3], rows=256)
    assert measured_time_s(here, operators_of(twice)[0], "fp32") == pytest.approx(2.1e-3, rel=0.05)


@pytest.mark.parametrize("cost", [gpt.cost(gpt.Config(), "fp32"), bert.cost(bert.Config(), "fp32"), lstm_lm.cost(lstm_lm.Config(), "fp32")])
def test_every_operator_of_a_step_is_one_that_calibration_measures(cost: Cost) -> None:
    here = everything()
    operators = [op for block in cost.blocks for op in block.operators] + list(cost.optimizer_operators)
    assert [op.name for op in operators if op.name != "gather" and measured_time_s(here, op, "fp32") is None] == []
    step = predict_step(cost, parse_layout("single"), here, transfers=(), micro_batches=1)
    launches = sum(block.count * len(block.operators) for block in cost.blocks)
    assert step.step_time_s == pytest.approx(made_time_s(cost.executed_flops, cost.bytes) + launches * OVERHEAD_S, rel=0.1)


@given(st.integers(1, 4096), st.integers(1, 4096), st.integers(1, 4096))
def test_any_product_takes_some_time(m: int, n: int, k: int) -> None:
    (op,) = operators_of(operator.Config(rows=m, width=k, inner=n))
    assert 0 < (measured_time_s(everything(), op, "fp32") or 0.0) < 1e4
