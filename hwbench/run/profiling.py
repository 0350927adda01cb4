"""Where a step's time goes on this rank: an extra repeat under torch's profiler, taken apart by what ran and what was on its way.

The profiler makes a step longer (a third on a CPU), so only shares of its time are used; samples are never taken under it. Imports torch.
"""

import time
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import torch
from torch._C._autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from hwbench.core.record import TimeSplit

CALLS: Final = 3
"""Profiled calls at most: their mean is told."""
LONGEST_S: Final = 2.0
"""No further call is profiled when these have taken so long."""
_MARK: Final = "hwbench step"
_SENDING: Final = ("gloo:", "nccl:", "nccl", "c10d::", "_c10d_functional::")
"""Beginnings of names of what is on its way: from the enqueueing to the end on gloo's threads, a kernel on an accelerator."""
_FROM_RANK_TO_RANK: Final = ("send", "recv", "sendrecv")
_COMPUTING: Final = ("aten::", "## Call CompiledFxGraph")
"""Beginnings of names of what computes on a CPU: operators, and the graphs that torch.compile makes of them."""

Spans: TypeAlias = list[tuple[float, float]]
"""Begin and end in microseconds, in order, without overlap."""


def split_of(run: Callable[[], object], agree: Callable[[int], int], device: torch.device, *, pipeline: bool) -> TimeSplit:
    """The parts of a call of `run`, mean over a few profiled ones; all ranks call this. `pipeline`: its messages are stages' own."""
    activities = [ProfilerActivity.CPU]
    if device.type != "cpu":
        activities.append(ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.XPU)
    run()  # not timed: what the check or the last sample left behind is settled
    with profile(activities=activities, acc_events=False) as profiler:
        _calls(run, agree, device)
    events = list(profiler.events() or ())
    return divided(events, on_device=device.type != "cpu", pipeline=pipeline)


def _calls(run: Callable[[], object], agree: Callable[[int], int], device: torch.device) -> None:
    began_s = time.perf_counter()
    for call in range(CALLS):
        if agree(int(call > 0 and time.perf_counter() - began_s > LONGEST_S)):
            return
        with record_function(_MARK):
            run()
            if device.type != "cpu":
                torch.accelerator.synchronize()


def divided(events: Iterable[FunctionEvent], *, on_device: bool, pipeline: bool) -> TimeSplit:
    """The parts of the marked calls among a profile's events; on an accelerator what its own timeline shows."""
    listed = list(events)
    calls = [_range(event) for event in listed if event.name == _MARK and not _is_device(event)]
    windows, mine = merged(calls), [event for event in listed if _is_device(event) == on_device and event.name != _MARK]
    sending = [event for event in mine if event.name.startswith(_SENDING)]
    computing = [event for event in mine if event not in sending and (on_device or event.name.startswith(_COMPUTING))]
    compute = inside(merged(_range(event) for event in computing), windows)
    messages = [event for event in sending if pipeline and _is_message(event.name)]
    collectives = [event for event in sending if event not in messages]
    exposed = outside(inside(merged(_range(event) for event in collectives), windows), compute)
    waiting = outside(outside(inside(merged(_range(event) for event in messages), windows), compute), exposed)
    total_s, count = length_s(windows), max(len(calls), 1)
    parts = [length_s(spans) / count for spans in (compute, exposed, waiting)]
    return TimeSplit(
        profiled_s=total_s / count,
        compute_s=parts[0],
        communication_s=parts[1],
        bubble_s=parts[2],
        other_s=max(0.0, total_s / count - sum(parts)),
    )


def merged(spans: Iterable[tuple[float, float]]) -> Spans:
    """The same times without overlap, in order."""
    found: Spans = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        elif end > begin:
            found.append((begin, end))
    return found


def inside(spans: Spans, windows: Spans) -> Spans:
    """What of `spans` lies within `windows`; both merged."""
    return [(max(b, wb), min(e, we)) for wb, we in windows for b, e in spans if min(e, we) > max(b, wb)]


def outside(spans: Spans, taken: Spans) -> Spans:
    """What of `spans` does not lie in `taken`; both merged."""
    found: Spans = []
    for begin, end in spans:
        at = begin
        for taken_begin, taken_end in taken:
            if taken_end <= at or taken_begin >= end:
                continue
            if taken_begin > at:
                found.append((at, taken_begin))
            at = taken_end
        if at < end:
            found.append((at, end))
    return found


def length_s(spans: Spans) -> float:
    """Seconds that merged spans take together."""
    return sum(end - begin for begin, end in spans) / 1e6


def _range(event: FunctionEvent) -> tuple[float, float]:
    return float(event.time_range.start), float(event.time_range.end)


def _is_device(event: FunctionEvent) -> bool:
    return bool(event.device_type != DeviceType.CPU)


def _is_message(name: str) -> bool:
    return name.partition(":")[2].strip(":_").lower().startswith(_FROM_RANK_TO_RANK) or "SendRecv" in name
