"""Which CPUs are online and which share a core, die, cluster, package, book or drawer.

The kernel's ABI (Documentation/ABI/stable/sysfs-devices-system-cpu): `topology/core_cpus` (`thread_siblings` before 5.2) are the CPUs of
one core, `package_cpus` (`core_siblings`) those of one package. The masks are what counts: ids may be -1 (POWER, s390, RISC-V), repeat
between books or be equal for different sockets (early ia64). Ids only stand in for a mask that is missing, or that x86 cut short.
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
    """One level of the topology: its mask files, newest name first, and the ids that identify a group where masks are missing.

    `within` are ids that this machine may have or not, inside which those of `ids` are counted anew.
    """

    masks: tuple[str, ...]
    ids: tuple[str, ...] = ()
    within: tuple[str, ...] = ()


CORE = Level(("core_cpus", "thread_siblings"), ("physical_package_id", "core_id"), ("drawer_id", "book_id", "die_id", "cluster_id"))
PACKAGE = Level(("package_cpus", "core_siblings"), ("physical_package_id",), ("drawer_id", "book_id"))
DIE = Level(("die_cpus",), ("physical_package_id", "die_id"))
CLUSTER = Level(("cluster_cpus",))
BOOK = Level(("book_siblings",))
DRAWER = Level(("drawer_siblings",))
# Keys of /proc/cpuinfo that identify a core or package: s390 counts packages within books, others over the machine.
_RECORDS = {
    CORE: (("drawer id", "book id", "physical id", "core id"), ("physical id", "core id"), ("package", "core")),
    PACKAGE: (("drawer id", "book id", "physical id"), ("physical id",), ("package",)),
}


def online_cpus(root: Sysroot, info: CpuInfo | None) -> Groups:
    """One group: the CPUs online, from the kernel's list, else from the CPU folders, /proc/stat or /proc/cpuinfo."""
    listed = cpu_list(root.text(f"{CPUS}/online"))
    if listed:
        return Groups((listed,), f"{CPUS}/online")
    folders = cpu_folders(root)
    if folders:
        return Groups((_folders_online(root, folders, info),), f"{CPUS}/cpu*/online")
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


def _folders_online(root: Sysroot, folders: tuple[int, ...], info: CpuInfo | None) -> int:
    """CPUs that don't say "0" (the boot CPU often has no `online`). An offline CPU loses its topology folder and its record in cpuinfo."""
    down = cpu_list(root.text(f"{CPUS}/offline")) or 0
    up = [cpu for cpu in folders if not down >> cpu & 1 and root.text(f"{CPUS}/cpu{cpu}/online") != "0"]
    described = [cpu for cpu in up if root.exists(f"{CPUS}/cpu{cpu}/topology")]
    return members([*described, *(cpu for cpu in up if info and cpu in info.records)] if described else up)


def _stat_cpus(root: Sysroot) -> list[int]:
    words = (line.split(" ", 1)[0] for line in (root.text("/proc/stat") or "").splitlines() if line.startswith("cpu"))
    numbers = (integer(word[3:], 0, MAX_CPUS - 1) for word in words)
    return [number for number in numbers if number is not None]


def level(root: Sysroot, online: int, which: Level, info: CpuInfo | None = None) -> Groups:
    """The groups of one level from the topology folders. Where there are ids alone, /proc/cpuinfo must not count otherwise."""
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
        key_of = _ids(root, online, which)
        more, left = _by_ids(groups, left, key_of)
        if not groups and not _counts_agree(info, which, {key: mask for mask in more if (key := key_of(next(each(mask))))}):
            return Groups(None, why=f"{CPUS}/cpu*/topology: {', '.join(which.ids)} contradict the counts of {CPUINFO}")
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


def _ids(root: Sysroot, online: int, which: Level) -> KeyOf:
    """What identifies a CPU's group: all of its ids, and those of `within` that any CPU has; None where one of them is missing or -1."""
    told = tuple(name for name in which.within if any(_id(root, cpu, name) is not None for cpu in each(online)))
    names = (*told, *which.ids) if which.ids else ()

    def key(cpu: int) -> Key | None:
        found = tuple(_id(root, cpu, name) for name in names)
        return tuple(value for value in found if value is not None) if found and None not in found else None

    return key


