"""Tables over pairs of devices as text: `nvidia-smi topo -m` and `-p2p`, `rocm-smi --showtopo`, `amd-smi topology`.

A table is a line of labels and then lines that start with one of the labels. What a tool prints around it (source comments, prompts,
legends, terminal colours) is passed over. Rows that an excerpt left out are filled from the columns, as every relation is symmetric.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from hwbench.core.accelerators import Accelerator, Accelerators, GapPairs, Link, Matrix, Nic, Reading

from ._accelerator_text import pci_address, whole

_COLOUR = re.compile(r"\x1b?\[[0-9;]*m")
_AFFINITY = ("CPU Affinity", "NUMA Affinity", "GPU NUMA ID", "NUMA")
_DEVICE = re.compile(r"^(GPU\d+|[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])$")
_LABEL = re.compile(r"^[A-Za-z]\w*\d\w*$")
_RELATION = re.compile(r"^(X|NV\d+|PIX|PXB|PHB|NODE|SYS|SOC|N/A)$")
_PEER = re.compile(r"^(X|OK|CNS|GNS|TNS|NS|DR|U|N/A)$")
_CPU_LIST = re.compile(r"^\d+(-\d+)?(,\d+(-\d+)?)*$")
_NIC_LEGEND = re.compile(r"^\s*(NIC\d+)\s*:\s*(\S+)\s*$")
_SECTION = re.compile(r"(?i)^[\s=]*(weight|hops|link type|link accessibility|access|numa bw|atomics)\s+(?:between two gpus|table)\b[\s=:]*")
_ROCM_NUMA = re.compile(r"^\s*GPU\[(\d+)\]\s*:\s*\(Topology\) Numa (Node|Affinity):\s*(-?\d+)\s*$")
_P2P_COMMAND = re.compile(r"topo\s+-p2p\s+([rwnap]+)")

_NAMES = {"access": "access", "link accessibility": "access", "link type": "link_type", "numa bw": "bandwidth"}
_P2P = {"r": "p2p_read", "w": "p2p_write", "n": "p2p_nvlink", "a": "p2p_atomics", "p": "p2p_pci"}


class Table(NamedTuple):
    """One table of a text: its labels, rows by label (as many cells as labels), what stood behind the cells, and the title above."""

    title: str
    labels: tuple[str, ...]
    rows: dict[str, tuple[str, ...]]
    behind: dict[str, tuple[str, ...]]
    columns_behind: tuple[str, ...]
    short: tuple[str, ...]


def tables(text: str) -> list[Table]:
    """Every table in a text, in order. A text without one gives an empty list; nothing is raised."""
    found: list[Table] = []
    title = ""
    lines = [_COLOUR.sub("", line) for line in text.splitlines()]
    at = 0
    while at < len(lines):
        header = _header(lines[at])
        if header is None:
            title = lines[at] if _SECTION.match(lines[at]) or _P2P_COMMAND.search(lines[at]) else title
            at += 1
            continue
        end = at + 1
        while end < len(lines) and (_first(lines[end]) in header[0] or not lines[end].strip("-+ \t")) and _header(lines[end]) is None:
            end += 1
        table = _table(title, header, lines[at + 1 : end])
        if table.rows or table.short:
            found.append(table)
            title = ""
        at = end
    return found


def _first(line: str) -> str:
    return (line.split(maxsplit=1) or [""])[0]


def _header(line: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Labels and affinity columns of a header line; None for any other line."""
    behind = []
    for name in _AFFINITY:
        if re.search(rf"(?<!\S){name}(?!\S)", line):
            behind.append(name)
            line = re.sub(rf"(?<!\S){name}(?!\S)", " ", line)
    labels = line.split()
    if not labels or not _DEVICE.match(labels[0]) or len(set(labels)) != len(labels):
        return None
    if any(_RELATION.match(label) or _PEER.match(label) or not (_DEVICE.match(label) or _LABEL.match(label)) for label in labels):
        return None
    return tuple(labels), tuple(behind)


