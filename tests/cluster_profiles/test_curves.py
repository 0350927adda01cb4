"""The shipped efficiency curves again from the published points: the method of docs/cluster_profiles.md, step by step."""

import csv
import math
import os
import statistics
from collections import defaultdict
from pathlib import Path

import pytest

from hwbench.core.profile import CurvePoint
from hwbench.core.registry import load_cluster

SHARED = Path(os.environ.get("HWBENCH_SHARED_DATA", Path(__file__).parents[2] / ".." / "shared" / "data")) / "published"
MEASURED = {
    "dgx-a100-80gb": ("NVIDIA A100-SXM4-80GB", "a100_sxm/comm/nccl/2.27.3/", 8),
    "dgx-h100": ("NVIDIA H100 80GB HBM3", "h100_sxm/comm/nccl/2.29.2/", 8),
    "dgx-h200": ("NVIDIA H200", "h200_sxm/comm/nccl/2.29.2/", 8),
    "dgx-b200": ("NVIDIA B200", "b200_sxm/comm/nccl/2.29.2/", 8),
    "dgx-b300": ("NVIDIA B300 SXM6 AC", "b300_sxm/comm/nccl/2.29.2/", 8),
    "gb200-nvl72": ("NVIDIA GB200", "gb200/comm/nccl/2.29.2/", 4),
    "gb300-nvl72": ("NVIDIA GB300", "gb300/comm/nccl/2.29.2/", 4),
    "aws-g6e-48xlarge": ("NVIDIA L40S", "l40s/comm/nccl/2.27.3/", 8),
}
"""Cluster -> the part's name in gemm.csv, its collectives in collectives.csv, and the ranks of their largest group."""
FACTORS = {"all_reduce": (2, 2), "all_gather": (1, 1), "reduce_scatter": (1, 1)}
"""Collective -> bus factor over (n-1)/n (nccl-tests), latency steps over log2(n)."""

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no published points at {SHARED} (HWBENCH_SHARED_DATA)")


def points(name: str) -> list[dict[str, str]]:
    with (SHARED / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def near(curve: tuple[CurvePoint, ...], expected: dict[float, float]) -> None:
    """Rounding in the file: three digits of size, three of the fraction."""
    assert len(curve) == len(expected)
    for point, (size, fraction) in zip(curve, sorted(expected.items()), strict=True):
        assert point.size == pytest.approx(size, rel=0.006)
        assert point.fraction == pytest.approx(fraction, abs=0.0011)


@pytest.mark.parametrize("cluster", MEASURED)
@pytest.mark.parametrize(("dtype", "theirs", "element_bytes"), [("bf16", "bfloat16", 2), ("fp8", "fp8", 1)])
def test_products_are_the_median_of_compute_bound_shapes_by_size(cluster: str, dtype: str, theirs: str, element_bytes: int) -> None:
    profile = load_cluster(cluster)
    device = profile.accelerator
    if dtype not in profile.efficiency.matmul:
        pytest.skip(f"{device.name} has no {dtype} points")
    peak, bandwidth = device.peak_flops_per_s[dtype], device.memory_bandwidth_bytes_per_s or 0.0
    bins: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for row in points("gemm.csv"):
        if (row["hardware"], row["dtype"], row["kind"]) != (MEASURED[cluster][0], theirs, "measured point"):
            continue
        m, n, k = (int(row[key]) for key in "mnk")
        flops = 2.0 * m * n * k
        if flops / (element_bytes * (m * k + k * n) + 2 * m * n) >= peak / bandwidth:
            bins[math.floor(math.log(flops, 4))].append((flops, float(row["achieved_tflops"]) * 1e12 / peak))
    expected = {statistics.geometric_mean(f for f, _ in one): statistics.median(e for _, e in one) for one in bins.values()}
    near(profile.efficiency.matmul[dtype], expected)


@pytest.mark.parametrize("cluster", MEASURED)
def test_memory_is_products_of_one_row(cluster: str) -> None:
    profile = load_cluster(cluster)
    bandwidth = profile.accelerator.memory_bandwidth_bytes_per_s or 0.0
    bins: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for row in points("gemm.csv"):
        if (row["hardware"], row["dtype"], row["kind"], row["m"]) != (MEASURED[cluster][0], "bfloat16", "measured point", "1"):
            continue
        n, k = int(row["n"]), int(row["k"])
        size, seconds = 2.0 * (k + k * n + n), 2.0 * n * k / (float(row["achieved_tflops"]) * 1e12)
        bins[math.floor(math.log2(size))].append((size, size / seconds / bandwidth))
    expected = {statistics.geometric_mean(s for s, _ in one): statistics.median(f for _, f in one) for one in bins.values()}
    if profile.accelerator.name == "L40S":  # 96 MB of cache: only what is more than twice that streams from memory
        expected = {size: fraction for size, fraction in expected.items() if size > 2e8}
    near(profile.efficiency.memory, expected)


@pytest.mark.parametrize("cluster", MEASURED)
def test_collectives_are_latency_steps_and_a_share_of_the_bandwidth(cluster: str) -> None:
    _, source, ranks = MEASURED[cluster]
    tier = load_cluster(cluster).tiers[0]
    seconds: dict[str, dict[float, float]] = defaultdict(dict)
    for row in points("collectives.csv"):
        if source in row["source"] and int(row["gpus"]) == ranks and row["collective"] in FACTORS:
            seconds[row["collective"]][float(row["message_bytes"])] = float(row["latency_us"]) * 1e-6
    depth = (ranks - 1).bit_length()
    latency = statistics.fmean(times[min(times)] / (FACTORS[name][1] * depth) for name, times in seconds.items())
    assert tier.latency_s == pytest.approx(latency, rel=0.01)
    for point in tier.efficiency:
        shares = []
        for name, times in seconds.items():
            factor, steps = FACTORS[name]
            moving = times[point.size] - steps * depth * (tier.latency_s or 0.0)
            shares.append(factor * (ranks - 1) / ranks * point.size / moving / tier.bandwidth_bytes_per_s)
        assert point.fraction == pytest.approx(min(1.0, statistics.fmean(shares)), rel=0.03)
