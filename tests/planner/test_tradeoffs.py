"""Around a recommendation: the Pareto front, sensitivities, and probabilities from intervals, the last against a simulation."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hwbench.cli._planning import load_model, sends
from hwbench.core.prediction import Memory, Offer, Option, Prediction, Sizing, SizingAnswer
from hwbench.core.profile import ClusterProfile
from hwbench.core.registry import load_cluster
from hwbench.planner.cost import Terms, co2_kg, costs
from hwbench.planner.goodput import Outages
from hwbench.planner.offers import Quoted
from hwbench.planner.overrides import with_settings
from hwbench.planner.question import Ask
from hwbench.planner.size import size
from hwbench.planner.tradeoffs import NORMAL_90, beats, probability_within

DAY = 86_400.0
MODEL = load_model("llama3-8b", {})


def priced(cluster: str, usd: float) -> ClusterProfile:
    return with_settings(load_cluster(cluster), {"node.price_usd_per_hour": usd})


CLUSTERS = [priced("dgx-a100-80gb", 12.0), priced("dgx-h100", 24.0)]


def ask(**other: object) -> Ask:
    return Ask(**({"tokens": 200e9, "deadline_s": 20 * DAY} | other))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def answer() -> SizingAnswer:
    return size(MODEL, ask(), CLUSTERS, sends)


def test_the_front_is_what_nothing_beats(answer: SizingAnswer) -> None:
    def values(one: Option) -> tuple[float, ...]:
        return one.train_time_s, one.cost_usd or 0.0, one.energy_j or 0.0

    def beaten(one: Option) -> bool:
        return any(
            all(a <= b for a, b in zip(values(other), values(one), strict=True)) and values(other) != values(one)
            for other in answer.options
        )

    assert {one.cluster for one in answer.options} == {"dgx-a100-80gb", "dgx-h100"}
    assert len(answer.options) >= 8
    assert any(one.efficient for one in answer.options)
    for one in answer.options:
        assert one.efficient != beaten(one)
    assert [one.train_time_s for one in answer.options] == sorted(one.train_time_s for one in answer.options)


def test_a_better_part_is_never_slower_and_compute_brings_most(answer: SizingAnswer) -> None:
    found = answer.sensitivities
    assert {one.part for one in found} == {"FLOP/s", "memory", "memory bandwidth", "scale-up", "network"}
    assert found[0].part == "FLOP/s"
    for one in found:
        assert -0.10 < one.change_fraction <= 1e-9
        assert one.train_time_s == pytest.approx(answer.sizings[0].train_time_s * (1 + one.change_fraction))


def test_the_probability_of_beating_is_that_of_a_simulation(answer: SizingAnswer) -> None:
    assert answer.beats is not None
    first, second = answer.sizings
    dice = random.Random(3)

    def sigma(one: Sizing) -> float:
        return math.log((one.prediction.high_s or 0) / (one.prediction.low_s or 1)) / (2 * NORMAL_90)

    draws = [
        (first.cost_usd or 0) * dice.lognormvariate(0, sigma(first)) < (second.cost_usd or 0) * dice.lognormvariate(0, sigma(second))
        for _ in range(20_000)
    ]
    assert answer.beats.by == "cost"
    assert answer.beats.probability == pytest.approx(sum(draws) / len(draws), abs=0.015)
    assert answer.beats.probability >= 0.5


def test_without_an_interval_nothing_is_said_of_the_choice(answer: SizingAnswer) -> None:
    first, second = answer.sizings
    bare = replace(second, prediction=replace(second.prediction, low_s=None))
    assert beats([first, bare], "cost") is None
    assert beats([first], "cost") is None


STEP = Prediction(
    layout="single", step_time_s=1.0, parts=(), low_s=0.8, high_s=1.25, basis="", memory_capacity_bytes=None, flops_per_step=1.0,
    memory=Memory(weights_bytes=0, gradients_bytes=0, optimizer_bytes=0, activations_bytes=0, buffers_bytes=0), tokens_per_step=1,
    mfu_fraction=None, bottleneck="",
)  # fmt: skip


@given(limit=st.floats(0.2, 5.0))
def test_a_deadline_is_met_more_surely_the_later_it_is(limit: float) -> None:
    one = STEP
    now, later = (probability_within(one, 1.0, limit * factor) for factor in (1.0, 1.1))
    assert now is not None
    assert later is not None
    assert 0 <= now <= later <= 1
    assert (now >= 0.5) == (limit >= 1)
    assert probability_within(STEP, 1.0, 1.25) == pytest.approx(0.95, abs=1e-3)


def test_being_sure_takes_more_nodes(answer: SizingAnswer) -> None:
    sure = size(MODEL, ask(confidence=0.9), CLUSTERS, sends)
    for one in sure.sizings:
        plain = next(other for other in answer.sizings if other.cluster == one.cluster)
        assert one.nodes >= plain.nodes
        assert one.deadline_probability is not None
        assert one.deadline_probability >= 0.9


def test_a_budget_buys_the_quickest_that_it_pays() -> None:
    found = size(MODEL, ask(deadline_s=None, budget_usd=40_000.0), CLUSTERS, sends)
    assert found.ranked_by == "time to train within the budget"
    for one in found.sizings:
        assert one.cost_usd is not None
        assert one.cost_usd <= 40_000
    more = size(MODEL, ask(deadline_s=None, budget_usd=50_000.0), CLUSTERS, sends)
    assert more.sizings[0].train_time_s <= found.sizings[0].train_time_s


def test_a_budget_that_is_too_small_says_by_how_much() -> None:
    found = size(MODEL, ask(budget_usd=1000.0), CLUSTERS, sends)
    assert found.sizings == ()
    assert all("more than the $1,000 asked for" in one.reason for one in found.rejected)


def test_power_limits_the_nodes() -> None:
    found = size(MODEL, ask(deadline_s=None, max_power_w=60_000.0, terms=Terms(pue=1.25)), [CLUSTERS[1]], sends)
    assert found.sizings[0].power_w is not None
    assert found.sizings[0].power_w <= 60_000
    none = size(MODEL, ask(max_power_w=12_000.0, terms=Terms(pue=1.25)), CLUSTERS, sends)
    assert any("one node takes 12.8 kW, 750 W more than the site has" in one.reason for one in none.rejected)


def test_a_purchase_is_written_off_and_needs_power() -> None:
    terms = Terms(buy_usd={"dgx-h100": 300_000.0}, lifetime_s=1460 * DAY, power_usd_per_kwh=0.10, pue=1.2, grid_co2_g_per_kwh=400.0)
    paid = costs(load_cluster("dgx-h100"), 10, 14.6 * DAY, terms)
    assert paid is not None
    assert paid.hardware_usd == pytest.approx(3e6 * 0.01)
    assert paid.power_usd == pytest.approx(10 * 10.2 * 1.2 * 14.6 * 24 * 0.10)
    assert paid.total_usd == pytest.approx(paid.hardware_usd + paid.power_usd)
    assert paid.outlay_usd == pytest.approx(3e6 + paid.power_usd)
    assert co2_kg(3.6e9, terms) == pytest.approx(400.0)
    assert co2_kg(None, terms) is None
    assert co2_kg(3.6e9, Terms()) is None


def quote(supplier: str, nodes: int, price: float, days: float) -> Quoted:
    return Quoted(load_cluster("dgx-h100"), nodes, Offer(supplier=supplier, price_usd=price, delivery_s=days * DAY))


def test_quotes_are_compared_by_what_they_leave_of_the_time() -> None:
    quotes = [quote("Alpha", 16, 5e6, 5), quote("Beta", 16, 4e6, 6), quote("Late", 16, 1e6, 30), quote("Small", 1, 3e5, 19.9)]
    terms = Terms(lifetime_s=1460 * DAY)
    found = size(MODEL, ask(terms=terms), [], sends, quotes)
    assert [one.offer.supplier for one in found.sizings if one.offer][:2] == ["Beta", "Alpha"]
    assert found.sizings[-1].meets_deadline is False
    (late,) = found.rejected
    assert late.name == "Late: 16 × dgx-h100"
    assert late.reason == "delivered in 30.0 days, 10.0 days after the deadline"
    poor = size(MODEL, ask(terms=terms, budget_usd=4.5e6), [], sends, quotes[:2])
    assert [one.name for one in poor.rejected] == ["Alpha: 16 × dgx-h100"]
    assert "too dear" in poor.rejected[0].reason


def test_checkpoints_follow_from_the_storage() -> None:
    found = size(MODEL, ask(failures=Outages(node_mtbf_s=1000 * DAY, storage_bytes_per_s=10e9)), CLUSTERS[1:], sends).sizings[0]
    assert found.progress is not None
    assert found.progress.checkpoint_s == pytest.approx(8.03e9 * 14 / 10e9, rel=0.01)
    assert found.progress.restart_s == found.progress.checkpoint_s
    young = math.sqrt(2 * found.progress.checkpoint_s * found.progress.job_mtbf_s)
    assert found.progress.checkpoint_interval_s == pytest.approx(young, rel=0.02)
    assert found.goodput_fraction == found.progress.fraction
    assert any("--restart-time" in gap for gap in found.gaps)
