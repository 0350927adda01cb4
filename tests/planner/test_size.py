"""Sizing: anchors that papers report, the smallest node count, refusals with every number."""

from math import ceil, isinf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hwbench.cli._planning import load_model, sends
from hwbench.core.errors import UserError
from hwbench.core.prediction import Rejected, Sizing, SizingAnswer
from hwbench.core.profile import ClusterProfile
from hwbench.core.registry import load_cluster, names
from hwbench.planner.goodput import Outages
from hwbench.planner.overrides import with_settings
from hwbench.planner.question import Ask, check, default_global_batch, node_counts, pose, train_time_s, training_dtype
from hwbench.planner.size import no_plan, size, size_cluster

DAY = 86_400.0
GPT3 = load_model("gpt3-175b", {})
LLAMA = load_model("llama3-405b", {})


def one(model: str, ask: Ask, cluster: str, **changes: object) -> Sizing | Rejected:
    profile = with_settings(load_cluster(cluster), {key.replace("__", "."): value for key, value in changes.items()})
    return size_cluster(load_model(model, {}), ask, profile, sends)


def sized(model: str, ask: Ask, cluster: str, **changes: object) -> Sizing:
    answer = one(model, ask, cluster, **changes)
    assert isinstance(answer, Sizing), answer.reason
    return answer


def test_gpt3_on_1024_a100_takes_weeks_as_reported() -> None:
    """34 days in 2021 (Narayanan et al., arXiv:2104.04473, section 5.1); sequence parallelism, selective recomputation and fused
    attention came later (arXiv:2205.05198, arXiv:2205.14135), so software of 2025 is quicker.
    """
    answer = sized("gpt3-175b", Ask(tokens=300e9, nodes=128, global_batch=1536), "dgx-a100-80gb")
    assert answer.accelerators == 1024
    assert 15 * DAY < answer.train_time_s < 34 * DAY
    assert answer.prediction.low_s is not None
    assert answer.prediction.flops_per_step == pytest.approx(6 * 175e9 * 1536 * 2048, rel=0.1)


def test_llama3_405b_on_16384_h100_reaches_a_plausible_share_of_the_peak() -> None:
    """The paper reports 380 to 430 TFLOP/s a GPU, 38 to 43 % of the peak (arXiv:2407.21783, table 4)."""
    answer = sized("llama3-405b", Ask(tokens=15.6e12, nodes=2048, global_batch=2048), "dgx-h100")
    assert answer.prediction.mfu_fraction is not None
    assert 0.30 < answer.prediction.mfu_fraction < 0.60
    assert 50 * DAY < answer.train_time_s < 100 * DAY


@pytest.mark.parametrize("cluster", ["dgx-a100-80gb", "dgx-h100", "mi250x-frontier"])
def test_the_smallest_number_of_nodes_meets_the_deadline_and_none_below_does(cluster: str) -> None:
    ask = Ask(tokens=300e9, deadline_s=90 * DAY, global_batch=1536)
    answer = sized("gpt3-175b", ask, cluster)
    assert answer.train_time_s <= 90 * DAY
    assert answer.meets_deadline
    question = pose(GPT3, ask, load_cluster(cluster), sends)
    below = [nodes for nodes in question.counts if nodes < answer.nodes]
    assert all(train_time_s(question, nodes) > 90 * DAY for nodes in below[-12:])


def test_a_longer_deadline_never_needs_more_nodes() -> None:
    found = [sized("gpt2-xl", Ask(tokens=100e9, deadline_s=days * DAY), "dgx-a100-80gb").nodes for days in (1, 2, 4, 8, 16, 32)]
    assert found == sorted(found, reverse=True)


def test_without_a_deadline_it_is_the_smallest_cluster_that_holds_the_model() -> None:
    answer = sized("llama3-70b", Ask(tokens=1e9), "dgx-a100-80gb")
    fewer = one("llama3-70b", Ask(tokens=1e9, max_nodes=answer.nodes - 1), "dgx-a100-80gb")
    assert isinstance(fewer, Rejected)
    assert "short" in fewer.reason


