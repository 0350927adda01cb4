"""An inventory for people: what the machine is, what you may use of it, what could not be seen. Readable down to 40 columns."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hwbench.core.inventory import Cache, Cpu, Gap, Inventory, Limits, Memory, NetworkInterface, NumaNode
from hwbench.core.units import UNKNOWN, format_bytes, format_fraction, format_rate, significant

from ._accelerator_view import accelerators_view

_NARROW = 64
_NODES_SHOWN = 16
_ADAPTERS_SHOWN = 24


class Row(NamedTuple):
    """One line of a section: a label and what is known."""

    label: str
    value: str


def inventory_view(inventory: Inventory, width: int) -> RenderableType:
    """Everything that `hwbench probe` prints, for a terminal of `width` columns."""
    sections: list[RenderableType] = [
        Text(headline(inventory), style="bold"),
        _limits(inventory.limits),
        _section("Processor", _cpu(inventory.cpu)),
        _section("Memory", _memory(inventory.memory)),
        _titled("Accelerators", _accelerators(inventory, width)),
        _section("Network", _network(inventory)),
        _section("Storage", _storage(inventory)),
        _section("Machine and software", _machine(inventory)),
        _section("Tuning", _tuning(inventory)),
        _gaps(inventory.gaps, width),
    ]
    return Group(*(part for section in sections for part in (section, Text())))


def headline(inventory: Inventory) -> str:
    """The machine in one line: '2 x AMD EPYC 7451, 48 cores, 256 GiB, 8 x H100, bare metal'."""
    cpu, found = inventory.cpu, inventory.accelerators
    sockets = f"{cpu.sockets} x " if cpu.sockets and cpu.sockets > 1 else ""
    names = [device.name or device.kind for device in found.devices] if found else []
    parts = [
        sockets + (cpu.model or "processor of unknown model"),
        _plural(cpu.physical_cores, "core") if cpu.physical_cores else "",
        format_bytes(inventory.memory.total_bytes) if inventory.memory.total_bytes else "",
        *(f"{names.count(name)} x {name}" for name in dict.fromkeys(names)),
        {None: "", "none": "bare metal"}.get(inventory.machine.virtualization, f"virtual ({inventory.machine.virtualization})"),
    ]
    return ", ".join(part for part in parts if part)


def _limits(limits: Limits) -> RenderableType:
    """Host and effective figures side by side: what a container sees of its machine and what it may have of it."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "this machine", "you may use", "because of"):
        table.add_column(heading, overflow="fold")
    table.add_row(
        Text("CPUs"), Text(_number(limits.host_cpus)), Text(_number(limits.effective_cpus), style="bold"), Text(_why_cpus(limits))
    )
    memory = Text(format_bytes(limits.effective_memory_bytes), style="bold")
    table.add_row(
        Text("memory"), Text(format_bytes(limits.host_memory_bytes)), memory, Text(_binding(limits, "memory") or "no limit below")
    )
    return _titled("What you may use", table)


def _why_cpus(limits: Limits) -> str:
    if limits.effective_cpus is None:
        return "limits unknown"
    quota = _binding(limits, "cpu")
    if quota and limits.cpu_quota == limits.effective_cpus:
        return quota
    if limits.host_cpus is not None and limits.effective_cpus < limits.host_cpus:
        return f"affinity {limits.effective_cpu_list}"
    return "no limit below"


def _binding(limits: Limits, resource: str) -> str | None:
    """The file that sets the tightest limit on a resource."""
    found = [limit for limit in limits.cgroup_limits or () if limit.resource == resource]
    return min(found, key=lambda limit: limit.value).source if found else None


