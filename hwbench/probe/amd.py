"""AMD GPUs from the kernel's KFD topology (/sys/class/kfd) and the amdgpu driver's files beside it.

Fields and units: drivers/gpu/drm/amd/amdkfd/kfd_topology.h and kfd_crat.h of Linux (bandwidths in MB/s, clocks in MHz, caches in KiB),
Documentation/gpu/amdgpu (mem_info_vram_*, product_name, hwmon). A file that is missing costs its facts, and a gap names it.
"""

from typing import Any, NamedTuple

import msgspec

from hwbench.core.accelerators import Accelerator, AcceleratorCache, Fabric, Link, MemoryBank, PcieLink

from ._accelerator_text import pcie_generation, quantity, whole
from ._assemble import assembled
from ._sysroot import Sysroot

NODES = "/sys/class/kfd/kfd/topology/nodes"
Gaps = list[tuple[str, str]]
Properties = dict[str, int]

LINK_KINDS = {1: "hypertransport", 2: "pcie", 11: "xgmi"}
"""CRAT_IOLINK_TYPE_* in kfd_crat.h, those that machines have."""
_HEAPS = {0: "system", 1: "frame buffer, visible to the CPU", 2: "frame buffer", 3: "GDS", 4: "LDS", 5: "scratch"}
_FRAME_BUFFERS = (1, 2)
_DATA, _INSTRUCTION = 1, 2  # CRAT_CACHE_FLAGS_DATA_CACHE and _INST_CACHE
_MAX_NODES = 4096


class KfdNode(NamedTuple):
    """One node of the topology: a CPU, or a GPU."""

    number: int
    properties: Properties

    @property
    def is_gpu(self) -> bool:
        """GPUs have SIMD units, CPUs have cores."""
        return self.properties.get("simd_count", 0) > 0


def probe_amd(root: Sysroot, first_label: int = 0) -> tuple[tuple[Accelerator, ...], tuple[tuple[str, str], ...]]:
    """The AMD GPUs that KFD shows, labelled from GPU`first_label`, and gaps with facts relative to `devices` (`0.name`, or empty).

    Without KFD there is nothing, and one gap that names the folder. A GPU that the device cgroup hides shows empty properties: a gap.
    """
    names = root.entries(NODES)
    if names is None:
        return (), (("", f"AMD: {root.why(NODES)}"),)
    gaps: Gaps = []
    nodes = [node for name in names[:_MAX_NODES] if (node := _node(root, name, gaps)) is not None]
    nodes.sort(key=lambda node: node.number)
    gpus = [node for node in nodes if node.is_gpu]
    found = [_gpu(root, node, nodes, index, first_label, gaps) for index, node in enumerate(gpus)]
    return tuple(found), tuple(gaps)


def _node(root: Sysroot, name: str, gaps: Gaps) -> KfdNode | None:
    number = whole(name)
    if number is None:
        return None
    path = f"{NODES}/{name}/properties"
    values = _properties(root, path)
    if not values:
        gaps.append(("", f"AMD: {root.why(path)}" if values is None else f"AMD: {path}: empty (the GPU is hidden by the device cgroup)"))
        return None
    return KfdNode(number, values)


def _properties(root: Sysroot, path: str) -> Properties | None:
    """`name number` lines of a properties file; lines of another shape are left out. None where it can't be read."""
    text = root.text(path)
    if text is None:
        return None
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isascii() and pair[1].isdigit() and len(pair[1]) <= 20}


def _folders(root: Sysroot, node: KfdNode, kind: str, fact: str, gaps: Gaps) -> list[Properties]:
    """The properties of each `caches/N`, `mem_banks/N`, `io_links/N` or `p2p_links/N` of a node."""
    base = f"{NODES}/{node.number}/{kind}"
    names = root.entries(base)
    said = node.properties.get(f"{kind}_count")
    if names is None:
        if said != 0 and not (said is None and kind == "p2p_links"):
            gaps.append((fact, root.why(base)))
        return []
    found = []
    for name in sorted((name for name in names if name.isascii() and name.isdigit()), key=int):
        path = f"{base}/{name}/properties"
        values = _properties(root, path)
        if values:
            found.append(values)
        else:
            gaps.append((fact, root.why(path) if values is None else f"{path}: empty"))
    if said is not None and said != len(names):
        gaps.append((fact, f"{base}: {len(names)} entries, the node's properties say {said}"))
    return found