def _table(title: str, header: tuple[tuple[str, ...], tuple[str, ...]], lines: Sequence[str]) -> Table:
    labels, columns = header
    rows: dict[str, tuple[str, ...]] = {}
    behind: dict[str, tuple[str, ...]] = {}
    short: list[str] = []
    for line in lines:
        words = line.split()
        if not words:
            if rows:
                break
            continue
        if len(words) <= len(labels):
            short.append(words[0])
            continue
        rows[words[0]] = tuple(words[1 : len(labels) + 1])
        behind[words[0]] = tuple(words[len(labels) + 1 :])
    return Table(title, labels, rows, behind, columns, tuple(short))


def read_topology(text: str, source: str) -> Reading | None:
    """Accelerators from a text that holds such tables; None where it holds none. Never raises."""
    found = tables(text)
    relations = next((table for table in found if _all_cells(table, _RELATION)), None)
    gaps: list[tuple[str, str]] = []
    if relations is not None:
        value = _nvidia(relations, text, source, gaps)
        return _with_p2p(value, found, source, gaps), tuple(gaps)
    named = {_section(table): table for table in found if _section(table)}
    if named:
        return _rocm(named, text, source, gaps), tuple(gaps)
    peers = [table for table in found if _all_cells(table, _PEER)]
    if peers:
        devices = tuple(_device(label, source) for label in peers[0].labels)
        gaps.append(("topology", f"{source}: holds a peer-to-peer table only"))
        return _with_p2p(Accelerators(devices=devices), found, source, gaps), tuple(gaps)
    return None


def _all_cells(table: Table, pattern: re.Pattern[str]) -> bool:
    cells = [cell for row in table.rows.values() for cell in row]
    return bool(cells) and all(pattern.match(cell) for cell in cells)


def _nvidia(table: Table, text: str, source: str, gaps: list[tuple[str, str]]) -> Accelerators:
    matrix = _symmetric(table, "nvidia-smi topo -m", source, "topology", gaps)
    names = {match[1]: match[2] for line in text.splitlines() if (match := _NIC_LEGEND.match(line))}
    gpus = [label for label in table.labels if label.startswith("GPU")]
    devices = tuple(_nvidia_device(label, table, f"devices.{index}", source, gaps) for index, label in enumerate(gpus))
    nics = tuple(_nic(label, names) for label in table.labels if label not in gpus)
    gaps.append(("devices", f"{source}: a topology table tells of no model, memory, clock or PCI address"))
    if any((cell or "").startswith("NV") for row in matrix.cells for cell in row):
        gaps.append(("devices.*.links", f"{source}: tells how many NVLinks join two GPUs, not where each leads (peer or switch)"))
    return Accelerators(devices=devices, nics=nics, topology=matrix)


def _nic(label: str, names: dict[str, str]) -> Nic:
    return Nic(label=label, name=names.get(label, None if label.startswith("NIC") else label))


def _device(label: str, source: str, vendor: str = "NVIDIA") -> Accelerator:
    digits = re.sub(r"\D", "", label) if label.startswith("GPU") else ""
    return Accelerator(label=label, source=source, index=int(digits) if digits else None, vendor=vendor)


def _nvidia_device(label: str, table: Table, fact: str, source: str, gaps: list[tuple[str, str]]) -> Accelerator:
    known = dict(zip(table.columns_behind, table.behind.get(label, ()), strict=False))
    device = _device(label, source)
    cpus, node = known.get("CPU Affinity"), known.get("NUMA Affinity", known.get("NUMA"))
    said = "no row for it" if label not in table.rows else "the table says {}"
    if cpus is None or not _CPU_LIST.match(cpus):
        gaps.append((f"{fact}.cpu_list", f"{source}: {said.format(cpus or 'nothing')}"))
        cpus = None
    if _node(node) is None:
        gaps.append((f"{fact}.numa_node", f"{source}: {said.format(node or 'nothing')}"))
    return Accelerator(
        label=label,
        source=source,
        index=device.index,
        vendor=device.vendor,
        cpu_list=cpus,
        numa_node=_node(node),
        memory_numa_node=_node(known.get("GPU NUMA ID")),
    )


def _node(text: str | None) -> int | None:
    """A NUMA node's number; None for several, for N/A, and for the kernel's -1, which is no node."""
    return int(text) if text and text.isascii() and text.isdigit() else None


