"""Caches of the online CPUs with the number of instances, from sysfs (`cpuN/cache/indexM`) or POWER's device tree.

An instance is a distinct set of CPUs (`shared_cpu_map`) at one level and kind, so a cache that is split between groups of cores (AMD's L3
per core complex) counts as often as it is there. Where one file of one CPU is missing the whole list is unknown: a list with one
instance less would be wrong, not incomplete. A level whose size the kernel itself does not know (ARM and RISC-V have it from firmware,
which often tells that of the first level only) is left out, and a gap says so.
"""

from collections.abc import Callable
from typing import NamedTuple, get_args

from hwbench.core.inventory import Cache, CacheKind

from . import _device_tree
from ._notes import Notes, some
from ._parse import cpu_list, cpu_mask, each, integer, members, size_bytes
from ._sysroot import Sysroot
from ._topology import CPUS, Groups

_KINDS: dict[str, CacheKind] = {kind.capitalize(): kind for kind in get_args(CacheKind)}
_MAX_LEVEL = 9


class Instance(NamedTuple):
    """One cache: `path` is the folder that told of it, '' for the device tree."""

    level: int
    kind: CacheKind
    cpus: int
    size_bytes: int
    path: str = ""


def read_instances(root: Sysroot, online: int, cores: Groups, notes: Notes) -> tuple[Instance, ...] | None:
    """Every cache of the online CPUs; None, with a gap, where any of it could not be seen."""
    indexes = {cpu: _indexes(root, cpu) for cpu in each(online)}
    if not any(indexes.values()):
        told, lost = _device_tree.caches(root, online, cores.masks or ())
        lost = _device_tree.losses(root) + lost
        if lost or not told:
            notes.gap("cpu.caches", some(lost) or _nowhere(root, online))
            return None
        notes.source("cpu.caches", f"{_device_tree.CPUS}: d-cache-size, i-cache-size, l2-cache")
        return tuple(Instance(cache.level, cache.kind, cache.cpus, cache.size_bytes) for cache in told)
    problems = [f"{CPUS}/cpu{cpu}/cache: no index* folders" for cpu, names in indexes.items() if not names]
    instances = _collect(root, indexes, cores, notes, problems.append)
    if problems or not instances:
        notes.gap("cpu.caches", some(problems) or f"{CPUS}/cpu*/cache/index*/size: missing or zero everywhere")
        return None
    notes.source("cpu.caches", f"{CPUS}/cpu*/cache/index*/{{level,type,size,shared_cpu_map}}")
    return instances


def _nowhere(root: Sysroot, online: int) -> str:
    """Why there are no caches; sparc64 tells sizes (arch/sparc/kernel/sysfs.c), but threads of a core may share a cache or not."""
    sizes = next((path for cpu in each(online) if root.exists(path := f"{CPUS}/cpu{cpu}/l1_dcache_size")), None)
    reason = f"{CPUS}/cpu*/cache/index*: missing"
    return f"{reason}; {sizes} tells a size, but nothing tells which CPUs share a cache" if sizes else reason


def _indexes(root: Sysroot, cpu: int) -> tuple[str, ...]:
    return tuple(name for name in root.entries(f"{CPUS}/cpu{cpu}/cache") or () if name.startswith("index"))


def _collect(
    root: Sysroot, indexes: dict[int, tuple[str, ...]], cores: Groups, notes: Notes, problem: Callable[[str], None]
) -> tuple[Instance, ...]:
    online = members(indexes)
    sizes: dict[tuple[int, CacheKind, int], tuple[int | None, str]] = {}
    for cpu, names in indexes.items():
        for name in names:
            folder = f"{CPUS}/cpu{cpu}/cache/{name}"
            key = _identity(root, folder, cpu, online, cores, problem)
            if key is not None and (key not in sizes or sizes[key][0] is None):
                sizes[key] = (size_bytes(root.text(f"{folder}/size")), folder)
    known = {key[:2] for key, (size, _) in sizes.items() if size is not None}
    for (level, kind, _), (size, folder) in sizes.items():
        if size is None and (level, kind) not in known and _untold(root, folder):
            notes.gap("cpu.caches.size_bytes", f"{folder}: the kernel knows no size of level {level} ({kind})")
        elif size is None:
            problem(f"{root.why(f'{folder}/size')} or junk")
    return tuple(Instance(*key, size, folder) for key, (size, folder) in sizes.items() if size is not None)


def _untold(root: Sysroot, folder: str) -> bool:
    """Whether the kernel does not know a size: it says 0, or shows neither size nor geometry (drivers/base/cacheinfo.c hides those)."""
    text = root.text(f"{folder}/size")
    geometry = ("number_of_sets", "ways_of_associativity", "coherency_line_size")
    return text in ("0", "0K") if text is not None else not any(root.exists(f"{folder}/{name}") for name in geometry)


def _identity(
    root: Sysroot, folder: str, cpu: int, online: int, cores: Groups, problem: Callable[[str], None]
) -> tuple[int, CacheKind, int] | None:
    """Level, kind and the online CPUs that share it; None after naming what is wrong."""
    level = integer(root.text(f"{folder}/level"), 1, _MAX_LEVEL)
    kind = _KINDS.get(root.text(f"{folder}/type") or "")
    cpus = _sharers(root, folder, cpu, cores)
    for value, name in ((level, "level"), (kind, "type"), (cpus, "shared_cpu_map")):
        if value is None:
            problem(f"{root.why(f'{folder}/{name}')} or junk" + (" (shared_cpu_list too)" if name == "shared_cpu_map" else ""))
    return None if level is None or kind is None or cpus is None else (level, kind, cpus & online)


def _sharers(root: Sysroot, folder: str, cpu: int, cores: Groups) -> int | None:
    """The CPUs that share a cache. An empty map, as early ia64 kernels give, means the CPU's own core."""
    mask = cpu_mask(root.text(f"{folder}/shared_cpu_map"))
    if mask is None:
        mask = cpu_list(root.text(f"{folder}/shared_cpu_list"))
    if mask == 0:
        return cores.holding(cpu)
    return mask if mask is not None and mask >> cpu & 1 else None


def summary(root: Sysroot, instances: tuple[Instance, ...], notes: Notes) -> tuple[Cache, ...]:
    """One row for each level, kind and size."""
    rows: dict[tuple[int, CacheKind, int], list[Instance]] = {}
    for instance in instances:
        rows.setdefault((instance.level, instance.kind, instance.size_bytes), []).append(instance)
    return tuple(_row(root, rows[key], notes) for key in sorted(rows))


def _row(root: Sysroot, instances: list[Instance], notes: Notes) -> Cache:
    first = instances[0]
    sharing = sorted({instance.cpus.bit_count() for instance in instances})
    return Cache(
        level=first.level,
        kind=first.kind,
        size_bytes=first.size_bytes,
        instances=len(instances),
        cpus_per_instance=tuple(sharing),
        line_bytes=_detail(root, first, "coherency_line_size", "line_bytes", notes),
        ways=_detail(root, first, "ways_of_associativity", "ways", notes),
    )


def _detail(root: Sysroot, instance: Instance, name: str, fact: str, notes: Notes) -> int | None:
    if not instance.path:
        return None
    value = integer(root.text(f"{instance.path}/{name}"), 1, 1 << 20)
    if value is None:
        notes.gap(f"cpu.caches.{fact}", f"{root.why(f'{instance.path}/{name}')} or zero")
    return value
