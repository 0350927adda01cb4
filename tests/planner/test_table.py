import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.core.errors import UserError
from hwbench.planner.accelerators import find_part, parts
from hwbench.planner.card import memory_ratios
from hwbench.planner.constants import fitted, shipped
from hwbench.planner.fit import collected_path, measurements_path, peaks_path
from hwbench.planner.model import evaluate
from hwbench.planner.reading import READ, read_setup, read_table
from hwbench.planner.rows import columns, spread
from hwbench.planner.spellings import network_bytes_per_s
from hwbench.planner.table import HEADER, ids_of, predict_table, write_predictions

MEASURED = (
    *("metric_name", "metric_value", "flops_convention", "measured_step_time_s", "mem_gib_reported"),
    *("notes", "source", "source_table", "source_family", "id", "config_complete"),
)
TABLE = read_table(measurements_path())


def row(**changes: object) -> dict[str, str]:
    values = {
        "hardware": "H100-SXM5-80GB",
        "gpus": 64,
        "layers": 32,
        "hidden": 4096,
        "heads": 32,
        "seq_len": 4096,
        "dtype": "bf16",
        "framework": "torchtitan",
        "year": 2025,
        "zero_stage": "fsdp",
        "global_batch": 128,
        "micro_batch": 1,
        "recompute": "none",
    }
    return {key: str(value) for key, value in (values | changes).items()}


def step_s(**changes: object) -> float:
    line = predict_table([row(**changes)], fitted(), 0.15)[0]
    assert line.step_s is not None, line.reason
    return line.step_s


def test_every_shipped_row_is_expressed_and_has_its_line(tmp_path: Path) -> None:
    assert all(line.step_s for line in predict_table(read_table(collected_path()), fitted(), shipped().width))
    lines = predict_table(TABLE, fitted(), shipped().width)
    assert all(line.step_s for line in lines)
    write_predictions(tmp_path / "out.csv", ids_of(TABLE), lines)
    with (tmp_path / "out.csv").open() as file:
        written = list(csv.DictReader(file))
    assert list(written[0]) == list(HEADER)
    assert [one["id"] for one in written] == [one["id"] for one in TABLE]


def test_what_was_measured_is_never_read(tmp_path: Path) -> None:
    blank = [{key: "" if key in MEASURED else value for key, value in one.items()} for one in TABLE]
    outputs = []
    for name, table in (("as-is", TABLE), ("blank", blank)):
        path = tmp_path / f"{name}.csv"
        write_predictions(path, ids_of(TABLE), predict_table(table, fitted(), shipped().width))
        outputs.append(path.read_bytes())
    assert outputs[0] == outputs[1]
    assert not set(READ) & set(MEASURED)


def test_parts_add_up_and_nothing_is_negative() -> None:
    rows = columns([read_setup(one) for one in TABLE])
    steps = evaluate(rows, fitted())
    assert np.allclose(sum(steps.parts.values()), steps.step_s, rtol=1e-12)
    assert all((seconds >= 0).all() for seconds in steps.parts.values())
    assert (steps.memory.total_bytes > 0).all()


def test_an_unknown_accelerator_is_refused_by_name_and_the_others_go_on() -> None:
    bad, good = predict_table([row(hardware="H200-SXM-120GB"), row()], fitted(), 0.1)
    assert bad.step_s is None
    assert "H200-SXM-120GB" in bad.reason
    assert "H200-SXM-141GB" in bad.reason, "the nearest name is the hint"
    assert good.step_s is not None


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"dtype": "fp8", "hardware": "A100-SXM4-80GB"}, "no fp8 rate is known"),
        ({"dtype": "bf16", "hardware": "V100-SXM2-32GB"}, "no bf16 rate is known"),
        ({"dtype": "bf17"}, "unknown dtype 'bf17'"),
        ({"gpus": 0}, "gpus = 0"),
        ({"gpus": ""}, "gpus is empty"),
        ({"layers": "many"}, "layers: expected a number, found 'many'"),
        ({"tp": 8, "pp": 16}, "tp·pp·cp = 8·16·1 is more than 64"),
        ({"pp": 64}, "pp = 64 is more than 32 layers"),
        ({"zero_stage": "4"}, "zero_stage: expected 0, 1, 2, 3, fsdp or hsdp, found '4'"),
        ({"recompute": "some"}, "recompute: expected one of"),
        ({"experts": 8, "ep": 16}, "ep = 16 is more than 8 experts"),
        ({"hardware": "Max-1550"}, "no scale-up bandwidth is known"),
    ],
)
def test_what_cannot_be_expressed_says_why_with_its_numbers(changes: dict[str, object], words: str) -> None:
    line = predict_table([row(**changes)], fitted(), 0.1)[0]
    assert line.step_s is None
    assert words in line.reason


