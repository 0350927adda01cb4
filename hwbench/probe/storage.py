"""Disks: NVMe controllers, and every block device that is one (no partition, loop, RAM disk or device-mapper volume)."""

import re
from collections.abc import Iterator

from hwbench.core.inventory import BlockDevice, NvmeDevice, Storage

from ._notes import Notes
from ._parse import integer
from ._sysroot import Sysroot
from .pci import numa_node, pci_address

NVME = "/sys/class/nvme"
SUBSYSTEMS = "/sys/class/nvme-subsystem"
BLOCK = "/sys/block"
_SECTOR_BYTES = 512  # of `size`, whatever the disk's own sector is (Documentation/ABI/stable/sysfs-block)
_MAX_SECTORS = 1 << 50
_VIRTUAL = re.compile(r"(loop|ram|zram|dm-|md|sr|fd|nbd|nvme\d+c\d+n)\d*")
_CONTROLLER = re.compile(r"nvme\d+")
_NAMESPACE = re.compile(r"nvme(\d+)(?:c(\d+))?n\d+")
# A part of the device's path in sysfs that tells how the disk is attached.
_TRANSPORTS = {
    "/usb": "usb", "/ata": "sata", "/end_device-": "sas", "/virtio": "virtio", "/nvme": "nvme", "/mmc": "mmc",
    "/rport-": "fc", "/vbd-": "xen",
}  # fmt: skip


def probe_storage(root: Sysroot, notes: Notes) -> Storage:
    """NVMe controllers and disks; a missing class folder is a gap, unless other classes show that there is no such driver."""
    return Storage(nvme=_nvme(root, notes), block=_block(root, notes))


def _nvme(root: Sysroot, notes: Notes) -> tuple[NvmeDevice, ...] | None:
    names = root.entries(NVME)
    if names is not None:
        notes.source("storage.nvme", f"{NVME}/*")
        return tuple(_controller(root, f"{NVME}/{name}", name, notes) for name in names if _CONTROLLER.fullmatch(name))
    found = {name: folder for subsystem in root.entries(SUBSYSTEMS) or () for name, folder in _inside(root, f"{SUBSYSTEMS}/{subsystem}")}
    source = f"{SUBSYSTEMS}/*/nvme* (no {NVME})"
    if not found:
        blocks = root.entries(BLOCK)
        if blocks is None:
            notes.gap("storage.nvme", root.why(NVME))
            return None
        found = {name: folder for block in blocks for name, folder in _of_block(root, block)}
        source = f"{BLOCK}/nvme*/device (no {NVME})"
    notes.source("storage.nvme", source)
    return tuple(_controller(root, found[name], name, notes) for name in sorted(found))


def _inside(root: Sysroot, folder: str) -> Iterator[tuple[str, str]]:
    """The controllers in the folder of a subsystem, with their folders."""
    for name in root.entries(folder) or ():
        if _CONTROLLER.fullmatch(name):
            yield name, f"{folder}/{name}"


def _of_block(root: Sysroot, block: str) -> Iterator[tuple[str, str]]:
    """The controllers of a namespace: its device is the one that it has, or with multipath the subsystem that may have several."""
    controller = _controller_of(block)
    if controller is None:
        return
    folder = f"{BLOCK}/{block}/device"
    of_subsystem = tuple(_inside(root, folder))
    if of_subsystem:
        yield from of_subsystem
    elif not (root.link_name(folder) or "").startswith("nvme-subsys"):
        yield controller, folder


def _controller_of(namespace: str) -> str | None:
    """'nvme1' of 'nvme1n1' and of 'nvme0c1n1', which is subsystem 0 by way of controller 1; None for other block devices."""
    match = _NAMESPACE.fullmatch(namespace)
    return None if match is None else f"nvme{match[2] or match[1]}"


def _controller(root: Sysroot, folder: str, name: str, notes: Notes) -> NvmeDevice:
    fact = f"storage.nvme.{name}"
    model = notes.read(root, f"{folder}/model", f"{fact}.model")
    node = numa_node(root, folder)
    if node is None:
        node = numa_node(root, f"{folder}/device")
    if node is None and root.text(f"{folder}/numa_node") is None and root.text(f"{folder}/device/numa_node") is None:
        notes.gap(f"{fact}.numa_node", f"{root.why(f'{folder}/numa_node')}; {root.why(f'{folder}/device/numa_node')}")
    return NvmeDevice(
        name=name,
        model=" ".join(model.split()) if model else None,
        numa_node=node,
        transport=notes.read(root, f"{folder}/transport", f"{fact}.transport"),
        firmware=notes.read(root, f"{folder}/firmware_rev", f"{fact}.firmware"),
        serial=notes.read(root, f"{folder}/serial", f"{fact}.serial"),
        state=notes.read(root, f"{folder}/state", f"{fact}.state"),
        pci_address=pci_address(root.real(f"{folder}/device") or root.real(folder)),
        size_bytes=_namespaces(root, folder, name, notes),
    )


def _namespaces(root: Sysroot, folder: str, name: str, notes: Notes) -> int | None:
    """All namespaces together; with multipath they hang below the subsystem and the controller has only hidden paths (nvme0c0n1)."""
    spaces = [entry for entry in root.entries(folder) or () if _controller_of(entry) == name]
    sizes = [_size(root, f"{folder}/{space}") for space in spaces]
    for space in (space for space, size in zip(spaces, sizes, strict=True) if size is None):
        notes.gap(f"storage.nvme.{name}.size_bytes", root.why(f"{folder}/{space}/size"))
    return None if not sizes or None in sizes else sum(size for size in sizes if size is not None)


def _size(root: Sysroot, folder: str) -> int | None:
    sectors = integer(root.text(f"{folder}/size"), 0, _MAX_SECTORS)
    return None if sectors is None else sectors * _SECTOR_BYTES


def _block(root: Sysroot, notes: Notes) -> tuple[BlockDevice, ...] | None:
    names = root.entries(BLOCK)
    if names is None:
        notes.gap("storage.block", root.why(BLOCK))
        return None
    notes.source("storage.block", f"{BLOCK}/*/{{size,queue,device}}")
    return tuple(_disk(root, name, notes) for name in names if not _VIRTUAL.fullmatch(name))


def _disk(root: Sysroot, name: str, notes: Notes) -> BlockDevice:
    folder = f"{BLOCK}/{name}"
    size = _size(root, folder)
    if size is None:
        notes.gap(f"storage.block.{name}.size_bytes", root.why(f"{folder}/size"))
    rotational = root.text(f"{folder}/queue/rotational")
    if rotational not in ("0", "1"):
        notes.gap(f"storage.block.{name}.rotational", root.why(f"{folder}/queue/rotational"))
    scheduler = re.search(r"\[([\w-]+)\]", notes.read(root, f"{folder}/queue/scheduler", f"storage.block.{name}.scheduler") or "")
    where = root.real(folder) or folder
    node = numa_node(root, f"{folder}/device")
    return BlockDevice(
        name=name,
        model=" ".join((notes.read(root, f"{folder}/device/model", f"storage.block.{name}.model") or "").split()) or None,
        size_bytes=size,
        rotational=rotational == "1" if rotational in ("0", "1") else None,
        scheduler=scheduler[1] if scheduler else None,
        transport=next((kind for part, kind in _TRANSPORTS.items() if part in where), None),
        numa_node=node if node is not None else numa_node(root, f"{folder}/device/device"),
    )
