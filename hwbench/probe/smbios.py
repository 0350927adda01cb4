"""Memory modules and names from the raw SMBIOS tables (`/sys/firmware/dmi/tables/DMI`, else `/sys/firmware/dmi/entries`).

Source: DMTF DSP0134 "System Management BIOS Reference Specification" 3.7: section 6.1.2 (structures and strings), 7.1 BIOS, 7.2 System,
7.3 Baseboard, 7.18 Memory Device, 7.38 Memory Channel. Offsets below are from the start of a structure, as in the specification.
"""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from hwbench.core.inventory import Dimm

from ._notes import Notes, some
from ._sysroot import Sysroot

TABLE = "/sys/firmware/dmi/tables/DMI"
ENTRIES = "/sys/firmware/dmi/entries"
_TABLE_BYTES = 1 << 20
_BIOS, _SYSTEM, _BOARD, _DEVICE, _CHANNEL, _END = 0, 1, 2, 17, 37, 127
_FORM_FACTORS = {9: "DIMM", 12: "RIMM", 13: "SODIMM", 15: "FB-DIMM", 16: "die", 17: "CAMM", 11: "row of chips"}
_TYPES = {
    18: "DDR", 19: "DDR2", 20: "DDR2 FB-DIMM", 24: "DDR3", 25: "FBD2", 26: "DDR4", 27: "LPDDR", 28: "LPDDR2", 29: "LPDDR3",
    30: "LPDDR4", 31: "logical non-volatile", 32: "HBM", 33: "HBM2", 34: "DDR5", 35: "LPDDR5", 36: "HBM3", 7: "RAM", 3: "DRAM", 15: "SDRAM",
}  # fmt: skip
_NO_NAME = {"", "not specified", "unknown", "no dimm", "none", "default string", "to be filled by o.e.m.", "n/a", "not provided"}
_CHANNEL_NAME = re.compile(r"channel[\s_-]*([0-9a-z]+)", re.IGNORECASE)


class Structure(NamedTuple):
    """One SMBIOS structure: its type, its handle, the formatted bytes (header included) and its strings."""

    type: int
    handle: int
    data: bytes
    strings: tuple[str, ...]

    def number(self, offset: int, width: int) -> int | None:
        """A little-endian number; None where an older, shorter structure does not have it."""
        if offset + width > len(self.data):
            return None
        return int.from_bytes(self.data[offset : offset + width], "little")

    def text(self, offset: int) -> str | None:
        """The string that the byte at `offset` points to; None for none, or for a placeholder."""
        index = self.number(offset, 1)
        if not index or index > len(self.strings):
            return None
        found = self.strings[index - 1].strip()
        return None if found.lower() in _NO_NAME or not found.isprintable() else found


class MemoryFound(NamedTuple):
    """Modules, channels and the bandwidth of all channels together; None where the firmware does not tell."""

    dimms: tuple[Dimm, ...] | None
    channels: int | None
    bandwidth_bytes_per_s: float | None


class Names(NamedTuple):
    """The machine's names as the firmware has them."""

    bios_vendor: str | None = None
    bios_version: str | None = None
    bios_date: str | None = None
    vendor: str | None = None
    product_name: str | None = None
    product_serial: str | None = None
    board_vendor: str | None = None
    board_name: str | None = None


def parse(table: bytes) -> tuple[Structure, ...]:
    """Every whole structure of a table; reading stops at the end mark, or where the bytes make no sense any more."""
    return tuple(_structures(table))


def _structures(table: bytes) -> Iterator[Structure]:
    start = 0
    while start + 4 <= len(table):
        kind, length, handle = struct.unpack_from("<BBH", table, start)
        end = table.find(b"\0\0", start + length)
        if length < 4 or end < 0:
            return
        strings = table[start + length : end].decode("latin-1").split("\0") if end > start + length else []
        yield Structure(kind, handle, table[start : start + length], tuple(strings))
        if kind == _END:
            return
        start = end + 2


def read_structures(root: Sysroot) -> tuple[tuple[Structure, ...], str]:
    """The structures and which file they came from; the second is the reason where there are none."""
    table = root.raw(TABLE, _TABLE_BYTES)
    if table:
        found = parse(table)
        return (found, TABLE) if found else ((), f"{TABLE}: no SMBIOS structures in it")
    raws = {name: root.raw(f"{ENTRIES}/{name}/raw", _TABLE_BYTES) for name in root.entries(ENTRIES) or ()}
    lost = [root.why(f"{ENTRIES}/{name}/raw") for name, raw in raws.items() if raw is None]
    if lost or not raws:
        return (), some([f"{root.why(TABLE)} (root may read it)", *lost])
    return tuple(structure for raw in raws.values() if raw for structure in parse(raw)[:1]), f"{ENTRIES}/*/raw"


def read_names(root: Sysroot) -> tuple[Names, str]:
    """What types 0, 1 and 2 say, and where from."""
    structures, source = read_structures(root)
    first = {structure.type: structure for structure in reversed(structures)}
    empty = Structure(0, 0, b"", ())
    bios, system, board = (first.get(kind, empty) for kind in (_BIOS, _SYSTEM, _BOARD))
    names = Names(
        bios_vendor=bios.text(0x04),
        bios_version=bios.text(0x05),
        bios_date=bios.text(0x08),
        vendor=system.text(0x04),
        product_name=system.text(0x05),
        product_serial=system.text(0x07),
        board_vendor=board.text(0x04),
        board_name=board.text(0x05),
    )
    return names, source


