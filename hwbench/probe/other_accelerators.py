"""Accelerators by their PCI class or id: what no vendor library told about, from the PCI tree that was read already.

A name comes from the machine's own pci.ids, else from a small table here, else there is none: never a guess.
"""

from collections.abc import Iterable

from hwbench.core.accelerators import Accelerator, PcieLink
from hwbench.core.inventory import PciDevice

from ._accelerator_text import GENERATIONS, pci_address
from ._sysroot import Sysroot

ALWAYS = ("0x0302", "0x1200", "0x0b40")
"""3D controllers, processing accelerators, co-processors: PCI Code and ID Assignment Specification."""
DISPLAY = ("0x0300", "0x0380")
COMPUTING_VENDORS = ("0x10de", "0x1002", "0x8086")
"""A display controller counts where its vendor makes ones that compute; ASPEED, Matrox or virtio screens do not."""
OTHERS = {"1d0f:7064", "1d0f:7065", "1d0f:7164", "1d0f:7264"}
"""AWS Inferentia and Trainium, system peripherals by class; ids of the table in the Neuron driver (aws-neuron-dkms, neuron_pci.c)."""

CLASSES = ("/sys/class/accel", "/sys/class/neuron_device")
"""Where drivers register accelerators; /sys/class/drm is left out, as screens register there too."""

VENDORS = {
    "0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel", "0x1da3": "Habana", "0x1ae0": "Google", "0x1d0f": "Amazon",
    "0x1bcf": "NEC", "0x19e5": "Huawei", "0x1e52": "Tenstorrent", "0x1e36": "Enflame", "0x1d94": "Hygon", "0x17cb": "Qualcomm",
    "0x10ee": "Xilinx", "0x1d95": "Graphcore",
}  # fmt: skip
NAMES = {
    "1002:738c": "Arcturus GL-XL [Instinct MI100]", "1002:7408": "Aldebaran/MI200 [Instinct MI250X]",
    "1002:740c": "Aldebaran/MI200 [Instinct MI250X/MI250]", "1002:740f": "Aldebaran/MI200 [Instinct MI210]",
    "1002:74a0": "Aqua Vanjaram [Instinct MI300A]", "1002:74a1": "Aqua Vanjaram [Instinct MI300X]",
    "1002:74a5": "Aqua Vanjaram [Instinct MI325X]", "10de:15f8": "GP100GL [Tesla P100 PCIe 16GB]",
    "10de:15f9": "GP100GL [Tesla P100 SXM2 16GB]", "10de:1db5": "GV100GL [Tesla V100 SXM2 32GB]",
    "10de:20b0": "GA100 [A100 SXM4 40GB]", "8086:225c": "Xeon Phi coprocessor SE10/7120 series",
    "10de:2330": "GH100 [H100 SXM5 80GB]", "10de:2331": "GH100 [H100 PCIe]", "1da3:0001": "HL-1000 AI Inference Accelerator [Goya]",
    "1da3:1000": "HL-2000 AI Training Accelerator [Gaudi]", "1da3:1010": "HL-2000 AI Training Accelerator [Gaudi secured]",
    "1da3:1020": "Gaudi2 AI Training Accelerator",
}  # fmt: skip
NAMES_SOURCE = "hwbench's extract of pci.ids (pci-ids.ucw.cz)"
PCI_IDS = ("/usr/share/hwdata/pci.ids", "/usr/share/misc/pci.ids")
_PCI_IDS_BYTES = 8 << 20


def is_accelerator(device: PciDevice) -> bool:
    """Whether a PCI function computes, by class, or by id where its class does not say so."""
    kind = (device.class_code or "")[:6]
    return kind in ALWAYS or (kind in DISPLAY and device.vendor_id in COMPUTING_VENDORS) or pci_id(device) in OTHERS


def pci_id(device: PciDevice) -> str | None:
    """`vendor:device` without 0x; None where either is unknown."""
    if device.vendor_id is None or device.device_id is None:
        return None
    return f"{device.vendor_id[2:]}:{device.device_id[2:]}"


