"""A change that makes the statistics worse fails here, in a fresh clone too: figures on the carried recordings.

The figures are those of docs/statistics.md's protocol on fewer replays; the limits leave a few replays' margin, no more.
"""

import json
import statistics
from pathlib import Path

import pytest

from hwbench.analyse.sessions import Session, read_session
from tests.histories import scored
from tests.replays import replays

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(scope="module")
def session() -> Session:
    return read_session(DATA / "sessions" / "same_code_raised_priority_40_rounds.csv.gz")


def test_identical_code_raises_no_alarm_and_intervals_hold_the_truth(session: Session) -> None:
    found = replays(session, rounds=20, windows=50, factors=(1.0,), seed=11)
    assert len(found) == 200
    assert sum(not one.right for one in found) <= 2
    assert statistics.mean(one.covered for one in found) >= 0.97
    assert statistics.median(one.width for one in found) <= 0.055


@pytest.mark.parametrize(
    ("factor", "rounds", "share"), [(1.03, 20, 0.6), (1.05, 20, 0.88), (1.10, 20, 0.99), (1 / 1.05, 20, 0.88), (1.05, 40, 0.98)]
)
def test_slowdowns_are_found(session: Session, factor: float, rounds: int, share: float) -> None:
    found = replays(session, rounds=rounds, windows=12, factors=(factor,), seed=12)
    assert statistics.mean(one.right for one in found) >= share
    assert not any(one.found.verdict == ("faster" if factor > 1 else "slower") for one in found)


def test_change_points_of_the_carried_histories() -> None:
    folder = DATA / "histories"
    score = scored(folder, json.loads((folder / "truth.json").read_text("utf-8"))["cases"])
    assert score.precision >= 0.9
    assert score.f1 >= 0.9
    assert score.alarmed == 0
