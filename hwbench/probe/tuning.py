"""How the machine is tuned, and what it was doing at the moment: what makes one measurement differ from the next."""

import re

from hwbench.core.inventory import FrequencyGroup, Pressure, Tuning

from ._notes import Notes
from ._parse import cpu_list, integer
from ._sysroot import Sysroot
from .memory import MEMINFO, meminfo
from .software import thread_variables

_CPU = "/sys/devices/system/cpu"
_THP = "/sys/kernel/mm/transparent_hugepage"
_NUMBERS = {
    "zone_reclaim": "/proc/sys/vm/zone_reclaim_mode",
    "swappiness": "/proc/sys/vm/swappiness",
    "overcommit": "/proc/sys/vm/overcommit_memory",
    "address_randomisation": "/proc/sys/kernel/randomize_va_space",
    "perf_event_paranoid": "/proc/sys/kernel/perf_event_paranoid",
}
_SWITCHES = {
    "numa_balancing": "/proc/sys/kernel/numa_balancing",
    "autogroup": "/proc/sys/kernel/sched_autogroup_enabled",
    "kernel_samepage_merging": "/sys/kernel/mm/ksm/run",
}
_CLOCKSOURCE = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
_LIMIT = re.compile(r"(Max [a-z ]+?)\s{2,}(\S+)\s+\S+")
_AVERAGE = re.compile(r"^(some|full) avg10=([0-9]{1,3}\.[0-9]{2})", re.MULTILINE)


def probe_tuning(root: Sysroot, frequency: tuple[FrequencyGroup, ...] | None, usable_cpus: float | None, notes: Notes) -> Tuning:
    """Every knob that can be read; one that can't is a gap."""
    load = _load(root, notes)
    pages = {name: _chosen(root, f"{_THP}/{name}", notes) for name in ("enabled", "defrag")}
    numbers = {fact: _number(root, fact, path, notes) for fact, path in _NUMBERS.items()}
    switches = {fact: _number(root, fact, path, notes) for fact, path in _SWITCHES.items()}
    clocksource = root.text(_CLOCKSOURCE)
    if clocksource is None:
        notes.gap("tuning.clocksource", root.why(_CLOCKSOURCE))
    return Tuning(
        governors=_governors(frequency),
        turbo=_turbo(root, notes),
        transparent_huge_pages=pages["enabled"],
        transparent_huge_pages_defrag=pages["defrag"],
        numa_balancing=_on(switches["numa_balancing"]),
        autogroup=_on(switches["autogroup"]),
        kernel_samepage_merging=_on(switches["kernel_samepage_merging"]),
        zone_reclaim=numbers["zone_reclaim"],
        swappiness=numbers["swappiness"],
        overcommit=numbers["overcommit"],
        address_randomisation=numbers["address_randomisation"],
        perf_event_paranoid=numbers["perf_event_paranoid"],
        clocksource=clocksource,
        ulimits=_ulimits(root, notes),
        thread_variables=thread_variables() if root.live else None,
        load_average=load,
        load_per_cpu=load[0] / usable_cpus if load and usable_cpus else None,
        swap_used_bytes=_swap_used(root),
        steal_fraction=_steal(root, notes),
        pressure=_pressure(root, notes),
    )


def _number(root: Sysroot, fact: str, path: str, notes: Notes) -> int | None:
    value = integer(root.text(path, 4096), -10, 1 << 31)
    if value is None:
        notes.gap(f"tuning.{fact}", root.why(path))
    return value


def _on(value: int | None) -> bool | None:
    return None if value is None else value != 0


def _chosen(root: Sysroot, path: str, notes: Notes) -> str | None:
    """The word in brackets of 'always [madvise] never'."""
    match = re.search(r"\[([a-z+_-]+)\]", root.text(path, 4096) or "")
    if match is None:
        fact = "transparent_huge_pages" + ("_defrag" if path.endswith("defrag") else "")
        notes.gap(f"tuning.{fact}", root.why(path))
    return match[1] if match else None


def _governors(frequency: tuple[FrequencyGroup, ...] | None) -> dict[str, int] | None:
    """CPUs under each governor; None where frequencies are a gap (`cpu.frequency` says why)."""
    if frequency is None or any(group.governor is None for group in frequency):
        return None
    counts: dict[str, int] = {}
    for group in frequency:
        counts[group.governor or ""] = counts.get(group.governor or "", 0) + (cpu_list(group.cpu_list) or 0).bit_count()
    return counts


def _turbo(root: Sysroot, notes: Notes) -> bool | None:
    """intel_pstate says "no turbo", acpi-cpufreq and amd-pstate say "boost"."""
    paths = f"{_CPU}/intel_pstate/no_turbo", f"{_CPU}/cpufreq/boost"
    off, boost = (root.text(path, 4096) for path in paths)
    if off in ("0", "1"):
        return off == "0"
    if boost in ("0", "1"):
        return boost == "1"
    notes.gap("tuning.turbo", "; ".join(root.why(path) for path in paths))
    return None


def _ulimits(root: Sysroot, notes: Notes) -> dict[str, str] | None:
    text = root.text("/proc/self/limits")
    if text is None:
        notes.gap("tuning.ulimits", root.why("/proc/self/limits"))
        return None
    found = (_LIMIT.match(line) for line in text.splitlines())
    return {match[1].removeprefix("Max "): match[2] for match in found if match}


def _load(root: Sysroot, notes: Notes) -> tuple[float, float, float] | None:
    match = re.match(r"(\d{1,7}\.\d\d) (\d{1,7}\.\d\d) (\d{1,7}\.\d\d)\b", root.text("/proc/loadavg") or "")
    if match is None:
        notes.gap("tuning.load_average", root.why("/proc/loadavg"))
        return None
    return float(match[1]), float(match[2]), float(match[3])


def _swap_used(root: Sysroot) -> int | None:
    info = meminfo(root, MEMINFO)
    total, free = info.get("SwapTotal"), info.get("SwapFree")
    return None if total is None or free is None or free > total else total - free


def _steal(root: Sysroot, notes: Notes) -> float | None:
    """proc(5): user nice system idle iowait irq softirq steal guest guest_nice; guest time is inside user time already."""
    match = re.match(r"cpu +([0-9 ]+)", root.text("/proc/stat") or "")
    ticks = [integer(word) for word in match[1].split()[:8]] if match else []
    total = sum(tick for tick in ticks if tick is not None)
    if len(ticks) < 8 or None in ticks or total == 0:
        notes.gap("tuning.steal_fraction", f"{root.why('/proc/stat')} (steal)")
        return None
    return (ticks[7] or 0) / total


def _pressure(root: Sysroot, notes: Notes) -> Pressure | None:
    """Documentation/accounting/psi.rst: the share of wall time, in per cent, that tasks waited."""
    found: dict[str, float] = {}
    for resource in ("cpu", "memory", "io"):
        path = f"/proc/pressure/{resource}"
        text = root.text(path)
        if text is None:
            notes.gap(f"tuning.pressure.{resource}", root.why(path))
        for which, percent in _AVERAGE.findall(text or ""):
            found[f"{resource}_{which}"] = float(percent) / 100
    if not found:
        return None
    return Pressure(
        cpu_some_fraction=found.get("cpu_some"),
        memory_some_fraction=found.get("memory_some"),
        memory_full_fraction=found.get("memory_full"),
        io_some_fraction=found.get("io_some"),
        io_full_fraction=found.get("io_full"),
    )
