"""Every shipped cluster profile: valid, plausible, named like its file, each number with a source, each source with a number."""

from pathlib import Path

import pytest

from hwbench.core.profile import ClusterProfile
from hwbench.core.registry import load_cluster, names
from hwbench.core.sourcing import idle_sources, numbers, unsourced

CLUSTERS = names("clusters")


@pytest.fixture(params=CLUSTERS, scope="module")
def profile(request: pytest.FixtureRequest) -> ClusterProfile:
    return load_cluster(request.param)


def test_there_are_enough_of_them() -> None:
    assert len(CLUSTERS) >= 30


def test_file_name_is_the_name(profile: ClusterProfile) -> None:
    assert profile.name in CLUSTERS
    assert CLUSTERS[profile.name] == profile.description
    assert 20 <= len(profile.description) <= 110


def test_every_number_has_a_source_and_every_source_a_number(profile: ClusterProfile) -> None:
    assert unsourced(profile) == []
    assert idle_sources(profile) == []


def test_a_source_can_be_looked_up(profile: ClusterProfile) -> None:
    """It names a document or page, or says that it is arithmetic or the profile's own choice, and how."""
    for key, source in profile.sources.items():
        assert len(source) > 10, key
        assert any(character.isupper() or character == "/" for character in source), key
        assert not any(word in source.lower() for word in ("guess", "estimate", "assum", "wikipedia", "recall")), key


def test_no_price_is_shipped(profile: ClusterProfile) -> None:
    assert profile.node.price_usd_per_hour is None


def test_figures_are_those_of_a_real_machine(profile: ClusterProfile) -> None:
    """Narrower than the loader's bounds: what accelerators of 2017 to 2026 and server CPUs are."""
    device, node = profile.accelerator, profile.node
    peaks = device.peak_flops_per_s
    assert peaks
    assert 1e12 <= max(peaks.values()) <= 2e16
    if device.memory_bytes is not None:
        assert 16e9 <= device.memory_bytes <= 300e9
    if device.memory_bandwidth_bytes_per_s is not None:
        assert 1e11 <= device.memory_bandwidth_bytes_per_s <= 1e13
    if device.power_w is not None:
        assert 100 <= device.power_w <= 1500
    if device.power_w is not None and node.power_w is not None:
        assert device.power_w * node.accelerators < node.power_w < 2.5 * device.power_w * node.accelerators
    assert node.accelerators in (2, 4, 8, 16)


def test_precisions_are_dense_and_in_order(profile: ClusterProfile) -> None:
    """Halving the width never slows a device down; four times the 16-bit rate or more in fp8 would be a sparse figure."""
    peaks = profile.accelerator.peak_flops_per_s
    ordered = [peaks[dtype] for dtype in ("fp32", "tf32", "bf16", "fp8", "fp4") if dtype in peaks]
    assert ordered == sorted(ordered)
    if "fp8" in peaks:
        assert peaks["fp8"] <= 2.03 * peaks["bf16"]


def test_tiers_get_wider_and_slower(profile: ClusterProfile) -> None:
    rates = [tier.bandwidth_bytes_per_s for tier in profile.tiers]
    assert rates
    assert rates == sorted(rates, reverse=True)
    assert profile.tiers[0].accelerators is not None


def test_curves_are_sorted_and_below_the_peak(profile: ClusterProfile) -> None:
    efficiency = profile.efficiency
    for curve in (*efficiency.matmul.values(), efficiency.memory, *(tier.efficiency for tier in profile.tiers)):
        sizes = [point.size for point in curve]
        assert sizes == sorted(set(sizes))
        assert all(0 < point.fraction <= 1 for point in curve)
    assert set(efficiency.matmul) <= set(profile.accelerator.peak_flops_per_s)


def test_keys_of_numbers_are_dotted_names() -> None:
    keys = numbers(load_cluster("dgx-h100"))
    assert keys["accelerator.memory_bytes"] == 80e9
    assert keys["tiers.network.bandwidth_bytes_per_s"] == 50e9
    assert keys["accelerator.peak_flops_per_s.bf16"] == 989e12
    assert "tiers.nvlink.efficiency.0.fraction" in keys


def test_every_file_is_packaged() -> None:
    folder = Path(__file__).parents[2] / "cluster_profiles"
    if not folder.is_dir():
        pytest.skip("not a checkout: the profiles are inside the installed package")
    assert {file.stem for file in folder.glob("*.toml")} == set(CLUSTERS)