def _cpu(cpu: Cpu) -> Iterator[Row]:
    yield Row("model", f"{cpu.model or UNKNOWN} ({cpu.vendor or 'vendor unknown'}, {cpu.architecture or 'architecture unknown'})")
    threads = " or ".join(map(str, cpu.threads_per_core or ()))
    yield Row("cores", f"{_number(cpu.physical_cores)} in {_plural(cpu.sockets, 'socket')}, {threads or UNKNOWN} thread(s) each")
    yield Row("CPUs online", f"{_number(cpu.online_count)} ({cpu.online_list or UNKNOWN})")
    for label, listed in (("offline", cpu.offline_list), ("isolated", cpu.isolated_list), ("no timer tick", cpu.nohz_full_list)):
        if listed:
            yield Row(label, listed)
    if cpu.kinds and len(cpu.kinds) > 1:
        for kind in cpu.kinds:
            each = " or ".join(map(str, kind.threads_per_core))
            yield Row(f"{kind.name or 'kind'}", f"{_plural(kind.physical_cores, 'core')} x {each} thread(s), CPUs {kind.cpu_list}")
    for cache in cpu.caches or ():
        yield Row(_cache_name(cache), f"{cache.instances} x {format_bytes(cache.size_bytes)}{_sharing(cache)}")
    if cpu.isa_highlights:
        yield Row("extensions", " ".join(cpu.isa_highlights))
    for group in cpu.frequency or ():
        limits = f"{format_rate(group.hardware_min_hz, 'Hz')} to {format_rate(group.hardware_max_hz, 'Hz')}"
        yield Row(
            "frequency", f"{limits}, governor {group.governor or UNKNOWN} ({group.driver or 'driver unknown'}), CPUs {group.cpu_list}"
        )
    weak = [name for name, text in (cpu.mitigations or {}).items() if text.startswith("Vulnerable")]
    if cpu.mitigations:
        yield Row("mitigations", f"{sum('Mitigation' in text for text in cpu.mitigations.values())} active" + _among("vulnerable to", weak))


def _cache_name(cache: Cache) -> str:
    return f"L{cache.level}{ {'data': 'd', 'instruction': 'i', 'unified': ''}[cache.kind] }"


def _sharing(cache: Cache) -> str:
    if not cache.cpus_per_instance or cache.cpus_per_instance == (1,):
        return ""
    return f", each for {' or '.join(map(str, cache.cpus_per_instance))} CPUs"


def _memory(memory: Memory) -> Iterator[Row]:
    yield Row("total", f"{format_bytes(memory.total_bytes)}, swap {format_bytes(memory.swap_total_bytes)}")
    nodes = memory.numa_nodes or ()
    for node in nodes[:_NODES_SHOWN]:
        yield Row(f"NUMA node {node.id}", _node(node, len(nodes)))
    if len(nodes) > _NODES_SHOWN:
        yield Row("", f"and {len(nodes) - _NODES_SHOWN} more nodes (see --json)")
    used = [dimm for dimm in memory.dimms or () if dimm.size_bytes]
    for kind in dict.fromkeys((dimm.size_bytes, dimm.type, dimm.transfers_per_s) for dimm in used):
        count = sum((dimm.size_bytes, dimm.type, dimm.transfers_per_s) == kind for dimm in used)
        yield Row("modules", f"{count} x {format_bytes(kind[0])} {kind[1] or ''} {format_rate(kind[2], 'T/s')}")
    if memory.theoretical_bandwidth_bytes_per_s:
        channels = _plural(memory.channels, "channel")
        yield Row("at most", f"{format_rate(memory.theoretical_bandwidth_bytes_per_s, 'B/s')} over {channels}, by the firmware's tables")
    for pool in memory.huge_pages or ():
        if pool.total:
            yield Row("huge pages", f"{pool.total} of {format_bytes(pool.size_bytes)}, {_number(pool.free)} free")


def _node(node: NumaNode, count: int) -> str:
    cpus = f"CPUs {node.cpu_list}" if node.cpu_list else {"gpu": "a GPU's memory", "memory": "no CPU"}.get(node.kind or "", "no CPU")
    distances = f", distances {' '.join(map(str, node.distances))}" if node.distances and count > 1 else ""
    return f"{format_bytes(node.memory_bytes)}, {cpus}{distances}"


