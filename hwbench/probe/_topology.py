"""Which CPUs are online and which share a core, die, cluster, package, book or drawer.

The kernel's ABI (Documentation/ABI/stable/sysfs-devices-system-cpu): `topology/core_cpus` (`thread_siblings` before 5.2) are the CPUs of
one core, `package_cpus` (`core_siblings`) those of one package. The masks are what counts: ids may be -1 (POWER, s390, RISC-V), repeat
between packages or be equal for different sockets (early ia64). Ids only stand in for a mask that is missing.
"""

from collections.abc import Callable
from typing import NamedTuple

from . import _device_tree
from ._cpuinfo import PATH as CPUINFO
from ._cpuinfo import CpuInfo
from ._notes import some
from ._parse import MAX_CPUS, cpu_list, cpu_mask, each, integer, members
from ._sysroot import Sysroot

CPUS = "/sys/devices/system/cpu"
_MAX_ID = 1 << 32

Key = tuple[int, ...]
KeyOf = Callable[[int], Key | None]


class Groups(NamedTuple):
    """Sets of online CPUs that share something; `masks` None means it could not be seen and `why` says why not."""

    masks: tuple[int, ...] | None
    source: str = ""
    why: str = ""

    def holding(self, cpu: int) -> int | None:
        """The group of one CPU."""
        return next((mask for mask in self.masks or () if mask >> cpu & 1), None)


class Level(NamedTuple):
    """One level of the topology: its mask files, newest name first, and the ids that identify a group where masks are missing."""

    masks: tuple[str, ...]
    ids: tuple[str, ...] = ()


CORE = Level(("core_cpus", "thread_siblings"), ("physical_package_id", "core_id"))
PACKAGE = Level(("package_cpus", "core_siblings"), ("physical_package_id",))
DIE = Level(("die_cpus",), ("physical_package_id", "die_id"))
CLUSTER = Level(("cluster_cpus",))
BOOK = Level(("book_siblings",))
DRAWER = Level(("drawer_siblings",))
_RECORDS = {CORE: (("physical id", "core id"), ("package", "core")), PACKAGE: (("physical id",), ("package",))}


def online_cpus(root: Sysroot, info: CpuInfo | None) -> Groups:
    """One group: the CPUs online, from the kernel's list, else from the CPU folders, /proc/stat or /proc/cpuinfo."""
    listed = cpu_list(root.text(f"{CPUS}/online"))
    if listed:
        return Groups((listed,), f"{CPUS}/online")
    folders = cpu_folders(root)
    if folders:
        return Groups((_folders_online(root, folders),), f"{CPUS}/cpu*/online")
    counted = members(_stat_cpus(root))
    if counted:
        return Groups((counted,), "/proc/stat: cpuN")
    numbers = members(info.records) if info else 0
    if numbers:
        return Groups((numbers,), f"{CPUINFO}: processor")
    return Groups(None, why=f"{root.why(f'{CPUS}/online')}; no {CPUS}/cpuN; no cpuN in /proc/stat; no processor in {CPUINFO}")


def cpu_folders(root: Sysroot) -> tuple[int, ...]:
    """The numbers N of the folders cpuN."""
    names = root.entries(CPUS) or ()
    numbers = (integer(name[3:], 0, MAX_CPUS - 1) for name in names if name.startswith("cpu"))
    return tuple(number for number in numbers if number is not None)


def _folders_online(root: Sysroot, folders: tuple[int, ...]) -> int:
    """CPUs that don't say "0" (the boot CPU often has no `online`); an offline CPU loses its topology folder."""
    up = [cpu for cpu in folders if root.text(f"{CPUS}/cpu{cpu}/online") != "0"]
    described = [cpu for cpu in up if root.exists(f"{CPUS}/cpu{cpu}/topology")]
    return members(described or up)


def _stat_cpus(root: Sysroot) -> list[int]:
    words = (line.split(" ", 1)[0] for line in (root.text("/proc/stat") or "").splitlines() if line.startswith("cpu"))
    numbers = (integer(word[3:], 0, MAX_CPUS - 1) for word in words)
    return [number for number in numbers if number is not None]


def level(root: Sysroot, online: int, which: Level) -> Groups:
    """The groups of one level from the topology folders."""
    source = f"{CPUS}/cpu*/topology/{which.masks[0]}"
    groups: set[int] = set()
    left: list[int] = []
    for cpu in each(online):
        mask = _mask(root, cpu, which.masks)
        if mask is None:
            left.append(cpu)
        else:
            groups.add(mask & online)
    left = [cpu for cpu in left if not any(mask >> cpu & 1 for mask in groups)]
    if left:
        more, left = _by_ids(groups, left, _ids(root, which.ids))
        groups |= more
        source += f", {', '.join(which.ids)}"
    if left:
        return Groups(None, why=_absent(root, online, left, which))
    if sum(mask.bit_count() for mask in groups) != online.bit_count():
        return Groups(None, why=f"{source}: the masks contradict each other")
    return Groups(tuple(sorted(groups)), source)


