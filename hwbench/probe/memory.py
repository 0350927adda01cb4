"""Memory: total, NUMA nodes with distances, huge pages, and the DIMMs that SMBIOS lists."""

import os
import re
from typing import Literal

from hwbench.core.inventory import HugePages, Memory, MemorySideCache, NumaNode

from . import smbios
from ._notes import Notes
from ._parse import as_list, cpu_list, cpu_mask, each, integer, members, size_bytes
from ._sysroot import Sysroot

NODES = "/sys/devices/system/node"
MEMINFO = "/proc/meminfo"
_CPUS = "/sys/devices/system/cpu"
_OTHER = re.compile(r"node[1-9][0-9]*")
_HUGE = "/sys/kernel/mm/hugepages"
_MAX_NODE = (1 << 10) - 1  # no kernel is built for more (NODES_SHIFT is 10 at most today)
_MAX_KB = 1 << 50
_LINE = re.compile(r"(?:Node\s+\d+\s+)?([A-Za-z_()]+):\s*([0-9]+)\s*(kB)?")
NodeKind = Literal["cpu", "memory", "gpu", "empty"]
_NUMA_STATUS = "/proc/driver/nvidia/gpus"


def probe_memory(root: Sysroot, online: int | None, notes: Notes) -> Memory:
    """Everything the kernel's files tell of memory. `online` are the online CPUs, for a kernel without NUMA."""
    info = meminfo(root, MEMINFO)
    total = info.get("MemTotal")
    if total is None:
        notes.gap("memory.total_bytes", f"{root.why(MEMINFO)} (MemTotal)")
    else:
        notes.source("memory.total_bytes", f"{MEMINFO}: MemTotal")
    found = smbios.read_memory(root, notes)
    return Memory(
        total_bytes=total,
        swap_total_bytes=info.get("SwapTotal"),
        page_bytes=os.sysconf("SC_PAGE_SIZE") if root.live else None,
        numa_nodes=_nodes(root, total, online, notes),
        huge_pages=_huge_pages(root, _HUGE, None, notes),
        dimms=found.dimms,
        channels=found.channels,
        theoretical_bandwidth_bytes_per_s=found.bandwidth_bytes_per_s,
    )


def meminfo(root: Sysroot, path: str) -> dict[str, int]:
    """The bytes (lines in kB) and counts of a meminfo file; empty where it can't be read."""
    found = {}
    for line in (root.text(path) or "").splitlines():
        match = _LINE.fullmatch(line.strip())
        value = integer(match[2], 0, _MAX_KB) if match else None
        if match and value is not None:
            found[match[1]] = value * 1024 if match[3] else value
    return found


def _nodes(root: Sysroot, total: int | None, online: int | None, notes: Notes) -> tuple[NumaNode, ...] | None:
    ids = node_ids(root)
    if not ids:
        return _uniform(root, total, online, notes)
    notes.source("memory.numa_nodes", f"{NODES}/node*/{{meminfo,cpumap,distance}}")
    gpus = _gpu_nodes(root)
    return tuple(_node(root, number, len(ids), gpus, notes) for number in ids)


def node_ids(root: Sysroot) -> tuple[int, ...]:
    """The nodes online, by the kernel's list and by the folders: what only one of them has was lost in copying."""
    listed = cpu_list(root.text(f"{NODES}/online")) or 0
    numbers = (integer(name[4:], 0, _MAX_NODE) for name in root.entries(NODES) or () if name.startswith("node"))
    folders = members(number for number in numbers if number is not None)
    return tuple(each(folders | listed if listed.bit_length() <= _MAX_NODE + 1 else folders))


def _uniform(root: Sysroot, total: int | None, online: int | None, notes: Notes) -> tuple[NumaNode, ...] | None:
    """A kernel built without NUMA has no node folder; it treats all memory as its node 0 (Documentation/mm/numa.rst).

    CPUs of a kernel with NUMA have a link to their node: where that is another than node 0, the folder was not copied.
    """
    if root.exists(NODES) or (total is None and online is None):
        notes.gap("memory.numa_nodes", f"{NODES}: {'no nodeN in it' if root.exists(NODES) else 'missing'}")
        return None
    told = [
        f"{_CPUS}/cpu{cpu}/{name}"
        for cpu in each(online or 0)
        for name in root.entries(f"{_CPUS}/cpu{cpu}") or ()
        if _OTHER.fullmatch(name)
    ]
    if told:
        notes.gap("memory.numa_nodes", f"{NODES}: missing, but there is {told[0]}")
        return None
    notes.source("memory.numa_nodes", f"no {NODES}: one node with all CPUs and all memory, as a kernel without NUMA has")
    return (NumaNode(id=0, kind="cpu", memory_bytes=total, cpu_list=None if online is None else as_list(online)),)


