"""What of a machine's state disturbs a measurement: what was found, why it matters, and the command that changes it.

Nothing is changed here. A check that can't see its fact says so; one that finds all well says that too, so that a report is complete.
"""

from collections.abc import Callable
from typing import Final, Literal

from hwbench.core.accelerators import Accelerator
from hwbench.core.inventory import Inventory
from hwbench.core.value import Value

State = Literal["good", "advice", "warning", "unknown"]
_BUSY = 0.5  # load a CPU above which a second process is likely to share it
_STOLEN = 0.01
_WAITING = 0.05
_OPEN_FILES = 4096  # what a DataLoader with dozens of workers and file-descriptor sharing comes near
_GOOD_CLOCKS = ("tsc", "arch_sys_counter", "kvm-clock", "timebase", "riscv_clocksource", "hyperv_clocksource_tsc_page", "tod")


class Finding(Value):
    """One check. `command` changes what was found (as root where it says sudo); '' where no command does."""

    check: str
    state: State
    found: str
    matters: str
    command: str = ""


def examine(inventory: Inventory) -> tuple[Finding, ...]:
    """Every check, warnings first, then advice, what could not be seen, and what is well."""
    findings = [check(inventory) for check in CHECKS]
    order = ("warning", "advice", "unknown", "good")
    return tuple(sorted((finding for finding in findings if finding), key=lambda finding: order.index(finding.state)))


def _oversubscription(inventory: Inventory) -> Finding:
    load = inventory.tuning.load_per_cpu
    return _finding(
        "load",
        None if load is None else "warning" if load > _BUSY else "good",
        f"load {load:.2f} for each CPU that may be used" if load is not None else "load or usable CPUs unknown",
        "with other work on the CPUs a sample measures the scheduler; two threads on two busy CPUs ran 20 to 120 times slower",
        "ps -eo pcpu,pid,user,comm --sort=-pcpu | head",
    )


def _pressure(inventory: Inventory) -> Finding:
    pressure = inventory.tuning.pressure
    shares = {
        "CPU": pressure.cpu_some_fraction if pressure else None,
        "memory": pressure.memory_some_fraction if pressure else None,
        "I/O": pressure.io_some_fraction if pressure else None,
    }
    known = {name: share for name, share in shares.items() if share is not None}
    high = any(share > _WAITING for share in known.values())
    return _finding(
        "pressure",
        None if not known else "warning" if high else "good",
        "tasks waited " + ", ".join(f"{share:.0%} for {name}" for name, share in known.items())
        if known
        else "the kernel tells no pressure",
        "time spent waiting for a resource is in the wall time of every sample",
        "head /proc/pressure/*",
    )


def _steal(inventory: Inventory) -> Finding:
    stolen = inventory.tuning.steal_fraction
    return _finding(
        "steal",
        None if stolen is None else "warning" if stolen > _STOLEN else "good",
        f"{stolen:.1%} of CPU time since boot went to other guests" if stolen is not None else "unknown",
        "the hypervisor runs somebody else meanwhile; wall time grows, thread CPU time does not show why; use a dedicated host",
        "",
    )


def _quota(inventory: Inventory) -> Finding:
    limits = inventory.limits
    if limits.effective_cpus is None:
        return _finding("CPU quota", None, "control groups could not be read", _QUOTA_MATTERS, "")
    usable = len(_expanded(limits.effective_cpu_list))
    threads = max(1, int(limits.effective_cpus))
    bound = limits.cpu_quota is not None and limits.cpu_quota < usable
    found = f"{limits.effective_cpus:g} CPUs of time on {usable} CPUs" if bound else "no quota below the CPUs that may be used"
    return _finding(
        "CPU quota", "warning" if bound else "good", found, _QUOTA_MATTERS, f"export OMP_NUM_THREADS={threads}" if bound else ""
    )


_QUOTA_MATTERS = "a group over its quota is stopped until the next period, so that samples have two speeds; pin CPUs instead of a quota"


def _governor(inventory: Inventory) -> Finding:
    governors = inventory.tuning.governors
    slow = sorted(set(governors or ()) - {"performance"})
    return _finding(
        "frequency governor",
        None if governors is None else "warning" if slow else "good",
        ", ".join(f"{name} on {count} CPUs" for name, count in governors.items()) if governors else "the kernel shows no governor",
        "a governor that follows the load makes the first milliseconds of a sample slower than the rest",
        "sudo cpupower frequency-set --governor performance" if slow else "",
    )


