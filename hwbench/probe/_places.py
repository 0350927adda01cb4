"""Where accelerators and network adapters sit in the PCI tree."""

from collections.abc import Iterable, Sequence

import msgspec

from hwbench.core.accelerators import Accelerator, Nic
from hwbench.core.inventory import Network, PciDevice

from .topology import Place

_NETWORK = "0x02"


def network_adapters(functions: Iterable[PciDevice], network: Network) -> tuple[Nic, ...]:
    """Network adapters with a place in the PCI tree, RDMA adapters first in the order of their names, one for each PCI function."""
    found: dict[str, Nic] = {}
    for device in sorted(network.infiniband or (), key=lambda device: _natural(device.name)):
        if device.pci_address and device.pci_address not in found:
            found[device.pci_address] = _nic(device.name, device.pci_address, device.numa_node, True)
    for interface in sorted(network.interfaces or (), key=lambda interface: _natural(interface.name)):
        if interface.pci_address and interface.pci_address not in found:
            found[interface.pci_address] = _nic(interface.name, interface.pci_address, interface.numa_node, False)
    for function in functions:
        if (function.class_code or "").startswith(_NETWORK) and function.address not in found:
            found[function.address] = _nic(None, function.address, function.numa_node, None)
    return tuple(msgspec.structs.replace(nic, label=f"NIC{index}") for index, nic in enumerate(found.values()))


def _nic(name: str | None, address: str, node: int | None, rdma: bool | None) -> Nic:
    return Nic(label="", name=name, pci_address=address, numa_node=node, rdma=rdma)


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """A sorting key that puts mlx5_10 after mlx5_9."""
    parts, digits = [], ""
    for letter in f"{name} ":
        if letter.isascii() and letter.isdigit():
            digits += letter
            continue
        if digits:
            parts.append((int(digits), ""))
            digits = ""
        parts.append((-1, letter))
    return tuple(parts)


def places_of(devices: Sequence[Accelerator], nics: Sequence[Nic], functions: Sequence[PciDevice]) -> list[Place]:
    """Where devices and then adapters sit in the PCI tree.

    Where no NUMA node at all is known, the CPU that KFD puts nearest to an AMD GPU stands for it: different CPUs are different nodes.
    """
    by_address = {function.address: function for function in functions}
    located = [_place(one.label, one.pci_address, one.numa_node, by_address) for one in devices]
    located += [_place(one.label, one.pci_address, one.numa_node, by_address) for one in nics]
    if any(place.numa_node is not None for place in located):
        return located
    cpus = {one.label: nearest_cpu(one) for one in devices}
    return [place._replace(numa_node=cpus.get(place.label)) for place in located]


def nearest_cpu(device: Accelerator) -> int | None:
    """The CPU (counted from 0) that a device's own links reach with the least weight; None without such links."""
    links = [(link.weight or 0, link.remote_index) for link in device.links if link.remote == "cpu" and link.remote_index is not None]
    return min(links)[1] if links else None


def _place(label: str, address: str | None, node: int | None, by_address: dict[str, PciDevice]) -> Place:
    """The way from the root bus to a function; a chain of parents that never ends (a broken tree) gives an unknown place."""
    function = by_address.get(address or "")
    if function is None:
        return Place(label, (), None, node)
    bridges: list[str] = []
    parent = function.parent
    while parent is not None and parent in by_address and len(bridges) < 64:
        bridges.insert(0, parent)
        parent = by_address[parent].parent
    top = bridges[0] if bridges else function.address
    return Place(
        label, tuple(bridges), top.rpartition(":")[0] if parent is None else None, node if node is not None else function.numa_node
    )