def read_memory(root: Sysroot, notes: Notes) -> MemoryFound:
    """Every slot, and the theoretical bandwidth where the firmware names the channels."""
    structures, source = read_structures(root)
    devices = [structure for structure in structures if structure.type == _DEVICE]
    if not devices:
        reason = f"{source}: lists no memory devices" if structures else source
        notes.gap("memory.dimms", reason)
        notes.gap("memory.theoretical_bandwidth_bytes_per_s", reason)
        return MemoryFound(None, None, None)
    notes.source("memory.dimms", f"{source}: type 17")
    dimms = tuple(_dimm(device) for device in devices)
    used = [(device, dimm) for device, dimm in zip(devices, dimms, strict=True) if dimm.size_bytes]
    channels = _channels(structures, used)
    if channels is None:
        notes.gap("memory.theoretical_bandwidth_bytes_per_s", f"{source}: {len(used)} modules, but not which channel each is on")
        return MemoryFound(dimms, None, None)
    return MemoryFound(dimms, len(channels), _bandwidth(channels, source, notes))


def _bandwidth(channels: dict[str, list[Dimm]], source: str, notes: Notes) -> float | None:
    """Sum over channels of width x transfers per second of the slowest module; modules of one channel take turns."""
    fact = "memory.theoretical_bandwidth_bytes_per_s"
    total = 0.0
    for name, modules in channels.items():
        rates = [module.transfers_per_s for module in modules if module.transfers_per_s]
        widths = [module.data_width_bits for module in modules if module.data_width_bits]
        if not rates or not widths:
            notes.gap(fact, f"{source}: no speed or width for channel {name}")
            return None
        total += min(rates) * min(widths) / 8
    notes.source(fact, f"{source}: channels x data width x configured speed")
    return total


def _channels(structures: tuple[Structure, ...], used: list[tuple[Structure, Dimm]]) -> dict[str, list[Dimm]] | None:
    """Modules by channel: from type 37, from locators that say "channel", or because there is only one module."""
    by_handle = {device.handle: dimm for device, dimm in used}
    told: dict[str, list[Dimm]] = {}
    for structure in structures:
        if structure.type == _CHANNEL:
            handles = [structure.number(0x08 + 3 * index, 2) for index in range(structure.number(0x06, 1) or 0)]
            modules = [by_handle[handle] for handle in handles if handle in by_handle]
            told.update({f"{structure.handle:#x}": modules} if modules else {})
    if sum(len(modules) for modules in told.values()) == len(used) and told:
        return told
    if len(used) == 1:
        return {used[0][1].locator or "0": [used[0][1]]}
    named: dict[str, list[Dimm]] = {}
    for _, dimm in used:
        name = _channel_name(dimm)
        if name is None:
            return None
        named.setdefault(name, []).append(dimm)
    return named or None


def _channel_name(dimm: Dimm) -> str | None:
    """The channel in a bank's or slot's name, "P0 CHANNEL A" or "ChannelB-DIMM0", with all before it, which may name the socket."""
    for text in (dimm.bank, dimm.locator):
        match = _CHANNEL_NAME.search(text or "")
        if match and text:
            return text[: match.end()].lower()
    return None


def _dimm(device: Structure) -> Dimm:
    return Dimm(
        locator=device.text(0x10),
        bank=device.text(0x11),
        size_bytes=_size(device),
        type=_TYPES.get(device.number(0x12, 1) or 0),
        form_factor=_FORM_FACTORS.get(device.number(0x0E, 1) or 0),
        transfers_per_s=_speed(device, 0x20, 0x58) or _speed(device, 0x15, 0x54),
        rated_transfers_per_s=_speed(device, 0x15, 0x54),
        data_width_bits=_width(device),
        ranks=(device.number(0x1B, 1) or 0) & 0x0F or None,
        manufacturer=device.text(0x17),
        part_number=device.text(0x1A),
        serial=device.text(0x18),
    )


def _size(device: Structure) -> int | None:
    """0 is an empty slot, 0xFFFF unknown, 0x7FFF means "see the extended size"; bit 15 says KiB instead of MiB."""
    size = device.number(0x0C, 2)
    if size is None or size == 0xFFFF:
        return None
    if size == 0x7FFF:
        extended = device.number(0x1C, 4)
        return None if extended is None else (extended & 0x7FFFFFFF) << 20
    return (size & 0x7FFF) << (10 if size & 0x8000 else 20)


def _speed(device: Structure, offset: int, extended: int) -> float | None:
    """MT/s; 0 is unknown, 0xFFFF means "see the extended speed"."""
    speed = device.number(offset, 2)
    if speed == 0xFFFF:
        speed = device.number(extended, 4)
    return speed * 1e6 if speed and speed < 1_000_000 else None


def _width(device: Structure) -> int | None:
    width = device.number(0x0A, 2)
    return width if width and width != 0xFFFF else None
