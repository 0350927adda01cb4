"""Sizes of blocks, the order of sides, and the file that a session becomes."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.analyse.sessions import SESSION_COLUMNS, read_session
from hwbench.core.errors import UserError
from hwbench.run import duel_plan, duel_rows
from hwbench.run.duel_contest import label
from hwbench.run.duel_rows import Block


@given(st.floats(1e-9, 100), st.floats(-10, 1000))
def test_a_round_can_always_be_measured(call_s: float, allowance_s: float) -> None:
    found = duel_plan.sizes(call_s, allowance_s)
    sample_s = call_s * found.repeat
    assert found.repeat >= 1
    assert found.samples >= 1
    assert 1 <= found.pairs <= duel_plan.PAIRS
    assert sample_s >= duel_plan.SAMPLE_S * 0.999
    if sample_s < duel_plan.LONG_CALL_S:
        assert found.samples >= 2
        assert found.samples * sample_s <= 2.1 * duel_plan.BLOCK_S
    if found.pairs > 1:
        assert 2 * found.pairs * found.samples * sample_s <= duel_plan.ROUND_S * 1.001


def test_usual_calls() -> None:
    assert duel_plan.sizes(0.4e-3, 60) == duel_plan.Sizes(samples=63, repeat=1, pairs=8)
    assert duel_plan.sizes(2e-6, 60) == duel_plan.Sizes(samples=482, repeat=26, pairs=8)
    assert duel_plan.sizes(0.1, 60) == duel_plan.Sizes(samples=1, repeat=1, pairs=5)
    assert duel_plan.sizes(0.0, 60).repeat == 1000


@given(st.floats(0, 10), st.floats(0, 30), st.floats(-5, 500))
def test_processes_are_replaced_every_one_to_four_rounds(round_s: float, respawn_s: float, left_s: float) -> None:
    assert 1 <= duel_plan.rounds_per_process(round_s, respawn_s, left_s) <= 4


def test_cheap_processes_are_replaced_often_and_dear_ones_as_often_as_time_allows() -> None:
    assert duel_plan.rounds_per_process(0.5, 0.1, 60) == 1
    assert duel_plan.rounds_per_process(0.5, 5.0, 60) == 4
    assert duel_plan.rounds_per_process(2.0, 5.0, 40) == 2


@given(st.integers(0, 30), st.floats(0, 20), st.floats(-5, 500))
def test_rounds_shrink_until_enough_fit(rounds: int, round_s: float, left_s: float) -> None:
    sizes = duel_plan.Sizes(samples=5, repeat=1, pairs=8)
    found = duel_plan.fitted(sizes, rounds, round_s, left_s)
    missing = duel_plan.FEWEST_ROUNDS - rounds
    assert 1 <= found.pairs <= 8
    if found.pairs > 1 and missing > 0:
        assert missing * round_s * found.pairs / 8 <= left_s * 1.001


def test_sides_take_turns_at_random() -> None:
    dice = random.Random(1)
    first = Counter()  # type: Counter[int]
    for _ in range(100):
        order = list(duel_plan.block_order(8, dice))
        assert sorted(order) == [(pair, side) for pair in range(8) for side in (0, 1)]
        first.update(side for place, (_, side) in enumerate(order) if place % 2 == 0)
    assert 320 < first[0] < 480


def block(number: int, side: int, pair: int, wall: tuple[int, ...], kernel: str = "k(a=1,b=2)") -> Block:
    cpu = tuple(w - 1 for w in wall)
    zeros = (0,) * len(wall)
    return Block(
        round=number,
        process=number // 2,
        kernel=kernel,
        side=side,
        pair=pair,
        wall_ns=wall,
        cpu_ns=cpu,
        switches=zeros,
        faults=zeros,
        load_1min=1.5,
    )


@pytest.mark.parametrize("name", ["session.csv", "session.csv.gz"])
def test_a_session_is_read_back_as_it_was_measured(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert duel_rows.COLUMNS == SESSION_COLUMNS
    duel_rows.create(path)
    for number in range(3):
        duel_rows.append(path, [block(number, side, 0, (100 + number, 90, 80)) for side in (1, 0)])
    found = read_session(path)
    assert found.kernel_names == ("k(a=1,b=2)",)
    assert found.round.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert found.side.tolist() == [1, 1, 1, 0, 0, 0] * 3
    assert found.call.tolist() == [0, 1, 2] * 6
    assert np.array_equal(found.wall_ns - 1, found.cpu_ns)
    with pytest.raises(UserError, match="exists already"):
        duel_rows.create(path)


def test_a_file_that_cant_be_written_is_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't write"):
        duel_rows.create(tmp_path / "no" / "folder.csv")


def test_a_kernels_name_says_what_both_sides_share() -> None:
    assert (
        label("attention", {"causal": "False", "backend": "math"}, {"causal": "False", "backend": "flash"}, "fp32")
        == "attention(causal=False)"
    )
    assert label("attention", {}, {"backend": "flash"}, "fp32") == "attention"
    assert label("mine.py", {}, {}, "bf16") == "mine.py bf16"