def _accelerators(inventory: Inventory, width: int) -> RenderableType:
    return Text("not looked for") if inventory.accelerators is None else accelerators_view(inventory.accelerators, width)


def _network(inventory: Inventory) -> Iterator[Row]:
    for device in inventory.network.infiniband or ():
        for port in device.ports:
            rate = format_rate(port.bandwidth_bytes_per_s, "B/s")
            text = f"{port.link_layer or 'RDMA'} {rate} {port.rate_text or ''}, {port.state or UNKNOWN}, {_where(device.numa_node)}"
            yield Row(f"{device.name} port {port.number}", text)
    shown = [one for one in inventory.network.interfaces or () if one.kind != "loopback" and (one.pci_address or one.bandwidth_bytes_per_s)]
    for interface in shown[:_ADAPTERS_SHOWN]:
        yield Row(interface.name, _interface(interface))
    hidden = len(inventory.network.interfaces or ()) - len(shown[:_ADAPTERS_SHOWN])
    if hidden:
        yield Row("", f"and {_plural(hidden, 'other interface')} (virtual, loopback; see --json)")


def _interface(interface: NetworkInterface) -> str:
    rate = format_rate(interface.bandwidth_bytes_per_s, "B/s")
    return f"{interface.kind or UNKNOWN} {rate}, {interface.operational_state or UNKNOWN}, {_where(interface.numa_node)}"


def _where(node: int | None) -> str:
    return "NUMA node unknown" if node is None else f"NUMA node {node}"


def _storage(inventory: Inventory) -> Iterator[Row]:
    for disk in inventory.storage.nvme or ():
        yield Row(
            disk.name, f"{disk.model or UNKNOWN} {format_bytes(disk.size_bytes)}, {disk.transport or 'nvme'}, {_where(disk.numa_node)}"
        )
    for block in inventory.storage.block or ():
        if not block.name.startswith("nvme"):
            turning = {True: ", rotating", False: ", solid state"}.get(block.rotational, "") if block.rotational is not None else ""
            yield Row(block.name, f"{block.model or 'disk'} {format_bytes(block.size_bytes)} {block.transport or ''}{turning}".strip())


def _machine(inventory: Inventory) -> Iterator[Row]:
    machine, software = inventory.machine, inventory.software
    if machine.product_name:
        yield Row("product", " ".join(part for part in (machine.vendor, machine.product_name) if part))
    runs = {"none": "bare metal", None: UNKNOWN}.get(machine.virtualization, machine.virtualization or UNKNOWN)
    yield Row("runs on", f"{runs}, container {machine.container or UNKNOWN}" + _among("cloud", [machine.cloud, machine.instance_type]))
    yield Row("system", f"{software.os or UNKNOWN}, Linux {software.kernel_release or UNKNOWN}")
    drivers = {"NVIDIA driver": software.nvidia_driver, "amdgpu": software.amdgpu_driver, "CUDA": software.cuda, "cuDNN": software.cudnn}
    drivers |= {"NCCL": software.nccl, "ROCm": software.rocm}
    if any(drivers.values()):
        yield Row("GPU software", ", ".join(f"{name} {version}" for name, version in drivers.items() if version))
    if software.python:
        versions = {"Python": software.python, "torch": software.torch, "BLAS": software.blas}
        yield Row("Python", ", ".join(f"{name} {version or 'none'}" for name, version in versions.items()))