def _mask(root: Sysroot, cpu: int, names: tuple[str, ...]) -> int | None:
    """The first mask that reads and holds its own CPU."""
    folder = f"{CPUS}/cpu{cpu}/topology"
    for name in names:
        for mask in (cpu_mask(root.text(f"{folder}/{name}")), cpu_list(root.text(f"{folder}/{name}_list"))):
            if mask is not None and mask >> cpu & 1:
                return mask
    return None


def _ids(root: Sysroot, names: tuple[str, ...]) -> KeyOf:
    def key(cpu: int) -> Key | None:
        found = tuple(integer(root.text(f"{CPUS}/cpu{cpu}/topology/{name}"), 0, _MAX_ID) for name in names)
        return tuple(value for value in found if value is not None) if found and None not in found else None

    return key


def _by_ids(groups: set[int], left: list[int], key_of: KeyOf) -> tuple[set[int], list[int]]:
    """New groups for CPUs without a mask, and those that stay without one.

    An id is trusted only where it tells the known groups apart, and where no group that left this CPU out has the same one.
    """
    keys = {mask: key_of(next(each(mask))) for mask in groups}
    if None in keys.values() or len(set(keys.values())) < len(keys):
        return set(), left
    fresh: dict[Key, int] = {}
    lost: list[int] = []
    for cpu in left:
        key = key_of(cpu)
        if key is None or key in keys.values():
            lost.append(cpu)
        else:
            fresh[key] = fresh.get(key, 0) | 1 << cpu
    return set(fresh.values()), lost


def _absent(root: Sysroot, online: int, left: list[int], which: Level) -> str:
    names = [f"{name}{end}" for name in which.masks for end in ("", "_list")]
    if len(left) == online.bit_count() and not root.exists(f"{CPUS}/cpu{left[0]}/topology"):
        return f"{CPUS}/cpu*/topology: missing"
    return some([f"{CPUS}/cpu{cpu}/topology: no usable {', '.join(names)}" for cpu in left])


def from_cpuinfo(info: CpuInfo | None, online: int, which: Level) -> Groups:
    """The groups of cores or packages from /proc/cpuinfo; none where its numbers contradict its own "cpu cores"."""
    for keys in _RECORDS[which]:
        groups: dict[Key, int] = {}
        for cpu in each(online):
            key = info.numbers(cpu, *keys) if info else None
            if key is None:
                break
            groups[key] = groups.get(key, 0) | 1 << cpu
        else:
            if which is CORE and not _counts_agree(info, groups):
                return Groups(None, why=f"{CPUINFO}: 'core id' contradicts 'cpu cores'")
            return Groups(tuple(sorted(groups.values())), f"{CPUINFO}: {', '.join(keys)}")
    return Groups(None, why=f"{CPUINFO}: tells no {' or '.join(keys[-1] for keys in _RECORDS[which])} for every CPU")


def _counts_agree(info: CpuInfo | None, groups: dict[Key, int]) -> bool:
    """AMD packages of two nodes repeat core ids in each: then there are fewer distinct ids than "cpu cores" says."""
    for package in {key[0] for key in groups}:
        mine = [mask for key, mask in groups.items() if key[0] == package]
        told = info.numbers(next(each(mine[0])), "cpu cores") if info else None
        if told is not None and len(mine) < told[0]:
            return False
    return True


def cores_and_packages(root: Sysroot, online: int, info: CpuInfo | None) -> tuple[Groups, Groups]:
    """Cores and packages, from sysfs, else the device tree (cores of POWER), else /proc/cpuinfo. One core is in one package."""
    cores = _first(level(root, online, CORE), online, lambda: _device_tree.cores(root, online), lambda: from_cpuinfo(info, online, CORE))
    packages = _first(level(root, online, PACKAGE), online, lambda: from_cpuinfo(info, online, PACKAGE))
    if packages.masks is None and cores.masks == (online,):
        packages = Groups((online,), "there is one core")
    return cores, packages


def _first(found: Groups, online: int, *others: Callable[[], Groups | tuple[tuple[int, ...] | None, str, str]]) -> Groups:
    """Another source is asked only where the topology folder is missing altogether, never to paper over a part that is."""
    if found.masks is not None:
        return found
    if online.bit_count() == 1:
        return Groups((online,), "there is one CPU")
    if not found.why.endswith("topology: missing"):
        return found
    reasons = [found.why]
    for other in others:
        groups = Groups(*other())
        if groups.masks is not None:
            return groups
        reasons.append(groups.why)
    return Groups(None, why="; ".join(reason for reason in reasons if reason))