def _id(root: Sysroot, cpu: int, name: str) -> int | None:
    return integer(root.text(f"{CPUS}/cpu{cpu}/topology/{name}"), 0, _MAX_ID)


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
    """The groups of cores or packages from /proc/cpuinfo; none where its numbers contradict its own counts."""
    if info and all(info.numbers(cpu, "siblings") == (1,) for cpu in each(online)):
        return Groups(tuple(1 << cpu for cpu in each(online)), f"{CPUINFO}: siblings")
    for keys in _RECORDS[which]:
        groups: dict[Key, int] = {}
        for cpu in each(online):
            key = info.numbers(cpu, *keys) if info else None
            if key is None:
                break
            groups[key] = groups.get(key, 0) | 1 << cpu
        else:
            if not _counts_agree(info, which, groups):
                return Groups(None, why=f"{CPUINFO}: '{keys[-1]}' contradicts 'cpu cores' or 'siblings'")
            return Groups(tuple(sorted(groups.values())), f"{CPUINFO}: {', '.join(keys)}")
    return Groups(None, why=f"{CPUINFO}: tells no {' or '.join(dict.fromkeys(keys[-1] for keys in _RECORDS[which]))} for every CPU")


def _counts_agree(info: CpuInfo | None, which: Level, groups: dict[Key, int]) -> bool:
    """Whether ids tell apart as much as /proc/cpuinfo counts: cores of a package ("cpu cores"), CPUs of a package ("siblings").

    AMD packages of two nodes repeat core ids in each, early ia64 kernels repeat the ids of packages.
    """
    if info is None:
        return True
    if which is PACKAGE:
        told = {mask: info.numbers(next(each(mask)), "siblings") for mask in groups.values()}
        return all(count is None or mask.bit_count() <= count[0] for mask, count in told.items())
    for package in {key[:-1] for key in groups}:
        mine = [mask for key, mask in groups.items() if key[:-1] == package]
        cores, siblings = (info.numbers(next(each(mine[0])), key) for key in ("cpu cores", "siblings"))
        if (cores is not None and len(mine) < cores[0]) or (siblings is not None and sum(map(int.bit_count, mine)) > siblings[0]):
            return False
    return True


def _joined(root: Sysroot, packages: Groups, cores: Groups, info: CpuInfo | None) -> Groups:
    """Packages whose masks x86 cut short, put together by their id.

    Kernels before 3.18 ended a package's mask where its CPUs lie in several NUMA nodes (Intel's Cluster on Die; `topology_sane` of
    arch/x86/kernel/smpboot.c), while the id that they make the masks from stayed the same. Where cores of equal package have equal
    core ids too, ids repeat (early ia64) and the masks stand.
    """
    by_id: dict[int, list[int]] = {}
    for mask in packages.masks or ():
        told = next((value for cpu in each(mask) if (value := _id(root, cpu, "physical_package_id")) is not None), None)
        if told is not None:
            by_id.setdefault(told, []).append(mask)
    differ = {tuple(masks): _core_ids_differ(root, masks, cores) for masks in by_id.values() if len(masks) > 1}
    if False in differ.values() or not differ or (info is not None and not info.first("flags")):  # x86 alone has a line "flags"
        return packages
    if info is None or None in differ.values():
        lacking = root.why(CPUINFO) if info is None else f"{CPUS}/cpu*/topology/core_id: not of every core"
        return Groups(None, why=f"{packages.source}: several with the same physical_package_id; {lacking}")
    whole = [members(cpu for mask in masks for cpu in each(mask)) for masks in differ]
    left = [mask for mask in packages.masks or () if not any(mask & joined for joined in whole)]
    return Groups(tuple(sorted([*whole, *left])), f"{packages.source}, physical_package_id")


def _core_ids_differ(root: Sysroot, packages: list[int], cores: Groups) -> bool | None:
    """Whether all cores of these masks have different ids; None where not every core tells its own."""
    mine = [core for core in cores.masks or () if any(core & mask for mask in packages)]
    ids = [next((value for cpu in each(core) if (value := _id(root, cpu, "core_id")) is not None), None) for core in mine]
    return None if None in ids or not ids else len(set(ids)) == len(ids)


def cores_and_packages(root: Sysroot, online: int, info: CpuInfo | None) -> tuple[Groups, Groups]:
    """Cores and packages, from sysfs, else the device tree (cores of POWER), else /proc/cpuinfo. One core is in one package."""
    seen = level(root, online, CORE, info), level(root, online, PACKAGE, info)
    cores = _first(seen[0], online, lambda: _device_tree.cores(root, online), lambda: from_cpuinfo(info, online, CORE))
    packages = _joined(root, _first(seen[1], online, lambda: from_cpuinfo(info, online, PACKAGE)), cores, info)
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
