"""NCCL's XML: the topology (`NCCL_TOPO_FILE`, `NCCL_TOPO_DUMP_FILE`, root `system`) and the graph (root `graphs`).

In a topology every `cpu` is a NUMA node and every PCI bridge one switch, so the relations are PIX, PXB, PHB (one CPU) and SYS: NCCL
does not keep host bridges of one CPU apart (NODE). A static file leaves out what NCCL fills in from /sys when it starts.
"""

from collections.abc import Iterator
from typing import NamedTuple

from hwbench.core.accelerators import Accelerator, Accelerators, GapPairs, Link, Nic, PcieLink, Reading

from ._accelerator_text import list_of_mask, pci_address, pcie_generation, whole
from ._markup import Node
from .topology import Place, link_domains, pairings, relation_matrix

_VENDORS = {"10de": "NVIDIA", "1002": "AMD"}
_SWITCH_CLASS, _BRIDGE_CLASS = "0x0680", "0x0604"


class _Leaf(NamedTuple):
    """A device in the tree: its element, the switches above it (two ports each, see topology.relation), its CPU."""

    node: Node
    bridges: tuple[str, ...]
    cpu: int
    numa_node: int | None
    cpu_list: str | None


def read_nccl(root: Node, source: str) -> Reading:
    """Accelerators of a NCCL topology or graph."""
    return _graph(root, source) if root.name == "graphs" else _topology(root, source)


def _topology(root: Node, source: str) -> Reading:
    gaps: list[tuple[str, str]] = []
    leaves = [leaf for number, cpu in enumerate(root.all("cpu")) for leaf in _leaves(cpu, number)]
    if _contradictory(root):
        gaps.append(("devices.*.cpu_list", f"{source}: gives the same CPUs to several NUMA nodes"))
        leaves = [leaf._replace(cpu_list=None) for leaf in leaves]
    gpu_leaves = sorted((leaf for leaf in leaves if _kind(leaf.node) in ("gpu", "unknown")), key=_gpu_order)
    nic_leaves = sorted((leaf for leaf in leaves if _kind(leaf.node) == "nic"), key=_address)
    gpus = tuple(_gpu(leaf, index, source, gaps) for index, leaf in enumerate(gpu_leaves))
    nics = tuple(_nic(leaf, index) for index, leaf in enumerate(nic_leaves))
    labels = [gpu.label for gpu in gpus] + [nic.label for nic in nics]
    in_order = zip(labels, (*gpu_leaves, *nic_leaves), strict=True)
    places = [Place(label, leaf.bridges, f"cpu{leaf.cpu}", leaf.numa_node) for label, leaf in in_order]
    matrix = relation_matrix(gpus, places, None, source, one_node=False) if places else None
    gaps += _untold(gpus, source)
    value = Accelerators(
        devices=gpus,
        nics=nics,
        topology=matrix,
        pairings=pairings(gpus, nics, matrix) if matrix else (),
        link_domains=link_domains(gpus, matrix),
    )
    return value, tuple(gaps)


def _contradictory(root: Node) -> bool:
    """True where CPUs belong to several NUMA nodes: hand-written files repeat one mask."""
    masks = [cpu.attributes["affinity"] for cpu in root.all("cpu") if cpu.attributes.get("affinity", "").strip("0,")]
    return len(set(masks)) < len(masks)


def _leaves(cpu: Node, number: int) -> Iterator[_Leaf]:
    node = whole(cpu.attributes.get("numaid", ""))
    node = None if node is None or node < 0 else node  # NCCL writes the kernel's -1, which is no node (virtual machines)
    cpus = list_of_mask(cpu.attributes.get("affinity", ""))
    pending: list[tuple[Node, tuple[str, ...]]] = [(child, ()) for child in cpu.children]
    order = 0
    while pending:
        element, bridges = pending.pop(0)
        if element.name == "pci" and (element.all("pci") or _class(element).startswith(_BRIDGE_CLASS)):
            order += 1
            # One element is a whole switch: its upstream port, then a downstream port for each child.
            ports = ((child, (*bridges, f"{number}.{order}", f"{number}.{order}.{place}")) for place, child in enumerate(element.children))
            pending += ports
        elif element.name in ("pci", "nic"):
            yield _Leaf(element, bridges, number, node if node is not None and node >= 0 else None, cpus)


def _class(node: Node) -> str:
    return node.attributes.get("class", "").lower()


def _kind(node: Node) -> str:
    """gpu, nic, unknown (a static file that leaves the class out) or other (a disk, an NVSwitch)."""
    if node.all("gpu"):
        return "gpu"
    if node.name == "nic" or node.all("nic"):
        return "nic"
    code = _class(node)
    if not code:
        return "unknown"
    return "gpu" if code.startswith(("0x03", "0x12")) else "nic" if code.startswith("0x02") else "other"


def _address(leaf: _Leaf) -> str:
    return pci_address(leaf.node.attributes.get("busid", "")) or "~"