def _turbo(inventory: Inventory) -> Finding:
    turbo = inventory.tuning.turbo
    intel = any(group.driver == "intel_pstate" for group in inventory.cpu.frequency or ())
    knob = "/sys/devices/system/cpu/intel_pstate/no_turbo" if intel else "/sys/devices/system/cpu/cpufreq/boost"
    return _finding(
        "turbo",
        None if turbo is None else "advice" if turbo else "good",
        "unknown" if turbo is None else "on" if turbo else "off",
        "with turbo the frequency depends on temperature and on how many cores are busy: faster, and less repeatable",
        f"echo {1 if intel else 0} | sudo tee {knob}" if turbo else "",
    )


def _smt(inventory: Inventory) -> Finding:
    active = inventory.cpu.smt_active
    return _finding(
        "SMT",
        None if active is None else "advice" if active else "good",
        "unknown" if active is None else "cores run two or more threads" if active else "one thread a core",
        "two threads of one core share its units and caches; one compute thread a core is what a kernel is measured with",
        "echo off | sudo tee /sys/devices/system/cpu/smt/control" if active else "",
    )


def _hybrid(inventory: Inventory) -> Finding | None:
    kinds = inventory.cpu.kinds or ()
    if len(kinds) < 2:
        return None
    strongest = max(kinds, key=lambda kind: (kind.capacity or 0, max(kind.threads_per_core)))
    found = "; ".join(f"{kind.physical_cores} cores {kind.name or ''} (CPUs {kind.cpu_list})" for kind in kinds)
    matters = "a thread that moves between kinds of cores changes speed in the middle of a sample"
    return _finding("hybrid cores", "warning", found, matters, f"taskset --cpu-list {strongest.cpu_list} hwbench run")


def _numa_balancing(inventory: Inventory) -> Finding:
    on, nodes = inventory.tuning.numa_balancing, len(inventory.memory.numa_nodes or ())
    bad = bool(on) and nodes > 1
    return _finding(
        "NUMA balancing",
        None if on is None else "warning" if bad else "good",
        "unknown" if on is None else f"{'on' if on else 'off'}, {nodes} node(s)",
        "the kernel unmaps pages to see who uses them and moves them between nodes while the sample runs",
        "sudo sysctl kernel.numa_balancing=0" if bad else "",
    )


def _zone_reclaim(inventory: Inventory) -> Finding | None:
    mode = inventory.tuning.zone_reclaim
    if not mode:
        return None
    matters = "a full node evicts its page cache although other nodes have free memory"
    return _finding("zone reclaim", "warning", f"mode {mode}", matters, "sudo sysctl vm.zone_reclaim_mode=0")


def _huge_pages(inventory: Inventory) -> Finding:
    mode = inventory.tuning.transparent_huge_pages
    return _finding(
        "transparent huge pages",
        None if mode is None else "advice" if mode == "always" else "good",
        mode or "unknown",
        "with 'always' the kernel compacts memory in the background and at page faults; what counts is the same mode for all runs compared",
        "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled" if mode == "always" else "",
    )


def _samepage(inventory: Inventory) -> Finding | None:
    if not inventory.tuning.kernel_samepage_merging:
        return None
    matters = "the kernel compares and merges pages in the background, and a write to a merged page faults"
    return _finding("same-page merging", "warning", "on", matters, "echo 0 | sudo tee /sys/kernel/mm/ksm/run")


def _swap(inventory: Inventory) -> Finding:
    total, used = inventory.memory.swap_total_bytes, inventory.tuning.swap_used_bytes
    state: State | None = None if total is None or used is None else "warning" if used else "advice" if total else "good"
    return _finding(
        "swap",
        state,
        "unknown" if total is None or used is None else f"{used / 2**20:.0f} MiB of {total / 2**20:.0f} MiB used" if total else "none",
        "a page that comes back from disk costs milliseconds where memory costs nanoseconds",
        "sudo swapoff --all" if total else "",
    )


def _autogroup(inventory: Inventory) -> Finding:
    on = inventory.tuning.autogroup
    return _finding(
        "autogroup",
        None if on is None else "advice" if on else "good",
        "unknown" if on is None else "on" if on else "off",
        "`nice` acts only inside a session while autogroup is on: a niced neighbour in another session gets as much time as you",
        "sudo sysctl kernel.sched_autogroup_enabled=0" if on else "",
    )