def test_time_is_steps_times_step_time_and_energy_power_times_time() -> None:
    answer = sized("gpt2", Ask(tokens=1e9, nodes=1, global_batch=512), "dgx-h100", node__price_usd_per_hour=98.32)
    steps = ceil(1e9 / (512 * 1024))
    assert answer.train_time_s == pytest.approx(steps * answer.prediction.step_time_s)
    assert answer.energy_j == pytest.approx(10_200 * answer.train_time_s)
    assert answer.cost_usd == pytest.approx(98.32 * answer.train_time_s / 3600)
    assert answer.energy_covers is not None
    assert "whole nodes" in answer.energy_covers


def test_what_is_unknown_is_null_with_the_key_that_tells_it() -> None:
    answer = sized("gpt2", Ask(tokens=1e9, nodes=1), "tpu-v5p")
    assert answer.cost_usd is None
    assert answer.energy_j is None
    assert any("node.price_usd_per_hour" in gap for gap in answer.gaps)
    assert any("node.power_w" in gap for gap in answer.gaps)


def test_a_number_without_a_source_is_pointed_out() -> None:
    profile = replace(load_cluster("dgx-h100"), sources={"accelerator": "datasheet", "tiers": "quote"})
    answer = size_cluster(load_model("gpt2", {}), Ask(tokens=1e9, nodes=1), profile, sends)
    assert isinstance(answer, Sizing)
    (said,) = [gap for gap in answer.gaps if gap.startswith("no source")]
    assert said.startswith("no source is given for node.accelerators, node.power_w, node.memory_bytes and ")


def test_failures_lengthen_the_training() -> None:
    ask = Ask(tokens=300e9, nodes=128, global_batch=1536)
    calm = sized("gpt3-175b", ask, "dgx-a100-80gb")
    failures = Outages(node_mtbf_s=1000 * DAY, checkpoint_s=60, restart_s=1200)
    rough = sized("gpt3-175b", Ask(tokens=300e9, nodes=128, global_batch=1536, failures=failures), "dgx-a100-80gb")
    assert rough.goodput_fraction is not None
    assert 0.9 < rough.goodput_fraction < 1
    assert rough.train_time_s == pytest.approx(calm.train_time_s / rough.goodput_fraction)


@pytest.mark.parametrize("field", ["tokens", "deadline_s", "nodes", "max_nodes", "global_batch"])
@pytest.mark.parametrize("value", [0, -3])
def test_nonsense_is_refused_with_the_number(field: str, value: int) -> None:
    ask = Ask(**({"tokens": 1e9} | {field: value}))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"{field}={value}: expected"):
        check(ask)


def test_a_model_that_fits_nowhere_says_what_is_short_and_by_how_much() -> None:
    answer = size(GPT3, Ask(tokens=300e9), [load_cluster("rtx-4090-workstation")], sends)
    assert answer.sizings == ()
    error = no_plan(answer)
    assert error.exit_code == 5
    assert "rtx-4090-workstation: does not fit on 1 node: the least memory is 1.37 TiB" in error.message
    assert "it has 22.4 GiB: 1.35 TiB short" in error.message
    assert error.hint


def test_a_deadline_that_nothing_meets_says_by_how_much() -> None:
    answer = one("gpt3-175b", Ask(tokens=300e9, deadline_s=DAY, max_nodes=64), "dgx-a100-80gb")
    assert isinstance(answer, Rejected)
    assert answer.reason.startswith("too slow: ")
    assert "more than the 24.0 h asked for" in answer.reason
    assert "at most 64 nodes" in answer.reason


def test_a_node_count_that_divides_nothing_names_those_that_do() -> None:
    answer = one("gpt3-175b", Ask(tokens=300e9, nodes=11, global_batch=1536), "dgx-a100-80gb")
    assert isinstance(answer, Rejected)
    assert "11 nodes are 88 accelerators" in answer.reason
    assert "1536 samples" in answer.reason
    assert "12" in answer.reason.rpartition(":")[2]


def test_any_node_count_works_where_the_batch_is_left_to_us() -> None:
    answer = sized("llama3-8b", Ask(tokens=1e12, nodes=27), "dgx-h100")
    assert answer.global_batch % 27 == 0


def test_more_nodes_than_there_are_is_refused() -> None:
    answer = one("gpt2", Ask(tokens=1e9, nodes=2), "rtx-4090-workstation")
    assert isinstance(answer, Rejected)
    assert answer.reason == "2 nodes asked for, at most 1 can be had and used"