def _gpu_order(leaf: _Leaf) -> tuple[int, str]:
    """NCCL's device number where the file has it; else by PCI address, as the NVIDIA driver counts."""
    gpu = leaf.node.at("gpu")
    number = whole(gpu.attributes.get("dev", "")) if gpu else None
    return (number if number is not None else 1 << 20, _address(leaf))


def _gpu(leaf: _Leaf, index: int, source: str, gaps: list[tuple[str, str]]) -> Accelerator:
    attributes = leaf.node.attributes
    gpu = leaf.node.at("gpu")
    vendor, device = (attributes.get(name, "").lower().removeprefix("0x") for name in ("vendor", "device"))
    fact = f"devices.{index}"
    kind = _kind(leaf.node)
    if kind == "unknown":
        gaps.append((f"{fact}.kind", f"{source}: gives {attributes.get('busid')} no class; NCCL reads it from /sys when it starts"))
    speed, width = attributes.get("link_speed", ""), whole(attributes.get("link_width", ""))
    generation = pcie_generation(speed)
    if generation is None or not width:
        gaps.append((f"{fact}.pcie", f"{source}: link_speed is {speed!r}, link_width {attributes.get('link_width', '')!r}"))
    capability = gpu.attributes.get("sm", "") if gpu else ""
    return Accelerator(
        label=f"GPU{index}" if kind == "gpu" else f"PCI{index}",
        source=source,
        index=index if kind == "gpu" else None,
        kind=kind,
        vendor=_VENDORS.get(vendor),
        pci_address=pci_address(attributes.get("busid", "")),
        pci_id=f"{vendor}:{device}" if vendor and device else None,
        compute_capability=f"{capability[:-1]}.{capability[-1]}" if capability.isdigit() and len(capability) > 1 else None,
        target=gpu.attributes.get("gcn") if gpu else None,
        pcie=PcieLink(generation=generation, width=width or None) if generation or width else None,
        links=tuple(_links(leaf.node, fact, source, gaps)),
        numa_node=leaf.numa_node,
        cpu_list=leaf.cpu_list,
    )


def _links(pci: Node, fact: str, source: str, gaps: list[tuple[str, str]]) -> Iterator[Link]:
    own = pci_address(pci.attributes.get("busid", ""))
    gpu = pci.at("gpu")
    for index, link in enumerate(gpu.children if gpu else ()):
        if link.name == "c2c":  # chip to chip, Grace to Hopper or Blackwell: always to the CPU of the same module
            yield Link(kind="c2c", index=index, active=True, remote="cpu", count=whole(link.attributes.get("count", "1")) or 1)
        if link.name not in ("nvlink", "xgmi"):
            continue
        target = pci_address(link.attributes.get("target", ""))
        code = link.attributes.get("tclass", "").lower()
        remote = "switch" if code.startswith(_SWITCH_CLASS) else "gpu" if code.startswith(("0x03", "0x12")) else "cpu" if code else None
        if target is not None and target == own:
            gaps.append((f"{fact}.links", f"{source}: a link of {own} is said to lead to itself"))
            target, remote = None, None
        count = whole(link.attributes.get("count", "1")) or 1
        yield Link(kind=link.name, index=index, active=True, remote=remote, remote_pci_address=target, count=count)


def _nic(leaf: _Leaf, index: int) -> Nic:
    nets = [net for net in leaf.node.walk() if net.name == "net"]
    names = [net.attributes["name"] for net in nets if net.attributes.get("name")]
    # NCCL writes a zero identifier for a plain socket interface, the port's own for an RDMA adapter.
    guids = {whole(net.attributes["guid"]) for net in nets if "guid" in net.attributes}
    rdma = any(guids) if guids else None
    address = pci_address(leaf.node.attributes.get("busid", ""))
    return Nic(label=f"NIC{index}", name=",".join(names) or None, pci_address=address, numa_node=leaf.numa_node, rdma=rdma)


def _untold(gpus: tuple[Accelerator, ...], source: str) -> GapPairs:
    gaps = [("devices", f"{source}: a NCCL topology tells of no model name, memory or clock")]
    if not gpus:
        gaps.append(("devices", f"{source}: holds no GPU"))
    if not any(link.kind != "c2c" for gpu in gpus for link in gpu.links):
        gaps.append(("devices.*.links", f"{source}: lists no NVLinks; NCCL asks the driver for them when it starts"))
    return tuple(gaps)


def _graph(root: Node, source: str) -> Reading:
    numbers = sorted({number for gpu in root.walk() if gpu.name == "gpu" and (number := whole(gpu.attributes.get("dev", ""))) is not None})
    devices = tuple(Accelerator(label=f"GPU{number}", source=source, index=number) for number in numbers)
    ways = ", ".join(
        f"graph {graph.attributes.get('id')}: {graph.attributes.get('nchannels')} channels, "
        f"at worst {graph.attributes.get('typeintra')} between GPUs"
        for graph in root.all("graph")
    )
    gaps = (
        ("topology", f"{source}: a NCCL graph tells the order of GPUs in channels, not how near they are ({ways or 'no graph in it'})"),
        ("devices", f"{source}: a NCCL graph tells of no model, memory, PCI address or NUMA node"),
    )
    return Accelerators(devices=devices), gaps
