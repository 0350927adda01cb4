"""Measured collectives as a tier: the planner's time at a measured size is the measured one, whatever shape the curve has."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.analyse.calibrate import NETWORK, calibrate
from hwbench.analyse.network import Timed, tier
from hwbench.core.layout import Layout
from hwbench.core.parallel import Transfer
from hwbench.core.profile import Accelerator, ClusterProfile, Node, Tier
from hwbench.core.record import Record
from hwbench.planner.communication import transfer_time_s
from tests.made_runs import record, run

SIZES = (1024, 65536, 1 << 20, 1 << 24)


def predicted_s(of: Tier, timed: Timed) -> float:
    profile = ClusterProfile(
        name="lab", description="", accelerator=Accelerator(name="x", vendor="y"), node=Node(accelerators=1), tiers=(of,), sources={}
    )
    transfer = Transfer(collective=timed.collective, axis="dp", ranks=timed.ranks, message_bytes=timed.message_bytes, count=1.0)  # type: ignore[arg-type]
    return transfer_time_s(profile, Layout(dp=timed.ranks), transfer)


def line(collective: str, ranks: int, latency_s: float, bytes_per_s: float) -> list[Timed]:
    return [Timed(collective, ranks, size, latency_s + size / bytes_per_s) for size in SIZES]


@given(st.floats(1e-6, 1e-2), st.floats(1e6, 1e11), st.sampled_from(["all_reduce", "all_gather", "all_to_all", "broadcast", "send_recv"]))
def test_a_line_comes_back_at_its_sizes(latency_s: float, bytes_per_s: float, collective: str) -> None:
    timed = line(collective, 2, latency_s, bytes_per_s)
    found = tier("net", None, timed)
    assert found is not None
    for one in timed:
        assert predicted_s(found, one) == pytest.approx(one.time_s, rel=0.06)


def test_a_token_bucket_lets_small_messages_through() -> None:
    """Up to 128 KiB at wire speed, then 12.5 MB/s: no line fits that, the curve does."""
    timed = [Timed("all_reduce", 2, size, 1e-4 + size / 1e9 + max(0, size - (1 << 17)) / 12.5e6) for size in (*SIZES, 1 << 18)]
    found = tier("net", None, timed)
    assert found is not None
    assert found.latency_s == pytest.approx(0.5e-4, rel=0.1)
    for one in timed:
        assert predicted_s(found, one) == pytest.approx(one.time_s, rel=0.06)


def test_a_collective_of_its_own_speed_has_its_own_curve() -> None:
    timed = line("all_reduce", 4, 1e-4, 1e9) + line("reduce_scatter", 4, 1e-4, 1e9)
    found = tier("net", None, timed)
    assert found is not None
    assert set(found.collectives) == {"reduce_scatter"}
    assert predicted_s(found, timed[-1]) == pytest.approx(timed[-1].time_s, rel=0.06)


def test_nothing_measured_is_no_tier() -> None:
    assert tier("net", None, []) is None
    assert tier("net", None, [Timed("all_reduce", 1, 1024, 1.0)]) is None


def over_hosts(made: Record) -> Record:
    assert made.measurement is not None
    ranks = tuple(msgspec.structs.replace(rank, host=f"h{rank.rank}") for rank in made.measurement.ranks)
    return msgspec.structs.replace(made, measurement=msgspec.structs.replace(made.measurement, ranks=ranks))


def test_collectives_between_hosts_become_the_calibrated_network() -> None:
    products = record("matmul", layout="dp=2", spread=0.0)
    message = record("triad", layout="dp=2", spread=0.0)
    assert message.measurement is not None
    config = {"collective": "all_reduce", "message_bytes": 1 << 20}
    case = msgspec.structs.replace(message.case, workload="collective", config=config)
    sent = msgspec.structs.replace(message, case=case, measurement=msgspec.structs.replace(message.measurement, kind="collective"))
    profile = calibrate(run((over_hosts(products), over_hosts(sent))))
    assert (profile.nodes, profile.node.accelerators) == (2, 1)
    (found,) = profile.tiers
    assert found.name == NETWORK
    assert found.accelerators is None
    assert profile.sources["tiers.network"].endswith("collectives over message sizes, the lower quartile of calls")
