"""Checkpoint interval and goodput: Young's and Daly's limits, a simulation, monotonicity, nonsense."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.core.errors import UserError
from hwbench.planner.goodput import Failures, checkpoint_interval_s, goodput

HOUR = 3600.0


def test_short_checkpoints_give_youngs_interval() -> None:
    assert checkpoint_interval_s(1.0, 1e8) == pytest.approx(math.sqrt(2 * 1.0 * 1e8), rel=1e-3)


def test_checkpoints_longer_than_failures_are_apart_give_dalys_bound() -> None:
    assert checkpoint_interval_s(100.0, 50.0) == 50.0


@given(checkpoint=st.floats(1, 600), mtbf=st.floats(HOUR, 1e8))
def test_the_interval_is_the_best_there_is(checkpoint: float, mtbf: float) -> None:
    """No interval half or twice as long wastes less, in the complete model."""

    def wasted(interval: float) -> float:
        return mtbf / interval * math.expm1((interval + checkpoint) / mtbf)

    best = checkpoint_interval_s(checkpoint, mtbf)
    assert wasted(best) <= min(wasted(best / 2), wasted(best * 2)) * (1 + 1e-9)


def test_against_a_simulation() -> None:
    failures = Failures(node_mtbf_s=16 * 20 * HOUR, checkpoint_s=300.0, restart_s=900.0)
    expected = goodput(failures, 16)
    dice, done, clock = random.Random(1), 0.0, 0.0
    while clock < 4000 * expected.job_mtbf_s:
        segment = expected.checkpoint_interval_s + failures.checkpoint_s
        until = dice.expovariate(1 / expected.job_mtbf_s)
        if until >= segment:
            done, clock = done + expected.checkpoint_interval_s, clock + segment
            continue
        clock += until
        while (again := dice.expovariate(1 / expected.job_mtbf_s)) < failures.restart_s:
            clock += again
        clock += failures.restart_s
    assert done / clock == pytest.approx(expected.fraction, rel=0.02)


@given(nodes=st.integers(1, 10_000), mtbf=st.floats(HOUR, 1e9), checkpoint=st.floats(0, 3600), restart=st.floats(0, 7200))
def test_more_nodes_never_make_more_progress(nodes: int, mtbf: float, checkpoint: float, restart: float) -> None:
    failures = Failures(node_mtbf_s=mtbf, checkpoint_s=checkpoint, restart_s=restart)
    one, two = goodput(failures, nodes).fraction, goodput(failures, 2 * nodes).fraction
    assert 0 <= two <= one + 1e-12
    assert one <= 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("node_mtbf_s", 0.0), ("node_mtbf_s", -1.0), ("checkpoint_s", -1.0), ("restart_s", math.nan), ("node_mtbf_s", math.inf)],
)
def test_impossible_times_are_refused(field: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{field}="):
        goodput(Failures(**({"node_mtbf_s": 1e6, "checkpoint_s": 60.0, "restart_s": 60.0} | {field: value})), 4)


def test_no_nodes_are_refused() -> None:
    with pytest.raises(UserError, match="nodes=0"):
        goodput(Failures(node_mtbf_s=1e6, checkpoint_s=60.0, restart_s=60.0), 0)