def _gpu(root: Sysroot, node: KfdNode, nodes: list[KfdNode], index: int, first_label: int, gaps: Gaps) -> Accelerator:
    own: Gaps = []
    values = node.properties
    banks = _folders(root, node, "mem_banks", "memory_banks", own)
    links = _folders(root, node, "io_links", "links", own) + _folders(root, node, "p2p_links", "links", own)
    drm = f"/sys/class/drm/renderD{values['drm_render_minor']}/device" if values.get("drm_render_minor") else None
    device = assembled(
        _driver_facts(root, drm, own) if drm else {},
        label=f"GPU{first_label + index}",
        source=f"{NODES}/{node.number}",
        index=first_label + index,
        vendor="AMD" if values.get("vendor_id") == 0x1002 else None,
        pci_id=f"{values['vendor_id']:04x}:{values['device_id']:04x}" if values.get("vendor_id") and values.get("device_id") else None,
        pci_address=_address(root, values, drm, own),
        target=_target(values, own),
        compute_units=values["simd_count"] // values["simd_per_cu"] if values.get("simd_per_cu") else None,
        simd_count=values["simd_count"],
        memory_banks=tuple(_bank(bank) for bank in banks),
        caches=_caches(_folders(root, node, "caches", "caches", own)),
        links=tuple(_link(link, nodes, first_label) for link in links),
        fabric=Fabric(cluster_uuid=f"0x{values['hive_id']:016x}") if values.get("hive_id") else None,
    )
    device = _completed(device, values, own, banks)
    gaps += [(f"{index}.{fact}".rstrip("."), reason) for fact, reason in own]
    return device


def _completed(device: Accelerator, values: Properties, gaps: Gaps, banks: list[Properties]) -> Accelerator:
    """What has two sources: the driver's file first, then KFD's own number."""
    frame_buffers = sum(bank.get("size_in_bytes", 0) for bank in banks if bank.get("heap_type") in _FRAME_BUFFERS)
    memory = device.memory_total_bytes or frame_buffers or values.get("local_mem_size") or None
    if memory is None:
        gaps.append(("memory_total_bytes", "neither mem_info_vram_total, a frame buffer among mem_banks nor local_mem_size is there"))
    uuid = device.uuid or (f"0x{values['unique_id']:016x}" if values.get("unique_id") else None)
    if uuid is None:
        gaps.append(("uuid", "unique_id is missing or 0"))
    width = next((bank["width"] for bank in banks if bank.get("heap_type") in _FRAME_BUFFERS and bank.get("width")), None)
    clocks = device.clocks or _clocks(values, banks)
    return msgspec.structs.replace(device, memory_total_bytes=memory, uuid=uuid, memory_bus_width_bits=width, clocks=clocks)


def _clocks(values: Properties, banks: list[Properties]) -> Any:
    found: dict[str, float] = {}
    if values.get("max_engine_clk_fcompute"):
        found["clocks.graphics.max_hz"] = values["max_engine_clk_fcompute"] * 1e6
    memory = max((bank.get("mem_clk_max", 0) for bank in banks if bank.get("heap_type") in _FRAME_BUFFERS), default=0)
    if memory:
        found["clocks.memory.max_hz"] = memory * 1e6
    return assembled(found, label="", source="").clocks


def _target(values: Properties, gaps: Gaps) -> str | None:
    """90010 is gfx90a: major, then minor and stepping of two decimal digits each, written in hexadecimal."""
    version = values.get("gfx_target_version")
    if not version:
        gaps.append(("target", "gfx_target_version is missing: the kernel is older than 5.13"))
        return None
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"


def _address(root: Sysroot, values: Properties, drm: str | None, gaps: Gaps) -> str | None:
    """Where the render node's device link leads; else domain and location_id, whose low 16 bits are bus, device and function."""
    linked = root.real(drm) if drm else None
    if linked and ":" in linked.rsplit("/", 1)[-1]:
        return linked.rsplit("/", 1)[-1]
    if "domain" not in values or "location_id" not in values:
        gaps.append(("pci_address", "no render node in /sys/class/drm, and the kernel is too old to tell the PCI domain (before 5.5)"))
        return None
    place = values["location_id"]
    return f"{values['domain']:04x}:{place >> 8 & 0xFF:02x}:{place >> 3 & 0x1F:02x}.{place & 7}"


def _bank(bank: Properties) -> MemoryBank:
    clock = bank.get("mem_clk_max")
    kind = bank.get("heap_type", -1)
    return MemoryBank(
        heap=_HEAPS.get(kind, f"heap type {kind}"),
        size_bytes=bank.get("size_in_bytes"),
        width_bits=bank.get("width") or None,
        clock_max_hz=clock * 1e6 if clock else None,
    )


