"""The search: every layout legal, the best really the quickest that fits, and quicker with better hardware."""

from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwbench.cli._planning import load_model, sends
from hwbench.core.errors import UserError
from hwbench.core.registry import load_cluster
from hwbench.planner.machine import scale_up_domain
from hwbench.planner.memory import rank_memory
from hwbench.planner.overrides import with_settings
from hwbench.planner.search import (
    Found,
    layouts,
    lightest_recompute,
    pipeline_degrees,
    search,
    tensor_degrees,
    tensor_divides,
)

GPT3 = load_model("gpt3-175b", {})
SMALL = load_model("gpt2", {})
A100 = load_cluster("dgx-a100-80gb")


def look(accelerators: int, batch: int, **changes: float | None) -> Found:
    cluster = with_settings(A100, {key.replace("__", "."): value for key, value in changes.items()})
    return search(lambda size: GPT3.cost_of(size, "bf16"), sends, cluster, accelerators=accelerators, global_batch=batch)


@given(accelerators=st.integers(1, 4096), batch=st.integers(1, 4096))
@settings(max_examples=60, deadline=None)
def test_every_layout_has_the_right_ranks_and_divides_everything(accelerators: int, batch: int) -> None:
    cost = GPT3.cost_of(1, "bf16")
    for layout in layouts(cost, A100, accelerators=accelerators, global_batch=batch):
        assert layout.world_size == accelerators
        assert batch % layout.data_ranks == 0
        assert 96 % layout.tp == 0
        assert scale_up_domain(A100) % layout.tp == 0
        assert layout.pp in pipeline_degrees(cost)
        assert layout.sp == (layout.tp > 1)


@given(exponent=st.integers(3, 10), batch=st.sampled_from([96, 256, 1536]))
@settings(max_examples=15, deadline=None)
def test_the_best_fits_and_uses_the_whole_batch(exponent: int, batch: int) -> None:
    found = look(2**exponent, batch)
    if found.best is None:
        assert found.closest is None or found.closest.memory.total_bytes > 80e9
        return
    layout, prediction = found.best.layout, found.best.prediction
    assert prediction.memory.total_bytes <= 80e9
    assert layout.data_ranks * found.best.micro_batch * layout.microbatches == batch
    assert prediction.tokens_per_step == batch * 2048
    assert sum(part.time_s for part in prediction.parts) == pytest.approx(prediction.step_time_s)
    assert prediction.mfu_fraction is not None
    assert 0 < prediction.mfu_fraction < 1


def test_no_layout_tried_was_quicker() -> None:
    """Against every layout and micro-batch predicted one by one, memory first."""
    cost, batch = SMALL.cost_of(1, "bf16"), 64
    found = search(lambda size: SMALL.cost_of(size, "bf16"), sends, A100, accelerators=8, global_batch=batch)
    assert found.best is not None
    from hwbench.planner.search import _micro_batches, predict

    times = []
    for base in layouts(cost, A100, accelerators=8, global_batch=batch):
        for layout, _, one in _micro_batches(base, lambda size: SMALL.cost_of(size, "bf16"), batch):
            recompute, _ = lightest_recompute(one, layout, 80e9)
            if recompute is not None:
                times.append(predict(one, layout, A100, sends, recompute).step_time_s)
    assert len(times) == found.fitted
    assert found.best.prediction.step_time_s == min(times)


BETTER = {
    "accelerator__memory_bandwidth_bytes_per_s": 3e12,
    "tiers__network__bandwidth_bytes_per_s": 100e9,
    "tiers__nvlink__bandwidth_bytes_per_s": 900e9,
    "accelerator__memory_bytes": 160e9,
    "accelerator__peak_flops_per_s__bf16": 500e12,
}


@pytest.mark.parametrize("key", BETTER)
def test_better_hardware_is_never_slower(key: str) -> None:
    before, after = look(256, 1536).best, look(256, 1536, **{key: BETTER[key]}).best
    assert before is not None
    assert after is not None
    assert after.prediction.step_time_s <= before.prediction.step_time_s


