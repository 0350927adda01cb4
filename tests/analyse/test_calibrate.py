"""A run as a profile of this machine: rates a rank, what is shared, what is absent, and a file that reads back the same."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from hwbench.analyse.calibrate import NAME, SHARED, calibrate
from hwbench.core.accelerators import Accelerator as Device
from hwbench.core.accelerators import Accelerators
from hwbench.core.codec import read_toml, to_toml
from hwbench.core.errors import UserError
from hwbench.core.profile import ClusterProfile
from hwbench.core.record import Record
from hwbench.core.sourcing import checked, idle_sources, unsourced
from tests.made_runs import SHAPES, demo_run, record, run


def scaled(name: str, *, size: int, factor: float, slower: float, **case: Any) -> Record:
    """A ceiling of another size: `factor` times the work in `slower` times the time."""
    made = record(name, slower=slower, config={"size": size}, **case)
    assert made.measurement is not None
    measured = msgspec.structs.replace(
        made.measurement,
        flops_per_step=factor * (made.measurement.flops_per_step or 0.0),
        bytes_per_step=factor * (made.measurement.bytes_per_step or 0.0),
    )
    return msgspec.structs.replace(made, measurement=measured)


def test_rates_are_a_ranks_share_with_all_ranks_busy() -> None:
    profile = calibrate(run((record("matmul"), record("matmul", layout="dp=2", slower=2.0), record("triad", layout="dp=2", slower=1.5))))
    matmul, triad = SHAPES["matmul"], SHAPES["triad"]
    assert profile.node.accelerators == 2
    assert profile.accelerator.peak_flops_per_s["fp32"] == pytest.approx(matmul.flops / (2 * matmul.step_s), rel=0.05)
    assert profile.accelerator.memory_bandwidth_bytes_per_s == pytest.approx(triad.bytes / (1.5 * triad.step_s), rel=0.05)


def test_memory_is_what_the_process_may_use_shared_by_the_ranks() -> None:
    profile = calibrate(demo_run())
    assert profile.node.memory_bytes == 8 * 2**30
    assert profile.accelerator.memory_bytes == 8 * 2**30 / 2
    assert profile.nodes == 1
    assert profile.name == NAME


def test_a_triad_in_a_cache_is_no_measure_of_memory() -> None:
    cached = scaled("triad", size=64, factor=0.01, slower=0.001)
    profile = calibrate(run((record("matmul"), record("triad"), cached)))
    assert profile.accelerator.memory_bandwidth_bytes_per_s == pytest.approx(SHAPES["triad"].bytes / SHAPES["triad"].step_s, rel=0.05)
    assert [point.fraction for point in profile.efficiency.memory] == [1.0]


def test_efficiency_by_size_is_against_the_fastest_product() -> None:
    profile = calibrate(run((record("matmul"), scaled("matmul", size=64, factor=0.001, slower=0.004))))
    small, large = profile.efficiency.matmul["fp32"]
    assert small.fraction == pytest.approx(0.25, rel=0.05)
    assert large.fraction == 1.0
    assert small.size == pytest.approx(0.001 * SHAPES["matmul"].flops)


def test_what_ranks_exchange_explains_how_much_longer_a_dp_step_takes() -> None:
    """2(n-1)/n of the gradients' bytes, n = 2, in the time by which the step is longer."""
    both = (record("matmul", layout="dp=2"), record("gpt", spread=0), record("gpt", layout="dp=2", slower=1.5, spread=0))
    profile = calibrate(run(both))
    (tier,) = profile.tiers
    assert tier.name == SHARED
    assert tier.bandwidth_bytes_per_s == pytest.approx(4 * SHAPES["gpt"].parameters / (0.5 * SHAPES["gpt"].step_s))


def test_three_sizes_of_gradients_tell_latency_and_bandwidth_apart() -> None:
    """Steps that take 2·3 ms and a nanosecond a byte longer on two ranks than on one."""
    made = [record("matmul", layout="dp=2")]
    for size, parameters in enumerate((1_000_000, 4_000_000, 16_000_000)):
        longer_s = 2 * 3e-3 + 1e-9 * 4 * parameters
        for layout, seconds in (("single", 0.1), ("dp=2", 0.1 + longer_s)):
            slower = seconds / SHAPES["gpt"].step_s
            step = record("gpt", layout=layout, slower=slower, spread=0, config={"size": size, "batch": 8})
            assert step.measurement is not None
            made.append(msgspec.structs.replace(step, measurement=msgspec.structs.replace(step.measurement, parameters=parameters)))
    (tier,) = calibrate(run(tuple(made))).tiers
    assert tier.latency_s == pytest.approx(3e-3)
    assert tier.bandwidth_bytes_per_s == pytest.approx(1e9)


OPERATOR = {"rows": 640, "width": 128, "inner": 96, "length": 20, "heads": 4, "cold_bytes": 1}


