"""What `nvidia-smi -q` (text) and `nvidia-smi -q -x` (XML) tell, by one table: fact, place in the text, place in the XML.

Names of the fields are those of drivers 390 to 610; a `|` separates the names that different drivers use, `;` whole places;
what is to be preferred stands first.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from hwbench.core.accelerators import Accelerator, Accelerators, AcceleratorSoftware, Fabric, Link, Mig, MigInstance, Reading

from ._accelerator_text import pci_address, quantity, whole
from ._assemble import assembled
from ._markup import Node, from_indented

Gaps = list[tuple[str, str]]
_UNTOLD = ("compute_capability", "links", "cpu_list", "numa_node")


class Row(NamedTuple):
    """A fact, where it stands in the text and in the XML, and how its text is read (None: not a value)."""

    fact: str
    text: str
    xml: str
    read: Callable[[str], Any]


def _text(value: str) -> str | None:
    return value or None


def _bytes(value: str) -> int | None:
    amount = quantity(value)
    return None if amount is None else int(amount)


def _enabled(value: str) -> bool | None:
    return {"enabled": True, "disabled": False}.get(value.lower())


def _width(value: str) -> int | None:
    return whole(value.lower().rstrip("x"))


def _pci_id(value: str) -> str | None:
    digits = value.lower().removeprefix("0x")
    return f"{digits[4:]}:{digits[:4]}" if re.fullmatch(r"[0-9a-f]{8}", digits) else None


def _state(value: str) -> str | None:
    return value if re.fullmatch(r"P\d+", value) else None


_POWER_TEXT, _POWER_XML = "GPU Power Readings|Power Readings", "gpu_power_readings|power_readings"
_DRAW_TEXT = "Average Power Draw|Power Draw|Instantaneous Power Draw"


def _limit(names: str) -> str:
    """Where a power limit stands: driver 610 put the limits one level deeper."""
    return f"{_POWER_TEXT}/{names};{_POWER_TEXT}/GPU Ceiling Power Limit/{names}"


ROWS: tuple[Row, ...] = (
    Row("name", "Product Name", "product_name", _text),
    Row("serial", "Serial Number", "serial", _text),
    Row("uuid", "GPU UUID", "uuid", _text),
    Row("pci_address", "PCI/Bus Id", "pci/pci_bus_id", pci_address),
    Row("pci_id", "PCI/Device Id", "pci/pci_device_id", _pci_id),
    Row("memory_total_bytes", "FB Memory Usage/Total", "fb_memory_usage/total", _bytes),
    Row("memory_used_bytes", "FB Memory Usage/Used", "fb_memory_usage/used", _bytes),
    Row("memory_reserved_bytes", "FB Memory Usage/Reserved", "fb_memory_usage/reserved", _bytes),
    Row("clocks.graphics.now_hz", "Clocks/Graphics", "clocks/graphics_clock", quantity),
    Row("clocks.sm.now_hz", "Clocks/SM", "clocks/sm_clock", quantity),
    Row("clocks.memory.now_hz", "Clocks/Memory", "clocks/mem_clock", quantity),
    Row("clocks.video.now_hz", "Clocks/Video", "clocks/video_clock", quantity),
    Row("clocks.graphics.max_hz", "Max Clocks/Graphics", "max_clocks/graphics_clock", quantity),
    Row("clocks.sm.max_hz", "Max Clocks/SM", "max_clocks/sm_clock", quantity),
    Row("clocks.memory.max_hz", "Max Clocks/Memory", "max_clocks/mem_clock", quantity),
    Row("clocks.video.max_hz", "Max Clocks/Video", "max_clocks/video_clock", quantity),
    Row("power.draw_w", f"{_POWER_TEXT}/{_DRAW_TEXT}", f"{_POWER_XML}/average_power_draw|power_draw|instant_power_draw", quantity),
    Row("power.limit_w", _limit("Requested Power Limit|Power Limit"), f"{_POWER_XML}/requested_power_limit|power_limit", quantity),
    Row(
        "power.limit_enforced_w",
        _limit("Current Power Limit|Enforced Power Limit"),
        f"{_POWER_XML}/current_power_limit|enforced_power_limit",
        quantity,
    ),
    Row("power.limit_default_w", _limit("Default Power Limit"), f"{_POWER_XML}/default_power_limit", quantity),
    Row("power.limit_min_w", f"{_POWER_TEXT}/Min Power Limit", f"{_POWER_XML}/min_power_limit", quantity),
    Row("power.limit_max_w", f"{_POWER_TEXT}/Max Power Limit", f"{_POWER_XML}/max_power_limit", quantity),
    Row("ecc.enabled", "ECC Mode|Ecc Mode/Current", "ecc_mode/current_ecc", _enabled),
    Row("ecc.enabled_pending", "ECC Mode|Ecc Mode/Pending", "ecc_mode/pending_ecc", _enabled),
    Row("pcie.generation", "PCI/GPU Link Info/PCIe Generation/Current", "pci/pci_gpu_link_info/pcie_gen/current_link_gen", whole),
    Row("pcie.generation_max", "PCI/GPU Link Info/PCIe Generation/Max", "pci/pci_gpu_link_info/pcie_gen/max_link_gen", whole),
    Row(
        "pcie.generation_device_max",
        "PCI/GPU Link Info/PCIe Generation/Device Max",
        "pci/pci_gpu_link_info/pcie_gen/max_device_link_gen",
        whole,
    ),
    Row("pcie.width", "PCI/GPU Link Info/Link Width/Current", "pci/pci_gpu_link_info/link_widths/current_link_width", _width),
    Row("pcie.width_max", "PCI/GPU Link Info/Link Width/Max", "pci/pci_gpu_link_info/link_widths/max_link_width", _width),
    Row("temperature_c", "Temperature/GPU Current Temp", "temperature/gpu_temp", quantity),
    Row("performance_state", "Performance State", "performance_state", _state),
    Row("persistence", "Persistence Mode", "persistence_mode", _enabled),
    Row("mig.enabled", "MIG Mode/Current", "mig_mode/current_mig", _enabled),
    Row("mig.enabled_pending", "MIG Mode/Pending", "mig_mode/pending_mig", _enabled),
    Row("fabric.state", "Fabric/State", "fabric/state", str.lower),
    Row("fabric.cluster_uuid", "Fabric/ClusterUUID|Cluster UUID", "fabric/cluster_uuid", _text),
    Row("fabric.clique", "Fabric/CliqueId|Clique ID", "fabric/cliqueId|clique_id", whole),
)

MIG_ROWS: tuple[Row, ...] = (
    Row("gpu_instance", "GPU Instance ID", "gpu_instance_id", whole),
    Row("compute_instance", "Compute Instance ID", "compute_instance_id", whole),
    Row(
        "compute_units",
        "Device Attributes/Shared/Multiprocessor count",
        "device_attributes/shared/multiprocessor_count",
        whole,
    ),
    Row("memory_total_bytes", "Shared FB Memory Usage|FB Memory Usage/Total", "fb_memory_usage/total", _bytes),
    Row("memory_used_bytes", "Shared FB Memory Usage|FB Memory Usage/Used", "fb_memory_usage/used", _bytes),
)

_ECC_SUMS = {
    "corrected": (("SRAM Correctable", "DRAM Correctable"), ("sram_correctable", "dram_correctable")),
    "uncorrected": (
        ("SRAM Uncorrectable", "SRAM Uncorrectable Parity", "SRAM Uncorrectable SEC-DED", "DRAM Uncorrectable"),
        ("sram_uncorrectable", "sram_uncorrectable_parity", "sram_uncorrectable_secded", "dram_uncorrectable"),
    ),
}
_UNAVAILABLE = re.compile(r"(?i)^\[?(n/?a|none|not supported|.*unknown error|.*insufficient permissions|.*deprecated|err!?|.*lost.*)?\]?$")
_LIST = re.compile(r"^GPU (\d+): (.+) \(UUID: ([^)]+)\)")
_LIST_MIG = re.compile(r"^\s+MIG (\S+)\s+Device\s+(\d+): \(UUID: ([^)]+)\)")
_LINK_SPEED = re.compile(r"^\s+Link (\d+): (<inactive>|[\d.]+ GB/s)")
_NO_HANDLE = re.compile(r"^\s*Unable to determine the device handle for ")
_GPU = re.compile(r"^GPU ([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])\s*$")


def read_query_text(text: str, source: str) -> Reading | None:
    """Accelerators from the text of `nvidia-smi -q`, with what `-L` and `nvlink -s` beside it tell; None where it isn't one."""
    blocks = list(_query_blocks(text.splitlines()))
    if not blocks:
        return None
    root = from_indented(blocks[0])
    gpus = [node for node in root.children if _GPU.match(node.name)]
    gaps: Gaps = [(f"devices.*.{field}", f"{source}: nvidia-smi -q does not tell it") for field in _UNTOLD]
    if len(blocks) > 1:
        gaps.append(("devices", f"{source}: holds {len(blocks)} outputs of nvidia-smi -q; the first was read"))
    listed = _listed(text)
    devices = tuple(_device(node, index, False, source, gaps, listed.get(index, {})) for index, node in enumerate(gpus))
    gaps += [("devices", f"{source}: {line.strip()}") for line in text.splitlines() if _NO_HANDLE.match(line)]
    _check_count(root.at("Attached GPUs"), len(devices), source, gaps)
    software = AcceleratorSoftware(
        driver_version=_value(root, "KMD Version|Driver Version", _text),
        cuda_driver_version=_value(root, "CUDA UMD Version|CUDA Version", _text),
        management_version=_field(text, "NVML version"),
    )
    return Accelerators(software=software, devices=devices), tuple(gaps)


