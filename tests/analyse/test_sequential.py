"""Looks that are paid for: the error of all of them together, Holm over kernels, confirmation; and label swaps of recorded sessions."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.analyse.aa import false_alarms, swapped_verdicts
from hwbench.analyse.ab import ALPHA
from hwbench.analyse.sequential import LOOKS, Judgement, Look, agrees, concluded, confirmed, judged, looked, paid, spent
from hwbench.analyse.sessions import Session
from hwbench.core.comparison import Comparison, Verdict

from .test_ab import session


def comparison(verdict: Verdict, p_value: float | None = 0.5, ratio: float = 1.05, reach: float = 0.01) -> Comparison:
    return Comparison(kernel="k", verdict=verdict, ratio=ratio, ratio_low=ratio - reach, ratio_high=ratio + reach, p_value=p_value)


def seen(of: Comparison, time_fraction: float, before: Look | None, doubt: str = "") -> Look:
    return looked(Judgement(comparison=of, doubt=doubt), time_fraction, before)


@given(st.floats(-1, 2), st.floats(-1, 2))
def test_the_error_is_spent_once(one: float, other: float) -> None:
    assert 0 <= spent(one) <= 1
    assert (spent(one) <= spent(other)) or one > other
    assert spent(0) == 0
    assert spent(1) == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.lists(st.floats(1e-6, 1), min_size=8, max_size=8))
def test_looks_never_spend_more_than_there_is(times: list[float], p_values: list[float]) -> None:
    look: Look | None = None
    total = 0.0
    for time, p_value in zip(times, p_values, strict=False):
        before = look.spent_fraction if look else 0.0
        look = seen(comparison("slower", p_value), time, look)
        total += look.spent_fraction - before
        assert look.p_value >= p_value
    assert total <= 1 + 1e-9


def test_identical_versions_are_rarely_called_different_whatever_the_number_of_looks_and_kernels() -> None:
    """Simulated: independent looks at uniform p-values, the worst that Bonferroni's inequality allows for; four kernels."""
    rng = np.random.default_rng(1)
    families = 4000
    alarms = 0
    for _ in range(families):
        looks: dict[str, Look] = {}
        changed = False
        for time in LOOKS:
            for name in "abcd":
                looks[name] = seen(comparison("slower", float(rng.random())), time, looks.get(name))
            changed |= any(look.changed for look in paid(looks, 4, alpha=0.05).values())
        alarms += changed
    assert alarms / families <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / families)


def test_holm_over_kernels_counts_those_not_looked_at_yet() -> None:
    look = seen(comparison("slower", 0.4 * ALPHA), 1.0, None)
    assert paid({"a": look}, 1)["a"].changed
    assert paid({"a": look}, 1)["a"].settled
    assert not paid({"a": look}, 4)["a"].changed
    clear = seen(comparison("slower", 1e-9), 1.0, None)
    both = paid({"a": look, "b": clear}, 2)
    assert both["a"].changed
    assert both["b"].changed
    assert paid({"a": seen(comparison("same", 1e-9), 1.0, None)}, 1)["a"].changed is False


def test_what_one_look_would_have_shown_is_said_but_is_no_verdict() -> None:
    look = paid({"k": seen(comparison("slower", 0.9 * ALPHA), 1.0, None)}, 3)["k"]
    found = concluded(look)
    assert found.verdict == "can't tell"
    assert "looks slower at one look" in found.note
    assert found.ratio == 1.05
    same = paid({"k": seen(comparison("same"), 0.125, None)}, 3)["k"]
    assert same.settled
    assert concluded(same).verdict == "same"
    unknown = seen(comparison("can't tell", None), 1.0, None)
    assert unknown.p_value == 1


def test_a_change_is_confirmed_by_fresh_processes_or_taken_back() -> None:
    slower, faster = comparison("slower"), comparison("faster", ratio=0.95)
    assert "confirmed in fresh processes: 1.040" in confirmed(slower, slower, comparison("can't tell", ratio=1.04)).note
    assert confirmed(faster, faster, comparison("faster", ratio=0.95)).verdict == "faster"
    for fresh in (comparison("same", ratio=1.005), comparison("faster", ratio=0.95), Comparison(kernel="k", verdict="can't tell")):
        taken_back = confirmed(slower, slower, fresh)
        assert taken_back.verdict == "can't tell"
        assert "not confirmed" in taken_back.note
    assert confirmed(slower, comparison("same"), slower).verdict == "can't tell"
    assert not agrees(comparison("same"), slower)


def test_a_change_needs_rounds_and_processes_that_agree() -> None:
    def judge(of: Session) -> Judgement:
        return judged(of, 0, clock="cpu", threshold_fraction=0.02)

    assert judge(session(20, factor=1.05)).doubt == ""
    assert judge(session(8, factor=1.05, respawn=1)).doubt == "8 rounds: a change needs 12"
    assert "don't agree" in judge(session(20)).doubt
    one = session(20, factor=1.05)
    slow = np.isin(one.process, (0,))  # one of five pairs brought all of the difference, and more
    lucky = dataclasses.replace(
        one, cpu_ns=np.where(slow & (one.side == 1), one.cpu_ns * 1.6, np.where(one.side == 1, one.cpu_ns / 1.05, one.cpu_ns))
    )
    assert "don't agree" in judge(lucky).doubt
    doubted = paid({"k": seen(comparison("slower", 1e-9), 1.0, None, "8 rounds")}, 1)["k"]
    assert not doubted.changed
    assert "but 8 rounds" in concluded(doubted).note
    empty = session()
    empty.cpu_ns[:] = 0
    assert judge(empty).comparison.verdict == "can't tell"


@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_label_swaps_of_identical_code_raise_no_alarm(noise: float) -> None:
    judged = swapped_verdicts(session(24, noise=noise, respawn=2), 0, replays=20)
    assert len(judged) == 20
    assert false_alarms(judged) == 0
    assert {of.kernel for of in judged} == {"k"}


def test_there_are_no_more_replays_than_swaps_and_none_of_bad_data() -> None:
    assert len(swapped_verdicts(session(12, respawn=4), 0, replays=20)) == 4
    broken = session()
    broken.cpu_ns[:] = 0
    assert swapped_verdicts(broken, 0) == []
