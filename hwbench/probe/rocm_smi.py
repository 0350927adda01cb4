"""The JSON that `rocm-smi -a --json` writes: one object a card, and one of the system with relations between cards.

Names changed between ROCm 4 and 6; for each fact the newest name stands first. Where the tool had no answer it wrote "N/A", a
PCI id in place of a name, 4294967295 in place of -1, or its clock levels over its link levels: such values are gaps.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from hwbench.core.accelerators import Accelerator, Accelerators, AcceleratorSoftware, Matrix, PcieLink, Reading

from ._accelerator_text import pci_address, pcie_generation, quantity, whole
from ._assemble import assembled
from .topology import link_domains
from .topology_text import amd_links, topology_of_links

Gaps = list[tuple[str, str]]
_CARD = re.compile(r"^card(\d+)$")
_PAIR = re.compile(r"^\(Topology\) (Weight|Hops|Link type) between DRM devices (\d+) and (\d+)$")
_LINK = re.compile(r"(\d+(?:\.\d+)?GT/s) x(\d+)")


def _text(value: str) -> str | None:
    return None if value.upper() in ("", "N/A", "NONE") else value


def _name(value: str) -> str | None:
    return None if value.startswith("0x") else _text(value)


def _serial(value: str) -> str | None:
    return None if value == "0" else _text(value)


def _device_id(value: str) -> str | None:
    return f"1002:{value[2:].lower().zfill(4)}" if re.fullmatch(r"0x[0-9a-fA-F]{1,4}", value) else None


def _number(value: str) -> float | None:
    return quantity(value) if re.fullmatch(r"[-\d.]+", value) else None


def _clock(value: str) -> float | None:
    return quantity(value.strip("()"))


def _node(value: str) -> int | None:
    number = whole(value)
    return number if number is not None and 0 <= number < 2**31 else None


class Row(NamedTuple):
    """A fact, the keys that hold it (newest first), and how its text is read (None: not a value)."""

    fact: str
    keys: tuple[str, ...]
    read: Callable[[str], Any]


ROWS: tuple[Row, ...] = (
    Row("name", ("Card Series", "Card series", "Device Name"), _name),
    Row("pci_address", ("PCI Bus",), pci_address),
    Row("pci_id", ("Device ID", "GPU ID"), _device_id),
    Row("uuid", ("Unique ID",), _text),
    Row("serial", ("Serial Number",), _serial),
    Row("target", ("GFX Version",), _text),
    Row("memory_total_bytes", ("VRAM Total Memory (B)",), whole),
    Row("memory_used_bytes", ("VRAM Total Used Memory (B)",), whole),
    Row("clocks.graphics.now_hz", ("sclk clock speed:",), _clock),
    Row("clocks.memory.now_hz", ("mclk clock speed:",), _clock),
    Row("clocks.fabric.now_hz", ("fclk clock speed:",), _clock),
    Row("clocks.soc.now_hz", ("socclk clock speed:",), _clock),
    Row(
        "power.draw_w",
        ("Current Socket Graphics Package Power (W)", "Average Graphics Package Power (W)", "Graphics Package Power (W)"),
        _number,
    ),
    Row("power.limit_w", ("Max Graphics Package Power (W)",), _number),
    Row("temperature_c", ("Temperature (Sensor edge) (C)", "Temperature (Sensor junction) (C)"), _number),
    Row("numa_node", ("(Topology) Numa Node",), _node),
)


def is_rocm_json(data: Any) -> bool:
    """Whether decoded JSON is what rocm-smi writes."""
    return isinstance(data, dict) and any(_CARD.match(str(key)) and isinstance(value, dict) for key, value in data.items())


def read_rocm_json(data: dict[str, Any], source: str) -> Reading:
    """Accelerators from decoded JSON of rocm-smi (see is_rocm_json). Never raises."""
    gaps: Gaps = [("devices", f"{source}: rocm-smi does not tell maximum clocks, caches or CPU affinity")]
    numbers = sorted(int(match[1]) for key in data if (match := _CARD.match(key)) and isinstance(data[key], dict))
    system = data.get("system")
    system = {str(key): str(value) for key, value in system.items()} if isinstance(system, dict) else {}
    matrices = _matrices(system, numbers, source, gaps)
    labels = next(iter(matrices.values())).labels if matrices else ()
    devices = []
    for order, number in enumerate(numbers):
        card = {str(key): str(value).strip() for key, value in data[f"card{number}"].items()}
        devices.append(_device(card, number, f"devices.{order}", matrices, len(labels), source, gaps))
    if extra := [label for label in labels if label not in {device.label for device in devices}]:
        gaps.append(("devices", f"{source}: relations name {', '.join(extra)}, which the file does not describe"))
    topology = topology_of_links(matrices, len(labels))
    software = AcceleratorSoftware(amdgpu_version=_text(system.get("Driver version", "")))
    value = Accelerators(
        software=software, devices=tuple(devices), topology=topology, matrices=matrices, link_domains=link_domains(devices, topology)
    )
    return value, tuple(gaps)


def _device(card: dict[str, str], number: int, fact: str, matrices: dict[str, Matrix], count: int, source: str, gaps: Gaps) -> Accelerator:
    values: dict[str, Any] = {}
    for row in ROWS:
        said = [card[key] for key in row.keys if key in card]
        value = next((value for text in said if (value := row.read(text)) is not None), None)
        if value is not None:
            values[row.fact] = value
        else:
            gaps.append((f"{fact}.{row.fact}", f"{source}: {row.keys[0]} is {said[0]!r}" if said else f"{source}: no key {row.keys[0]!r}"))
    pcie = _pcie(card)
    if pcie is None:
        gaps.append((f"{fact}.pcie", f"{source}: 'pcie clock level' is {card.get('pcie clock level', 'missing')!r}"))
    links = amd_links(number, count, matrices) if number < count else ()
    return assembled(
        {**values, "links": links},
        label=f"GPU{number}",
        source=source,
        index=number,
        vendor="AMD",
        name_source=source if "name" in values else None,
        pcie=pcie,
    )


def _pcie(card: dict[str, str]) -> PcieLink | None:
    """The link now from `pcie clock level`; at most from the levels, of which later clock domains overwrite some: the best left."""
    now = _LINK.search(card.get("pcie clock level", ""))
    if now is None:
        return None
    levels = [found for key, text in card.items() if key.isdigit() and (found := _LINK.match(text))]
    best = max([now, *levels], key=lambda found: (pcie_generation(found[1]) or 0, int(found[2])))
    return PcieLink(generation=pcie_generation(now[1]), generation_max=pcie_generation(best[1]), width=int(now[2]), width_max=int(best[2]))


def _matrices(system: dict[str, str], numbers: list[int], source: str, gaps: Gaps) -> dict[str, Matrix]:
    cells: dict[str, dict[tuple[int, int], str]] = {}
    for key, value in system.items():
        if match := _PAIR.match(key):
            one, other = int(match[2]), int(match[3])
            cells.setdefault(match[1].lower().replace(" ", "_"), {}).update({(one, other): value, (other, one): value})
    count = 1 + max((max(pair) for pairs in cells.values() for pair in pairs), default=-1)
    if count > 1024:
        gaps.append(("matrices", f"{source}: relations of {count} devices are absurd"))
        return {}
    if not cells and len(numbers) > 1:
        gaps.append(("matrices", f"{source}: holds no relations between cards; rocm-smi writes them with --showtopo"))
    return {
        name: Matrix(
            meaning=name.replace("_", " "),
            source=source,
            labels=tuple(f"GPU{index}" for index in range(count)),
            cells=tuple(tuple("X" if row == column else pairs.get((row, column)) for column in range(count)) for row in range(count)),
        )
        for name, pairs in cells.items()
    }
