"""SMBIOS tables, built byte by byte after DSP0134, and what no table may do to the parser."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.probe._notes import Notes
from hwbench.probe._sysroot import Sysroot
from hwbench.probe.smbios import TABLE, parse, read_memory, read_names


def structure(kind: int, handle: int, body: bytes, *strings: str) -> bytes:
    text = b"".join(string.encode() + b"\0" for string in strings) or b"\0"
    return struct.pack("<BBH", kind, len(body) + 4, handle) + body + text + b"\0"


def module(handle: int, locator: str, bank: str, mib: int = 32768, speed: int = 3200, configured: int = 2933) -> bytes:
    """A memory device (type 17) of version 2.8: 40 bytes."""
    body = bytearray(0x28 - 4)
    struct.pack_into("<HH", body, 0x08 - 4, 72, 64)  # total and data width
    struct.pack_into("<H", body, 0x0C - 4, min(32767, mib))
    body[0x0E - 4] = 9  # DIMM
    body[0x10 - 4], body[0x11 - 4], body[0x12 - 4] = 1, 2, 26  # locator, bank, DDR4
    struct.pack_into("<H", body, 0x15 - 4, speed)
    body[0x1B - 4] = 2
    struct.pack_into("<I", body, 0x1C - 4, mib)
    struct.pack_into("<H", body, 0x20 - 4, configured)
    return structure(17, handle, bytes(body), locator, bank)


def table(tmp_path: Path, *structures: bytes) -> Sysroot:
    path = tmp_path / TABLE.lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"".join(structures) + structure(127, 0xFFFF, b""))
    return Sysroot(tmp_path)


def test_bandwidth_of_named_channels(tmp_path: Path) -> None:
    """Two modules of one channel take turns; an empty slot counts for nothing."""
    slots = [("A", "DIMM 0", 32768), ("A", "DIMM 1", 32768), ("B", "DIMM 0", 32768), ("B", "DIMM 1", 0)]
    modules = [module(index, locator, f"P0 CHANNEL {channel}", mib) for index, (channel, locator, mib) in enumerate(slots)]
    notes = Notes()
    found = read_memory(table(tmp_path, *modules), notes)
    assert found.channels == 2
    assert found.bandwidth_bytes_per_s == 2 * 2933e6 * 8
    assert found.dimms is not None
    assert [dimm.size_bytes for dimm in found.dimms] == [32 << 30, 32 << 30, 32 << 30, 0]
    assert (found.dimms[0].type, found.dimms[0].transfers_per_s, found.dimms[0].rated_transfers_per_s) == ("DDR4", 2933e6, 3200e6)


def test_channels_that_nobody_names_are_a_gap(tmp_path: Path) -> None:
    notes = Notes()
    found = read_memory(table(tmp_path, module(1, "DIMM_A1", "BANK 0"), module(2, "DIMM_A2", "BANK 1")), notes)
    assert found.dimms is not None
    assert len(found.dimms) == 2
    assert found.bandwidth_bytes_per_s is None
    assert [gap.path for gap in notes.gaps] == ["memory.theoretical_bandwidth_bytes_per_s"]


def test_memory_channel_structures(tmp_path: Path) -> None:
    channels = [structure(37, 0x100 + index, struct.pack("<BBBBH", 3, 1, 1, 1, index)) for index in (1, 2)]
    found = read_memory(table(tmp_path, module(1, "A1", "x"), module(2, "B1", "x"), *channels), Notes())
    assert (found.channels, found.bandwidth_bytes_per_s) == (2, 2 * 2933e6 * 8)


def test_names_and_placeholders(tmp_path: Path) -> None:
    system = structure(1, 1, bytes([1, 2, 0, 3]) + bytes(19), "Maker", "Model 7", "To Be Filled By O.E.M.")
    names, source = read_names(table(tmp_path, system))
    assert (names.vendor, names.product_name, names.product_serial, names.board_name) == ("Maker", "Model 7", None, None)
    assert source == TABLE


@given(st.binary(max_size=300))
def test_any_bytes_parse(data: bytes) -> None:
    for found in parse(data):
        assert len(found.data) >= 4
        found.text(4)
        found.number(8, 4)


@pytest.mark.parametrize("data", [b"", b"\x11\x02\x00\x00", b"\x11\xff\x00\x00abc"])
def test_a_broken_table_ends_the_reading(data: bytes) -> None:
    assert parse(data) == ()