def test_a_profile_without_a_needed_number_names_the_key() -> None:
    profile = with_settings(load_cluster("dgx-h100"), {"accelerator.memory_bytes": None})
    with pytest.raises(UserError, match=r"accelerator\.memory_bytes is needed and unknown") as raised:
        size(GPT3, Ask(tokens=1e9), [profile], sends)
    assert "--set accelerator.memory_bytes" in raised.value.hint
    answer = size(GPT3, Ask(tokens=300e9, nodes=128), [profile, load_cluster("dgx-a100-80gb")], sends)
    assert [one.cluster for one in answer.sizings] == ["dgx-a100-80gb"]
    assert "accelerator.memory_bytes" in answer.rejected[0].reason


def test_a_dtype_the_hardware_has_no_rate_for_is_named() -> None:
    with pytest.raises(UserError, match=r"accelerator\.peak_flops_per_s\.bf16"):
        one("gpt3-175b", Ask(tokens=1e9, dtype="bf16"), "dgx-1-v100-32gb")


def ranked(answer: SizingAnswer) -> list[str]:
    return [sizing.cluster for sizing in answer.sizings]


def test_clusters_are_ranked_by_cost_where_all_have_a_price() -> None:
    def priced(cluster: str, usd: float) -> ClusterProfile:
        return with_settings(load_cluster(cluster), {"node.price_usd_per_hour": usd})

    model = load_model("gpt2-large", {})
    ask = Ask(tokens=300e9, deadline_s=5 * DAY, global_batch=480)
    clusters = [load_cluster("dgx-a100-80gb"), load_cluster("dgx-h100")]
    assert ranked(size(model, ask, clusters, sends)) == ["dgx-h100", "dgx-a100-80gb"]
    dear = size(model, ask, [priced("dgx-a100-80gb", 1.0), priced("dgx-h100", 100.0)], sends)
    assert dear.ranked_by == "cost"
    assert ranked(dear) == ["dgx-a100-80gb", "dgx-h100"]
    fixed = size(model, Ask(tokens=300e9, nodes=8, global_batch=512), clusters, sends)
    assert fixed.sizings[0].train_time_s < fixed.sizings[1].train_time_s


@pytest.mark.parametrize("cluster", names("clusters"))
def test_every_shipped_cluster_can_be_sized(cluster: str) -> None:
    """A small model fits somewhere on each; no number that a sizing needs is missing."""
    answer = sized("gpt2", Ask(tokens=1e9), cluster)
    assert answer.train_time_s > 0
    assert answer.prediction.memory.total_bytes <= (answer.prediction.memory_capacity_bytes or 0)


@pytest.mark.parametrize(("cluster", "dtype"), [("dgx-h100", "bf16"), ("dgx-1-v100-32gb", "fp16"), ("cpu-xeon-8280", "fp32")])
def test_training_dtype_is_the_fastest_usual_one(cluster: str, dtype: str) -> None:
    assert training_dtype(load_cluster(cluster)) == dtype


@pytest.mark.parametrize(("model", "tokens"), [("gpt2", 2**19), ("gpt2-xl", 2**20), ("llama3-8b", 2**21), ("gpt3-175b", 2**22)])
def test_default_batch_follows_the_models_size(model: str, tokens: int) -> None:
    sample = load_model(model, {}).cost_of(1, "bf16")
    assert 0.7 < default_global_batch(sample) * sample.items / tokens < 1.42


@given(nodes=st.integers(1, 600))
@settings(max_examples=50, deadline=None)
def test_a_batch_for_fixed_nodes_is_divided_by_them(nodes: int) -> None:
    sample = load_model("llama3-8b", {}).cost_of(1, "bf16")
    profile = load_cluster("dgx-h100")
    batch = default_global_batch(sample, nodes * 8)
    assert nodes in node_counts(sample, profile, global_batch=batch, most=100_000)


def test_nothing_fitting_takes_for_ever() -> None:
    question = pose(GPT3, Ask(tokens=1e9, global_batch=64), load_cluster("dgx-a100-40gb"), sends)
    assert isinf(train_time_s(question, 1))


def test_the_question_is_in_the_answer() -> None:
    answer = size(LLAMA, Ask(tokens=1e12, nodes=2048, global_batch=2048), [load_cluster("dgx-h100")], sends)
    assert answer.question["model"] == "llama3-405b"
    assert answer.question["tokens"] == 1e12
    assert answer.question["clusters"] == ["dgx-h100"]
