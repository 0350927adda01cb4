"""Serving: keys and values by hand, limits that bind, monotone in what is asked and what is bought, refusals with numbers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hwbench.cli._planning import load_model
from hwbench.core.errors import UserError
from hwbench.core.prediction import Serving
from hwbench.core.registry import load_cluster
from hwbench.planner.overrides import with_settings
from hwbench.planner.serve import Load, kv_bytes_per_token, no_serving, serve

MODEL = load_model("llama3-70b", {})
H100 = load_cluster("dgx-h100")
LOAD = Load(prompt_tokens=2000, output_tokens=500, users=200, ttft_s=2.0, tpot_s=0.05)


def served(load: Load = LOAD, **changes: object) -> Serving:
    profile = with_settings(H100, {key.replace("__", "."): value for key, value in changes.items()})
    answer = serve(MODEL, load, [profile])
    assert answer.servings, answer.rejected
    return answer.servings[0]


def test_keys_and_values_are_counted_by_the_kv_heads() -> None:
    """Llama 3 70B: 2 · 80 layers · 8 heads · 128 · 2 bytes; 64 heads without grouping would be eight times that."""
    assert kv_bytes_per_token(MODEL, 2.0) == 2 * 80 * 8 * 128 * 2
    assert kv_bytes_per_token(load_model("gpt3-175b", {}), 2.0) == 2 * 96 * 12288 * 2


def test_everything_fits_and_keeps_its_limits() -> None:
    one = served()
    assert one.replicas * one.batch >= 200
    assert one.users >= 200
    assert one.tp <= 8
    assert one.ttft_s <= 2.0
    assert one.tpot_s <= 0.05
    assert one.weights_bytes + one.kv_bytes <= 0.9 * 80e9
    assert one.weights_bytes * one.tp * one.pp == pytest.approx(2 * 70.55e9, rel=0.01)
    assert one.kv_bytes == pytest.approx(one.batch * 2508 * 327_680 / one.tp)
    assert one.tokens_per_s == pytest.approx(200 / one.tpot_s)


def test_one_sequence_is_limited_by_streaming_the_weights() -> None:
    one = served(replace(LOAD, users=1, tpot_s=0.2))
    stream = one.weights_bytes / (3.35e12 * 0.85)
    assert stream < one.tpot_s < stream + 0.012


LIMITS: dict[str, tuple[Load, dict[str, object], str]] = {
    "users": (replace(LOAD, users=3, tpot_s=0.2), {}, "the number of users"),
    "memory": (replace(LOAD, users=5000, tpot_s=1.0, prompt_tokens=8000), {}, "memory for keys and values"),
    "time": (replace(LOAD, users=5000, tpot_s=0.03), {}, "time of a token"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_what_binds_is_said(name: str) -> None:
    load, changes, said = LIMITS[name]
    assert said in served(load, **changes).limit


@given(factor=st.floats(1.0, 4.0), users=st.integers(1, 3000))
@settings(max_examples=25, deadline=None)
def test_looser_limits_and_fewer_users_never_take_more(factor: float, users: int) -> None:
    strict = served(replace(LOAD, users=users))
    loose = served(replace(LOAD, users=users, tpot_s=LOAD.tpot_s * factor, ttft_s=LOAD.ttft_s * factor))
    assert loose.accelerators <= strict.accelerators
    assert served(replace(LOAD, users=max(1, users // 2))).accelerators <= strict.accelerators


@pytest.mark.parametrize("key", ["accelerator__memory_bandwidth_bytes_per_s", "accelerator__memory_bytes"])
def test_better_hardware_serves_more(key: str) -> None:
    heavy = replace(LOAD, users=2000, prompt_tokens=4000, output_tokens=2000, tpot_s=0.04 if "bandwidth" in key else 0.2)
    figures = {"accelerator__memory_bandwidth_bytes_per_s": 6e12, "accelerator__memory_bytes": 160e9}
    assert served(heavy, **{key: figures[key]}).accelerators < served(heavy).accelerators


def test_clusters_are_ranked_by_cost_where_all_have_a_price() -> None:
    dear = with_settings(H100, {"node.price_usd_per_hour": 90.0})
    cheap = with_settings(load_cluster("dgx-a100-80gb"), {"node.price_usd_per_hour": 10.0})
    answer = serve(MODEL, LOAD, [dear, cheap])
    assert answer.ranked_by == "cost"
    assert [one.cluster for one in answer.servings] == ["dgx-a100-80gb", "dgx-h100"]
    first = answer.servings[0]
    assert first.cost_usd_per_hour == 10.0 * first.nodes
    assert first.usd_per_million_tokens == pytest.approx(first.cost_usd_per_hour / (first.tokens_per_s * 3600) * 1e6)


def test_a_model_that_fits_nowhere_says_what_is_short() -> None:
    answer = serve(load_model("gpt3-175b", {}), LOAD, [load_cluster("rtx-4090-workstation")])
    assert answer.servings == ()
    error = no_serving(answer)
    assert error.exit_code == 5
    assert "does not fit" in error.message
    assert "short" in error.message


@pytest.mark.parametrize(("field", "value"), [("ttft_s", 0.01), ("tpot_s", 0.004)])
def test_what_nothing_reaches_says_by_how_much(field: str, value: float) -> None:
    answer = serve(MODEL, replace(LOAD, **{field: value}), [H100])
    assert "more than the" in answer.rejected[0].reason


def test_too_few_nodes_says_how_many_are_missing() -> None:
    answer = serve(MODEL, replace(LOAD, users=2000, max_nodes=1), [H100])
    assert "more than the 1 that can be had" in answer.rejected[0].reason


@pytest.mark.parametrize(
    ("field", "value"), [("prompt_tokens", 0), ("output_tokens", -1), ("users", 0), ("ttft_s", 0.0), ("tpot_s", float("nan")), ("pue", 0.5)]
)
def test_nonsense_is_refused_with_the_number(field: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{field}={value:g}"):
        serve(MODEL, replace(LOAD, **{field: value}), [H100])


def test_only_decoders_are_served() -> None:
    with pytest.raises(UserError, match="decoder Transformers only"):
        serve(load_model("lstm-lm-25k", {}), LOAD, [H100])
