"""One step by the fitted model: a decoder Transformer under one layout on a cluster whose accelerator's training runs are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from hwbench.core.layout import Layout
from hwbench.core.prediction import Part, Prediction
from hwbench.core.profile import ClusterProfile

from .accelerators import parts
from .compute import peak_flops_per_s
from .conformal import doubt, interval
from .constants import fitted, shipped
from .model import Steps, evaluate
from .reading import Setup, read_setup
from .rows import columns

YEAR = 2025
"""Year of the software; a version in its name (NeMo 24.09) is more exact and goes first."""
WHY = {
    "forward": "products, attention, element-wise work of the slowest stage",
    "backward": "two products for each of the forward's",
    "again": "recomputed forward",
    "tensor": "tensor-parallel collectives, what is not hidden",
    "expert": "tokens to experts and back",
    "context": "keys and values of other ranks, what attention does not hide",
    "host": "what the host takes longer than the device",
    "gather": "gathering and scattering sharded weights, what is not hidden",
    "head": "vocabulary projection and loss",
    "pipeline": "send and receive between stages",
    "bubble": "stages waiting for each other",
    "reduction": "gradients among replicas, what is not hidden",
    "optimizer": "Adam over the parameters a rank owns",
    "fixed": "data, logging, clipping",
    "stragglers": "waiting for the slowest of many",
}


class Step(NamedTuple):
    """One step to predict: a model in the columns of data/measurements.csv, and how it is run."""

    shape: Mapping[str, str]
    layout: Layout
    micro_batch: int
    recompute: str
    dtype: str
    framework: str | None


def is_known(step: Step, profile: ClusterProfile) -> bool:
    """Whether the fitted model applies: a decoder Transformer, an accelerator with a line in data/accelerators.csv, a network."""
    return bool(step.shape) and profile.accelerator.name.lower() in parts() and bool(profile.tiers)


def predict_one(step: Step, profile: ClusterProfile, roofline: Prediction) -> Prediction:
    """`roofline` with step time, parts, interval and what was assumed by the fitted model; UserError where a number is unknown."""
    software = step.framework or ("Megatron-LM" if step.layout.tp * step.layout.pp > 1 else "FSDP")
    setup = _setup(step, profile, software)
    rows = columns([setup])
    steps = evaluate(rows, fitted())
    seconds = float(steps.step_s[0])
    low, high = interval(steps.step_s, shipped().width * doubt(rows))
    found = _parts(steps)
    largest = max(found, key=lambda part: part.time_s)
    return replace(
        roofline,
        step_time_s=seconds,
        parts=found,
        low_s=float(low[0]),
        high_s=float(high[0]),
        basis=f"{roofline.basis}; constants fitted on {sum(shipped().fitted_on.values())} published training runs",
        mfu_fraction=roofline.flops_per_step / seconds / (peak_flops_per_s(profile, step.dtype) * step.layout.world_size),
        bottleneck=f"{largest.name}: {100 * largest.time_s / seconds:.0f} % of the step",
        assumptions=(f"recomputation: {step.recompute}", f"software: {software} as of {setup.software.date:.1f}"),
    )


def _setup(step: Step, profile: ClusterProfile, software: str) -> Setup:
    layout = step.layout
    sharding = ("hsdp" if layout.dp > 1 else "fsdp") if layout.fsdp > 1 else str(layout.zero)
    row = dict(step.shape) | {
        "hardware": profile.accelerator.name,
        "framework": software,
        "dtype": step.dtype,
        "zero_stage": sharding,
        "recompute": step.recompute,
    }
    degrees = {"tp": layout.tp, "pp": layout.pp, "vpp": layout.vpp, "cp": layout.cp, "ep": layout.ep, "dp": layout.data_ranks}
    numbers = degrees | {
        "year": YEAR,
        "gpus": layout.world_size,
        "gpus_per_node": profile.tiers[0].accelerators or profile.node.accelerators,
        "seq_parallel": int(layout.sp),
        "micro_batch": step.micro_batch,
        "global_batch": step.micro_batch * layout.microbatches * layout.data_ranks,
    }
    setup = read_setup(row | {key: str(value) for key, value in numbers.items()})
    return setup._replace(numbers=setup.numbers | _figures(setup, profile, step.dtype))


def _figures(setup: Setup, profile: ClusterProfile, dtype: str) -> dict[str, float]:
    """The profile's own rates in place of the part's, so that a changed figure counts."""
    faster = peak_flops_per_s(profile, dtype) / setup.numbers["dtype_rate"]
    figures = {key: setup.numbers[key] * faster for key in ("half_rate", "half_ceiling", "dtype_rate", "product_ceiling")}
    inner, outer = profile.tiers[0], profile.tiers[-1]
    figures |= {"scale_up": inner.bandwidth_bytes_per_s, "network": outer.bandwidth_bytes_per_s, "network_known": 1.0}
    if profile.accelerator.memory_bandwidth_bytes_per_s is not None:
        figures["memory_rate"] = profile.accelerator.memory_bandwidth_bytes_per_s
    if profile.accelerator.memory_bytes is not None:
        figures["memory_bytes"] = profile.accelerator.memory_bytes
    return figures


def _parts(steps: Steps) -> tuple[Part, ...]:
    """The model's parts as values, those of no time left out."""
    seconds = {name: float(np.asarray(value)[0]) for name, value in steps.parts.items()}
    return tuple(Part(name=name, time_s=value, why=WHY[name]) for name, value in seconds.items() if value > 0)
