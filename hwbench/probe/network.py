"""Network interfaces and RDMA adapters (InfiniBand, RoCE, Omni-Path, EFA).

Documentation/ABI/testing/sysfs-class-net (`speed` in Mbit/s, -1 or an error while the link is down; kernels before 3.x print that -1 as
the 16 or 32 bits that it has in them) and Documentation/ABI/stable/sysfs-class-infiniband (`rate` as "400 Gb/sec (4X NDR)").
"""

import re

from hwbench.core.inventory import InfinibandDevice, InfinibandPort, Network, NetworkInterface

from ._notes import Notes
from ._parse import integer
from ._sysroot import Sysroot
from .pci import driver, numa_node, pci_address

INTERFACES = "/sys/class/net"
RDMA = "/sys/class/infiniband"
_MAX_MBIT = 100_000_000
_UNKNOWN_MBIT = 0xFFFF
_RATE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) Gb/sec(?: \((.*)\))?")
# ARPHRD_* of include/uapi/linux/if_arp.h
_TYPES = {"1": "ethernet", "32": "infiniband", "772": "loopback", "768": "tunnel", "776": "tunnel", "778": "tunnel", "65534": "tunnel"}


def probe_network(root: Sysroot, notes: Notes) -> Network:
    """Interfaces and RDMA adapters; a missing class folder is a gap, except where the kernel merely has no RDMA driver loaded."""
    return Network(interfaces=_interfaces(root, notes), infiniband=_infiniband(root, notes))


def _interfaces(root: Sysroot, notes: Notes) -> tuple[NetworkInterface, ...] | None:
    names = root.entries(INTERFACES)
    if names is None:
        notes.gap("network.interfaces", root.why(INTERFACES))
        return None
    notes.source("network.interfaces", f"{INTERFACES}/*/{{speed,operstate,device}}")
    return tuple(_interface(root, name, notes) for name in names if _is_interface(root, f"{INTERFACES}/{name}"))


def _is_interface(root: Sysroot, path: str) -> bool:
    """A folder, or a link whose folder was not copied; `bonding_masters` is a file among them."""
    return root.entries(path) is not None or (root.link_name(path) is not None and root.real(path) is None)


def _interface(root: Sysroot, name: str, notes: Notes) -> NetworkInterface:
    folder, fact = f"{INTERFACES}/{name}", f"network.interfaces.{name}"
    kind = _kind(root, folder)
    if kind is None:
        notes.gap(f"{fact}.kind", root.why(f"{folder}/type"))
    state = root.text(f"{folder}/operstate")
    if state is None:
        notes.gap(f"{fact}.operational_state", root.why(f"{folder}/operstate"))
    mbit = integer(root.text(f"{folder}/speed"), 1, _MAX_MBIT)
    mbit = None if mbit == _UNKNOWN_MBIT else mbit
    if mbit is None and root.exists(f"{folder}/device"):
        notes.gap(f"{fact}.bandwidth_bytes_per_s", _speedless(root, folder, state))
    return NetworkInterface(
        name=name,
        kind=kind,
        bandwidth_bytes_per_s=None if mbit is None else mbit * 1e6 / 8,
        numa_node=_node(root, folder, fact, notes),
        operational_state=state,
        duplex=notes.read(root, f"{folder}/duplex", f"{fact}.duplex") if root.exists(f"{folder}/device") else None,
        mtu_bytes=integer(notes.read(root, f"{folder}/mtu", f"{fact}.mtu_bytes"), 1, 1 << 31),
        mac=notes.read(root, f"{folder}/address", f"{fact}.mac"),
        driver=driver(root, f"{folder}/device"),
        pci_address=pci_address(root.real(f"{folder}/device")),
    )


def _speedless(root: Sysroot, folder: str, state: str | None) -> str:
    text = root.text(f"{folder}/speed")
    reason = root.why(f"{folder}/speed") if text is None else f"{folder}/speed: {text}, no speed known"
    return reason if state == "up" else f"{reason} (link is {state or 'in an unknown state'})"


def _node(root: Sysroot, folder: str, fact: str, notes: Notes) -> int | None:
    """The device's node; a gap where a PCI device does not tell (a virtual interface has no device)."""
    node = numa_node(root, f"{folder}/device")
    if node is None and root.exists(f"{folder}/device") and root.text(f"{folder}/device/numa_node") is None:
        notes.gap(f"{fact}.numa_node", root.why(f"{folder}/device/numa_node"))
    return node


def _kind(root: Sysroot, folder: str) -> str | None:
    for part, kind in (("bridge", "bridge"), ("bonding", "bond"), ("wireless", "wireless"), ("phy80211", "wireless")):
        if root.exists(f"{folder}/{part}"):
            return kind
    told = _TYPES.get(root.text(f"{folder}/type") or "")
    return "virtual" if told == "ethernet" and not root.exists(f"{folder}/device") else told


def _infiniband(root: Sysroot, notes: Notes) -> tuple[InfinibandDevice, ...] | None:
    names = root.entries(RDMA)
    if names is None and root.exists("/sys/class/net"):
        notes.source("network.infiniband", f"{RDMA}: no RDMA driver is loaded")
        return ()
    if names is None:
        notes.gap("network.infiniband", root.why(RDMA))
        return None
    notes.source("network.infiniband", f"{RDMA}/*/ports/*/{{rate,state,link_layer}}")
    return tuple(_adapter(root, name, notes) for name in names)


def _adapter(root: Sysroot, name: str, notes: Notes) -> InfinibandDevice:
    folder, fact = f"{RDMA}/{name}", f"network.infiniband.{name}"
    numbers = [integer(port, 0, 255) for port in root.entries(f"{folder}/ports") or ()]
    return InfinibandDevice(
        name=name,
        numa_node=_node(root, folder, fact, notes),
        pci_address=pci_address(root.real(f"{folder}/device")),
        type=notes.read(root, f"{folder}/hca_type", f"{fact}.type"),
        firmware=notes.read(root, f"{folder}/fw_ver", f"{fact}.firmware"),
        board=notes.read(root, f"{folder}/board_id", f"{fact}.board"),
        node_guid=notes.read(root, f"{folder}/node_guid", f"{fact}.node_guid"),
        interfaces=root.entries(f"{folder}/device/net") or (),
        ports=tuple(_port(root, folder, number, fact, notes) for number in sorted(n for n in numbers if n is not None)),
    )


def _port(root: Sysroot, folder: str, number: int, fact: str, notes: Notes) -> InfinibandPort:
    port = f"{folder}/ports/{number}"
    found = {name: root.text(f"{port}/{name}") for name in ("state", "phys_state", "rate", "link_layer")}
    for name, text in found.items():
        if text is None:
            notes.gap(f"{fact}.ports.{number}.{name}", root.why(f"{port}/{name}"))
    match = _RATE.fullmatch(found["rate"] or "")
    return InfinibandPort(
        number=number,
        state=_worded(found["state"]),
        physical_state=_worded(found["phys_state"]),
        bandwidth_bytes_per_s=float(match[1]) * 1e9 / 8 if match else None,
        rate_text=match[2] if match else found["rate"],
        link_layer=found["link_layer"],
    )


def _worded(text: str | None) -> str | None:
    """'ACTIVE' of '4: ACTIVE'."""
    return None if text is None else text.rpartition(": ")[2]
