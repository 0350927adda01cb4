"""Who is how near to whom: the matrix of `nvidia-smi topo -m` from paths through the PCI tree, and what follows from it.

    X     the device itself
    NV#   # NVLinks, directly or through switches           XGMI  an xGMI link
    PIX   at most one PCIe switch                           PXB   several PCIe switches, no host bridge
    PHB   one PCIe host bridge                              NODE  host bridges of one NUMA node
    SYS   the interconnect between NUMA nodes

Words and meanings are those of NVIDIA's System Management Interface. All functions are pure.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hwbench.core.accelerators import Accelerator, Link, Matrix, Nic, Pairing

NEAREST_FIRST = ("X", "PIX", "PXB", "PHB", "NODE", "SYS")
LINK_KINDS = ("NV", "XGMI")


class Place(NamedTuple):
    """Where a device sits: bridges from the root port down to the port above it, the root bus they hang from, the NUMA node."""

    label: str
    bridges: tuple[str, ...]
    root: str | None
    numa_node: int | None


def relation(one: Place, other: Place, *, one_node: bool = False) -> str | None:
    """The word for the PCI path between two places; None where the tree or the NUMA nodes are not known well enough.

    A PCIe switch is two bridges on the way down, its upstream and a downstream port; below the nearest bridge that two devices share,
    one more port on either side is still the same switch. `one_node` says that the machine has a single NUMA node.
    """
    apart = one.numa_node is not None and other.numa_node is not None and one.numa_node != other.numa_node
    if one.root is None or other.root is None:
        return "SYS" if apart else None
    if one.root != other.root:
        together = one_node or (one.numa_node is not None and one.numa_node == other.numa_node)
        return "SYS" if apart else "NODE" if together else None
    shared = 0
    for left, right in zip(one.bridges, other.bridges, strict=False):
        if left != right:
            break
        shared += 1
    if not shared:
        return "PHB"
    return "PIX" if max(len(one.bridges), len(other.bridges)) - shared <= 1 else "PXB"


def link_cell(one: Accelerator, other: Accelerator, gpus: Sequence[Accelerator]) -> str | None:
    """NV# or XGMI where active links join two GPUs: direct ones counted, or through switches the lesser of both sides' counts."""
    direct = [link for link in one.links if _leads_to(link, other)]
    if any(link.kind == "xgmi" for link in direct):
        return "XGMI"
    count = sum(link.count for link in direct if link.kind == "nvlink" and link.active is not False)
    if not count:
        count = min(_links_to_switches(one, gpus), _links_to_switches(other, gpus))
    return f"NV{count}" if count else None


def _leads_to(link: Link, gpu: Accelerator) -> bool:
    if link.remote_pci_address is not None:
        return link.remote_pci_address == gpu.pci_address
    return link.remote_index is not None and link.remote_index == gpu.index


def _links_to_switches(gpu: Accelerator, gpus: Sequence[Accelerator]) -> int:
    """Active NVLinks into switches. Old drivers don't say what a link leads to; then an NVIDIA device that is no GPU is a switch."""
    addresses = {one.pci_address for one in gpus}
    total = 0
    for link in gpu.links:
        if link.kind != "nvlink" or link.active is False:
            continue
        unnamed = link.remote is None and (link.remote_pci_id or "").startswith("10de:") and link.remote_pci_address not in addresses
        if link.remote == "switch" or unnamed:
            total += link.count
    return total


def relation_matrix(gpus: Sequence[Accelerator], places: Iterable[Place], known: Matrix | None, source: str, *, one_node: bool) -> Matrix:
    """The matrix over all places in order: links between GPUs first, then cells of `known` (what a driver said), then the PCI tree."""
    listed = tuple(places)
    by_label = {gpu.label: gpu for gpu in gpus}

    def cell(one: Place, other: Place) -> str | None:
        if one.label == other.label:
            return "X"
        left, right = by_label.get(one.label), by_label.get(other.label)
        linked = link_cell(left, right, gpus) if left and right else None
        told = known.cell(one.label, other.label) if known else None
        return linked or told or relation(one, other, one_node=one_node)

    cells = tuple(tuple(cell(one, other) for other in listed) for one in listed)
    return Matrix(
        meaning="nearness as nvidia-smi topo -m words it", source=source, labels=tuple(place.label for place in listed), cells=cells
    )


def pairings(gpus: Sequence[Accelerator], nics: Sequence[Nic], matrix: Matrix) -> tuple[Pairing, ...]:
    """The network adapters nearest to each GPU, RDMA adapters only where there are any; no pairing where no cell is known."""
    rdma = [nic for nic in nics if nic.rdma]
    found = []
    for gpu in gpus:
        cells = {nic.label: matrix.cell(gpu.label, nic.label) for nic in rdma or nics}
        known = {label: cell for label, cell in cells.items() if cell in NEAREST_FIRST}
        if known:
            best = min(known.values(), key=NEAREST_FIRST.index)
            found.append(Pairing(accelerator=gpu.label, nics=tuple(label for label, cell in known.items() if cell == best), relation=best))
    return tuple(found)


def link_domains(gpus: Sequence[Accelerator], matrix: Matrix | None) -> tuple[tuple[str, ...], ...]:
    """Groups of two or more GPUs that reach each other over NVLink or xGMI, directly or by way of others of the group."""
    if matrix is None:
        return ()
    labels = [gpu.label for gpu in gpus if gpu.label in matrix.labels]
    domains: list[set[str]] = []
    for one in labels:
        joined = {one} | {other for other in labels if (matrix.cell(one, other) or "").startswith(LINK_KINDS)}
        for domain in [domain for domain in domains if domain & joined]:
            domains.remove(domain)
            joined |= domain
        domains.append(joined)
    ordered = (tuple(label for label in labels if label in domain) for domain in domains)
    return tuple(sorted((domain for domain in ordered if len(domain) > 1), key=lambda domain: labels.index(domain[0])))
