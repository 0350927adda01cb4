"""What this process may really use, beside what the host has: affinity, cpuset, CPU quota, memory limit."""

import os

from hwbench.core.inventory import CgroupLimit, Limits

from ._cgroup import Groups, cpuset, limits_of, read_groups
from ._notes import Notes
from ._parse import as_list, cpu_list, members
from ._sysroot import Sysroot

_STATUS = "/proc/self/status"


def probe_limits(root: Sysroot, online: int | None, total_bytes: int | None, notes: Notes) -> Limits:
    """Host and effective figures. A quota counts as CPUs' worth of time, so that the effective number of CPUs may be a fraction.

    The affinity lies inside the cpuset already (cpuset(7)), so that the cpuset is shown, not needed. Where a limit can't be seen, the
    effective figure is unknown: the host's would be a guess.
    """
    groups = read_groups(root)
    found, lost = limits_of(root, groups)
    affinity = _affinity(root, notes)
    usable = None if online is None or affinity is None else (online & affinity) or None
    quota, memory = _tightest(found, "cpu"), _tightest(found, "memory")
    for fact, limit, resource in (("cpu_quota", quota, "cpu"), ("memory_limit_bytes", memory, "memory")):
        _explain(groups, f"limits.{fact}", limit, lost.get(resource), notes)
    for reason in lost.values():
        notes.gap("limits.cgroup_limits", reason)
    free = {resource: _unlimited(root, groups) and resource not in lost for resource in ("cpu", "memory")}
    return Limits(
        host_cpus=None if online is None else online.bit_count(),
        host_memory_bytes=total_bytes,
        affinity_list=None if affinity is None else as_list(affinity),
        cpuset_list=_set(*cpuset(root, groups, "cpus"), "limits.cpuset_list", notes),
        cpuset_mems=_set(*cpuset(root, groups, "mems"), "limits.cpuset_mems", notes),
        cgroup_version=groups.version,
        cgroup_path=groups.path,
        cpu_quota=quota.value if quota and "cpu" not in lost else None,
        memory_limit_bytes=int(memory.value) if memory and "memory" not in lost else None,
        cgroup_limits=None if lost or not groups.folders else found,
        effective_cpu_list=None if usable is None else as_list(usable),
        effective_cpus=_effective(None if usable is None else usable.bit_count(), quota, free["cpu"], "limits.effective_cpus", notes),
        effective_memory_bytes=_whole(_effective(total_bytes, memory, free["memory"], "limits.effective_memory_bytes", notes)),
    )


def _unlimited(root: Sysroot, groups: Groups) -> bool:
    """Whether "no limit found" means that there is none: a kernel without control groups has neither of the files."""
    return bool(groups.folders) or (root.live and not any(map(root.exists, ("/proc/cgroups", "/proc/self/cgroup"))))


def _explain(groups: Groups, fact: str, limit: CgroupLimit | None, lost: str | None, notes: Notes) -> None:
    if lost or not groups.folders:
        notes.gap(fact, lost or groups.why)
    elif limit:
        notes.source(fact, limit.source)


def _effective(host: float | None, limit: CgroupLimit | None, sure: bool, fact: str, notes: Notes) -> float | None:
    """The host's figure or the limit, whichever is less; None where the limits are not all known."""
    if not sure:
        notes.gap(fact, "the limits of the control groups could not all be read")
        return None
    if host is None:
        notes.gap(fact, "the host's own figure could not be read")
        return None
    return min(host, limit.value) if limit else host


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _affinity(root: Sysroot, notes: Notes) -> int | None:
    """Asked of the kernel on the live machine; a tree may hold the line Cpus_allowed_list of whoever captured it."""
    if root.live:
        notes.source("limits.affinity_list", "sched_getaffinity")
        return members(os.sched_getaffinity(0))
    for line in (root.text(_STATUS) or "").splitlines():
        key, _, value = line.partition(":")
        if key == "Cpus_allowed_list":
            notes.source("limits.affinity_list", f"{_STATUS}: Cpus_allowed_list")
            return cpu_list(value.strip())
    notes.gap("limits.affinity_list", f"{root.why(_STATUS)} (Cpus_allowed_list)")
    return None


def _set(text: str | None, where: str, fact: str, notes: Notes) -> str | None:
    members = cpu_list(text)
    if members is None:
        notes.gap(fact, where)
        return None
    notes.source(fact, where)
    return as_list(members)


def _tightest(limits: tuple[CgroupLimit, ...], resource: str) -> CgroupLimit | None:
    return min((limit for limit in limits if limit.resource == resource), key=lambda limit: limit.value, default=None)