def read_query_xml(log: Node, source: str) -> Reading:
    """Accelerators from the root element of `nvidia-smi -q -x`."""
    gaps: Gaps = [(f"devices.*.{field}", f"{source}: nvidia-smi -q -x does not tell it") for field in _UNTOLD]
    devices = tuple(_device(node, index, True, source, gaps, {}) for index, node in enumerate(log.all("gpu")))
    _check_count(log.at("attached_gpus"), len(devices), source, gaps)
    software = AcceleratorSoftware(
        driver_version=_value(log, "kmd_version|driver_version", _text),
        cuda_driver_version=_value(log, "cuda_umd_version|cuda_version", _text),
    )
    return Accelerators(software=software, devices=devices), tuple(gaps)


def _query_blocks(lines: list[str]) -> Iterator[list[str]]:
    """The lines of each output of `nvidia-smi -q` in a file that may hold other outputs too."""
    block: list[str] = []
    inside = False
    for line in lines:
        if "NVSMI LOG" in line:
            if any(_GPU.match(one) for one in block):
                yield block
            block, inside = [], True
        elif inside and line.startswith(("###", "$ ", "# ")):
            inside = False
        elif inside:
            block.append(line)
    if any(_GPU.match(one) for one in block):
        yield block


def _check_count(said: Node | None, found: int, source: str, gaps: Gaps) -> None:
    count = whole(said.text) if said else None
    if count is not None and count != found:
        gaps.append(("devices", f"{source}: says {count} GPUs are attached and describes {found}"))


