"""Accelerators for people: a table of devices, the matrix, the nearest adapters, what is amiss. Readable down to about 60 columns."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hwbench.core.accelerators import Accelerator, Accelerators, Matrix, PcieLink
from hwbench.core.inventory import Gap

_LEGEND = (
    ("NV#", "that many NVLinks"),
    ("XGMI", "xGMI link"),
    ("PCIE", "PCIe, path unknown"),
    ("PIX", "one PCIe switch"),
    ("PXB", "several PCIe switches"),
    ("PHB", "one host bridge"),
    ("NODE", "same NUMA node"),
    ("SYS", "between NUMA nodes"),
    ("?", "not known"),
)
_GAPS_SHOWN = 40
_WORST_IN_RED = {"SYS": "red", "NODE": "yellow", "PHB": "yellow"}


def accelerators_view(value: Accelerators, width: int) -> RenderableType:
    """What `hwbench probe` prints of accelerators on a terminal of `width` columns."""
    if not value.devices:
        return Text("No accelerator was seen.")
    parts: list[RenderableType] = [_device_table(value.devices, width)]
    if value.topology is not None and len(value.topology.labels) > 1:
        rows = [device.label for device in value.devices if device.label in value.topology.labels]
        parts += [Text(), *_matrix_tables(value.topology, rows, width), _legend(value.topology)]
    parts += [Text(line) for line in _remarks(value)]
    return Group(*parts)


def description_view(value: Accelerators, gaps: Sequence[Gap], width: int) -> RenderableType:
    """What `hwbench probe --from FILE` prints: the accelerators, and what the file did not tell of them."""
    told = [gap for gap in gaps if gap.path.startswith("accelerators.")]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("", overflow="fold", max_width=max(width // 3, 12))
    table.add_column("", overflow="fold")
    for gap in told[:_GAPS_SHOWN]:
        table.add_row(gap.path.removeprefix("accelerators."), gap.reason)
    more = [Text(f"and {len(told) - _GAPS_SHOWN} more: see --json", style="dim")] if len(told) > _GAPS_SHOWN else []
    return Group(accelerators_view(value, width), Text(f"\nNot told ({len(told)})", style="bold"), table, *more)


def _device_table(devices: Sequence[Accelerator], width: int) -> Table:
    """One row a device; equal neighbours are one row. On a narrow terminal the place and the link go under the name."""
    wide = width >= 100
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "device", "memory") + (("PCIe", "NUMA", "address") if wide else ()):
        table.add_column(heading, overflow="fold")
    for first, last, device in _runs(devices):
        label = first if first == last else f"{first}-{last.lstrip('GPUACI')}"
        memory = f"{device.memory_total_bytes / 2**30:.1f} GiB" if device.memory_total_bytes else "?"
        place = (_pcie(device.pcie), "?" if device.numa_node is None else str(device.numa_node), device.pci_address or "?")
        if wide:
            table.add_row(label, _title(device), memory, *(place if first == last else (*place[:2], "")))
        else:
            below = f"PCIe {place[0]}, NUMA {place[1]}" + (f", {place[2]}" if first == last else "")
            table.add_row(label, f"{_title(device)}\n[dim]{below}[/dim]", memory)
    return table


def _runs(devices: Sequence[Accelerator]) -> Iterator[tuple[str, str, Accelerator]]:
    """Neighbours that would print the same, as (first label, last label, device)."""

    def looks(device: Accelerator) -> tuple[object, ...]:
        return (_title(device), device.memory_total_bytes, device.pcie, device.numa_node)

    start = 0
    for end in range(1, len(devices) + 1):
        if end == len(devices) or looks(devices[end]) != looks(devices[start]):
            yield devices[start].label, devices[end - 1].label, devices[start]
            start = end


def _title(device: Accelerator) -> str:
    known = (
        device.name
        or " ".join(part for part in (device.vendor, device.pci_id) if part)
        or ("GPU of an unknown kind" if device.kind == "gpu" else "accelerator of an unknown kind")
    )
    if device.mig is not None and device.mig.enabled:
        known += f" in {len(device.mig.instances)} MIG instances"
    target = device.target or (f"sm {device.compute_capability}" if device.compute_capability else "")
    return f"{known} ({target})" if target else known


def _pcie(link: PcieLink | None) -> str:
    """`4.0 x16`; `4.0 x8 of x16` where lanes are missing; `1.0 x16, up to 5.0` where it runs slower now."""
    if link is None or link.width is None:
        return "?"
    text = f"{link.generation}.0 x{link.width}" if link.generation else f"x{link.width}"
    if link.downtrained:
        text += f" of x{link.width_max}"
    return text + (f", up to {link.generation_max}.0" if link.slower_now else "")


def _matrix_tables(matrix: Matrix, rows: Sequence[str], width: int) -> Iterator[Table]:
    """The rows of the devices (the matrix is symmetric), its columns cut into as many tables as the width asks for."""
    label_width = max(len(label) for label in matrix.labels) + 2
    column = max(max(len(label) for label in matrix.labels), 4) + 2
    fitting = max(1, (width - label_width) // column)
    for start in range(0, len(matrix.labels), fitting):
        shown = range(start, min(start + fitting, len(matrix.labels)))
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("")
        for place in shown:
            table.add_column(matrix.labels[place], justify="center", no_wrap=True)
        for label in rows:
            table.add_row(label, *(_cell(matrix.cell(label, matrix.labels[place])) for place in shown))
        yield table


def _cell(cell: str | None) -> Text:
    return Text(cell or "?", style="green" if (cell or "").startswith(("NV", "XGMI")) else _WORST_IN_RED.get(cell or "", ""))


def _legend(matrix: Matrix) -> Text:
    """The meanings of the words that are there."""
    cells = {"NV#" if (cell or "").startswith("NV") else cell or "?" for row in matrix.cells for cell in row}
    return Text("  ".join(f"{word} {meaning};" for word, meaning in _LEGEND if word in cells).rstrip(";"), style="dim")


def _remarks(value: Accelerators) -> Iterator[str]:
    yield from _nearest(value)
    for domain in value.link_domains:
        yield f"linked: {_span(value, domain)}"
    for device in value.devices:
        if device.pcie is not None and device.pcie.downtrained:
            yield f"warning: {device.label} runs on {device.pcie.width} of {device.pcie.width_max} PCIe lanes"
        slowing = [reason for reason in device.throttle_reasons or () if reason not in ("gpu_idle", "applications_clocks_setting")]
        if slowing:
            yield f"warning: {device.label} is slowed by {', '.join(slowing)}"
        if device.ecc is not None and device.ecc.uncorrected_volatile:
            yield f"warning: {device.label} counts {device.ecc.uncorrected_volatile} uncorrected memory errors"
    if value.gpudirect is not None and value.nics:
        state = {True: "ready", False: "not ready", None: "not known"}[value.gpudirect.ready]
        yield f"GPUDirect RDMA: {state}" + (f" ({value.gpudirect.reason})" if value.gpudirect.reason else "")


def _span(value: Accelerators, labels: Sequence[str]) -> str:
    """`GPU0-GPU7 (8 GPUs)` for neighbours, else every label."""
    order = [device.label for device in value.devices]
    start = order.index(labels[0]) if labels[0] in order else 0
    neighbours = len(labels) > 2 and order[start : start + len(labels)] == list(labels)
    return f"{labels[0]}-{labels[-1]} ({len(labels)} GPUs)" if neighbours else ", ".join(labels)


def _nearest(value: Accelerators) -> Iterator[str]:
    """One line for all devices that have the same adapters nearest."""
    together: dict[tuple[tuple[str, ...], str | None], list[str]] = {}
    for pairing in value.pairings:
        together.setdefault((pairing.nics, pairing.relation), []).append(pairing.accelerator)
    for (nics, relation), devices in together.items():
        every = len(nics) == len(value.nics) > 1
        named = f"all {len(nics)} adapters alike" if every else ", ".join(_named(value, nics))
        yield f"nearest to {', '.join(devices)}: {named} ({relation})"


def _named(value: Accelerators, labels: Sequence[str]) -> list[str]:
    names = {nic.label: nic.name for nic in value.nics}
    return [f"{label} {names[label]}" if names.get(label) not in (None, label) else label for label in labels]