def test_recomputation_is_the_least_that_fits() -> None:
    cost = GPT3.cost_of(1, "bf16")
    (layout, *_) = [x for x in layouts(cost, A100, accelerators=64, global_batch=64) if (x.tp, x.pp) == (8, 8)]
    needs = {kind: rank_memory(cost, layout, micro_batches=1, recompute=kind).total_bytes for kind in ("none", "selective", "full")}
    assert needs["full"] <= needs["selective"] <= needs["none"]
    assert lightest_recompute(cost, layout, needs["none"])[0] == "none"
    assert lightest_recompute(cost, layout, needs["full"])[0] == ("full" if needs["full"] < needs["selective"] else "selective")
    assert lightest_recompute(cost, layout, needs["full"] * 0.99)[0] is None


def test_recomputation_repeats_the_forward_collectives() -> None:
    from hwbench.planner.search import predict

    cost = GPT3.cost_of(1, "bf16")
    (layout, *_) = [x for x in layouts(cost, A100, accelerators=64, global_batch=64) if (x.tp, x.pp) == (8, 8)]
    tp = {
        kind: sum(p.time_s for p in predict(cost, layout, A100, sends, kind).parts if p.name.startswith("tp ")) for kind in ("none", "full")
    }
    assert tp["full"] == pytest.approx(1.5 * tp["none"], rel=1e-3)  # norm gradients are sent once, whatever is recomputed


def test_nothing_fits_says_how_near_it_came() -> None:
    found = look(8, 8)
    assert found.best is None
    assert found.closest is not None
    assert found.closest.memory.total_bytes > 80e9
    assert found.fitted == 0 < found.tried


def test_a_missing_number_is_named() -> None:
    with pytest.raises(UserError, match=r"accelerator\.memory_bytes"):
        look(8, 8, accelerator__memory_bytes=None)


@pytest.mark.parametrize(
    ("cluster", "domain"),
    [("dgx-a100-80gb", 8), ("dgx-2", 16), ("gb200-nvl72", 72), ("mi250x-frontier", 8), ("tpu-v5e", 256), ("cpu-xeon-8280", 2)],
)
def test_scale_up_domain_is_the_widest_fast_tier(cluster: str, domain: int) -> None:
    assert scale_up_domain(load_cluster(cluster)) == domain


@pytest.mark.parametrize(("model", "widest"), [("gpt3-175b", 8), ("gpt2-xl", 1), ("llama3-405b", 8), ("gpt2-large", 4)])
def test_heads_limit_tensor_parallelism(model: str, widest: int) -> None:
    """GPT-2 XL has 25 heads, GPT-2 large has 20."""
    cost = load_model(model, {}).cost_of(1, "bf16")
    degrees = tensor_degrees(cost, A100)
    assert max(degrees) == widest
    assert not tensor_divides(cost, 7)


def test_pipelines_share_layers_out_evenly() -> None:
    llama = load_model("llama3-405b", {}).cost_of(1, "bf16")
    assert 16 in pipeline_degrees(llama)  # 126 layers, embedding and head: eight a stage
    assert 4 in pipeline_degrees(llama)
    assert 5 not in pipeline_degrees(llama)
    assert prod(x for x in pipeline_degrees(GPT3.cost_of(1, "bf16")) if x in (2, 3)) == 6


def test_recurrent_layers_are_divided_by_units_and_never_by_positions() -> None:
    cost = load_model("lstm-lm-25k", {"hidden": 12}).cost_of(1, "bf16")
    assert tensor_degrees(cost, A100) == [1, 2, 4]  # an LSTM's 4·12 gates would be divided by 8 too
    found = list(layouts(cost, A100, accelerators=8, global_batch=8))
    assert {layout.tp for layout in found} == {1, 2, 4}
    assert not any(layout.sp for layout in found)
