"""The PCI tree: who is where, on which NUMA node, and how fast each PCIe link runs against what it could."""

import re

from hwbench.core.inventory import Pci, PciDevice

from ._notes import Notes
from ._parse import as_list, cpu_list, integer
from ._sysroot import Sysroot

DEVICES = "/sys/bus/pci/devices"
_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_CODE = re.compile(r"0x[0-9a-f]{4,6}")
_RATE = re.compile(r"([0-9]{1,3}(?:\.[0-9])?) GT/s(?: PCIe)?")
_DISPLAY = "0x03"
# Base class and sub-class: PCI Code and ID Assignment Specification 1.15, chapter 1.
_CLASSES = {
    "0x0100": "SCSI controller", "0x0101": "IDE controller", "0x0104": "RAID controller", "0x0106": "SATA controller",
    "0x0107": "SAS controller", "0x0108": "NVMe controller", "0x0200": "Ethernet controller", "0x0207": "InfiniBand controller",
    "0x0208": "fabric controller", "0x0280": "network controller", "0x0300": "VGA controller", "0x0302": "3D controller",
    "0x0380": "display controller", "0x0403": "audio device", "0x0500": "memory controller", "0x0502": "CXL memory",
    "0x0600": "host bridge", "0x0601": "ISA bridge", "0x0604": "PCI bridge", "0x0680": "bridge", "0x0880": "system peripheral",
    "0x0b40": "co-processor", "0x0c03": "USB controller", "0x0c05": "SMBus", "0x1200": "processing accelerator",
}  # fmt: skip
# Vendor ids assigned by PCI-SIG, those that matter to a measurement.
_VENDORS = {
    "0x10de": "NVIDIA", "0x1002": "AMD", "0x1022": "AMD", "0x8086": "Intel", "0x15b3": "Mellanox", "0x14e4": "Broadcom",
    "0x144d": "Samsung", "0x1af4": "Red Hat (virtio)", "0x1b36": "Red Hat (QEMU)", "0x1d0f": "Amazon", "0x1414": "Microsoft",
    "0x1ae0": "Google", "0x1da3": "Habana", "0x1e52": "Tenstorrent", "0x1344": "Micron", "0x1c5c": "SK hynix", "0x15ad": "VMware",
    "0x1077": "QLogic", "0x1425": "Chelsio", "0x17cb": "Qualcomm", "0x15b7": "Western Digital", "0x1e0f": "Kioxia", "0x19e5": "Huawei",
    "0x10ee": "Xilinx", "0x1a03": "ASPEED", "0x1000": "Broadcom (LSI)", "0x1b4b": "Marvell", "0x177d": "Cavium", "0x106b": "Apple",
    "0x1e36": "Enflame", "0x1d94": "Hygon",
}  # fmt: skip


def probe_pci(root: Sysroot, notes: Notes) -> Pci:
    """Every PCI function; a gap where the kernel shows no PCI bus."""
    names = root.entries(DEVICES)
    if names is None:
        notes.gap("pci.devices", root.why(DEVICES))
        return Pci()
    notes.source("pci.devices", f"{DEVICES}/*")
    addresses = [name for name in names if _ADDRESS.fullmatch(name)]
    return Pci(devices=tuple(_device(root, address, notes) for address in addresses))


def numa_node(root: Sysroot, folder: str) -> int | None:
    """The NUMA node of a device; None where the kernel says -1 (it belongs to no node) or nothing."""
    return integer(root.text(f"{folder}/numa_node"), 0, 1 << 12)


