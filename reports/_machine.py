"""The machine of a report as text: what the host has beside what the run could use, then the facts, and what could not be seen."""

from collections.abc import Iterator

from hwbench.core.accelerators import Accelerator
from hwbench.core.inventory import Cpu, Inventory, Memory, Network, Software, Storage
from hwbench.core.units import UNKNOWN, format_bytes, format_rate, significant

from ._tables import Table


def limits(inventory: Inventory) -> Table:
    """Host beside effective limits."""
    has, memory = inventory.limits, inventory.memory
    host_cpus = has.host_cpus if has.host_cpus is not None else inventory.cpu.online_count
    host_bytes = has.host_memory_bytes if has.host_memory_bytes is not None else memory.total_bytes
    rows = (
        ("CPUs (threads of execution)", _number(host_cpus), _number(has.effective_cpus), _cpu_reason(inventory)),
        ("CPU numbers", inventory.cpu.online_list or UNKNOWN, has.effective_cpu_list or UNKNOWN, "online, and allowed to this process"),
        ("Memory", format_bytes(host_bytes), format_bytes(has.effective_memory_bytes), _memory_reason(inventory)),
    )
    return Table(
        "What the host has, and what this run could use", ("Resource", "Host", "This run", "What limits it"), rows, frozenset({1, 2})
    )


def _cpu_reason(inventory: Inventory) -> str:
    has = inventory.limits
    if has.cpu_quota is not None:
        return f"control group: time of {significant(has.cpu_quota)} CPUs"
    if has.host_cpus is not None and has.effective_cpus is not None and has.effective_cpus < has.host_cpus:
        return "affinity or cpuset"
    return "nothing found"


def _memory_reason(inventory: Inventory) -> str:
    limit = inventory.limits.memory_limit_bytes
    return f"control group: {format_bytes(limit)}" if limit is not None else "nothing found"


def facts(inventory: Inventory) -> Table:
    """Everything else that is known, one line a thing; what is not known is left out (it stands among the gaps)."""
    rows = [
        *_machine(inventory),
        *_cpu(inventory.cpu),
        *_memory(inventory.memory),
        *_accelerators(inventory),
        *_network(inventory.network),
        *_storage(inventory.storage),
        *_software(inventory.software),
        *_tuning(inventory),
    ]
    return Table("The machine", ("What", "Found"), tuple((name, text) for name, text in rows if text))


def gaps(inventory: Inventory) -> Table:
    """What could not be seen, and why."""
    return Table("What could not be seen, and why", ("Fact", "Reason"), tuple((gap.path, gap.reason) for gap in inventory.gaps))


def name(inventory: Inventory) -> str:
    """The machine in a few words: its CPU, what it may use of it, and its accelerators."""
    has = inventory.limits
    cpus = f"{_number(has.effective_cpus)} CPUs" if has.effective_cpus is not None else ""
    memory = format_bytes(has.effective_memory_bytes) if has.effective_memory_bytes is not None else ""
    devices = inventory.accelerators.devices if inventory.accelerators else ()
    return ", ".join(part for part in (inventory.cpu.model or "", cpus, memory, *_counted(devices)) if part)


def _machine(inventory: Inventory) -> Iterator[tuple[str, str]]:
    box = inventory.machine
    yield "Machine", " ".join(part for part in (box.vendor, box.product_name) if part)
    yield "Runs inside", ", ".join(part for part in (box.virtualization, box.container) if part and part != "none")
    yield "Cloud", " ".join(part for part in (box.cloud, box.instance_type) if part)
    yield "Firmware", " ".join(part for part in (box.bios_vendor, box.bios_version, box.bios_date) if part)


def _cpu(cpu: Cpu) -> Iterator[tuple[str, str]]:
    yield "CPU", " ".join(part for part in (cpu.model, f"({cpu.architecture})" if cpu.architecture else "") if part)
    threads = "/".join(map(str, cpu.threads_per_core or ()))
    counts = ((cpu.sockets, "socket", ""), (cpu.physical_cores, "core", ""), (cpu.online_count, "CPU", " online"))
    counted = [f"{count:,} {what}{'' if count == 1 else 's'}{then}" for count, what, then in counts if count is not None]
    yield "Cores", ", ".join([*counted, *([f"{threads} thread{'' if threads == '1' else 's'} a core"] if threads else [])])
    yield "Vector and matrix units", ", ".join(cpu.isa_highlights or ())
    yield (
        "Caches",
        "; ".join(f"L{cache.level} {cache.kind}: {cache.instances} × {format_bytes(cache.size_bytes)}" for cache in cpu.caches or ()),
    )
    top = max((group.hardware_max_hz for group in cpu.frequency or () if group.hardware_max_hz), default=None)
    yield "Highest frequency", format_rate(top, "Hz") if top else ""


