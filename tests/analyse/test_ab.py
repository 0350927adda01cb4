import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwbench.analyse.ab import fewest_draws, judge_cells, judge_session
from hwbench.analyse.cells import Cells, cells
from hwbench.analyse.estimators import estimate, student_location
from hwbench.analyse.sessions import Session
from hwbench.core.comparison import Comparison


def session(
    rounds: int = 20, *, factor: float = 1.0, noise: float = 0.01, calls: int = 5, respawn: int = 4, seed: int = 0, blocks: int = 4
) -> Session:
    """A made session of one kernel; B's times are multiplied by `factor`, all times disturbed upwards by `noise`."""
    shape = (rounds, blocks, 2, calls)
    index = [axis.ravel() for axis in np.meshgrid(*(np.arange(size) for size in shape), indexing="ij")]
    time = 1e6 * np.exp(noise * np.abs(np.random.default_rng(seed).normal(size=index[0].size))) * np.where(index[2] == 1, factor, 1.0)
    return Session(
        round=index[0],
        process=index[0] // respawn,
        kernel=np.zeros_like(index[0]),
        kernel_names=("k",),
        side=index[2],
        block=index[1],
        call=index[3],
        wall_ns=time * 1.1,
        cpu_ns=time,
    )


def only(found: list[Comparison]) -> Comparison:
    (one,) = found
    return one


def spoiled(of: Session, rows: np.ndarray, value: float) -> Session:
    cpu = of.cpu_ns.copy()
    cpu[rows] = value
    return dataclasses.replace(of, cpu_ns=cpu)


def kept(of: Session, rows: np.ndarray) -> Session:
    names = [f.name for f in dataclasses.fields(of) if f.name != "kernel_names"]
    return dataclasses.replace(of, **{name: getattr(of, name)[rows] for name in names})


@pytest.mark.parametrize(("factor", "verdict"), [(1.05, "slower"), (1 / 1.05, "faster"), (1.0, "same"), (1000.0, "slower")])
def test_verdicts_speak_of_b_against_a(factor: float, verdict: str) -> None:
    found = only(judge_session(session(factor=factor)))
    assert found.verdict == verdict
    assert found.ratio == pytest.approx(factor, rel=0.01)
    assert found.ratio_low is not None
    assert found.ratio_low < factor < found.ratio_high  # type: ignore[operator]
    assert found.minimum_detectable_effect == pytest.approx(0.02, abs=0.005)
    assert found.note == ""


def test_noise_that_hides_a_change_gives_cant_tell_with_what_could_be_seen() -> None:
    found = only(judge_session(session(factor=1.02, noise=0.5, blocks=2, calls=2)))
    assert found.verdict == "can't tell"
    assert found.minimum_detectable_effect > 0.03  # type: ignore[operator]


def test_the_wall_clock_is_judged_when_asked() -> None:
    cpu_only = dataclasses.replace(session(), wall_ns=session(factor=1.2).wall_ns)
    assert only(judge_session(cpu_only)).verdict == "same"
    assert only(judge_session(cpu_only, clock="wall")).verdict == "slower"


def test_changing_the_sides_over_turns_the_ratio_over_exactly() -> None:
    one = session(factor=1.03, noise=0.05)
    there, back = only(judge_session(one)), only(judge_session(dataclasses.replace(one, side=1 - one.side)))
    assert there.ratio * back.ratio == pytest.approx(1, rel=1e-9)  # type: ignore[operator]
    assert there.ratio_low * back.ratio_high == pytest.approx(1, rel=1e-2)  # type: ignore[operator]


def test_the_order_of_rows_and_the_numbers_of_blocks_do_not_matter() -> None:
    one = session(noise=0.05)
    mixed = kept(one, np.random.default_rng(1).permutation(len(one.round)))
    renumbered = dataclasses.replace(one, block=2 * one.block + one.side)
    assert judge_session(one) == judge_session(mixed) == judge_session(renumbered)


def test_a_process_that_differs_widens_the_interval_beyond_what_rounds_show() -> None:
    one = session(noise=0.02)
    lucky = np.where((one.process % 2 == 0) & (one.side == 1), 1.06, 1.0)
    found = estimate(cells(dataclasses.replace(one, cpu_ns=one.cpu_ns * lucky), 0, "cpu"))  # type: ignore[arg-type]
    assert found.error > 0.01
    assert found.freedom < 10