def test_every_catalogued_accelerator_with_a_16_bit_rate_is_predicted() -> None:
    for part in parts().values():
        dtype = "bf16" if "bf16" in part.peaks else "fp16"
        if dtype in part.peaks:
            assert step_s(hardware=part.name, dtype=dtype, gpus=1, global_batch=4) > 0


def test_a_name_in_brackets_is_the_same_part() -> None:
    assert find_part("V100-SXM3-32GB (DGX-2)") is find_part("v100-sxm3-32gb")


def test_every_framework_is_predicted() -> None:
    for name in ("torchtitan", "InternEvo", "fms-fsdp", "lit-gpt", "AutoModel", "MaxText", "Megatron-LM core 0.12", "something new"):
        assert step_s(framework=name) > 0


def test_every_recompute_policy_costs_what_it_repeats() -> None:
    none, selective, every_second, full = (step_s(recompute=name) for name in ("none", "selective-op", "selective-layer", "full"))
    assert none < min(selective, every_second)
    assert max(selective, every_second) < full < 1.45 * none


def test_pytorch_context_parallel_costs_more_than_its_share_of_attention() -> None:
    long = {"seq_len": 65536, "global_batch": 16, "recompute": "full", "cp": 4, "dp": 16}
    ring, other = (
        evaluate(columns([read_setup(row(framework=name, **long))]), fitted()).parts["forward"][0]
        for name in ("torchtitan", "NeMo AutoModel")
    )
    assert ring > 1.3 * other


def test_facts_of_a_framework_are_dated() -> None:
    long = {"tp": 2, "dp": 32, "zero_stage": "1", "hardware": "H100-SXM5-80GB", "seq_len": 16384}
    assert step_s(framework="NeMo 24.03", **long) > 1.05 * step_s(framework="NeMo 24.07", **long)
    assert step_s(framework="NeMo 23.05", **long) > 1.2 * step_s(framework="InternEvo", year=2023, **long)
    old, new = (step_s(framework="DeepSpeed ZeRO-3", year=year, zero_stage="3") for year in (2021, 2024))
    assert old > 1.5 * new


def test_whatever_runs_on_a_tpu_is_compiled_by_xla() -> None:
    assert step_s(hardware="TPUv5p", framework="something new") == step_s(hardware="TPUv5p", framework="MaxText")


def test_trainers_that_fuse_or_compile_unasked_are_quicker() -> None:
    small = {"hidden": 768, "layers": 12, "heads": 12, "seq_len": 1024, "gpus": 1, "zero_stage": "0", "micro_batch": 32}
    eager, compiled, fused = (step_s(framework=name, **small) for name in ("PyTorch", "nanoGPT", "llm.c"))
    assert max(fused, compiled) < eager


def test_spellings_of_a_dtype_and_fp32_in_nvidias_containers() -> None:
    assert step_s(dtype="BF16-mixed") == step_s(dtype="bf16")
    assert step_s(dtype="FP8-CS") == step_s(dtype="fp8")
    assert step_s(dtype="fp32", framework="NeMo 24.09", zero_stage="1") == step_s(dtype="tf32", framework="NeMo 24.09", zero_stage="1")
    assert step_s(dtype="fp32") > 2 * step_s(dtype="tf32")


def test_what_a_row_leaves_out_or_spells_otherwise_is_taken_as_usual() -> None:
    same = row(hidden="4,096", zero_stage="FULL_SHARD", recompute="No", seq_parallel="False", dtype="", heads="", gated_ffn="no")
    assert predict_table([same], fitted(), 0.1) == predict_table([row()], fitted(), 0.1)
    assert step_s(global_batch="", micro_batch=2) == step_s(global_batch=128, micro_batch=2)
    assert step_s(framework="") > 0
    assert step_s(zero_stage="ZeRO-1", framework="NeMo 24.09") == step_s(zero_stage="1", framework="NeMo 24.09")


def test_heads_half_as_wide_as_a_tpus_arrays_halve_its_attention() -> None:
    long = {"framework": "MaxText", "seq_len": 32768, "hardware": "TPUv6e", "hidden": 4096}
    narrow, wide = (evaluate(columns([read_setup(row(heads=heads, **long))]), fitted()).parts["forward"][0] for heads in (32, 16))
    assert narrow > 1.3 * wide


