"""The machine around a measurement: load, pressure, steal, governor, frequency, throttling, read before and after by the launcher.

What a machine does not tell stays None. Files: proc(5), Documentation/accounting/psi.rst, Documentation/admin-guide/pm/cpufreq.rst.
"""

import os
import time
from pathlib import Path

from hwbench.core.record import MachineState
from hwbench.core.value import Value

STEAL_WORTH_A_WARNING_FRACTION = 0.01
LOAD_WORTH_A_WARNING = 1.5


class Reading(Value):
    """Counters at one moment; what can't be read is None."""

    at_s: float
    cpu_waited_s: float | None
    """Time in which some task waited for a CPU, since boot."""
    stolen_ticks: int | None
    all_ticks: int | None


def read(root: Path = Path("/")) -> Reading:
    """The counters now. `root` is another machine's file tree in tests."""
    stolen, everything = _ticks(root / "proc/stat")
    return Reading(at_s=time.monotonic(), cpu_waited_s=_waited_s(root / "proc/pressure/cpu"), stolen_ticks=stolen, all_ticks=everything)


def between(before: Reading, after: Reading, root: Path = Path("/")) -> MachineState:
    """What the machine did between two readings, and how it is set now."""
    governor, frequency_hz = _cpufreq(root / "sys/devices/system/cpu")
    return MachineState(
        load_1min=_load_1min(root / "proc/loadavg"),
        cpu_pressure_fraction=_share(before.cpu_waited_s, after.cpu_waited_s, after.at_s - before.at_s),
        steal_fraction=_share(before.stolen_ticks, after.stolen_ticks, _difference(before.all_ticks, after.all_ticks)),
        governor=governor,
        frequency_hz=frequency_hz,
    )


def warnings_of(state: MachineState, cpus: int) -> tuple[str, ...]:
    """What of the state disturbed a measurement, one sentence each. `cpus` are those this process may use."""
    found: list[str] = []
    if state.load_1min is not None and state.load_1min > LOAD_WORTH_A_WARNING * cpus:
        found.append(f"load {state.load_1min:.1f} on {cpus} CPUs: others were running")
    if state.steal_fraction is not None and state.steal_fraction > STEAL_WORTH_A_WARNING_FRACTION:
        found.append(f"the hypervisor gave {100 * state.steal_fraction:.1f} % of the CPU time to others")
    if state.governor in ("powersave", "conservative"):
        found.append(f"the CPU frequency governor is {state.governor}: the clock may be low or vary")
    return tuple(found)


def usable_cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _load_1min(path: Path) -> float | None:
    fields = _text(path).split()
    return float(fields[0]) if fields else None


def _waited_s(path: Path) -> float | None:
    """The `total` of the `some` line, which is in microseconds."""
    for line in _text(path).splitlines():
        if line.startswith("some "):
            return next((int(f.removeprefix("total=")) / 1e6 for f in line.split() if f.startswith("total=")), None)
    return None


def _ticks(path: Path) -> tuple[int | None, int | None]:
    """Steal and the sum of all ticks from the first line; guest time is left out, since user time has it in already."""
    first = _text(path).partition("\n")[0].split()
    if len(first) < 9 or first[0] != "cpu":
        return None, None
    ticks = [int(field) for field in first[1:9]]
    return ticks[7], sum(ticks)


def _cpufreq(cpus: Path) -> tuple[str | None, float | None]:
    """The governors in use, and the mean of the current frequencies, which the kernel tells in kHz."""
    policies = sorted(cpus.glob("cpufreq/policy*"))
    governors = sorted({_text(policy / "scaling_governor").strip() for policy in policies} - {""})
    now_khz = [int(text) for policy in policies if (text := _text(policy / "scaling_cur_freq").strip()).isdigit()]
    return "+".join(governors) or None, 1e3 * sum(now_khz) / len(now_khz) if now_khz else None


def _difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def _share(before: float | None, after: float | None, whole: float | None) -> float | None:
    if before is None or after is None or not whole or whole <= 0:
        return None
    return min(max((after - before) / whole, 0.0), 1.0)