def test_a_lottery_of_processes_gets_no_verdict_from_a_few_draws_but_from_many() -> None:
    def lottery(respawn: int) -> Comparison:
        one = session(noise=0.005, respawn=respawn)
        slow = np.where((one.process % 5 != 0) & (one.side == 1), 1.2, 1.0)
        return only(judge_session(dataclasses.replace(one, cpu_ns=one.cpu_ns * slow)))

    few, many = lottery(4), lottery(1)
    assert few.verdict == "can't tell"
    assert "respawn more often" in few.note
    assert "needs 8 of them, here are 5" in few.note
    assert many.note == ""


def test_processes_that_differ_little_do_not_hide_a_change_far_larger() -> None:
    one = session(factor=1.1, noise=0.002)
    uneven = np.where((one.process % 2 == 0) & (one.side == 1), 1.01, 1.0)
    assert only(judge_session(dataclasses.replace(one, cpu_ns=one.cpu_ns * uneven))).verdict == "slower"


def test_eight_draws_alike_are_rarer_than_the_error_allowed() -> None:
    assert (fewest_draws(0.015), fewest_draws(0.01), fewest_draws(0.05)) == (8, 8, 6)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (session(1), "1 round with both sides"),
        (session(3), "3 rounds"),
        (session(20, respawn=20), "1 respawned processes"),
        (spoiled(session(), np.arange(0, 500), 0.0), "zero"),
        (spoiled(session(), np.arange(0, 500), -5.0), "clock went backwards"),
        (spoiled(session(), np.arange(0, 500), np.nan), "missing or not numbers"),
        (kept(session(), session().side == 0), "side B has no samples"),
        (kept(session(), session().side == 1), "side A has no samples"),
        (kept(session(), (session().side == 0) | (session().round < 10)), "only 10 of 20 rounds"),
        (kept(session(), np.arange(1)), "side B has no samples"),
    ],
)
def test_bad_sessions_give_cant_tell_and_a_word(made: Session, says: str) -> None:
    found = only(judge_session(made))
    assert found.verdict == "can't tell"
    assert says in found.note


def test_one_broken_time_among_thousands_is_left_out_by_name() -> None:
    found = only(judge_session(spoiled(session(factor=1.05, calls=20), np.array([7]), 0.0)))
    assert found.verdict == "slower"
    assert "1 of 1600 cpu times of side A are zero, left out" in found.note


def test_a_renamed_kernel_is_two_that_lack_a_side() -> None:
    one = session()
    renamed = dataclasses.replace(one, kernel=one.side, kernel_names=("new", "old"))
    assert [c.note for c in judge_session(renamed)] == [f"side {s} has no samples of it (missing, or renamed?)" for s in "BA"]


def test_cold_calls_are_dropped_unless_nothing_else_is_there() -> None:
    one = session()
    cold = dataclasses.replace(one, cpu_ns=np.where((one.call == 0) & (one.side == 1), 5.0, 1.0) * one.cpu_ns)
    assert only(judge_session(cold)).verdict == "same"
    found = only(judge_session(session(factor=1.1, calls=1)))
    assert found.verdict == "slower"
    assert "cold calls were kept" in found.note


def test_unequal_blocks_and_equal_times_are_no_obstacle() -> None:
    one = session()
    assert only(judge_session(kept(one, (one.side == 0) | (one.block < 3)))).verdict == "same"
    assert only(judge_session(session(noise=0.0))).verdict == "same"


@settings(deadline=None)
@given(st.integers(2, 9), st.integers(0, 1000))
def test_a_scale_common_to_both_sides_changes_nothing(rounds: int, seed: int) -> None:
    of = cells(session(rounds, noise=0.1, seed=seed), 0, "cpu")
    assert isinstance(of, Cells)
    scaled = dataclasses.replace(of, round_low=of.round_low + 2, block_low=of.block_low + 2, block_mid=of.block_mid + 2)
    assert estimate(of).log_ratio == pytest.approx(estimate(scaled).log_ratio, abs=1e-9)
    assert judge_cells("k", of) == judge_cells("k", of)


def test_location_ignores_a_minority_far_away() -> None:
    values = np.concatenate((np.full(60, 0.01), np.full(40, 3.0)))[None] + 1e-4 * np.random.default_rng(0).normal(size=100)
    assert student_location(values, freedom=0.5)[0] == pytest.approx(0.01, abs=1e-3)