def _node(root: Sysroot, number: int, count: int, gpus: frozenset[int], notes: Notes) -> NumaNode:
    folder, fact = f"{NODES}/node{number}", f"memory.numa_nodes.{number}"
    memory = meminfo(root, f"{folder}/meminfo").get("MemTotal")
    if memory is None:
        notes.gap(f"{fact}.memory_bytes", f"{root.why(f'{folder}/meminfo')} (MemTotal)")
    cpus = cpu_mask(root.text(f"{folder}/cpumap"))
    cpus = cpu_list(root.text(f"{folder}/cpulist")) if cpus is None else cpus
    if cpus is None:
        notes.gap(f"{fact}.cpu_list", f"{root.why(f'{folder}/cpumap')}; {root.why(f'{folder}/cpulist')}")
    bandwidth = _claimed(root, folder, "read_bandwidth", f"{fact}.read_bandwidth_bytes_per_s", notes)
    latency = _claimed(root, folder, "read_latency", f"{fact}.read_latency_s", notes)
    return NumaNode(
        id=number,
        kind="gpu" if number in gpus else _kind(memory, cpus),
        memory_bytes=memory,
        cpu_list=None if cpus is None else as_list(cpus),
        distances=_distances(root, folder, count, fact, notes),
        read_bandwidth_bytes_per_s=None if bandwidth is None else bandwidth * 1e6,
        read_latency_s=None if latency is None else latency * 1e-9,
        side_caches=_side_caches(root, folder, fact, notes),
    )


def _kind(memory: int | None, cpus: int | None) -> NodeKind | None:
    if memory is None or cpus is None:
        return None
    if cpus:
        return "cpu"
    return "memory" if memory else "empty"


def _distances(root: Sysroot, folder: str, count: int, fact: str, notes: Notes) -> tuple[int, ...] | None:
    """ACPI SLIT distances to every node, ascending by node: 10 is local."""
    text = root.text(f"{folder}/distance")
    values = [integer(word, 0, 1 << 16) for word in (text or "").split()]
    if len(values) == count and None not in values:
        return tuple(value for value in values if value is not None)
    reason = root.why(f"{folder}/distance") if text is None else f"{folder}/distance: {len(values)} usable values for {count} nodes"
    notes.gap(f"{fact}.distances", reason)
    return None


def _claimed(root: Sysroot, folder: str, name: str, fact: str, notes: Notes) -> int | None:
    """MB/s or ns that the firmware's HMAT claims; most machines have no such table, and then no such folder."""
    access = f"{folder}/access0/initiators"
    return integer(notes.read(root, f"{access}/{name}", fact), 1, 1 << 30) if root.exists(access) else None


def _side_caches(root: Sysroot, folder: str, fact: str, notes: Notes) -> tuple[MemorySideCache, ...]:
    """Documentation/admin-guide/mm/numaperf.rst: `memory_side_cache/indexN`, N is the level."""
    found = []
    for name in root.entries(f"{folder}/memory_side_cache") or ():
        level = integer(name[5:], 1, 9) if name.startswith("index") else None
        if level is not None:
            text = notes.read(root, f"{folder}/memory_side_cache/{name}/size", f"{fact}.side_caches")
            found.append(MemorySideCache(level=level, size_bytes=size_bytes(text)))
    return tuple(found)


def _gpu_nodes(root: Sysroot) -> frozenset[int]:
    """Nodes whose memory is a GPU's (POWER9, Grace): NVIDIA's driver says which in `numa_status`."""
    found = []
    for gpu in root.entries(_NUMA_STATUS) or ():
        match = re.search(r"^Node:\s*([0-9]{1,4})\s*$", root.text(f"{_NUMA_STATUS}/{gpu}/numa_status") or "", re.MULTILINE)
        found += [int(match[1])] if match else []
    return frozenset(found)


def _huge_pages(root: Sysroot, folder: str, node: int | None, notes: Notes) -> tuple[HugePages, ...] | None:
    names = root.entries(folder)
    if names is None:
        notes.gap("memory.huge_pages", root.why(folder))
        return None
    notes.source("memory.huge_pages", f"{folder}/hugepages-*kB")
    pools = []
    for name in names:
        kib = integer(name.removeprefix("hugepages-").removesuffix("kB"), 1, 1 << 34)
        if kib is not None:
            pools.append(_pool(root, f"{folder}/{name}", kib * 1024, node, notes))
    return tuple(sorted(pools, key=lambda pool: pool.size_bytes))


def _pool(root: Sysroot, folder: str, size: int, node: int | None, notes: Notes) -> HugePages:
    counts = {}
    for name in ("nr_hugepages", "free_hugepages"):
        counts[name] = integer(root.text(f"{folder}/{name}"), 0, 1 << 40)
        if counts[name] is None:
            notes.gap("memory.huge_pages", root.why(f"{folder}/{name}"))
    return HugePages(size_bytes=size, total=counts["nr_hugepages"], free=counts["free_hugepages"], node=node)
