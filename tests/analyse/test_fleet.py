"""Who stands out among many hosts: by median and MAD, never by a mean that the odd one pulls."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.analyse.fleet import LARGEST_SCORE, fleet, scores, sentences
from hwbench.core.record import Record, Run
from tests.made_runs import WORKLOADS, record, run

PACES = {"n1": 1.0, "n2": 1.01, "n3": 0.995, "n4": 1.004}


def on_host(host: str, slower: float, name: str = "matmul") -> Record:
    made = record(name, slower=slower, spread=0.0)
    assert made.measurement is not None
    ranks = tuple(msgspec.structs.replace(rank, host=host) for rank in made.measurement.ranks)
    return msgspec.structs.replace(made, measurement=msgspec.structs.replace(made.measurement, ranks=ranks, kind="ceiling"))


def fleet_runs(paces: dict[str, float]) -> list[Run]:
    return [run((on_host(host, pace),), id=f"run-{host}") for host, pace in paces.items()]


def test_a_slow_host_is_named_with_its_kernel() -> None:
    found = fleet(fleet_runs(PACES | {"n5": 1.3}), WORKLOADS)
    assert found is not None
    assert found.hosts == ("n1", "n2", "n3", "n4", "n5")
    (one,) = found.outliers
    assert (one.host, one.rank) == ("n5", None)
    assert one.slower_fraction == pytest.approx(1.3 / 1.004 - 1)
    assert one.score > LARGEST_SCORE
    (said,) = sentences(found)
    assert said.startswith("host n5 stands out among 5 hosts: matmul")


def test_hosts_that_differ_by_a_percent_are_alike() -> None:
    found = fleet(fleet_runs(PACES), WORKLOADS)
    assert found is not None
    assert found.outliers == ()


def test_one_slow_rank_in_a_node_is_named() -> None:
    made = record("matmul", layout="dp=8", spread=0.0)
    assert made.measurement is not None
    hosts = ("a", "a", "a", "b", "b", "b", "c", "c")
    ranks = [
        msgspec.structs.replace(rank, host=host, wall_s=tuple(wall * (1.5 if rank.rank == 4 else 1.0) for wall in rank.wall_s))
        for rank, host in zip(made.measurement.ranks, hosts, strict=True)
    ]
    slow = msgspec.structs.replace(made, measurement=msgspec.structs.replace(made.measurement, ranks=tuple(ranks), kind="ceiling"))
    found = fleet([run((slow,))], WORKLOADS)
    assert found is not None
    assert [(one.host, one.rank) for one in found.outliers] == [("b", 4)]


def test_two_hosts_are_too_few() -> None:
    runs = fleet_runs({"n1": 1.0, "n2": 2.0})
    assert fleet(runs, WORKLOADS) is None
    asked = [msgspec.structs.replace(one, header=msgspec.structs.replace(one.header, suite="fleet-check")) for one in runs]
    found = fleet(asked, WORKLOADS)
    assert found is not None
    assert found.outliers == ()
    assert found.notes == ("2 hosts: who stands out can be said of 3 or more",)


def test_training_steps_are_not_judged() -> None:
    runs = [run((record("gpt", slower=pace),), id=host) for host, pace in PACES.items()]
    assert fleet(runs, WORKLOADS) is None


@given(st.lists(st.floats(1e-6, 1e3), min_size=3, max_size=40))
def test_scores_are_finite_and_at_most_half_stand_out(values: list[float]) -> None:
    found = scores(values)
    assert all(math.isfinite(score) for score in found)
    assert sum(abs(score) > LARGEST_SCORE for score in found) <= len(values) / 2
