"""A cluster profile as rows of the table model: the accelerator by name, or one made of the profile's own figures.

The profile's figures always replace the part's, so that a changed figure or a cloud's network counts. An accelerator that
data/accelerators.csv does not list is predicted by the constants of parts without a class of their own, with a wider interval.
"""

from __future__ import annotations

from collections.abc import Mapping

from hwbench.core.errors import UserError, unknown_name
from hwbench.core.profile import ClusterProfile

from .accelerators import DEFAULT_CEILING, Part, parts
from .candidates import SHARDINGS
from .compute import memory_bandwidth_bytes_per_s, missing, peak_flops_per_s
from .reading import FOUR_BIT, Setup, read_setup

YEAR = "2025"
"""Date of the software: that of the newest rows the constants were fitted on."""
SLOWEST_ACCELERATOR_FLOPS_PER_S = 20e12
"""Below this 16-bit rate a device is a CPU or a GPU of before 2017, whose software is not that of the fitted runs."""
UNLISTED_LAUNCH = 2023.0
"""Launch year taken for an accelerator that is not listed: mature software, as for most of the fitted runs."""


def is_known(profile: ClusterProfile) -> bool:
    """Whether the table model applies to the profile's accelerator: it is listed, or quick enough to be one."""
    return profile.accelerator.name.lower() in parts() or _half_peak(profile) >= SLOWEST_ACCELERATOR_FLOPS_PER_S


def is_listed(profile: ClusterProfile) -> bool:
    """Whether data/accelerators.csv has the accelerator."""
    return profile.accelerator.name.lower() in parts()


def scale_up_domain(profile: ClusterProfile) -> int:
    """Accelerators that the fast tiers join: the widest tier that does not join everything, one node where there is no such tier."""
    sizes = [tier.accelerators for tier in profile.tiers if tier.accelerators is not None]
    return max(sizes, default=profile.node.accelerators)


def software_of(profile: ClusterProfile, *, sharded: bool) -> str:
    """The training software assumed where none is named: by the accelerator, and by whether weights or gradients are sharded."""
    part = parts().get(profile.accelerator.name.lower())
    if part is not None and part.generation == "tpu":
        return "MaxText"
    return "torchtitan" if sharded else "Megatron-LM"


def is_sharded(sharding: str) -> bool:
    """Whether a sharding moves weights or gradients in each micro-batch (ZeRO 2 and 3), which torchtitan does and Megatron does not."""
    return sharding not in SHARDINGS[:2]


def setup(
    shape: Mapping[str, str],
    profile: ClusterProfile,
    *,
    dtype: str,
    framework: str,
    accelerators: int,
    global_batch: int,
    sharding: str,
    model_parallel: bool,
) -> Setup:
    """A row of the table without a layout yet: model, machine and software. UserError names what the profile lacks."""
    peak_flops_per_s(profile, dtype)  # its error names the profile's key
    row = dict(shape) | {
        "hardware": profile.accelerator.name,
        "year": YEAR,
        "framework": framework,
        "dtype": dtype,
        "gpus": str(accelerators),
        "gpus_per_node": str(scale_up_domain(profile)),
        "dp": str(accelerators),
        "tp": "2" if model_parallel and accelerators > 1 else "1",
        "zero_stage": sharding,
        "micro_batch": "1",
        "global_batch": str(global_batch),
        "recompute": "none",
    }
    if is_listed(profile):
        read = read_setup(row)
        return read._replace(numbers=read.numbers | _figures(read, profile, dtype))
    part = _unlisted(profile)
    read = read_setup(row | {"hardware": _any_part(dtype)})._replace(part=part)
    return read._replace(numbers=read.numbers | _own_rates(read, part, dtype) | _figures(read, profile, dtype, own=True))


def _any_part(dtype: str) -> str:
    """A listed part with a rate of this dtype: it only lends its place in the row, every figure of it is replaced."""
    for part in parts().values():
        try:
            part.peak(dtype)
        except UserError:
            continue
        return part.name
    raise unknown_name("dtype", dtype, {name for part in parts().values() for name in part.peaks})


def _unlisted(profile: ClusterProfile) -> Part:
    """A part made of the profile's own figures."""
    device, ceiling = profile.accelerator, _measured_ceiling(profile)
    return Part(
        name=device.name,
        generation="unlisted",
        launched=UNLISTED_LAUNCH,
        peaks=dict(device.peak_flops_per_s),
        memory_bytes=device.memory_bytes or 0.0,
        memory_bytes_per_s=memory_bandwidth_bytes_per_s(profile),
        scale_up_bytes_per_s=None,
        scale_up_domain=scale_up_domain(profile),
        network_bytes_per_s=None,
        host_offload=False,
        power_fraction=1.0,
        ceiling=ceiling or DEFAULT_CEILING,
        ceiling_low=None,
        measured_ceiling=ceiling is not None,
    )


def _own_rates(read: Setup, part: Part, dtype: str) -> dict[str, float]:
    """Rates of an unlisted part, as those of a listed one are made."""
    rate = part.peak(dtype)
    half = part.half_peak if read.numbers["low_precision"] else rate
    return {
        "half_rate": half,
        "half_ceiling": half * part.ceiling,
        "dtype_rate": rate,
        "product_ceiling": rate * part.ceiling * (FOUR_BIT if read.numbers["four_bit"] else 1.0),
        "power": 1.0,
        "age": min(6.0, max(0.0, read.software.date - 0.5 - part.launched)),
    }


def _measured_ceiling(profile: ClusterProfile) -> float | None:
    """The largest share of the peak that a 16-bit product reached, where the profile has the curve."""
    curve = profile.efficiency.matmul.get("bf16") or profile.efficiency.matmul.get("fp16")
    return max((point.fraction for point in curve), default=None) if curve else None


def _half_peak(profile: ClusterProfile) -> float:
    peaks = profile.accelerator.peak_flops_per_s
    return max(peaks.get("bf16", 0.0), peaks.get("fp16", 0.0))


def _figures(read: Setup, profile: ClusterProfile, dtype: str, *, own: bool = False) -> dict[str, float]:
    """The profile's figures in place of the part's; with `own` the rates are the profile's already."""
    device, numbers = profile.accelerator, read.numbers
    figures: dict[str, float] = {"domain": float(scale_up_domain(profile))}
    if not own:
        faster = peak_flops_per_s(profile, dtype) / numbers["dtype_rate"]
        figures |= {key: numbers[key] * faster for key in ("half_rate", "half_ceiling", "dtype_rate", "product_ceiling")}
    figures["memory_rate"] = memory_bandwidth_bytes_per_s(profile)
    if device.memory_bytes is None:
        raise missing(profile, "accelerator.memory_bytes", found="null")
    figures["memory_bytes"] = device.memory_bytes
    if profile.tiers:
        inner, outer = profile.tiers[0], profile.tiers[-1]
        figures |= {"scale_up": inner.bandwidth_bytes_per_s, "network": outer.bandwidth_bytes_per_s, "network_known": 1.0}
    elif numbers["gpus"] > 1:
        raise missing(profile, "tiers", found="none")
    return figures
