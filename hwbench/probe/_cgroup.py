"""Limits of control groups, version 1 and 2, collected from the process's own group up to the root of what it can see.

Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/: a group may use no more than any of its ancestors. `/proc/self/cgroup` names the
group in each hierarchy and `/proc/self/mountinfo` where the hierarchy is mounted, with the group that the mount's root is: without a
control group namespace a container sees its own group as the root of what is mounted. Both paths are relative to the namespace
(cgroup_namespaces(7)), so that one with ".." in it leads through groups whose names can't be known.
"""

import math
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from hwbench.core.inventory import CgroupLimit

from ._parse import integer
from ._sysroot import Sysroot

_V1_UNLIMITED_BYTES = 1 << 60  # "no limit" is PAGE_COUNTER_MAX pages, just below 2**63 bytes
_MAX_DEPTH = 64
_MOUNTS_BYTES = 1 << 24  # a machine with thousands of containers has as many lines
_MAX_BYTES = (1 << 63) - 1
_HIERARCHICAL = re.compile(r"^hierarchical_memory_limit ([0-9]+)$", re.MULTILINE)
_OCTAL = re.compile(r"\\([0-7]{3})")
Resource = Literal["cpu", "memory", "swap", "pids"]
_V2_FILES: tuple[tuple[str, Resource], ...] = (
    ("cpu.max", "cpu"), ("memory.max", "memory"), ("memory.high", "memory"), ("memory.swap.max", "swap"), ("pids.max", "pids"),
)  # fmt: skip
_V2_ALWAYS = ("cpu.max", "memory.max", "pids.max")


class Mount(NamedTuple):
    """One mounted hierarchy: where, which group its root is, and which controllers (empty for version 2)."""

    point: str
    root: str
    controllers: frozenset[str]


class Groups(NamedTuple):
    """Folders of the process's group and its visible ancestors, nearest first, for version 2 ('') and each version 1 controller."""

    version: Literal["1", "2", "1+2"] | None
    path: str | None
    folders: dict[str, tuple[str, ...]]
    why: str


def read_groups(root: Sysroot) -> Groups:
    """Where the process stands in every hierarchy."""
    text = root.text("/proc/self/cgroup")
    mounts = _mounts(root)
    if text is None:
        return _from_cpuset(root, mounts)
    places = {controller: path for names, path in _memberships(text) for controller in names}
    if not mounts:
        return Groups(None, _shown(places), {}, f"{root.why('/proc/self/mountinfo')}; {root.why('/proc/mounts')}")
    folders = {name: chain for name, path in places.items() if (chain := _chain(root, mounts, name, path))}
    limited = {name for name in folders if name and name in ("cpu", "memory", "cpuset", "pids")}
    two = "" in folders
    version: Literal["1", "2", "1+2"] | None = "1+2" if limited and two else "1" if limited else "2" if two else None
    why = "" if folders else "no mounted control group hierarchy holds this process"
    return Groups(version, _shown(places), folders, why)


def _shown(places: dict[str, str]) -> str | None:
    """The most telling path: in mixed set-ups the hierarchy that limits is not the one that names the root."""
    return max((places[name] for name in ("", "memory", "cpu") if name in places), key=len, default=None)


def _from_cpuset(root: Sysroot, mounts: tuple[Mount, ...]) -> Groups:
    """/proc/self/cpuset alone, as some captured trees have it: the path in the cpuset's (or version 2's) hierarchy."""
    path = root.text("/proc/self/cpuset")
    why = f"{root.why('/proc/self/cgroup')}"
    if not path or not path.startswith("/"):
        return Groups(None, None, {}, why)
    folders = {}
    for name in ("", "cpuset"):
        chain = _chain(root, mounts, name, path)
        if chain:
            folders[name] = chain
    return Groups("2" if "" in folders else "1" if folders else None, path, folders, why)


