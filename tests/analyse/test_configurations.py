"""Machines side by side: ratios where both measured the same, and a reason wherever they did not."""

import msgspec
import pytest

from hwbench.analyse.summarise import summarise
from hwbench.core.profile import Accelerator, ClusterProfile, Node
from hwbench.core.record import Energy, Record, Run
from hwbench.core.summary import Configurations
from tests.made_runs import SHAPES, WORKLOADS, failed, record, run


def side_by_side(
    first: tuple[Record, ...], second: tuple[Record, ...], profiles: dict[str, ClusterProfile] | None = None
) -> Configurations:
    runs = [run(first, id="old"), run(second, id="new", machine={"product_name": "Another Box"})]
    return compared(runs, profiles)


def compared(runs: list[Run], profiles: dict[str, ClusterProfile] | None = None) -> Configurations:
    made = summarise(runs, made_at="2026-11-22T10:00:00+00:00", hwbench_version="0.1.0", workloads=WORKLOADS, profiles=profiles)
    assert made.configurations is not None
    return made.configurations


def processes(name: str, slower: float = 1.0, layout: str = "single") -> tuple[Record, ...]:
    return tuple(record(name, layout=layout, process=process, slower=slower) for process in range(4))


def profile(price: float | None, power_w: float | None = None) -> ClusterProfile:
    node = Node(accelerators=4, price_usd_per_hour=price, power_w=power_w)
    return ClusterProfile(name="cloud", description="", accelerator=Accelerator(name="x", vendor="y"), node=node, sources={})


def test_a_faster_machine_has_a_ratio_above_one_and_an_interval() -> None:
    found = side_by_side(processes("gpt"), processes("gpt", slower=0.5))
    (one,) = found.against
    assert one.ratio == pytest.approx(2.0, rel=0.05)
    assert one.interval is not None
    assert one.interval.low < one.ratio < one.interval.high
    assert found.cant == ()
    assert "machine.product_name" in {fact.fact for fact in found.differences}


def test_one_process_has_a_ratio_without_interval_and_a_doubt() -> None:
    (one,) = side_by_side((record("gpt"),), (record("gpt"),)).against
    assert one.interval is None
    assert "run old measured it in one process: no interval" in one.doubts


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (record("lstm"), "run new did not measure gpt"),
        (record("gpt", config={"size": 64, "batch": 8}), "run new measured it at other sizes: size=64"),
        (record("gpt", dtype="bf16"), "run new measured gpt only under single bf16"),
        (failed("gpt", "no memory"), "run new: failed: no memory"),
    ],
)
def test_what_cant_be_compared_is_said(other: Record, why: str) -> None:
    found = side_by_side((record("gpt"),), (other,))
    assert found.against == ()
    assert why in {one.why for one in found.cant}


def test_another_amount_of_work_under_the_same_name_is_refused() -> None:
    changed = record("gpt")
    assert changed.measurement is not None
    changed = msgspec.structs.replace(changed, measurement=msgspec.structs.replace(changed.measurement, flops_per_step=1e9))
    found = side_by_side((record("gpt"),), (changed,))
    assert found.against == ()
    assert found.cant[0].why.startswith("flops_per_step is 7.74e+09 in one and 1e+09 in the other")


def test_curves_start_at_one_rank() -> None:
    layouts = tuple(record("gpt", layout=layout, spread=0.0) for layout in ("single", "dp=2", "dp=4", "tp=2"))
    found = side_by_side(layouts, layouts)
    curve = next(curve for curve in found.curves if curve.family == "dp" and curve.run == "old")
    assert [(point.world_size, point.layout) for point in curve.points] == [(1, "single"), (2, "dp=2"), (4, "dp=4")]
    assert [point.speedup for point in curve.points] == pytest.approx([1.0, 2.0, 4.0])


def test_price_comes_from_the_profile_and_counts_a_part_of_a_node() -> None:
    found = side_by_side((record("gpt", spread=0.0),), (record("gpt", spread=0.0),), {"new": profile(8.0, power_w=400.0)})
    (price,) = found.prices
    tokens_per_s = SHAPES["gpt"].items / SHAPES["gpt"].step_s
    assert price.run == "new"
    assert price.usd_per_hour == pytest.approx(2.0)
    assert price.usd_per_million_items == pytest.approx(2.0 / 3600 / tokens_per_s * 1e6)
    assert price.energy_j_per_item == pytest.approx(100.0 / tokens_per_s)
    assert "no price for run old: its profile has none" in found.notes


def test_without_a_price_that_is_said() -> None:
    found = side_by_side((record("gpt"),), (record("gpt"),), {"new": profile(None)})
    assert found.prices == ()
    assert "no prices: no run has a cluster profile with a price of its nodes" in found.notes


def test_measured_energy_stands_side_by_side() -> None:
    plain = record("gpt")
    assert plain.measurement is not None
    spent = Energy(device_j=None, host_j=6.0, span_s=1.0)
    ranks = tuple(msgspec.structs.replace(rank, energy=spent) for rank in plain.measurement.ranks)
    measurement = msgspec.structs.replace(plain.measurement, ranks=ranks)
    found = side_by_side((plain,), (msgspec.structs.replace(plain, measurement=measurement),))
    (one,) = found.against
    assert one.base_energy_per_step_j is None
    assert one.energy_per_step_j == pytest.approx(measurement.energy_per_step_j)
    assert not any("no energy" in note for note in found.notes)
    assert any("no energy" in note for note in side_by_side((record("gpt"),), (record("gpt"),)).notes)


def test_one_run_is_no_comparison() -> None:
    made = summarise([run((record("gpt"),))], made_at="", hwbench_version="0.1.0", workloads=WORKLOADS)
    assert made.configurations is None