def _randomisation(inventory: Inventory) -> Finding:
    mode = inventory.tuning.address_randomisation
    return _finding(
        "address randomisation",
        None if mode is None else "advice" if mode else "good",
        "unknown" if mode is None else f"mode {mode}",
        "every process gets other addresses, hence other cache conflicts: repeat in several processes, or turn it off for one",
        "setarch --addr-no-randomize hwbench run --processes 5" if mode else "",
    )


def _clocksource(inventory: Inventory) -> Finding:
    clock = inventory.tuning.clocksource
    slow = clock is not None and clock not in _GOOD_CLOCKS
    return _finding(
        "clock source",
        None if clock is None else "warning" if slow else "good",
        clock or "unknown",
        "reading a clock outside the CPU takes a microsecond or more and goes through the kernel",
        "cat /sys/devices/system/clocksource/clocksource0/available_clocksource" if slow else "",
    )


def _locked_memory(inventory: Inventory) -> Finding:
    limit = (inventory.tuning.ulimits or {}).get("locked memory")
    low = limit is not None and limit != "unlimited"
    found = "unknown" if limit is None else limit if not low else f"{limit} bytes"
    matters = "RDMA and pinned host buffers are locked in memory; where they can't be, NCCL fails or copies go through a slower path"
    state: State | None = None if limit is None else "advice" if low else "good"
    return _finding("locked memory limit", state, found, matters, "ulimit -l unlimited" if low else "")


def _open_files(inventory: Inventory) -> Finding:
    limit = (inventory.tuning.ulimits or {}).get("open files")
    low = limit is not None and limit.isdecimal() and int(limit) < _OPEN_FILES
    state: State | None = None if limit is None else "warning" if low else "good"
    matters = "data loader workers pass tensors as open files; many ranks and workers run out of them"
    return _finding("open files limit", state, limit or "unknown", matters, "ulimit -n 65536" if low else "")


def _links(inventory: Inventory) -> Finding | None:
    slow = [device for device in inventory.pci.devices or () if device.downtrained]
    if not slow:
        return None
    matters = "copies to and from the device run at the link's speed: reseat the card, or look at slot and firmware settings"
    found = ", ".join(f"{device.address} ({device.class_name or device.class_code}) x{device.link_width}" for device in slow)
    return _finding("PCIe links", "warning", f"below what both ends can do: {found}", matters, f"sudo lspci -vv -s {slow[0].address}")


def _persistence(inventory: Inventory) -> Finding | None:
    off = [device.label for device in _devices(inventory) if device.persistence is False]
    if not off:
        return None
    matters = "the driver unloads when no process uses the GPU, and the next one pays seconds of start-up and loses its clock settings"
    return _finding("GPU persistence", "advice", f"off on {', '.join(off)}", matters, "sudo nvidia-smi --persistence-mode=1")


def _throttling(inventory: Inventory) -> Finding | None:
    idle = {"gpu_idle", "idle", "none"}
    slowed = {device.label: sorted(set(device.throttle_reasons or ()) - idle) for device in _devices(inventory)}
    slowed = {label: reasons for label, reasons in slowed.items() if reasons}
    if not slowed:
        return None
    found = "; ".join(f"{label}: {', '.join(reasons)}" for label, reasons in slowed.items())
    matters = "a GPU that is held back by power or heat runs slower than its clocks say"
    return _finding("GPU throttling", "warning", found, matters, "nvidia-smi --query --display=PERFORMANCE,TEMPERATURE,POWER")


def _devices(inventory: Inventory) -> tuple[Accelerator, ...]:
    return inventory.accelerators.devices if inventory.accelerators else ()


def _finding(check: str, state: State | None, found: str, matters: str, command: str) -> Finding:
    """A finding; no state means that the fact could not be seen, and then nothing is to be changed."""
    kept = command if state in ("advice", "warning") else ""
    return Finding(check=check, state=state or "unknown", found=found, matters=matters, command=kept)


def _expanded(text: str | None) -> list[int]:
    spans = [part.partition("-") for part in (text or "").split(",") if part]
    return [cpu for first, _, last in spans for cpu in range(int(first), int(last or first) + 1)]


CHECKS: Final[tuple[Callable[[Inventory], Finding | None], ...]] = (
    _oversubscription, _pressure, _steal, _quota, _governor, _turbo, _smt, _hybrid, _numa_balancing, _zone_reclaim, _huge_pages, _samepage,
    _swap, _autogroup, _randomisation, _clocksource, _locked_memory, _open_files, _links, _persistence, _throttling,
)  # fmt: skip
