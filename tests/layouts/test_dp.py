"""Data parallel: what it sends."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.core import registry
from hwbench.core.layout import Layout
from hwbench.core.parallel import Split
from hwbench.core.workload import Block, Cost, Operator
from hwbench.layouts._volumes import tied_transfers
from hwbench.layouts.dp import LAYOUT


def cost(parameters: int = 1000, *, experts: int = 0, count: int = 3, dtype: str = "bf16", training: bool = True) -> Cost:
    block = Block(name="layer", count=count, parameters=parameters, expert_parameters=experts, operators=())
    return Cost(blocks=(block,), dtype=dtype, items=1, training=training)


def test_a_step_averages_the_bytes_of_all_gradients_once() -> None:
    (transfer,) = LAYOUT.communication(cost(), Layout(dp=4))
    assert (transfer.collective, transfer.ranks, transfer.message_bytes, transfer.count) == ("all_reduce", 4, 3000 * 2.0, 1)
    assert transfer.overlaps == "backward"


def test_nothing_is_sent_by_one_rank_or_without_a_backward_pass() -> None:
    assert LAYOUT.communication(cost(), Layout()) == ()
    assert LAYOUT.communication(cost(training=False), Layout(dp=4)) == ()


def test_what_other_axes_divide_is_not_sent() -> None:
    (transfer,) = LAYOUT.communication(cost(dtype="fp32"), Layout(dp=2, tp=2, pp=3, fsdp=5))
    assert transfer.message_bytes == 3000 * 4.0 / (2 * 3 * 5)


def test_experts_are_averaged_over_the_ranks_that_share_them() -> None:
    dense, experts = LAYOUT.communication(cost(1000, experts=800), Layout(dp=4, ep=2))
    assert (dense.ranks, dense.message_bytes) == (4, 3 * 200 * 2.0)
    assert (experts.ranks, experts.message_bytes) == (2, 3 * 800 * 2.0 / 2)
    (only_dense,) = LAYOUT.communication(cost(1000, experts=800), Layout(dp=4, ep=4))
    assert only_dense.message_bytes == dense.message_bytes


@pytest.mark.parametrize("zero, collectives", [(1, ("all_reduce", "broadcast")), (2, ("reduce_scatter", "all_gather"))])
def test_zero_sends_gradients_and_then_parameters(zero: int, collectives: tuple[str, str]) -> None:
    before, after = LAYOUT.communication(cost(), Layout(dp=4, zero=zero))
    assert (before.collective, after.collective) == collectives
    assert before.message_bytes == after.message_bytes == 6000.0
    assert after.overlaps is None


@given(st.integers(2, 64), st.integers(1, 10**12))
def test_messages_do_not_depend_on_the_number_of_ranks(dp: int, parameters: int) -> None:
    (transfer,) = LAYOUT.communication(cost(parameters, count=1), Layout(dp=dp))
    assert transfer.message_bytes == 2.0 * parameters


def test_single_sends_and_divides_nothing() -> None:
    single = registry.load("layouts", "single", Split)
    assert single.communication(cost(), Layout()) == ()
    step: Any = object()
    assert single.split(step, step, Layout()) is step
    assert single.refusal(Layout(), {}, cost()) == ""


def test_a_tied_table_is_averaged_on_two_stages() -> None:
    table = Operator(name="vocabulary", kind="matmul", flops=1.0, bytes=1.0, m=1, n=50, k=10, division="vocabulary")
    tie = Operator(name="tied_gradient", kind="memory", flops=0.0, bytes=1.0)
    tied = Cost(blocks=(Block(name="model", parameters=1000, operators=(table, tie)),), dtype="fp32", items=1, training=True)
    (whole,), (stage,) = (LAYOUT.communication(tied, Layout(dp=2, pp=pp)) for pp in (1, 4))
    assert whole.message_bytes == 4 * 1000
    assert stage.message_bytes == 4 * (1000 + 500) / 4
    (added,) = tied_transfers(tied, Layout(pp=4), "pp")
    assert (added.ranks, added.spacing, added.message_bytes) == (2, 3, 4 * 500), "the first and the last of four"


def test_what_tensor_parallelism_leaves_whole_is_sent_whole() -> None:
    block = Block(name="layer", parameters=1000, undivided_parameters=200, operators=())
    (transfer,) = LAYOUT.communication(Cost(blocks=(block,), dtype="fp32", items=1, training=True), Layout(dp=2, tp=4))
    assert transfer.message_bytes == 4 * (800 / 4 + 200)
