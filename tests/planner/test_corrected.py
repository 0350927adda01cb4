"""The correction by published runs: parts still add up, the interval holds the step, the profile's own figures count, refusals say why."""

import pytest

from hwbench.cli._planning import load_model, sends
from hwbench.core.profile import ClusterProfile
from hwbench.core.registry import load_cluster
from hwbench.planner.corrected import BEYOND, corrected
from hwbench.planner.overrides import with_settings
from hwbench.planner.search import Found, search

MODEL = load_model("llama3-70b", {})
H100 = load_cluster("dgx-h100")


def both(profile: ClusterProfile = H100, *, framework: str | None = None) -> tuple[Found, Found]:
    found = search(lambda size: MODEL.cost_of(size, "bf16"), sends, profile, accelerators=256, global_batch=512)
    return found, corrected(found, MODEL.shape, profile, dtype="bf16", framework=framework)


def step_s(found: Found) -> float:
    assert found.best is not None
    return found.best.prediction.step_time_s


def test_a_corrected_step_is_slower_and_says_how_sure_it_is() -> None:
    before, after = both()
    assert after.best is not None
    prediction = after.best.prediction
    assert step_s(after) > step_s(before)
    assert prediction.low_s is not None
    assert prediction.high_s is not None
    assert prediction.low_s < prediction.step_time_s < prediction.high_s
    beyond = [part for choice in after.shortlist for part in choice.prediction.parts if part.name == BEYOND]
    assert len(beyond) > len(after.shortlist) / 2
    assert all("490 published training runs" in part.why for part in beyond)
    assert "software: torchtitan as of 2025" in prediction.assumptions or "software: Megatron-LM as of 2025" in prediction.assumptions


def test_the_parts_of_every_candidate_still_add_up() -> None:
    _, after = both()
    assert len(after.shortlist) > 10
    for choice in after.shortlist:
        prediction = choice.prediction
        assert sum(part.time_s for part in prediction.parts) == pytest.approx(prediction.step_time_s)
        assert all(part.time_s > 0 for part in prediction.parts)
        assert prediction.mfu_fraction is not None
        peak = 256 * 989e12
        assert prediction.mfu_fraction == pytest.approx(prediction.flops_per_step / prediction.step_time_s / peak)
    steps = [choice.prediction.step_time_s for choice in after.shortlist]
    assert steps == sorted(steps)


def test_where_the_roofline_is_too_slow_every_part_shrinks() -> None:
    slow = with_settings(H100, {"tiers.nvlink.efficiency": [{"size": 1.0, "fraction": 0.01}]})
    before, after = both(slow)
    rooflines = {choice.layout.text: choice.prediction for choice in before.shortlist}
    quicker = [choice for choice in after.shortlist if choice.prediction.step_time_s < rooflines[choice.layout.text].step_time_s]
    assert quicker
    for choice in quicker:
        assert [part.name for part in choice.prediction.parts] == [part.name for part in rooflines[choice.layout.text].parts]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("accelerator.peak_flops_per_s.bf16", 1500e12),
        ("accelerator.memory_bandwidth_bytes_per_s", 8e12),
        ("tiers.nvlink.bandwidth_bytes_per_s", 900e9),
        ("tiers.network.bandwidth_bytes_per_s", 200e9),
    ],
)
def test_the_profiles_own_figures_count(key: str, value: float) -> None:
    assert step_s(both(with_settings(H100, {key: value}))[1]) < step_s(both()[1])


def test_named_software_is_what_is_assumed() -> None:
    _, after = both(framework="Megatron-LM 23.08")
    assert after.best is not None
    assert "software: Megatron-LM 23.08 as of 2025" in after.best.prediction.assumptions


@pytest.mark.parametrize(("cluster", "said"), [("tpu-v5p", "TPUv5p"), ("mi250x-frontier", "MI250X-GCD"), ("gaudi2-hls", "Gaudi2")])
def test_an_accelerator_without_fitted_runs_is_left_as_it_is(cluster: str, said: str) -> None:
    before, after = both(load_cluster(cluster))
    assert step_s(after) == step_s(before)
    assert said in after.uncorrected


def test_what_is_no_decoder_is_left_as_it_is() -> None:
    model = load_model("lstm-lm-25k", {})
    assert model.shape == {}
    found = search(lambda size: model.cost_of(size, "bf16"), sends, H100, accelerators=8, global_batch=512)
    after = corrected(found, model.shape, H100, dtype="bf16", framework=None)
    assert after.best == found.best
    assert "decoder Transformers" in after.uncorrected