def _device(root: Sysroot, address: str, notes: Notes) -> PciDevice:
    folder, fact = f"{DEVICES}/{address}", f"pci.devices.{address}"
    code = _code(root, folder, "class", f"{fact}.class_code", notes)
    vendor = _code(root, folder, "vendor", f"{fact}.vendor_id", notes)
    parent = _parent(root, folder)
    numa = numa_node(root, folder)
    if numa is None and root.text(f"{folder}/numa_node") != "-1":
        notes.gap(f"{fact}.numa_node", root.why(f"{folder}/numa_node"))
    now, most = _link(root, folder, "current", fact, notes), _link(root, folder, "max", fact, notes)
    local = cpu_list(notes.read(root, f"{folder}/local_cpulist", f"{fact}.local_cpu_list"))
    subsystem = _subsystem(root, folder, fact, notes)
    return PciDevice(
        address=address,
        class_code=code,
        class_name=_CLASSES.get((code or "")[:6]),
        vendor_id=vendor,
        vendor=_VENDORS.get(vendor or ""),
        device_id=_code(root, folder, "device", f"{fact}.device_id", notes),
        subsystem_vendor_id=subsystem[0],
        subsystem_device_id=subsystem[1],
        driver=driver(root, folder),
        parent=parent,
        numa_node=numa,
        local_cpu_list=None if local is None else as_list(local),
        link_transfers_per_s=now[0],
        link_transfers_per_s_max=most[0],
        link_width=now[1],
        link_width_max=most[1],
        downtrained=_downtrained(root, parent, code, now, most),
    )


def driver(root: Sysroot, folder: str) -> str | None:
    """The driver bound to a device: the name that its `driver` link ends with, else the line DRIVER= of `uevent`."""
    match = re.search(r"^DRIVER=([\w.-]+)$", root.text(f"{folder}/uevent") or "", re.MULTILINE)
    return root.link_name(f"{folder}/driver") or (match[1] if match else None)


def pci_address(path: str | None) -> str | None:
    """The last PCI address in a device's path."""
    found = [part for part in (path or "").split("/") if _ADDRESS.fullmatch(part)]
    return found[-1] if found else None


def _parent(root: Sysroot, folder: str) -> str | None:
    return pci_address((root.real(folder) or "").rpartition("/")[0])


def _optional_code(root: Sysroot, folder: str, name: str) -> str | None:
    text = (root.text(f"{folder}/{name}") or "").lower()
    return text if _CODE.fullmatch(text) else None


def _subsystem(root: Sysroot, folder: str, fact: str, notes: Notes) -> tuple[str | None, str | None]:
    """Vendor and device of the board; bridges have neither, so that one alone is a loss."""
    vendor, device = (_optional_code(root, folder, f"subsystem_{name}") for name in ("vendor", "device"))
    for name, code, other in (("vendor", vendor, device), ("device", device, vendor)):
        if code is None and other is not None:
            notes.gap(f"{fact}.subsystem_{name}_id", root.why(f"{folder}/subsystem_{name}"))
    return vendor, device


def _code(root: Sysroot, folder: str, name: str, fact: str, notes: Notes) -> str | None:
    code = _optional_code(root, folder, name)
    if code is None:
        notes.gap(fact, root.why(f"{folder}/{name}"))
    return code


Speed = tuple[float | None, int | None]


def _link(root: Sysroot, folder: str, which: str, fact: str, notes: Notes) -> Speed:
    """Rate a lane and number of lanes; a gap where only one of them is there. Conventional PCI has neither."""
    paths = f"{folder}/{which}_link_speed", f"{folder}/{which}_link_width"
    texts = [root.text(path) for path in paths]
    for path, text, other in zip(paths, texts, texts[::-1], strict=True):
        if text is None and other is not None:
            notes.gap(f"{fact}.{path.rsplit('/', 1)[-1]}", root.why(path))
    match = _RATE.fullmatch(texts[0] or "")
    return (float(match[1]) * 1e9 if match else None), integer(texts[1], 1, 32)


def _downtrained(root: Sysroot, parent: str | None, code: str | None, now: Speed, most: Speed) -> bool | None:
    """Below what both ends can do. A GPU lowers its rate when idle, so that only its width counts."""
    rate, width = now
    if rate is None or width is None or most[0] is None or most[1] is None:
        return None
    above = _link(root, f"{DEVICES}/{parent}", "max", "", Notes()) if parent else (None, None)
    narrow = width < min(most[1], above[1] or most[1])
    slow = rate < min(most[0], above[0] or most[0])
    return narrow or (slow and not (code or "").startswith(_DISPLAY))