def test_operators_are_times_by_dtype_and_function_with_their_lengths() -> None:
    made = [record("matmul")]
    for function in ("linear", "lstm", "attention", "gelu"):
        step = record("embedding", spread=0, config=OPERATOR | {"function": function})
        made.append(msgspec.structs.replace(step, case=msgspec.structs.replace(step.case, workload="operator")))
    (dtype,) = (found := calibrate(run(tuple(made))).efficiency.operators)
    times = {function: one for function, (one,) in found[dtype].items()}
    assert {one.time_s for one in times.values()} == {SHAPES["embedding"].step_s}
    lengths = {function: (one.m, one.n, one.k, one.batch) for function, one in times.items()}
    assert lengths == {"linear": (640, 96, 128, 1), "lstm": (32, 128, 96, 20), "attention": (20, 20, 32, 128), "gelu": (1, 1, 1, 1)}


def test_operators_that_failed_their_check_or_ran_beside_others_are_left_out() -> None:
    step = record("embedding", layout="dp=2", config=OPERATOR | {"function": "gelu"})
    beside = msgspec.structs.replace(step, case=msgspec.structs.replace(step.case, workload="operator"))
    assert calibrate(run((record("matmul"), beside))).efficiency.operators == {}


def test_a_dp_step_that_is_no_slower_tells_nothing() -> None:
    profile = calibrate(run((record("matmul"), record("gpt", spread=0), record("gpt", layout="dp=2", slower=0.9, spread=0))))
    assert profile.tiers == ()
    assert any(note.startswith("What ranks can exchange is unknown") for note in profile.notes)


def test_ranks_that_only_trained_together_count_and_their_product_rate_is_one_ranks() -> None:
    """A run whose time ended before the products of two ranks: two-rank steps can be predicted all the same."""
    profile = calibrate(run((record("matmul"), record("gpt"), record("gpt", layout="dp=2", slower=1.5))))
    assert profile.node.accelerators == 2
    assert profile.tiers[0].accelerators == 2
    assert profile.accelerator.peak_flops_per_s["fp32"] == pytest.approx(SHAPES["matmul"].flops / SHAPES["matmul"].step_s, rel=0.05)
    assert any("with all 2 ranks busy" in note for note in profile.notes)


def test_a_dtype_that_not_all_ranks_ran_has_no_rate() -> None:
    profile = calibrate(run((record("matmul", layout="dp=2"), record("matmul", dtype="bf16", slower=0.1))))
    assert set(profile.accelerator.peak_flops_per_s) == set(profile.efficiency.matmul) == {"fp32"}
    assert any(note.startswith("bf16 products were measured on 1 of 2 ranks only") for note in profile.notes)


def test_what_was_not_measured_is_absent_with_a_note() -> None:
    profile = calibrate(run((record("matmul"),)))
    assert profile.accelerator.memory_bandwidth_bytes_per_s is None
    assert profile.accelerator.power_w is profile.node.power_w is profile.node.price_usd_per_hour is None
    assert profile.efficiency.attention_fraction is None
    assert any("no triad" in note for note in profile.notes)
    assert any("at one size" in note for note in profile.notes)
    assert any("Price and power" in note for note in profile.notes)


def test_a_device_has_its_own_memory_and_name() -> None:
    made = run((record("matmul", dtype="bf16", device="cuda", slower=0.001), record("triad", device="cuda", slower=0.01), record("matmul")))
    devices = tuple(
        Device(label=label, source="nvml", vendor="NVIDIA", name="NVIDIA H100 80GB HBM3", memory_total_bytes=85_520_809_984)
        for label in ("GPU0", "GPU1")
    )
    inventory = msgspec.structs.replace(made.header.inventory, accelerators=Accelerators(devices=devices))
    profile = calibrate(msgspec.structs.replace(made, header=msgspec.structs.replace(made.header, inventory=inventory)))
    assert set(profile.accelerator.peak_flops_per_s) == {"bf16"}
    assert (profile.accelerator.name, profile.accelerator.vendor) == ("NVIDIA H100 80GB HBM3", "NVIDIA")
    assert profile.accelerator.memory_bytes == 85_520_809_984
    assert profile.node.memory_bytes is None


def test_operators_stand_for_ceilings_that_were_not_measured() -> None:
    """A run whose time ended before them."""
    step = record("matmul", config=OPERATOR | {"function": "linear"})
    profile = calibrate(run((msgspec.structs.replace(step, case=msgspec.structs.replace(step.case, workload="operator")),)))
    assert profile.accelerator.peak_flops_per_s["fp32"] > 0
    assert set(profile.efficiency.operators["fp32"]) == {"linear"}
    assert profile.accelerator.memory_bandwidth_bytes_per_s is None


def test_a_run_without_a_product_is_refused() -> None:
    with pytest.raises(UserError, match="no matrix product was measured"):
        calibrate(run((record("triad"),)))


@pytest.mark.parametrize("processes", [1, 3])
def test_every_number_has_its_source_and_the_file_reads_back(tmp_path: Path, processes: int) -> None:
    profile = checked(calibrate(demo_run(processes=processes)), "here")
    assert unsourced(profile) == []
    assert idle_sources(profile) == []
    assert all(source.startswith("measured here, run ") for source in profile.sources.values())
    path = tmp_path / "here.toml"
    path.write_text(to_toml(profile), encoding="utf-8")
    assert read_toml(path, ClusterProfile) == profile