def test_an_unknown_framework_is_less_sure() -> None:
    known, unknown = predict_table([row(framework="llm-foundry"), row(framework="something new")], fitted(), 0.15)
    assert known.high_s is not None
    assert unknown.high_s is not None
    assert unknown.high_s / unknown.step_s > known.high_s / known.step_s  # type: ignore[operator]


def test_trends_have_the_right_sign() -> None:
    assert step_s(global_batch=256) > 1.8 * step_s()
    assert step_s(dtype="fp8") < step_s()
    assert step_s(hardware="B200-SXM-180GB") < step_s() < step_s(hardware="A100-SXM4-80GB")
    assert step_s(hardware="H100-96GB-HBM2e-500W") > step_s()
    assert step_s(zero_stage="hsdp", interconnect="100Gb/s per node") < step_s(interconnect="100Gb/s per node")
    assert step_s(cp=2, dp=32, seq_len=8192) > step_s()


def test_a_slow_network_makes_a_slow_step() -> None:
    assert step_s(interconnect="100 Gb/s per node") > step_s(interconnect="8x NDR IB 400Gb/node") * 1.5


@pytest.mark.parametrize(
    "text, expected",
    [
        ("RoCE 1600Gbps/node", 25e9),
        ("8x HDR IB 200Gb/node (Selene)", 25e9),
        ("HDR IB 800 Gb/s per node (vTrain config)", 12.5e9),
        ("4x RoCE 100Gb/node", 6.25e9),
        ("8x 400 Gbit/s per host", 50e9),
        ("3.2 Tb/s per node", 50e9),
        ("3Tb/s per node", 46.875e9),
        ("400Gbps per GPU", 50e9),
        ("4x Omni-Path 100Gb/node", 1.5625e9),
        ("NVSwitch intra-node", None),
        ("", None),
    ],
)
def test_the_network_is_read_from_its_column(text: str, expected: float | None) -> None:
    assert network_bytes_per_s(text, 8) == expected


@given(st.dictionaries(st.sampled_from(READ), st.text(max_size=12)))
def test_no_text_breaks_the_reader(changes: dict[str, str]) -> None:
    line = predict_table([row(**changes)], fitted(), 0.1)[0]
    assert (line.step_s is None) == bool(line.reason)


def test_a_table_without_a_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,hardware\n1,H100-SXM5-80GB\n")
    with pytest.raises(UserError, match="column gpus, layers"):
        read_table(path)
    path.write_text("")
    with pytest.raises(UserError, match="no rows"):
        read_table(path)


def test_one_setup_is_spread_over_many_layouts() -> None:
    setup = read_setup(row(framework="Megatron-LM", zero_stage="1", gpus=64))
    tensor = np.array([1.0, 2.0, 4.0, 8.0])
    rows = spread(setup, {"tensor": tensor, "replicas": 64 / tensor, "micro_batches": 128 / (64 / tensor)})
    steps = evaluate(rows, fitted()).step_s
    alone = [step_s(framework="Megatron-LM", zero_stage="1", tp=int(tp), dp=int(64 / tp)) for tp in tensor]
    assert np.allclose(steps, alone)
    assert len(rows) == 4
    with pytest.raises(UserError, match="unknown column tp"):
        spread(setup, {"tp": tensor})


def test_published_peaks_of_memory_are_met_within_ten_percent() -> None:
    rows = read_table(peaks_path())
    errors = [abs(ratio - 1) for ratio in memory_ratios(rows, predict_table(rows, fitted(), shipped().width))]
    assert len(errors) == len(rows) == 19
    assert sum(errors) / len(errors) <= 0.06
    assert max(errors) <= 0.12


def test_other_published_peaks_of_memory_are_met_within_a_fifth() -> None:
    """Megatron-LM, Megatron-DeepSpeed and PaddlePaddle: 16 % when it was written."""
    rows = [one for one in read_table(collected_path()) if one["source_family"] in ("BigScience", "FlagPerf")]
    errors = [abs(ratio - 1) for ratio in memory_ratios(rows, predict_table(rows, fitted(), shipped().width))]
    assert len(errors) == 31
    assert sum(errors) / len(errors) < 0.20


def test_a_part_with_less_power_is_slower_at_attention_too() -> None:
    long = {"seq_len": 65536, "global_batch": 64}
    full, less = (
        evaluate(columns([read_setup(row(hardware=name, **long))]), fitted()) for name in ("H100-SXM5-80GB", "H100-96GB-HBM2e-500W")
    )
    assert 1.08 < less.parts["forward"][0] / full.parts["forward"][0] < 1.2  # (700 / 500)^(1/3) = 1.119; its memory is slower too
