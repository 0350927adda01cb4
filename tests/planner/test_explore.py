"""The vectorised search: the same figures as one row at a time, the best really the quickest that fits, anchors that papers report."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwbench.cli._planning import load_model, sends
from hwbench.core.errors import UserError
from hwbench.core.layout import Layout
from hwbench.core.profile import ClusterProfile
from hwbench.core.registry import load_cluster
from hwbench.planner.candidates import RECOMPUTES, SHARDINGS, Cuts, enumerate_candidates
from hwbench.planner.constants import fitted
from hwbench.planner.explore import Wanted, by_table, explore, predict_layout, space_of
from hwbench.planner.general import FACTOR, PART
from hwbench.planner.model import evaluate
from hwbench.planner.overrides import with_settings
from hwbench.planner.ranked import detail, evaluate_all, table_rows
from hwbench.planner.reading import read_setup
from hwbench.planner.rows import columns
from hwbench.planner.search import Found

DAY = 86_400.0
GPT3 = load_model("gpt3-175b", {})
LLAMA = load_model("llama3-70b", {})
A100, H100 = load_cluster("dgx-a100-80gb"), load_cluster("dgx-h100")


def look(profile: ClusterProfile = H100, accelerators: int = 256, batch: int = 512, **other: object) -> Found:
    return explore(LLAMA, sends, profile, Wanted(accelerators, batch, "bf16", **other))  # type: ignore[arg-type]


def step_s(found: Found) -> float:
    assert found.best is not None
    return found.best.prediction.step_time_s


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_candidate_is_predicted_as_the_table_predicts_its_row(data: st.DataObject) -> None:
    """The same model as `hwbench predict --table`, on a machine whose figures are those of data/accelerators.csv."""
    space = space_of(LLAMA, H100, Wanted(64, 64, "bf16", quick=False))
    candidates = enumerate_candidates(space, Cuts())
    place = data.draw(st.integers(0, len(candidates) - 1))
    one = candidates.take(np.array([place]))
    found = detail(one, table_rows(LLAMA.shape, H100, space, dtype="bf16", framework=None))
    layout, kind = one.layout(0), SHARDINGS[int(one.sharding[0])]
    software = found.softwares[0]
    again = ("none", "selective-op" if software == "torchtitan" else "selective", "full")[int(one.recompute[0])]
    row = dict(LLAMA.shape) | {
        "hardware": "H100-SXM5-80GB", "gpus": "64", "gpus_per_node": "8", "dtype": "bf16", "framework": software, "year": "2025",
        "tp": str(layout.tp), "pp": str(layout.pp), "vpp": str(layout.vpp), "cp": str(layout.cp), "dp": str(layout.data_ranks),
        "zero_stage": kind, "seq_parallel": str(int(layout.sp)), "micro_batch": str(int(one.micro_batch[0])), "global_batch": "64",
        "recompute": again,
    }  # fmt: skip
    setup = read_setup(row)
    network = H100.tiers[-1].bandwidth_bytes_per_s
    own = {"shards": float(one.shards[0]), "again_share": one.again[0] / -(-80 // (layout.pp * layout.vpp))}
    same = setup._replace(
        numbers=setup.numbers | {"network": network, "network_known": 1.0, "scale_up": H100.tiers[0].bandwidth_bytes_per_s} | own
    )
    row_of = columns([same])
    row_of.flags["loss_parallel"][:] = layout.loss == "parallel" or layout.tp == 1
    expected = evaluate(row_of, fitted())
    assert found.steps.step_s[0] == pytest.approx(expected.step_s[0])
    assert found.steps.memory.total_bytes[0] == pytest.approx(expected.memory.total_bytes[0])


def test_no_candidate_that_fits_is_quicker_than_the_best() -> None:
    wanted = Wanted(64, 64, "bf16", quick=False, top=5)
    found = explore(LLAMA, sends, H100, wanted)
    space = space_of(LLAMA, H100, wanted)
    candidates = enumerate_candidates(space, Cuts())
    seen = evaluate_all(candidates, table_rows(LLAMA.shape, H100, space, dtype="bf16", framework=None), 80e9)
    assert found.tried == len(candidates)
    assert found.fitted == int((seen.memory_bytes <= 80e9).sum())
    assert step_s(found) == pytest.approx(float(np.nanmin(seen.step_s)))
    steps = [one.prediction.step_time_s for one in found.shortlist]
    assert steps == sorted(steps)
    degrees = [(one.layout.tp, one.layout.pp, one.layout.cp, one.layout.zero, one.layout.fsdp) for one in found.shortlist]
    assert len(set(degrees)) == 5


def test_parts_add_up_memory_fits_and_the_interval_holds_the_step() -> None:
    for one in look(top=20).shortlist:
        said = one.prediction
        assert sum(part.time_s for part in said.parts) == pytest.approx(said.step_time_s)
        assert all(part.time_s > 0 for part in said.parts)
        assert said.memory.total_bytes <= 80e9
        assert said.low_s is not None
        assert said.high_s is not None
        assert said.low_s < said.step_time_s < said.high_s
        assert said.mfu_fraction == pytest.approx(said.flops_per_step / said.step_time_s / (256 * 989e12))
        kind, layers = next(kind for kind in RECOMPUTES if one.recompute.startswith(kind)), one.recompute.partition(" ")[2]
        again = predict_layout(
            LLAMA, sends, H100, one.layout, micro_batch=one.micro_batch, recompute=kind, dtype="bf16", framework=one.software,
            recompute_layers=int(layers.partition("/")[0]) if layers else None,
        )  # fmt: skip
        assert again.step_time_s == pytest.approx(said.step_time_s)


@pytest.mark.parametrize(("framework", "days"), [("Megatron-LM 22.05", 24.0), ("Megatron-LM 25.01", 19.0)])
def test_gpt3_takes_as_long_as_the_software_of_its_year(framework: str, days: float) -> None:
    """34 days in 2021 with full recomputation (arXiv:2104.04473), about 24 in 2022 with selective recomputation and sequence parallelism
    (NVIDIA's NeMo Megatron release of July 2022); fused attention came after that.
    """
    layout = Layout(dp=16, tp=8, pp=8, sp=True, vpp=4, schedule="interleaved", microbatches=96)
    said = predict_layout(GPT3, sends, A100, layout, micro_batch=1, recompute="selective", dtype="bf16", framework=framework)
    taken = said.step_time_s * 300e9 / (1536 * 2048) / DAY
    assert taken == pytest.approx(days, rel=0.08)


@pytest.mark.parametrize(
    "key",
    [
        "accelerator.peak_flops_per_s.bf16",
        "accelerator.memory_bandwidth_bytes_per_s",
        "tiers.nvlink.bandwidth_bytes_per_s",
        "tiers.network.bandwidth_bytes_per_s",
        "accelerator.memory_bytes",
    ],
)
def test_the_profiles_own_figures_count_and_better_is_never_slower(key: str) -> None:
    figures = {"bf16": 989e12, "memory_bandwidth": 3.35e12, "nvlink": 450e9, "network": 50e9, "memory_bytes": 80e9}
    before = next(value for name, value in figures.items() if name in key)
    assert step_s(look(with_settings(H100, {key: 1.5 * before}))) < step_s(look())


@pytest.mark.parametrize("cluster", ["tpu-v5p", "mi250x-frontier", "gaudi3-hls", "rtx-4090-workstation"])
def test_what_was_never_fitted_has_a_wider_interval(cluster: str) -> None:
    profile = load_cluster(cluster)
    model = load_model("gpt2", {})
    assert by_table(model, profile)
    found = explore(model, sends, profile, Wanted(profile.node.accelerators, 64, "bf16"))
    known = explore(model, sends, A100, Wanted(8, 64, "bf16"))
    assert found.best is not None
    assert known.best is not None
    wide, narrow = (one.prediction for one in (found.best, known.best))
    assert (wide.high_s or 0) / (wide.low_s or 1) > (narrow.high_s or 0) / (narrow.low_s or 1)


@pytest.mark.parametrize(("model", "cluster"), [("lstm-lm-25k", "dgx-h100"), ("bert-base", "dgx-h100"), ("gpt2", "cpu-xeon-8280")])
def test_elsewhere_the_roofline_carries_a_general_factor_and_says_so(model: str, cluster: str) -> None:
    found = explore(load_model(model, {}), sends, load_cluster(cluster), Wanted(2, 64, "fp32"))
    assert found.best is not None
    said = found.best.prediction
    assert "median of" in found.uncorrected
    assert said.low_s is not None
    assert said.low_s <= said.step_time_s <= (said.high_s or 0)
    (part,) = [part for part in said.parts if part.name == PART]
    assert part.time_s == pytest.approx(said.step_time_s * (1 - 1 / FACTOR))
    assert sum(part.time_s for part in said.parts) == pytest.approx(said.step_time_s)


def test_a_machine_calibrated_by_its_own_steps_uses_its_own_factor() -> None:
    own = with_settings(H100, {"efficiency.step_factor": 2.0, "efficiency.step_factor_spread": 1.25})
    assert not by_table(LLAMA, own)
    found = explore(load_model("gpt2", {}), sends, own, Wanted(8, 64, "bf16"))
    assert found.best is not None
    assert found.uncorrected == ""
    said = found.best.prediction
    assert said.high_s == pytest.approx(said.step_time_s * 1.25)
    assert said.low_s == pytest.approx(said.step_time_s / 1.25)


def test_an_unlisted_accelerator_lends_no_other_devices_numbers() -> None:
    """Every figure of the row comes from the profile: doubling all rates halves what depends on them."""
    base = load_cluster("mi250x-frontier")
    settings_ = {
        "accelerator.memory_bandwidth_bytes_per_s": 2 * (base.accelerator.memory_bandwidth_bytes_per_s or 0),
        **{f"accelerator.peak_flops_per_s.{name}": 2 * rate for name, rate in base.accelerator.peak_flops_per_s.items()},
        **{f"tiers.{tier.name}.bandwidth_bytes_per_s": 2 * tier.bandwidth_bytes_per_s for tier in base.tiers},
    }
    slow, fast = (explore(LLAMA, sends, one, Wanted(128, 128, "bf16")) for one in (base, with_settings(base, settings_)))
    assert step_s(slow) / step_s(fast) == pytest.approx(2.0, rel=0.06)


@pytest.mark.parametrize("key", ["accelerator.memory_bytes", "accelerator.memory_bandwidth_bytes_per_s"])
def test_a_missing_number_is_named(key: str) -> None:
    with pytest.raises(UserError, match=key.replace(".", r"\.")):
        look(with_settings(H100, {key: None}))


def test_a_zero_bubble_schedule_has_a_shorter_bubble() -> None:
    layout = Layout(dp=4, tp=8, pp=8, sp=True, microbatches=16)
    plain, zero = (
        predict_layout(
            LLAMA, sends, H100, Layout(dp=4, tp=8, pp=8, sp=True, microbatches=16, schedule=schedule), micro_batch=1, recompute="none",
            dtype="bf16", framework=None,
        )
        for schedule in ("1f1b", "zb")
    )  # fmt: skip
    assert layout.world_size == 256
    bubbles = [next(part.time_s for part in said.parts if part.name == "pipeline bubble") for said in (plain, zero)]
    assert bubbles[1] == pytest.approx(bubbles[0] / 3)
    assert sum(part.time_s for part in zero.parts) == pytest.approx(zero.step_time_s)


def test_experts_are_spread_over_the_data_ranks() -> None:
    """A mixture's shape in the columns of the table; its cost in closed form is that of the dense model, which only MFU would tell."""
    moe = LLAMA._replace(shape=LLAMA.shape | {"experts": "8", "topk": "2", "ffn_hidden": "7168"})
    found = explore(moe, sends, H100, Wanted(256, 512, "bf16", top=30))
    assert {one.layout.ep for one in found.shortlist} > {1}
    assert all(8 % one.layout.ep == 0 for one in found.shortlist)
