"""A roofline step corrected by what published training runs took, with an interval from runs that were not fitted.

The search ranks layouts by `predict_step`, which knows any workload on any profile but no software. For a Transformer on an accelerator of
data/accelerators.csv the model behind `hwbench predict --table` knows more: its constants are fitted on published measurements, and its
interval is conformal. The nearest candidates of a search are predicted again by it, with the profile's own figures, and the quickest wins.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from hwbench.core.errors import UserError
from hwbench.core.layout import Layout
from hwbench.core.prediction import Part
from hwbench.core.profile import ClusterProfile

from .accelerators import parts
from .compute import peak_flops_per_s
from .conformal import doubt, interval
from .constants import fitted, shipped
from .model import evaluate
from .reading import Setup, read_setup
from .rows import columns
from .search import Choice, Found, scale_up_domain

GENERATIONS = ("volta", "ampere", "ada", "hopper", "blackwell", "cdna2", "cdna3", "cdna4")
"""Accelerators to which the fitted constants apply: GPUs, whose software is that of the fitted runs. TPUs and Gaudis have another."""
FRAMEWORKS = {True: "Megatron-LM", False: "torchtitan"}
"""Software assumed where none is named: whether the layout has tensor or pipeline parallelism -> framework."""
YEAR = "2025"
"""Date of the software: that of the newest rows the constants were fitted on."""
BEYOND = "software and scale"


def corrected(found: Found, shape: Mapping[str, str], profile: ClusterProfile, *, dtype: str, framework: str | None) -> Found:
    """The search with its shortlist predicted again and the quickest in front; `uncorrected` says why where that does not apply.

    `shape` is the model in the columns of data/measurements.csv: layers, hidden, heads, ffn_hidden …; empty for what is no Transformer.
    """
    if found.best is None:
        return found
    if not shape:
        return found._replace(uncorrected="published runs are known of decoder Transformers only")
    if not _known(profile):
        return found._replace(uncorrected=f"no published training runs on {profile.accelerator.name} are known")
    try:
        setups = [_setup(choice, shape, profile, dtype, framework) for choice in found.shortlist]
    except UserError as error:
        return found._replace(uncorrected=error.message)
    rows = columns(setups)
    steps = evaluate(rows, fitted()).step_s
    low, high = interval(steps, shipped().width * doubt(rows))
    times = zip(steps.tolist(), low.tolist(), high.tolist(), strict=True)
    again = (_with(choice, framework, *one) for choice, one in zip(found.shortlist, times, strict=True))
    choices = sorted(again, key=lambda choice: choice.prediction.step_time_s)
    return found._replace(best=choices[0], shortlist=tuple(choices))


def _known(profile: ClusterProfile) -> bool:
    part = parts().get(profile.accelerator.name.lower())
    return part is not None and part.generation in GENERATIONS


def _setup(choice: Choice, shape: Mapping[str, str], profile: ClusterProfile, dtype: str, framework: str | None) -> Setup:
    """One candidate as a row of the table, the accelerator's figures replaced by the profile's. UserError where that can't be said."""
    layout = choice.layout
    row = dict(shape) | {
        "hardware": profile.accelerator.name,
        "year": YEAR,
        "framework": framework or FRAMEWORKS[layout.tp * layout.pp > 1],
        "dtype": dtype,
        "gpus": str(layout.world_size),
        "gpus_per_node": str(scale_up_domain(profile)),
        "tp": str(layout.tp),
        "pp": str(layout.pp),
        "vpp": str(layout.vpp),
        "dp": str(layout.data_ranks),
        "zero_stage": _zero(layout),
        "seq_parallel": str(int(layout.sp)),
        "micro_batch": str(choice.micro_batch),
        "global_batch": str(choice.micro_batch * layout.microbatches * layout.data_ranks),
        "recompute": choice.recompute,
    }
    setup = read_setup(row)
    return setup._replace(numbers=setup.numbers | _figures(setup, profile, dtype))


def _zero(layout: Layout) -> str:
    if layout.fsdp > 1:
        return "hsdp" if layout.dp > 1 else "fsdp"
    return str(layout.zero)


def _figures(setup: Setup, profile: ClusterProfile, dtype: str) -> dict[str, float]:
    """The profile's rates in place of the part's, so that a changed figure or a cloud's network counts."""
    device, numbers = profile.accelerator, setup.numbers
    faster = peak_flops_per_s(profile, dtype) / numbers["dtype_rate"]
    figures = {key: numbers[key] * faster for key in ("half_rate", "half_ceiling", "dtype_rate", "product_ceiling")}
    if device.memory_bandwidth_bytes_per_s is not None:
        figures["memory_rate"] = device.memory_bandwidth_bytes_per_s
    if device.memory_bytes is not None:
        figures["memory_bytes"] = device.memory_bytes
    if profile.tiers:
        inner, outer = profile.tiers[0], profile.tiers[-1]
        figures |= {"scale_up": inner.bandwidth_bytes_per_s, "network": outer.bandwidth_bytes_per_s, "network_known": 1.0}
    return figures


def _with(choice: Choice, framework: str | None, step_s: float, low_s: float, high_s: float) -> Choice:
    """The choice with the corrected step: what the roofline lacks is a part of its own; where it is too slow all parts shrink."""
    before = choice.prediction
    software = (framework or FRAMEWORKS[choice.layout.tp * choice.layout.pp > 1]) + f" as of {YEAR}"
    said = tuple(text for text in before.assumptions if not text.startswith("framework:"))
    ratio = step_s / before.step_time_s
    if ratio >= 1:
        runs = sum(shipped().fitted_on.values())
        why = f"what {runs} published training runs took beyond this roofline: launches, kernels, stragglers, clocks under load"
        split = (*before.parts, Part(name=BEYOND, time_s=step_s - before.step_time_s, why=why))
    else:
        split = tuple(replace(part, time_s=part.time_s * ratio) for part in before.parts)
    mfu = None if before.mfu_fraction is None else before.mfu_fraction / ratio
    again = replace(
        before,
        step_time_s=step_s,
        low_s=low_s,
        high_s=high_s,
        parts=split,
        mfu_fraction=mfu,
        assumptions=(*said, f"software: {software}"),
    )
    return choice._replace(prediction=again)
