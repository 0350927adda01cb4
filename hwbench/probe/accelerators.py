"""All accelerators of a machine: NVIDIA through NVML, AMD through KFD, others by PCI; then the matrix, the pairing and GPUDirect."""

from collections.abc import Sequence

import msgspec

from hwbench.core.accelerators import Accelerator, Accelerators, AcceleratorSoftware, GapPairs, GpuDirect, Matrix, Reading
from hwbench.core.inventory import Memory, Network, Pci, PciDevice

from ._amd_smi import market_names
from ._notes import Notes
from ._places import nearest_cpu, network_adapters, places_of
from ._sysroot import Sysroot
from .amd import probe_amd
from .nvidia import probe_nvidia
from .other_accelerators import is_accelerator, pci_names, pcie_link, probe_others
from .topology import link_domains, pairings, relation_matrix

_MODULES = "/proc/modules"


def probe_accelerators(root: Sysroot, notes: Notes, pci: Pci, network: Network, memory: Memory) -> Accelerators:
    """Everything this machine (or the tree under `root`) shows of accelerators; gaps go to `notes` under `accelerators.`."""
    value, gaps = read_accelerators(root, pci, network, memory)
    for fact, reason in gaps:
        notes.gap(f"accelerators.{fact}", reason)
    for index, device in enumerate(value.devices):
        notes.source(f"accelerators.devices.{index}", device.source)
    return value


def read_accelerators(root: Sysroot, pci: Pci, network: Network, memory: Memory) -> Reading:
    """The same with gaps relative to the value. NVML is asked on the live machine only: a tree has no driver behind it."""
    nvidia, gaps = probe_nvidia() if root.live else (Accelerators(), ())
    functions = pci.devices or ()
    devices = list(nvidia.devices)
    for probe in (_amd, _others):
        found, told = probe(root, functions, devices)
        gaps = (*gaps, *_placed(told, len(devices)))
        devices += found
    software = _software(root, nvidia.software)
    if not devices:
        return Accelerators(software=software), gaps if functions else (*gaps, ("devices", root.why("/sys/bus/pci/devices")))
    devices = [_completed(root, device, functions, memory) for device in devices]
    nics = network_adapters(functions, network)
    one_node = memory.numa_nodes is not None and len(memory.numa_nodes) == 1
    told_by_nvml = nvidia.matrices.get("topology")
    source = "NVML and the PCI tree" if told_by_nvml else "the PCI tree"
    matrix = relation_matrix(devices, places_of(devices, nics, functions), told_by_nvml, source, one_node=one_node)
    value = Accelerators(
        software=software,
        devices=tuple(devices),
        nics=nics,
        topology=matrix,
        matrices={name: other for name, other in nvidia.matrices.items() if name != "topology"} | link_matrices(devices),
        pairings=pairings(devices, nics, matrix),
        link_domains=link_domains(devices, matrix),
        gpudirect=gpudirect(root, devices),
    )
    still_missing = tuple(gap for gap in gaps if not _told_later(devices, gap[0]))
    return value, (*_together(still_missing, len(devices)), *_unrelated(matrix))


Part = tuple[tuple[Accelerator, ...], GapPairs]


def _amd(root: Sysroot, functions: Sequence[PciDevice], before: Sequence[Accelerator]) -> Part:
    """AMD GPUs; that there is no KFD is worth a gap only where the PCI tree has an AMD GPU, or was not read."""
    found, gaps = probe_amd(root, len(before))
    if root.live and found:
        names, reasons = market_names()
        found = tuple(_named(device, names) for device in found)
        gaps = (*gaps, *(("", f"AMD: {reason}") for reason in reasons))
    expected = not functions or any(function.vendor_id == "0x1002" and is_accelerator(function) for function in functions)
    return found, gaps if found or expected else ()


def _named(device: Accelerator, names: dict[str, str]) -> Accelerator:
    name = names.get(device.pci_address or "")
    return device if device.name or name is None else msgspec.structs.replace(device, name=name, name_source="amdsmi")


def _others(root: Sysroot, functions: Sequence[PciDevice], before: Sequence[Accelerator]) -> Part:
    return probe_others(root, functions, [device.pci_address for device in before], 0)


def _told_later(devices: Sequence[Accelerator], fact: str) -> bool:
    """Whether a field that one reader missed has been filled from another source since."""
    head, _, rest = fact.removeprefix("devices.").partition(".")
    if not head.isdigit() or int(head) >= len(devices) or rest not in Accelerator.__struct_fields__:
        return False
    return rest not in ("links", "caches", "memory_banks") and getattr(devices[int(head)], rest) is not None


def _placed(gaps: GapPairs, first: int) -> GapPairs:
    """Gaps of a reader that counts its own devices from 0, as facts of the whole value."""
    placed = []
    for fact, reason in gaps:
        index, dot, rest = fact.partition(".")
        placed.append((f"devices.{int(index) + first}{dot}{rest}" if index else "devices", reason))
    return tuple(placed)


def _together(gaps: GapPairs, count: int) -> GapPairs:
    """The same gap of every device once, as `devices.*.FACT`."""
    seen: dict[tuple[str, str], list[str]] = {}
    for fact, reason in gaps:
        head, _, rest = fact.removeprefix("devices.").partition(".")
        key = (f"devices.*.{rest}", reason) if fact.startswith("devices.") and head.isdigit() and rest else (fact, reason)
        seen.setdefault(key, []).append(fact)
    merged: list[tuple[str, str]] = []
    for (fact, reason), facts in seen.items():
        names = [fact] if len(facts) == count > 1 else sorted(set(facts), key=facts.index)
        merged += [(name, reason) for name in names]
    return tuple(merged)