def probe_others(
    root: Sysroot, devices: Iterable[PciDevice], known: Iterable[str | None], first_label: int
) -> tuple[tuple[Accelerator, ...], tuple[tuple[str, str], ...]]:
    """Accelerators in the PCI tree whose addresses are not `known`, labelled from ACC`first_label`, and gaps relative to them."""
    by_address = {device.address: device for device in devices}
    registered = registered_addresses(root)
    left = [device for device in by_address.values() if is_accelerator(device) or device.address in registered]
    left = [device for device in left if device.address not in set(known)]
    names = pci_names(root, {one for device in left if (one := pci_id(device))}) if left else {}
    gaps: list[tuple[str, str]] = []
    found: list[Accelerator] = []
    for index, device in enumerate(left):
        name, source = names.get(pci_id(device) or "", (None, None))
        if name is None:
            gaps.append((f"{index}.name", f"no vendor library told, and pci.ids does not name {pci_id(device)}"))
        gaps.append((f"{index}.memory_total_bytes", "only its PCI function was seen: no vendor library told of it"))
        found.append(
            Accelerator(
                label=f"ACC{first_label + index}",
                source=f"/sys/bus/pci/devices/{device.address}",
                kind="gpu" if (device.class_code or "").startswith("0x03") else "accelerator",
                vendor=VENDORS.get(device.vendor_id or "", device.vendor),
                name=name,
                name_source=source,
                pci_address=device.address,
                pci_id=pci_id(device),
                driver=device.driver,
                pcie=pcie_link(device, by_address.get(device.parent or "")),
                numa_node=device.numa_node,
                cpu_list=device.local_cpu_list,
            )
        )
    return tuple(found), tuple(gaps)


def registered_addresses(root: Sysroot) -> set[str]:
    """Addresses of devices that a driver registered as accelerators (Documentation/accel/introduction.rst), whatever their class."""
    found = set()
    for folder in CLASSES:
        for name in root.entries(folder) or ():
            real = root.real(f"{folder}/{name}/device") or ""
            if address := pci_address(real.rsplit("/", 1)[-1]):
                found.add(address)
    return found


def pcie_link(device: PciDevice, above: PciDevice | None) -> PcieLink | None:
    """The link of a PCI function: now, at most for both ends together, and at most for the device alone; None for none."""

    def generation(rate: float | None) -> int | None:
        return GENERATIONS.get(rate / 1e9) if rate else None

    now, own = generation(device.link_transfers_per_s), generation(device.link_transfers_per_s_max)
    if now is None and own is None and device.link_width is None and device.link_width_max is None:
        return None
    port = generation(above.link_transfers_per_s_max) if above else None
    wide = above.link_width_max if above else None
    return PcieLink(
        generation=now,
        generation_max=min(own, port) if own and port else own,
        generation_device_max=own,
        width=device.link_width,
        width_max=min(device.link_width_max, wide) if device.link_width_max and wide else device.link_width_max,
        width_device_max=device.link_width_max,
    )


def pci_names(root: Sysroot, wanted: set[str]) -> dict[str, tuple[str, str]]:
    """Names and where they are from for `vendor:device` ids: the machine's pci.ids, else the table above."""
    found = {one: (NAMES[one], NAMES_SOURCE) for one in wanted if one in NAMES}
    for path in PCI_IDS:
        data = root.raw(path, _PCI_IDS_BYTES)
        if data is None:
            continue
        vendor = ""
        for line in data.decode("utf-8", errors="replace").splitlines():
            if line.startswith("C "):
                break
            if line[:1] not in ("", "\t", "#"):
                vendor = line[:4]
            elif line[:1] == "\t" and line[1:2] != "\t" and f"{vendor}:{line[1:5]}" in wanted:
                found[f"{vendor}:{line[1:5]}"] = (line[5:].strip(), path)
        break
    return found