def _tuning(inventory: Inventory) -> Iterator[Row]:
    tuning = inventory.tuning
    words = {
        "governors": _counted(tuning.governors),
        "turbo": _switch(tuning.turbo),
        "huge pages": tuning.transparent_huge_pages,
        "NUMA balancing": _switch(tuning.numa_balancing),
        "autogroup": _switch(tuning.autogroup),
        "ASLR": None if tuning.address_randomisation is None else str(tuning.address_randomisation),
        "swappiness": None if tuning.swappiness is None else str(tuning.swappiness),
    }
    yield Row("knobs", ", ".join(f"{name} {value}" for name, value in words.items() if value) or UNKNOWN)
    if tuning.load_average:
        per_cpu = f", {significant(tuning.load_per_cpu, 2)} a CPU you may use" if tuning.load_per_cpu is not None else ""
        yield Row("load", " ".join(f"{value:.2f}" for value in tuning.load_average) + per_cpu)
    if tuning.steal_fraction is not None:
        yield Row("stolen CPU time", format_fraction(tuning.steal_fraction, 2))
    if tuning.pressure and tuning.pressure.cpu_some_fraction is not None:
        yield Row("CPU pressure", f"{format_fraction(tuning.pressure.cpu_some_fraction, 2)} of the last ten seconds")
    yield Row("", "`hwbench doctor` says what of this disturbs a measurement")


def _counted(governors: dict[str, int] | None) -> str | None:
    return " ".join(f"{name} ({count})" for name, count in governors.items()) if governors else None


def _switch(value: bool | None) -> str | None:
    return None if value is None else ("on" if value else "off")


def _gaps(gaps: tuple[Gap, ...], width: int) -> RenderableType:
    """What could not be seen, facts with one reason together; the reason goes under the fact where the terminal is narrow."""
    if not gaps:
        return Text("Everything could be seen.", style="green")
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(overflow="fold", style="yellow", ratio=2)
    if width >= _NARROW:
        table.add_column(overflow="fold", ratio=3)
    for paths, reason in _together(gaps):
        fact = Text(_braced(paths, "."))
        if width >= _NARROW:
            table.add_row(fact, Text(reason))
        else:
            table.add_row(Text.assemble(fact, "\n", (f"  {reason}", "dim")))
    return _titled(f"Not seen ({len(gaps)})", table)


def _together(gaps: tuple[Gap, ...]) -> Iterator[tuple[list[str], str]]:
    """Facts with one reason together, and those whose files lie in one folder and fail alike: '/sys/class/dmi/id/{a,b}: missing'."""
    found: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for gap in gaps:
        file, _, what = gap.reason.partition(": ")
        folder, _, name = file.rpartition("/")
        simple = file.startswith("/") and " " not in file and "/" not in what
        paths, names = found.setdefault((folder if simple else gap.reason, what), ([], []))
        paths.append(gap.path)
        names += [f"{folder}/{name}"] if simple else []
    for (reason, what), (paths, names) in found.items():
        yield paths, f"{_braced(list(dict.fromkeys(names)), '/')}: {what}" if names else reason


def _braced(names: list[str], separator: str) -> str:
    """Names with a common beginning written as a shell would take them: 'machine.{vendor,product_name}'."""
    heads = {name.rpartition(separator)[0] for name in names}
    if len(names) == 1 or len(heads) > 1:
        return ", ".join(names)
    tails = ", ".join(name.rpartition(separator)[2] for name in names)
    return f"{heads.pop()}{separator}{{{tails}}}"


def _section(title: str, rows: Iterable[Row]) -> RenderableType:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(overflow="fold", style="cyan", min_width=8, max_width=20)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(Text(row.label), Text(row.value))
    return _titled(title, table if table.row_count else Text("nothing seen"))


def _titled(title: str, content: RenderableType) -> RenderableType:
    return Group(Text(title, style="bold underline"), Padding(content, (0, 0, 0, 2)))


def _number(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{int(value):,}" if value == int(value) else f"{value:.3g}"


def _plural(count: int | None, word: str) -> str:
    return f"{_number(count)} {word}{'' if count == 1 else 's'}"


def _among(word: str, names: Iterable[str | None]) -> str:
    found = [name for name in names if name]
    return f", {word} {', '.join(found)}" if found else ""
