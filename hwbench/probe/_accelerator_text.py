"""Small readings of text that several sources of accelerators share: PCI addresses, link speeds, CPU masks, numbers with a unit."""

import re
from collections.abc import Iterable

_PCI = re.compile(r"^\s*(?:([0-9a-fA-F]{1,8}):)?([0-9a-fA-F]{1,2}):([0-9a-fA-F]{1,2})(?:\.([0-7]))?\s*$")
_SPEED = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*GT/s", re.IGNORECASE)
_QUANTITY = re.compile(r"^\s*([-+]?\d+(?:\.\d+)?)\s*([A-Za-z%/]*)\s*$")

GENERATIONS = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6, 128.0: 7}
"""Transfer rate of a lane in GT/s to the generation of PCI Express that brought it (PCI-SIG, base specifications 1.0 to 7.0)."""

UNITS = {
    "": 1.0,
    "%": 0.01,
    "B": 1.0,
    "KIB": 1024.0,
    "MIB": 1024.0**2,
    "GIB": 1024.0**3,
    "HZ": 1.0,
    "KHZ": 1e3,
    "MHZ": 1e6,
    "GHZ": 1e9,
    "W": 1.0,
    "MW": 1e-3,
    "C": 1.0,
    "MB/S": 1e6,
    "GB/S": 1e9,
}
"""Unit as nvidia-smi and rocm-smi print it, in capitals, to the factor that makes it SI (MW is the milliwatt there)."""


def pci_address(text: str) -> str | None:
    """A PCI address in the kernel's form (`0000:07:00.0`, domain of at least four digits, lower case); None if it isn't one.

    >>> pci_address("00000000:C7:00.0")
    '0000:c7:00.0'
    """
    match = _PCI.match(text)
    if match is None:
        return None
    domain, bus, device, function = (int(part or "0", 16) for part in match.groups())
    return f"{domain:04x}:{bus:02x}:{device:02x}.{function:x}" if device < 32 else None


def pcie_generation(speed: str) -> int | None:
    """The PCIe generation of a link speed such as `16.0 GT/s PCIe`; None for `Unknown` or an unknown rate."""
    match = _SPEED.match(speed)
    return GENERATIONS.get(float(match[1])) if match else None


def quantity(text: str) -> float | None:
    """A number with a unit in SI units (`81559 MiB`, `1980 MHz`, `98.5 W`, `42 C`); None for `N/A` or anything else."""
    match = _QUANTITY.match(text)
    if match is None or match[2].upper() not in UNITS:
        return None
    return float(match[1]) * UNITS[match[2].upper()]


def whole(text: str) -> int | None:
    """A decimal or 0x number; None for anything else."""
    try:
        return int(text.strip(), 16) if text.strip().lower().startswith("0x") else int(text.strip())
    except ValueError:
        return None


def list_text(numbers: Iterable[int]) -> str:
    """Numbers in the kernel's list form: 0-3,8."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def list_of_mask(mask: str) -> str | None:
    """The kernel's list form of its mask form (`00000000,000fffff` gives `0-19`); None if it isn't a mask or is empty."""
    try:
        bits = int(mask.replace(",", "").strip(), 16)
    except ValueError:
        return None
    return list_text(bit for bit in range(bits.bit_length()) if bits >> bit & 1) or None
