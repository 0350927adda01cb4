"""`hwbench probe --from FILE`: files that describe accelerators, so that a machine can be described by somebody without access to it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from hwbench.core.accelerators import Accelerator, Accelerators, AcceleratorSoftware, GapPairs, Reading
from hwbench.core.errors import UserError
from hwbench.core.inventory import Gap, Inventory
from hwbench.core.value import Value

from ._markup import Node, from_xml
from .nccl_xml import read_nccl
from .nvidia_smi import read_query_text, read_query_xml
from .rocm_smi import is_rocm_json, read_rocm_json
from .topology import link_domains, pairings
from .topology_text import read_topology

EXPECTED = (
    "the text of `nvidia-smi -q` or `nvidia-smi topo -m`, the XML of `nvidia-smi -q -x`, a NCCL topology XML, "
    "the text of `rocm-smi --showtopo` or `amd-smi topology`, or the JSON of `rocm-smi -a --json`"
)
MAX_BYTES = 64 << 20


def read_description(path: Path) -> Reading:
    """Accelerators from a file of a kind in EXPECTED, recognised by what is in it; UserError where it is none of them."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: can't read the file: {error.strerror or error}", hint="check the path and its permissions") from error
    if len(data) > MAX_BYTES:
        raise UserError(f"{path}: larger than {MAX_BYTES >> 20} MiB", hint=f"expected {EXPECTED}")
    return parse_description(data, path.name)


def inventory_from(path: Path) -> Inventory:
    """An inventory that holds what a file tells of accelerators, and a gap for everything else; UserError as read_description."""
    value, told = read_description(path)
    gaps = [Gap(path=f"accelerators.{fact}", reason=reason) for fact, reason in told]
    rest = (field for field in Inventory.__struct_fields__ if isinstance(getattr(Inventory(), field), Value))
    gaps += [Gap(path=field, reason=f"{path.name}: describes accelerators only") for field in rest]
    return Inventory(accelerators=value, gaps=tuple(gaps), sources={"accelerators": str(path)})


def parse_description(data: bytes, source: str) -> Reading:
    """The same for bytes; `source` is what gaps and errors call them."""
    text = data.decode("utf-8-sig" if data.startswith(b"\xef\xbb\xbf") else "utf-8", errors="replace")
    start = text.lstrip()[:1]
    if start == "<":
        return _from_root(from_xml(data.lstrip(), source), source)
    if start in ("{", "["):
        return _from_json(text, source)
    readings = [reading for reading in (read_query_text(text, source), read_topology(text, source)) if reading is not None]
    if not readings:
        raise UserError(f"{source}: not a description of accelerators: {_glimpse(text)}", hint=f"expected {EXPECTED}")
    return _merged(readings)


def _from_root(root: Node, source: str) -> Reading:
    if root.name == "nvidia_smi_log":
        return read_query_xml(root, source)
    if root.name in ("system", "graphs"):
        return read_nccl(root, source)
    raise UserError(f"{source}: XML whose root is <{root.name}>", hint=f"expected {EXPECTED}")


def _from_json(text: str, source: str) -> Reading:
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source}: looks like JSON and is not: {error}", hint=f"expected {EXPECTED}") from error
    if not is_rocm_json(data):
        found = f"keys {', '.join(map(str, list(data)[:5]))}" if isinstance(data, dict) else f"a {type(data).__name__}"
        raise UserError(f"{source}: JSON with {found}, without card0", hint=f"expected {EXPECTED}")
    return read_rocm_json(data, source)


def _glimpse(text: str) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return f"starts with {line[:60]!r}" if line else "empty"


def _merged(readings: Sequence[Reading]) -> Reading:
    """Several outputs in one file: `-q` gives the devices, `topo -m` the matrix and what the devices lack."""
    gaps: GapPairs = tuple(gap for _, found in readings for gap in found)
    value = readings[0][0]
    for other, _ in readings[1:]:
        value = _joined(value, other)
    if len(readings) > 1:
        gaps = tuple(gap for gap in gaps if "a topology table tells of no model" not in gap[1] and not _filled_now(value, gap[0]))
    matrix = value.topology
    if matrix is not None:
        value = msgspec.structs.replace(
            value, pairings=pairings(value.devices, value.nics, matrix), link_domains=link_domains(value.devices, matrix)
        )
    return value, gaps


def _joined(value: Accelerators, other: Accelerators) -> Accelerators:
    by_label = {device.label: device for device in other.devices}
    devices = tuple(_filled(device, by_label.pop(device.label, None)) for device in value.devices)
    return Accelerators(
        software=value.software if value.software != AcceleratorSoftware() else other.software,
        devices=(*devices, *by_label.values()),
        nics=value.nics or other.nics,
        topology=value.topology or other.topology,
        matrices={**other.matrices, **value.matrices},
    )


def _filled(device: Accelerator, other: Accelerator | None) -> Accelerator:
    """The device, with what it lacks from the other."""
    if other is None:
        return device
    lacking = {field: getattr(other, field) for field in device.__struct_fields__ if getattr(device, field) in (None, ())}
    return msgspec.structs.replace(device, **lacking)


def _filled_now(value: Accelerators, fact: str) -> bool:
    """Whether every device has what a gap `devices.*.FIELD` of one of the outputs missed."""
    field = fact.removeprefix("devices.*.")
    return field in Accelerator.__struct_fields__ and all(getattr(device, field) not in (None, ()) for device in value.devices)