def _memory(memory: Memory) -> Iterator[tuple[str, str]]:
    yield "Memory", format_bytes(memory.total_bytes) if memory.total_bytes is not None else ""
    nodes = memory.numa_nodes or ()
    yield "NUMA nodes", f"{len(nodes)}: " + ", ".join(f"{node.id} ({format_bytes(node.memory_bytes)})" for node in nodes) if nodes else ""
    rate = memory.theoretical_bandwidth_bytes_per_s
    yield "Memory bandwidth on paper", f"{format_rate(rate, 'B/s')} ({memory.channels} channels)" if rate else ""
    yield "Swap", format_bytes(memory.swap_total_bytes) if memory.swap_total_bytes else ""


def _counted(devices: tuple[Accelerator, ...]) -> list[str]:
    """Equal accelerators once, with their number: '8 × NVIDIA H100 80GB HBM3 (80.0 GiB)'."""
    counts: dict[str, int] = {}
    for device in devices:
        size = f" ({format_bytes(device.memory_total_bytes)})" if device.memory_total_bytes is not None else ""
        text = f"{device.name or device.pci_id or f'unknown {device.kind}'}{size}"
        counts[text] = counts.get(text, 0) + 1
    return [f"{count} × {text}" for text, count in counts.items()]


def _accelerators(inventory: Inventory) -> Iterator[tuple[str, str]]:
    if inventory.accelerators is None:
        return
    yield "Accelerators", "; ".join(_counted(inventory.accelerators.devices)) or "none"
    yield "Linked accelerators", "; ".join(" + ".join(group) for group in inventory.accelerators.link_domains if len(group) > 1)
    narrow = [device.label for device in inventory.accelerators.devices if device.pcie is not None and device.pcie.downtrained]
    yield "PCIe links with too few lanes", ", ".join(narrow)


def _network(network: Network) -> Iterator[tuple[str, str]]:
    cards = [card for card in network.interfaces or () if card.bandwidth_bytes_per_s]
    yield "Network", "; ".join(f"{card.name}: {format_rate((card.bandwidth_bytes_per_s or 0) * 8, 'bit/s')}" for card in cards)
    ports = [(device.name, port) for device in network.infiniband or () for port in device.ports]
    said = (f"{device} port {port.number}: {_bits(port.bandwidth_bytes_per_s)} {port.state or ''}".strip() for device, port in ports)
    yield "InfiniBand and RoCE", "; ".join(said)


def _bits(rate: float | None) -> str:
    return UNKNOWN if rate is None else format_rate(rate * 8, "bit/s")


def _storage(storage: Storage) -> Iterator[tuple[str, str]]:
    disks = [(disk.name, disk.model, disk.size_bytes) for disk in storage.nvme or ()]
    disks += [(disk.name, disk.model, disk.size_bytes) for disk in storage.block or ()]
    yield "Disks", "; ".join(f"{disk}: {model or 'no model name'}, {format_bytes(size)}" for disk, model, size in disks)


def _software(software: Software) -> Iterator[tuple[str, str]]:
    yield "Operating system", ", ".join(part for part in (software.os, software.kernel_release) if part)
    yield "Python", software.python or ""
    yield "torch", " ".join(part for part in (software.torch, f"(BLAS: {software.blas})" if software.blas else "") if part)
    drivers = {"NVIDIA driver": software.nvidia_driver, "CUDA": software.cuda, "cuDNN": software.cudnn, "NCCL": software.nccl}
    yield "Accelerator software", ", ".join(f"{what} {version}" for what, version in (drivers | {"ROCm": software.rocm}).items() if version)


def _tuning(inventory: Inventory) -> Iterator[tuple[str, str]]:
    tuning = inventory.tuning
    yield "Frequency governors", ", ".join(f"{governor}: {count} CPUs" for governor, count in (tuning.governors or {}).items())
    yield "Turbo", {True: "on", False: "off", None: ""}[tuning.turbo]
    yield "Transparent huge pages", tuning.transparent_huge_pages or ""
    load = tuning.load_average
    yield "Load before the run", f"{load[0]:.2f}, {load[1]:.2f}, {load[2]:.2f} (1, 5 and 15 minutes)" if load else ""


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.4g}"
