"""A trace of an extra repeat of a step under torch's profiler, and its ten costliest operators. Samples are never taken under it.

Beside the run's records, in a folder a case: `rank-N.json` for chrome://tracing and Perfetto, `tensorboard/` for TensorBoard's profiler
plugin (the same events under the name that it looks for), `rank-N-operators.md`, a table. Imports torch.
"""

import gzip
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from torch.profiler import ProfilerActivity, profile

from hwbench.core.codec import write_atomic
from hwbench.core.units import format_seconds

CALLS: Final = 3
"""Repeats under the profiler, all ranks alike."""
COSTLIEST: Final = 10


def write_trace(run: Callable[[], object], device: torch.device, folder: Path, rank: int) -> None:
    """Profile a few calls of `run` and write the files of this rank into `folder`; every rank of a layout has to call this."""
    activities = [ProfilerActivity.CPU]
    if device.type != "cpu":
        activities.append(ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.XPU)
    folder.mkdir(parents=True, exist_ok=True)
    with profile(activities=activities, record_shapes=True, profile_memory=True) as profiler:
        for _ in range(CALLS):
            run()
        if device.type != "cpu":
            torch.accelerator.synchronize()
    chrome = folder / f"rank-{rank}.json"
    profiler.export_chrome_trace(str(chrome))
    _for_tensorboard(chrome, folder / "tensorboard")
    write_atomic(folder / f"rank-{rank}-operators.md", operators_table(profiler, on_device=device.type != "cpu").encode())


def _for_tensorboard(chrome: Path, folder: Path) -> None:
    """The same trace, compressed, under the name of torch's tensorboard_trace_handler: WORKER.TIME.pt.trace.json.gz."""
    folder.mkdir(exist_ok=True)
    named = folder / f"{chrome.stem}.{time.time_ns()}.pt.trace.json.gz"
    named.write_bytes(gzip.compress(chrome.read_bytes(), compresslevel=3))


def operators_table(profiler: profile, *, on_device: bool) -> str:
    """The costliest operators by the time spent in themselves, as a Markdown table; times are of one call of the step."""
    averages = list(profiler.key_averages())
    times_us = {one.key: float(one.self_device_time_total if on_device else one.self_cpu_time_total) for one in averages}
    whole_us = sum(times_us.values())
    ranked = sorted(averages, key=lambda one: times_us[one.key], reverse=True)[:COSTLIEST]
    lines = [
        f"The {len(ranked)} costliest operators on the {'accelerator' if on_device else 'CPU'}, a call of the step, under the profiler "
        "(which makes a step longer: compare shares)",
        "",
        "| operator | calls | time in itself | share |",
        "|---|---:|---:|---:|",
    ]
    for one in ranked:
        share = times_us[one.key] / whole_us if whole_us else 0.0
        name = one.key.replace("|", "\\|")
        lines.append(f"| `{name}` | {one.count / CALLS:g} | {format_seconds(times_us[one.key] / 1e6 / CALLS)} | {100 * share:.1f} % |")
    return "\n".join(lines) + "\n"