def _field(text: str, name: str) -> str | None:
    match = re.search(rf"(?m)^{name}\s*:\s*(\S+)\s*$", text)
    return match[1] if match else None


def _places(path: str) -> Iterator[str]:
    """Every path that a place with alternatives stands for: `A|B/C;D` is `A/C`, `B/C` and `D`."""
    if ";" in path:
        for whole_path in path.split(";"):
            yield from _places(whole_path)
        return
    head, slash, tail = path.partition("/")
    for name in head.split("|"):
        if slash:
            for rest in _places(tail):
                yield f"{name}/{rest}"
        else:
            yield name


def _found(node: Node, path: str) -> str | None:
    """The text at the first place that holds a value; else what stands at the first place there is; None where there is none."""
    texts = [found.text for place in _places(path) if (found := node.at(place)) is not None and not found.children]
    return next((text for text in texts if not _UNAVAILABLE.match(text)), texts[0] if texts else None)


def _value(node: Node, path: str, read: Callable[[str], Any]) -> Any:
    text = _found(node, path)
    return None if text is None or _UNAVAILABLE.match(text) else read(text)


def _facts(node: Node, rows: tuple[Row, ...], xml: bool, source: str, gaps: Gaps, prefix: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for row in rows:
        path = row.xml if xml else row.text
        value = _value(node, path, row.read)
        if value is not None:
            values[row.fact] = value
            continue
        said = _found(node, path)
        reason = f"no field {next(_places(path))}" if said is None else f"{next(_places(path))} is {said or 'empty'!r}"
        gaps.append((f"{prefix}.{row.fact}", f"{source}: {reason}"))
    return values


def _device(node: Node, index: int, xml: bool, source: str, gaps: Gaps, listed: dict[str, Any]) -> Accelerator:
    prefix = f"devices.{index}"
    own: Gaps = []
    values = _facts(node, ROWS, xml, source, own, prefix)
    values |= _ecc_counts(node, xml, source, own, prefix)
    mig = {path: values.pop(path) for path in list(values) if path.startswith("mig.")}
    fabric = {path.partition(".")[2]: values.pop(path) for path in list(values) if path.startswith("fabric.")}
    if mig:
        instances = _instances(node, xml, source, own, prefix, listed.get("mig", {}))
        values["mig"] = Mig(enabled=mig.get("mig.enabled"), enabled_pending=mig.get("mig.enabled_pending"), instances=instances)
    values["fabric"] = Fabric(**fabric) if fabric else None
    values["throttle_reasons"] = _throttle(node, xml, source, own, prefix)
    values["links"] = listed.get("links", ())
    place = pci_address(node.attributes.get("id", "") if xml else node.name.removeprefix("GPU "))
    if "pci_address" not in values and place:
        values["pci_address"] = place
    gaps += [gap for gap in own if values.get(gap[0].removeprefix(f"{prefix}.")) is None]
    return assembled(values, label=f"GPU{index}", source=source, index=index, vendor="NVIDIA")


def _ecc_counts(node: Node, xml: bool, source: str, gaps: Gaps, prefix: str) -> dict[str, Any]:
    """Errors of SRAM and DRAM added up; drivers before 450 gave a total of single and double bit errors instead."""
    values: dict[str, Any] = {}
    for kind, (texts, tags) in _ECC_SUMS.items():
        for since in ("volatile", "aggregate"):
            section = node.at(f"ecc_errors/{since}") if xml else node.at(f"ECC Errors/{since.title()}")
            if section is None:
                continue
            counts = [_value(section, name, whole) for name in (tags if xml else texts)]
            older = "single_bit/total" if kind == "corrected" else "double_bit/total"
            counts.append(_value(section, older if xml else older.replace("_bit", "_Bit").replace("_", " ").title(), whole))
            known = [count for count in counts if count is not None]
            if known:
                values[f"ecc.{kind}_{since}"] = sum(known)
            else:
                gaps.append((f"{prefix}.ecc.{kind}_{since}", f"{source}: no error counts"))
    return values


def _throttle(node: Node, xml: bool, source: str, gaps: Gaps, prefix: str) -> tuple[str, ...] | None:
    names = ("clocks_event_reasons", "clocks_throttle_reasons") if xml else ("Clocks Event Reasons", "Clocks Throttle Reasons")
    section = next((found for name in names if (found := node.at(name)) is not None and found.children), None)
    if section is None:
        gaps.append((f"{prefix}.throttle_reasons", f"{source}: no field {names[0]}"))
        return None
    return tuple(_reason(one.name) for one in section.walk() if one.text == "Active")


def _reason(name: str) -> str:
    """`HW Thermal Slowdown` and `clocks_event_reason_hw_thermal_slowdown` to hw_thermal_slowdown."""
    word = re.sub(r"^clocks_(event|throttle)_reason_", "", name.lower().replace(" ", "_"))
    return {"idle": "gpu_idle"}.get(word, word)


def _instances(node: Node, xml: bool, source: str, gaps: Gaps, prefix: str, names: dict[int, tuple[str, str]]) -> tuple[MigInstance, ...]:
    devices = node.at("mig_devices") if xml else node
    found = []
    for order, one in enumerate(devices.all("mig_device" if xml else "MIG Device") if devices else []):
        index = _value(one, "index" if xml else "Index", whole)
        index = order if index is None else index
        values = _facts(one, MIG_ROWS, xml, source, gaps, f"{prefix}.mig.instances.{order}")
        name, uuid = names.get(index, (None, None))
        found.append(MigInstance(index=index, name=name, uuid=uuid, **values))
    return tuple(found)


def _listed(text: str) -> dict[int, dict[str, Any]]:
    """By GPU number: MIG names from `nvidia-smi -L`, links from `nvidia-smi nvlink -s`, where a file holds those outputs too."""
    found: dict[int, dict[str, Any]] = {}
    here: dict[str, Any] = {}
    for line in text.splitlines():
        if gpu := _LIST.match(line):
            here = found.setdefault(int(gpu[1]), {})
        elif instance := _LIST_MIG.match(line):
            here.setdefault("mig", {})[int(instance[2])] = (f"MIG {instance[1]}", instance[3])
        elif link := _LINK_SPEED.match(line):
            speed = quantity(link[2])
            one = Link(kind="nvlink", index=int(link[1]), active=speed is not None, bandwidth_bytes_per_s=speed)
            here["links"] = (*(other for other in here.get("links", ()) if other.index != one.index), one)
    return found
