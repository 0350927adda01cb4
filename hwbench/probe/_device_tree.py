"""Cores and caches of POWER machines from the open-firmware device tree, for kernels that show no topology or no caches in sysfs.

Sources: IEEE 1275 PowerPC binding and the Linux on Power Architecture Reference: a `cpu` node lists its hardware threads in
`ibm,ppc-interrupt-server#s`, its first-level caches as `d-cache-size` and `i-cache-size`, and the next level by the phandle `l2-cache`;
a `cache` node, beside the `cpu` nodes or inside of one, goes on with the same properties. `cache-unified` marks one cache for both.
Numbers are big-endian 32-bit cells. Where sysfs links a CPU to its node (`of_node`), no number needs to be compared.
"""

import struct
from typing import NamedTuple

from hwbench.core.inventory import CacheKind

from ._notes import some
from ._parse import each, integer, members
from ._sysroot import Sysroot

CPUS = "/proc/device-tree/cpus"
_SYSFS = "/sys/devices/system/cpu"
_MAX_LEVEL = 5
_NEEDED = (
    "device_type", "ibm,ppc-interrupt-server#s", "reg", "d-cache-size", "i-cache-size", "cache-size", "l2-cache", "next-level-cache",
    "cache-unified", "ibm,phandle", "phandle", "linux,phandle",
)  # fmt: skip


class Found(NamedTuple):
    """One cache: level, kind, size and the online CPUs that share it."""

    level: int
    kind: CacheKind
    size_bytes: int
    cpus: int


def losses(root: Sysroot) -> list[str]:
    """Properties that one node lacks and another of its kind (the name before the @) has: files that were lost, not hardware."""
    kinds: dict[str, list[str]] = {}
    for name in root.entries(CPUS) or ():
        kinds.setdefault(name.partition("@")[0], []).append(name)
    found = []
    for names in kinds.values():
        for key in _NEEDED:
            lacking = [name for name in names if not root.exists(f"{CPUS}/{name}/{key}")]
            found += [f"{CPUS}/{name}/{key}: missing" for name in lacking] if len(lacking) < len(names) else []
    return found


def cores(root: Sysroot, online: int) -> tuple[tuple[int, ...] | None, str, str]:
    """Sets of online CPUs by core, the source, and why not."""
    lost = [loss for loss in losses(root) if loss.split("/")[-1].partition(":")[0] in _NEEDED[:2]]
    if lost:
        return None, "", some(lost)
    sets = [threads & online for _, threads in _cpu_nodes(root, online)]
    return _checked(tuple(mask for mask in sets if mask), online)


def _checked(masks: tuple[int, ...], online: int) -> tuple[tuple[int, ...] | None, str, str]:
    if members(cpu for mask in masks for cpu in each(mask)) != online or sum(mask.bit_count() for mask in masks) != online.bit_count():
        return None, "", f"{CPUS}: lists no hardware threads for every CPU"
    return masks, f"{CPUS}/*/ibm,ppc-interrupt-server#s", ""


def caches(root: Sysroot, online: int, known: tuple[int, ...]) -> tuple[tuple[Found, ...], list[str]]:
    """Every cache that an online CPU has (none where the tree tells none), and what is lost of the tree. `known` are the cores, if known.

    A node that names one thread of a core by its number alone speaks of the whole core.
    """
    by_handle = {handle: name for name in _nodes(root) for handle in _handles(root, name)}
    found: dict[tuple[int, str, CacheKind], Found] = {}
    lost: list[str] = []
    cores = [
        (node, members(cpu for core in known or (threads,) if core & threads for cpu in each(core)))
        for node, threads in _cpu_nodes(root, online)
    ]
    for node, threads in cores:
        level, name = 1, node
        while name and level <= _MAX_LEVEL:
            for kind, size in _sizes(root, name):
                before = found.get((level, name, kind))
                found[level, name, kind] = Found(level, kind, size, (before.cpus if before else 0) | threads & online)
            after = _cells(root, name, "l2-cache") or _cells(root, name, "next-level-cache")
            if after and after[0] not in by_handle:
                lost.append(f"{CPUS}/{name}: no node has the phandle {after[0]:#x} of its next cache")
            level, name = level + 1, by_handle.get(after[0], "") if after else ""
    if found and _checked(tuple(mask for _, mask in cores if mask), online)[0] is None:
        lost.append(f"{CPUS}: not every CPU has a node")
    return tuple(cache for cache in found.values() if cache.cpus), lost


def _nodes(root: Sysroot) -> list[str]:
    """Nodes below `cpus`, and those inside of them, as Macintoshes have caches (the other names there are properties)."""
    names = list(root.entries(CPUS) or ())
    inner = [f"{name}/{within}" for name in names for within in root.entries(f"{CPUS}/{name}") or () if "cache" in within]
    return names + [name for name in inner if root.entries(f"{CPUS}/{name}") is not None]


def _cpu_nodes(root: Sysroot, online: int) -> list[tuple[str, int]]:
    """Each core's node and the logical CPUs that its hardware threads are."""
    linked = {cpu: root.link_name(f"{_SYSFS}/cpu{cpu}/of_node") for cpu in each(online)}
    logical = _logical(root, online)
    nodes = []
    for name in root.entries(CPUS) or ():
        if root.text(f"{CPUS}/{name}/device_type") != "cpu":
            continue
        hardware = _cells(root, name, "ibm,ppc-interrupt-server#s") or _cells(root, name, "reg")
        own = [cpu for cpu, node in linked.items() if node == name]
        nodes.append((name, members(own if any(linked.values()) else (logical[thread] for thread in hardware if thread in logical))))
    return nodes


def _logical(root: Sysroot, online: int) -> dict[int, int]:
    """Hardware thread to logical CPU: `physical_id` where sysfs tells, else the same number, as partitions start out."""
    told = {cpu: _hexadecimal(root.text(f"{_SYSFS}/cpu{cpu}/physical_id")) for cpu in each(online)}
    return {hardware if hardware is not None else cpu: cpu for cpu, hardware in told.items()}


def _hexadecimal(text: str | None) -> int | None:
    if text and text.startswith("0x"):
        try:
            return int(text, 16)
        except ValueError:
            return None
    return integer(text)


def _sizes(root: Sysroot, name: str) -> list[tuple[CacheKind, int]]:
    data, instruction = _cells(root, name, "d-cache-size") or _cells(root, name, "cache-size"), _cells(root, name, "i-cache-size")
    if root.exists(f"{CPUS}/{name}/cache-unified"):
        return [("unified", data[0])] if data and data[0] else []
    pairs: list[tuple[CacheKind, tuple[int, ...]]] = [("data", data), ("instruction", instruction)]
    return [(kind, cells[0]) for kind, cells in pairs if cells and cells[0]]


def _handles(root: Sysroot, name: str) -> tuple[int, ...]:
    return tuple(cell for key in ("ibm,phandle", "phandle", "linux,phandle") for cell in _cells(root, name, key)[:1])


def _cells(root: Sysroot, name: str, key: str) -> tuple[int, ...]:
    data = root.raw(f"{CPUS}/{name}/{key}", 4096)
    return struct.unpack(f">{len(data) // 4}I", data) if data and len(data) % 4 == 0 else ()
