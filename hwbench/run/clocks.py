"""Clocks and counters of the measuring thread: wall time, CPU time of its own and of the process, involuntary switches, peak memory.

The order inside a sample is counters, CPU clocks, wall clock, calls, and back again, so that only the calls lie between the wall readings.
"""

import ctypes
import gc
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

_SELF: Final = Path("/proc/self")
_RUSAGE_THREAD: Final = getattr(resource, "RUSAGE_THREAD", None)
"""Linux only; elsewhere involuntary switches are unknown."""
_TRIM: Final = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""glibc only."""


class Event(Protocol):
    """A mark in an accelerator's queue, as torch.Event is one."""

    def record(self) -> object:
        """Put the mark behind the work queued so far."""

    def elapsed_time(self, other: Any, /) -> float:
        """Milliseconds from this mark to a later one, both reached."""


class Queue(NamedTuple):
    """An accelerator's queue of work, which returns from a call before the work is done."""

    synchronize: Callable[[], None]
    event: Callable[[], Event]


class Sample(NamedTuple):
    """One timed group of calls."""

    wall_s: float
    cpu_s: float
    process_cpu_s: float
    involuntary_switches: int | None


def time_calls(step: Callable[[], object], calls: int, queue: Queue | None = None) -> tuple[Sample, object]:
    """Time `calls` calls of `step` together; on an accelerator they are queued one behind the other and the device's own clock is read.

    Returns the sample and what the last call returned.
    """
    if queue:
        return _time_queued(step, calls, queue)
    switches = _involuntary_switches()
    process_ns, cpu_ns = time.process_time_ns(), time.thread_time_ns()
    wall_ns = time.perf_counter_ns()
    for _ in range(calls - 1):
        step()
    result = step()
    wall_ns = time.perf_counter_ns() - wall_ns
    cpu_ns, process_ns = time.thread_time_ns() - cpu_ns, time.process_time_ns() - process_ns
    return Sample(wall_ns / 1e9, cpu_ns / 1e9, process_ns / 1e9, _since(switches)), result


def _time_queued(step: Callable[[], object], calls: int, queue: Queue) -> tuple[Sample, object]:
    """Accelerators only: an event before and one behind the queued calls, and one synchronisation."""
    start, end = queue.event(), queue.event()
    queue.synchronize()
    switches = _involuntary_switches()
    process_ns, cpu_ns = time.process_time_ns(), time.thread_time_ns()
    start.record()
    for _ in range(calls - 1):
        step()
    result = step()
    end.record()
    queue.synchronize()
    cpu_ns, process_ns = time.thread_time_ns() - cpu_ns, time.process_time_ns() - process_ns
    return Sample(start.elapsed_time(end) / 1e3, cpu_ns / 1e9, process_ns / 1e9, _since(switches)), result


def _since(switches: int | None) -> int | None:
    now = _involuntary_switches()
    return None if switches is None or now is None else now - switches


def _involuntary_switches() -> int | None:
    return None if _RUSAGE_THREAD is None else resource.getrusage(_RUSAGE_THREAD).ru_nivcsw


def reset_resident_peak() -> bool:
    """Start a new peak of the resident size (proc(5), clear_refs 5); False where the system doesn't allow it.

    What earlier work left goes back to the system first: garbage in cycles, and free memory that glibc keeps for itself.
    """
    gc.collect()
    if _TRIM is not None:
        _TRIM(0)
    try:
        (_SELF / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def resident_peak_bytes() -> int | None:
    """Peak resident size since the last reset, from VmHWM of /proc/self/status; None where the system doesn't tell."""
    try:
        lines = (_SELF / "status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
