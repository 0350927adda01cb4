"""Time of one operator on one accelerator: a roofline with efficiency curves and a launch overhead.

time = max(FLOPs / (peak · efficiency(size)), bytes / (bandwidth · efficiency(size)), launch)

Where the profile has measured times of the operator itself (`hwbench calibrate`), these go before: see operators.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hwbench.core.errors import UserError
from hwbench.core.profile import ClusterProfile, CurvePoint
from hwbench.core.workload import Operator

from .operators import measured_time_s, share_of_work

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MATMUL_CEILING_FRACTION = 0.80
"""Rate of a large matrix product over the datasheet's dense peak where a profile has no curve: the median over the accelerators of
the MAMF table of stas00/ml-engineering@744d01e (0.51 MI300X … 0.87 A100 SXM) is 0.76, A100 and H100 average 0.83."""
MATMUL_HALF_TIME_S = 8e-6
"""Time at peak of the product that reaches half of the ceiling: wave quantisation and prologue; median over gemm.csv's H100, A100, B200."""
MEMORY_FRACTION = 0.85
"""Streaming share of the datasheet's memory bandwidth where a profile has no curve."""
ATTENTION_FRACTION = 0.55
"""Fused attention's rate over the peak where a profile has no figure: FlashAttention-2 on A100 reaches 0.5-0.7 (arXiv:2307.08691)."""
LAUNCH_S = 4.5e-6
"""Time below which no operator on an accelerator goes where a profile has no figure: the floor of gemm.csv's smallest products."""

PEAK_OF = {"mxfp8": ("mxfp8", "fp8"), "nvfp4": ("nvfp4", "fp4")}
"""Where a dtype's peak is looked for, in order: block-scaled formats run at the rate of their element type."""


def peak_flops_per_s(profile: ClusterProfile, dtype: str) -> float:
    """The dense peak of `dtype` in FLOP/s; UserError names the key that the profile lacks."""
    peaks = profile.accelerator.peak_flops_per_s
    candidates = (dtype,) if dtype in peaks else PEAK_OF.get(dtype, (dtype,))
    for name in candidates:
        if name in peaks:
            return peaks[name]
    raise missing(profile, f"accelerator.peak_flops_per_s.{dtype}", found=", ".join(sorted(peaks)) or "no rate at all")


def memory_bandwidth_bytes_per_s(profile: ClusterProfile) -> float:
    """Datasheet memory bandwidth in B/s; UserError names the key that the profile lacks."""
    value = profile.accelerator.memory_bandwidth_bytes_per_s
    if value is None:
        raise missing(profile, "accelerator.memory_bandwidth_bytes_per_s", found="null")
    return value


def missing(profile: ClusterProfile, key: str, *, found: str) -> UserError:
    """The error for a number that a cluster profile lacks and a prediction needs."""
    return UserError(
        f"cluster profile {profile.name!r}: {key} is needed and unknown, found {found}",
        hint=f"give it with --set {key}=VALUE, or choose another dtype or cluster; no other device's number is used",
    )


def interpolate(curve: Sequence[CurvePoint], size: ArrayLike) -> NDArray[np.float64]:
    """Fraction at `size` on a curve, linear in log(size), flat beyond its ends. Any shape in, the same shape out."""
    points = sorted(curve, key=lambda point: point.size)
    logs = np.log([point.size for point in points])
    return np.interp(np.log(np.maximum(size, 1e-30)), logs, [point.fraction for point in points])


def matmul_fraction(profile: ClusterProfile, dtype: str, flops: float, peak: float) -> float:
    """Achieved share of the peak of one product of `flops` FLOPs: the profile's curve, or the documented default."""
    curve = profile.efficiency.matmul.get(dtype)
    if curve:
        return float(interpolate(curve, flops))
    return MATMUL_CEILING_FRACTION * flops / (flops + peak * MATMUL_HALF_TIME_S)


def pass_time_s(profile: ClusterProfile, operator: Operator, flops: float, size_bytes: float, product_flops: float, dtype: str) -> float:
    """Seconds of one pass of an operator that has been divided already.

    `product_flops` is the size of one product of a batch, by which efficiency is looked up. An amount of zero costs nothing.
    """
    if flops <= 0 and size_bytes <= 0:
        return 0.0
    measured = measured_time_s(profile, operator, dtype)
    if measured is not None:
        return measured * share_of_work(operator, flops, size_bytes)
    launch = LAUNCH_S if profile.efficiency.launch_s is None else profile.efficiency.launch_s
    times = [launch]
    if size_bytes > 0:
        curve = profile.efficiency.memory
        share = float(interpolate(curve, size_bytes)) if curve else MEMORY_FRACTION
        times.append(size_bytes / (memory_bandwidth_bytes_per_s(profile) * share))
    if operator.kind in ("matmul", "recurrent", "attention") and flops > 0:
        peak = peak_flops_per_s(profile, dtype)
        if operator.kind == "attention":
            share = _attention_share(profile, operator)
        else:
            share = matmul_fraction(profile, dtype, max(product_flops, 1.0), peak)
        times.append(flops / (peak * share))
    return max(times)


def _attention_share(profile: ClusterProfile, operator: Operator) -> float:
    """Counted FLOPs over the peak: what was measured (masked work counted), or the documented rate at the work that is not masked."""
    if profile.efficiency.attention_fraction is not None:
        return profile.efficiency.attention_fraction
    return ATTENTION_FRACTION / operator.executed_fraction