def _caches(caches: list[Properties]) -> tuple[AcceleratorCache, ...]:
    counts: dict[tuple[int, str, int], int] = {}
    for cache in caches:
        flags = cache.get("type", 0)
        kind = {_DATA: "data", _INSTRUCTION: "instruction", _DATA | _INSTRUCTION: "unified"}.get(flags & 3, f"type {flags}")
        key = (cache.get("level", 0), kind, cache.get("size", 0) * 1024)
        counts[key] = counts.get(key, 0) + 1
    return tuple(AcceleratorCache(level=key[0], kind=key[1], size_bytes=key[2], instances=count) for key, count in sorted(counts.items()))


def _link(link: Properties, nodes: list[KfdNode], first_label: int) -> Link:
    kind, to = link.get("type", -1), link.get("node_to")
    gpus = [node.number for node in nodes if node.is_gpu]
    cpus = [node.number for node in nodes if not node.is_gpu]
    remote, place = None, None
    if to in gpus:
        remote, place = "gpu", first_label + gpus.index(to)
    elif to in cpus:
        remote, place = "cpu", cpus.index(to)
    return Link(
        kind=LINK_KINDS.get(kind, f"type {kind}"),
        remote=remote,
        remote_index=place,
        weight=link.get("weight"),
        bandwidth_bytes_per_s=link["max_bandwidth"] * 1e6 if link.get("max_bandwidth") else None,
        bandwidth_min_bytes_per_s=link["min_bandwidth"] * 1e6 if link.get("min_bandwidth") else None,
    )


def _driver_facts(root: Sysroot, drm: str, gaps: Gaps) -> dict[str, Any]:
    """What the amdgpu driver tells in the device's own folder; these files are optional, so their absence is one gap together."""
    values: dict[str, Any] = {}
    for fact, name in (("name", "product_name"), ("serial", "serial_number")):
        if text := root.text(f"{drm}/{name}"):
            values[fact] = text
    for fact, name in (("memory_total_bytes", "mem_info_vram_total"), ("memory_used_bytes", "mem_info_vram_used")):
        number = whole(root.text(f"{drm}/{name}") or "")
        if number is not None and number >= 0:
            values[fact] = number
    values |= _sensors(root, drm)
    if "name" in values:
        values["name_source"] = f"{drm}/product_name"
    if not values:
        gaps.append(("name", root.why(f"{drm}/product_name")))
    node = whole(root.text(f"{drm}/numa_node") or "")
    if node is not None and node >= 0:
        values["numa_node"] = node
    speeds = {key: root.text(f"{drm}/{key}") or "" for key in ("current_link_speed", "max_link_speed")}
    widths = {key: whole(root.text(f"{drm}/{key}") or "") for key in ("current_link_width", "max_link_width")}
    if any(speeds.values()) or any(widths.values()):
        values["pcie"] = PcieLink(
            generation=pcie_generation(speeds["current_link_speed"]),
            generation_device_max=pcie_generation(speeds["max_link_speed"]),
            width=widths["current_link_width"] or None,
            width_device_max=widths["max_link_width"] or None,
        )
    return values


_SENSORS = (
    ("power.draw_w", ("power1_average", "power1_input"), 1e-6),
    ("power.limit_w", ("power1_cap",), 1e-6),
    ("power.limit_default_w", ("power1_cap_default",), 1e-6),
    ("power.limit_min_w", ("power1_cap_min",), 1e-6),
    ("power.limit_max_w", ("power1_cap_max",), 1e-6),
    ("temperature_c", ("temp1_input", "temp2_input"), 1e-3),
    ("clocks.graphics.now_hz", ("freq1_input",), 1.0),
    ("clocks.memory.now_hz", ("freq2_input",), 1.0),
)
"""hwmon names and factors to SI: Documentation/hwmon/sysfs-interface (microwatt, millidegree, hertz)."""


def _sensors(root: Sysroot, drm: str) -> dict[str, float]:
    folders = root.entries(f"{drm}/hwmon") or ()
    values: dict[str, float] = {}
    for fact, names, factor in _SENSORS:
        texts = (root.text(f"{drm}/hwmon/{folder}/{name}") for folder in folders for name in names)
        number = next((found for text in texts if text and (found := quantity(text)) is not None), None)
        if number is not None:
            values[fact] = number * factor
    return values