def _memberships(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """(controllers, path) of lines like '4:cpu,cpuacct:/docker/1234' and '0::/user.slice'."""
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        names, colon, path = rest.partition(":")
        if colon and path.startswith("/"):
            yield tuple(names.split(",")), path


def _mounts(root: Sysroot) -> tuple[Mount, ...]:
    """Mounted hierarchies; of several mounts on one point the last, which hides the others."""
    text = root.text("/proc/self/mountinfo", _MOUNTS_BYTES)
    if text is not None:
        found = [_from_mountinfo(line) for line in text.splitlines()]
    else:
        lines = (root.text("/proc/mounts", _MOUNTS_BYTES) or root.text("/proc/self/mounts", _MOUNTS_BYTES) or "").splitlines()
        found = [_from_mounts(line) for line in lines]
    return tuple({mount.point: mount for mount in found if mount}.values())


def _from_mountinfo(line: str) -> Mount | None:
    """proc(5): id parent major:minor root point options [tags] - type source super-options."""
    left, dash, right = line.partition(" - ")
    before, after = left.split(), right.split()
    if not dash or len(before) < 6 or len(after) < 3:
        return None
    return _mount(after[0], _plain(before[3]), _plain(before[4]), after[2])


def _from_mounts(line: str) -> Mount | None:
    words = line.split()
    return _mount(words[2], "/", _plain(words[1]), words[3]) if len(words) >= 4 else None


def _mount(kind: str, top: str, point: str, options: str) -> Mount | None:
    if kind == "cgroup2":
        return Mount(point, top, frozenset())
    if kind not in ("cgroup", "cpuset"):
        return None
    names = frozenset(options.split(",")) | ({"cpuset"} if kind == "cpuset" else set())
    return Mount(point, top, names)


def _plain(text: str) -> str:
    """Mount tables write blanks and backslashes as octal escapes."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def _chain(root: Sysroot, mounts: tuple[Mount, ...], controller: str, path: str) -> tuple[str, ...]:
    """The group's folder and its visible ancestors, nearest first, in the mount of this controller that shows most of them."""
    fitting = (mount for mount in mounts if (controller in mount.controllers if controller else not mount.controllers))
    return max((_folders(root, mount, path) for mount in fitting), key=len, default=())


def _folders(root: Sysroot, mount: Mount, path: str) -> tuple[str, ...]:
    """Those folders in one mount that exist; none where the group is not known to lie below the mount's root."""
    top = "" if mount.root == "/" else mount.root
    if (path != mount.root and not path.startswith(f"{top}/")) or ".." in f"{mount.root}/{path}".split("/"):
        return ()
    parts = [part for part in path[len(top) :].split("/") if part][:_MAX_DEPTH]
    folders = ["/".join([mount.point, *parts[:depth]]) for depth in range(len(parts), -1, -1)]
    return tuple(folder for folder in folders if root.exists(folder))


def limits_of(root: Sysroot, groups: Groups) -> tuple[tuple[CgroupLimit, ...], dict[str, str]]:
    """Every limit that is set, nearest group first; and by resource, which file of a group that must have one could not be read."""
    found: list[CgroupLimit] = []
    lost: dict[str, str] = {}
    for name, folders in groups.folders.items():
        for folder in folders:
            readings = _version2(root, folder) if name == "" else _version1(root, name, folder)
            for resource, value, path in readings:
                if value is None:
                    lost.setdefault(resource, root.why(path))
                elif value < math.inf:
                    found.append(CgroupLimit(resource=resource, value=value, source=path))
    return tuple(found), lost


Limit = tuple[Resource, float | None, str]
"""A resource, how much of it (infinity for "no limit", None for what can't be read or is junk) and the file."""


def _version2(root: Sysroot, folder: str) -> Iterator[Limit]:
    """The limits that a group has files for: those of the controllers enabled in it. The root of all groups has none."""
    enabled = (root.text(f"{folder}/cgroup.controllers") or "").split()
    is_root = not any(root.exists(f"{folder}/{name}") for name in ("cgroup.type", "cgroup.events", "cgroup.freeze"))
    for file, resource in _V2_FILES:
        path = f"{folder}/{file}"
        text = root.text(path)
        if text is not None or (not is_root and file.split(".")[0] in enabled and file in _V2_ALWAYS):
            yield resource, _v2_quota(text) if resource == "cpu" else _amount(text), path


def _version1(root: Sysroot, controller: str, folder: str) -> Iterator[Limit]:
    """A kernel without CONFIG_CFS_BANDWIDTH has neither file of the quota; one file alone is a loss.

    `hierarchical_memory_limit` is the tightest limit up to the real root, groups outside of what is mounted included.
    """
    quota, period = f"{folder}/cpu.cfs_quota_us", f"{folder}/cpu.cfs_period_us"
    if controller == "cpu" and (root.exists(quota) or root.exists(period)):
        values = integer(root.text(quota), -1), integer(root.text(period), 1)
        yield "cpu", math.inf if values[0] == -1 else _quota(*values), period if values[1] is None else quota
    if controller == "memory":
        path = f"{folder}/memory.limit_in_bytes"
        yield "memory", _amount(root.text(path)), path
        path = f"{folder}/memory.stat"
        match = _HIERARCHICAL.search(root.text(path) or "")
        yield "memory", _amount(match[1]) if match else None, path
    if controller == "pids" and (root.exists(f"{folder}/pids.max") or root.exists(f"{folder}/pids.current")):  # the root has neither
        path = f"{folder}/pids.max"
        yield "pids", _amount(root.text(path)), path


def _amount(text: str | None) -> float | None:
    """Bytes or processes; "max", or the largest number that version 1 can hold, is no limit."""
    if text == "max":
        return math.inf
    value = integer(text, 0, _MAX_BYTES)
    return None if value is None else float(value) if value <= _V1_UNLIMITED_BYTES else math.inf


def _v2_quota(text: str | None) -> float | None:
    """CPUs' worth of 'QUOTA PERIOD' in microseconds; 'max PERIOD' is no limit."""
    words = (text or "").split()
    if len(words) != 2:
        return None
    return math.inf if words[0] == "max" else _quota(integer(words[0], 1), integer(words[1], 1))


def _quota(quota_us: int | None, period_us: int | None) -> float | None:
    return None if quota_us is None or period_us is None else quota_us / period_us


def cpuset(root: Sysroot, groups: Groups, what: Literal["cpus", "mems"]) -> tuple[str | None, str]:
    """The effective set of CPUs or memory nodes as text, and the file that says so (or why there is none).

    In version 2 a group without the cpuset controller has the set of its nearest ancestor with it. In version 1 every group has one.
    """
    for folder in groups.folders.get("", ()):
        path = f"{folder}/cpuset.{what}.effective"
        text = root.text(path)
        if text is not None:
            return text, path
        if "cpuset" in (root.text(f"{folder}/cgroup.controllers") or "cpuset").split():
            break
    for folder in groups.folders.get("cpuset", ())[:1]:
        for path in (f"{folder}/cpuset.effective_{what}", f"{folder}/cpuset.{what}", f"{folder}/{what}"):
            text = root.text(path)
            if text is not None:
                return text, path
    near = next(iter(groups.folders.get("cpuset") or groups.folders.get("") or ("no control group",)))
    return None, f"{near}: no cpuset.{what}.effective, cpuset.effective_{what} or cpuset.{what}"
