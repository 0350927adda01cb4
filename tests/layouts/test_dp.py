"""Data parallel: what it sends, and that two ranks train as one does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.core import registry
from hwbench.core.layout import Layout
from hwbench.core.parallel import Split
from hwbench.core.workload import Block, Cost
from hwbench.layouts.dp import LAYOUT

SCRIPT = Path(__file__).with_name("train_steps.py")


def cost(parameters: int = 1000, *, experts: int = 0, count: int = 3, dtype: str = "bf16", training: bool = True) -> Cost:
    block = Block(name="layer", count=count, parameters=parameters, expert_parameters=experts, operators=())
    return Cost(blocks=(block,), dtype=dtype, items=1, training=training)


def trained(ranks: int, folder: Path) -> list[dict[str, Any]]:
    """What each of so many ranks printed."""
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[2]), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = (sys.executable, str(SCRIPT))
    processes = [
        subprocess.Popen(
            (*command, str(rank), str(ranks), str(folder / f"store{ranks}")), env=environment, stdout=subprocess.PIPE, text=True
        )
        for rank in range(ranks)
    ]
    return [json.loads(process.communicate(timeout=240)[0]) for process in processes]


@pytest.mark.heavy
def test_two_ranks_train_as_one_does(tmp_path: Path) -> None:
    (alone,) = trained(1, tmp_path)
    for rank in trained(2, tmp_path):
        assert rank["losses"] == pytest.approx(alone["losses"], rel=1e-6)
        assert rank["parameters"] == pytest.approx(alone["parameters"], rel=1e-5, abs=1e-7)
    assert alone["losses"][2] < alone["losses"][0]


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


@pytest.mark.parametrize("zero", [1, 2])
def test_zero_sends_as_much_in_two_parts(zero: int) -> None:
    scatter, gather = LAYOUT.communication(cost(), Layout(dp=4, zero=zero))
    assert (scatter.collective, gather.collective) == ("reduce_scatter", "all_gather")
    assert scatter.message_bytes == gather.message_bytes == 6000.0
    assert gather.overlaps is None


@given(st.integers(2, 64), st.integers(1, 10**12))
def test_messages_do_not_depend_on_the_number_of_ranks(dp: int, parameters: int) -> None:
    (transfer,) = LAYOUT.communication(cost(parameters, count=1), Layout(dp=dp))
    assert transfer.message_bytes == 2.0 * parameters


def test_single_sends_and_divides_nothing() -> None:
    single = registry.load("layouts", "single", Split)
    assert single.communication(cost(), Layout()) == ()
    assert single.split is not None
    module: Any = object()
    assert single.split(module, module) is module