def _completed(root: Sysroot, device: Accelerator, functions: Sequence[PciDevice], memory: Memory) -> Accelerator:
    """A device with what its vendor's library left out and the PCI tree tells: driver, link, NUMA node, CPUs, a name."""
    by_address = {function.address: function for function in functions}
    function = by_address.get(device.pci_address or "")
    changes: dict[str, object] = {}
    if device.name is None and device.pci_id:
        name, source = pci_names(root, {device.pci_id}).get(device.pci_id, (None, None))
        changes |= {"name": name, "name_source": source}
    if function is not None:
        changes["driver"] = device.driver or function.driver
        link = pcie_link(function, by_address.get(function.parent or ""))
        if link is not None and (device.pcie is None or device.pcie.width_max is None):
            changes["pcie"] = link
        if device.numa_node is None:
            changes["numa_node"] = function.numa_node
        if device.cpu_list is None:
            changes["cpu_list"] = function.local_cpu_list
    if device.numa_node is None and changes.get("numa_node") is None:
        changes["numa_node"] = _node_of_cpu(nearest_cpu(device), memory)
    return msgspec.structs.replace(device, **changes)


def _node_of_cpu(cpu: int | None, memory: Memory) -> int | None:
    """KFD numbers the NUMA nodes that have CPUs in their order (kfd_create_vcrat_image_cpu in kfd_crat.c)."""
    nodes = [node.id for node in memory.numa_nodes or () if node.cpu_list]
    return nodes[cpu] if cpu is not None and cpu < len(nodes) else None


def link_matrices(devices: Sequence[Accelerator]) -> dict[str, Matrix]:
    """Type and weight of the links that AMD GPUs list to each other; empty where none does."""
    numbers = [device.index for device in devices]
    found: dict[str, Matrix] = {}
    for name, field in (("link_type", "kind"), ("weight", "weight")):
        rows = []
        for device in devices:
            to = {
                link.remote_index: getattr(link, field) for link in device.links if link.remote == "gpu" and link.kind in ("xgmi", "pcie")
            }
            rows.append(tuple("X" if number == device.index else _cell(to.get(number)) for number in numbers))
        if any(cell not in (None, "X") for row in rows for cell in row):
            labels = tuple(device.label for device in devices)
            found[name] = Matrix(
                meaning=f"{name.replace('_', ' ')} of the links between GPUs", source="KFD", labels=labels, cells=tuple(rows)
            )
    return found


def _cell(value: str | int | None) -> str | None:
    return None if value is None else str(value).upper()


def _software(root: Sysroot, software: AcceleratorSoftware) -> AcceleratorSoftware:
    """Versions; without NVML the NVIDIA kernel driver's own word in /proc, and amdgpu's where it has one."""
    kernel = root.text("/sys/module/nvidia/version")
    amdgpu = root.text("/sys/module/amdgpu/version")
    return msgspec.structs.replace(software, driver_version=software.driver_version or kernel, amdgpu_version=amdgpu)


def _unrelated(matrix: Matrix) -> GapPairs:
    missing = sum(cell is None for row in matrix.cells for cell in row)
    if not missing:
        return ()
    reason = f"{missing} of {len(matrix.labels) ** 2} relations are unknown: no PCI path or NUMA node for one of the two"
    return (("topology", reason),)


def gpudirect(root: Sysroot, devices: Sequence[Accelerator]) -> GpuDirect | None:
    """Readiness for GPUDirect RDMA by the modules loaded; None without an NVIDIA or AMD GPU.

    NVIDIA: nvidia_peermem (or the older nv_peer_mem), or dma-buf with the open kernel modules, whose licence says "Dual MIT/GPL" (NVIDIA,
    "GPUDirect RDMA", kernel 5.12 and CUDA 11.7 for dma-buf). AMD: amdgpu exports dma-buf by itself.
    """
    vendors = {device.vendor for device in devices} & {"NVIDIA", "AMD"}
    if not vendors:
        return None
    text = root.text(_MODULES)
    if text is None:
        return GpuDirect(reason=root.why(_MODULES))
    loaded = {line.split(maxsplit=1)[0] for line in text.splitlines() if line.strip()}
    peermem = bool(loaded & {"nvidia_peermem", "nv_peer_mem"})
    dmabuf = "amdgpu" in loaded if "AMD" in vendors else _open_modules(root)
    storage = "nvidia_fs" in loaded
    if "ib_core" not in loaded:
        return GpuDirect(peermem=peermem, dmabuf=dmabuf, storage=storage, ready=False, reason="no RDMA stack: ib_core is not loaded")
    ready = True if peermem or dmabuf else None if dmabuf is None else False
    reason = "" if ready else "neither nvidia_peermem nor dma-buf: load nvidia_peermem, or install the open kernel modules"
    return GpuDirect(peermem=peermem, dmabuf=dmabuf, storage=storage, ready=ready, reason=reason)


def _open_modules(root: Sysroot) -> bool | None:
    """Whether the NVIDIA kernel modules are the open ones, which /proc/driver/nvidia/version says; None where it isn't there."""
    text = root.text("/proc/driver/nvidia/version")
    return None if text is None else "Open Kernel Module" in text