def _symmetric(table: Table, meaning: str, source: str, name: str, gaps: list[tuple[str, str]]) -> Matrix:
    """The table as a matrix; cells of missing rows from the columns, then None with a gap."""

    def cell(row: str, column: str) -> str | None:
        for one, other in ((row, column), (column, row)):
            if one in table.rows:
                value = table.rows[one][table.labels.index(other)]
                return {"SOC": "SYS", "N/A": None}.get(value, value)
        return "X" if row == column else None

    labels = table.labels
    if missing := [label for label in labels if label not in table.rows]:
        cut = f", cut short: {', '.join(table.short)}" if table.short else ""
        gaps.append((name, f"{source}: no rows for {', '.join(missing)}{cut}; their cells come from the columns where those are there"))
    cells = tuple(tuple(cell(row, column) for column in labels) for row in labels)
    return Matrix(meaning=meaning, source=source, labels=labels, cells=cells)


def _with_p2p(value: Accelerators, found: list[Table], source: str, gaps: list[tuple[str, str]]) -> Accelerators:
    matrices = dict(value.matrices)
    for table in found:
        if not _all_cells(table, _PEER) or _all_cells(table, _RELATION):
            continue
        command = _P2P_COMMAND.search(table.title)
        for name in [_P2P[letter] for letter in command[1]] if command else ["p2p"]:
            matrices[name] = _symmetric(table, "nvidia-smi topo -p2p", source, f"matrices.{name}", gaps)
    return Accelerators(devices=value.devices, nics=value.nics, topology=value.topology, matrices=matrices)


def _section(table: Table) -> str:
    match = _SECTION.match(table.title)
    return _NAMES.get(match[1].lower(), match[1].lower()) if match else ""


def _rocm(named: dict[str, Table], text: str, source: str, gaps: list[tuple[str, str]]) -> Accelerators:
    labels = next(iter(named.values())).labels
    matrices = {
        name: _symmetric(table, name.replace("_", " "), source, f"matrices.{name}", gaps)
        for name, table in named.items()
        if table.labels == labels
    }
    nodes = {int(match[1]): int(match[3]) for line in text.splitlines() if (match := _ROCM_NUMA.match(line)) and match[2] == "Node"}
    devices = tuple(
        Accelerator(
            label=f"GPU{index}",
            source=source,
            index=index,
            vendor="AMD",
            pci_address=pci_address(label),
            numa_node=nodes.get(index) if nodes.get(index, -1) >= 0 else None,
            links=amd_links(index, len(labels), matrices),
        )
        for index, label in enumerate(labels)
    )
    gaps += _rocm_gaps(matrices, nodes, source)
    return Accelerators(devices=devices, topology=topology_of_links(matrices, len(labels)), matrices=matrices)


def _rocm_gaps(matrices: dict[str, Matrix], nodes: dict[int, int], source: str) -> GapPairs:
    gaps = [("devices", f"{source}: a topology table tells of no model, memory or clock")]
    if not nodes:
        gaps.append(("devices.*.numa_node", f"{source}: holds no 'Numa Node' lines"))
    if "link_type" not in matrices:
        gaps.append(("topology", f"{source}: holds no link types"))
    return tuple(gaps)


def topology_of_links(matrices: dict[str, Matrix], count: int) -> Matrix | None:
    """The link-type matrix (XGMI, PCIE) under the labels GPU0 … with X on the diagonal; None without link types."""
    kinds = matrices.get("link_type")
    if kinds is None:
        return None
    cells = tuple(tuple("X" if row == column else kinds.cells[row][column] for column in range(count)) for row in range(count))
    return Matrix(
        meaning="link type between two GPUs", source=kinds.source, labels=tuple(f"GPU{index}" for index in range(count)), cells=cells
    )


def amd_links(index: int, count: int, matrices: dict[str, Matrix]) -> tuple[Link, ...]:
    """One link to each peer, from the link-type and weight matrices of rocm-smi."""
    kinds, weights = matrices.get("link_type"), matrices.get("weight")
    found = []
    for other in range(count):
        kind = (kinds.cells[index][other] or "") if kinds else ""
        if other != index and kind.upper() in ("XGMI", "PCIE"):
            weight = whole(weights.cells[index][other] or "") if weights else None
            found.append(Link(kind=kind.lower(), remote="gpu", remote_index=other, weight=weight))
    return tuple(found)
