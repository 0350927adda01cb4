"""Numbers, sizes and CPU sets as the kernel writes them. A set of CPUs is an int with one bit a CPU; junk and absurd values are None."""

import re
from collections.abc import Iterable, Iterator

MAX_CPUS = 1 << 16
"""No kernel is built for more (NR_CPUS is 8192 at most today); a larger number is junk."""
_MAX_BYTES = 1 << 60
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_SIZE = re.compile(r"([0-9]{1,15})\s*([KMGT]?)i?B?", re.IGNORECASE)
_FACTOR = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def integer(text: str | None, low: int = 0, high: int = _MAX_BYTES) -> int | None:
    """A decimal integer inside [low, high]; None otherwise."""
    if text is None or not _INTEGER.fullmatch(text):
        return None
    value = int(text)
    return value if low <= value <= high else None


def size_bytes(text: str | None) -> int | None:
    """Bytes of '32K', '8M', '5118K', '1048576'; None for junk, and for zero, by which the kernel means 'unknown'."""
    match = _SIZE.fullmatch(text) if text else None
    if match is None:
        return None
    value = int(match[1]) * _FACTOR[match[2].upper()]
    return value if 0 < value < _MAX_BYTES else None


def cpu_list(text: str | None) -> int | None:
    """The set of '0-3,8' (stride form '0-31:2/4' too, as the kernel's parser takes it); '' is the empty set; None for junk."""
    if text is None:
        return None
    result = 0
    for part in text.split(",") if text else ():
        piece = _range(part.strip())
        if piece is None:
            return None
        result |= piece
    return result


def _range(part: str) -> int | None:
    match = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6})(?::([0-9]{1,6})/([0-9]{1,6}))?)?", part)
    if match is None:
        return None
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first or last >= MAX_CPUS:
        return None
    if match[3] is None:
        return ((1 << (last - first + 1)) - 1) << first
    used, group = int(match[3]), int(match[4])
    if not 0 < used <= group:
        return None
    return members(cpu for cpu in range(first, last + 1) if (cpu - first) % group < used)


def cpu_mask(text: str | None) -> int | None:
    """The set of a hexadecimal mask in 32-bit groups, '000000ff,ffff0000'; None for junk."""
    if not text or not re.fullmatch(r"(0x)?[0-9a-fA-F]+(,[0-9a-fA-F]{1,8})*", text):
        return None
    groups = text.removeprefix("0x").split(",")
    digits = groups[0] + "".join(group.zfill(8) for group in groups[1:])
    if len(digits) * 4 > MAX_CPUS + 32:
        return None
    return int(digits, 16)


def members(cpus: Iterable[int]) -> int:
    """The set that holds these CPUs."""
    result = 0
    for cpu in cpus:
        result |= 1 << cpu
    return result


def each(cpus: int) -> Iterator[int]:
    """The CPUs of a set, ascending."""
    while cpus:
        lowest = cpus & -cpus
        yield lowest.bit_length() - 1
        cpus ^= lowest


def as_list(cpus: int) -> str:
    """The kernel's list form: '0-7,16-23'; '' for the empty set."""
    parts: list[str] = []
    first = 0
    while cpus >> first:
        first += ((cpus >> first) & -(cpus >> first)).bit_length() - 1
        run = cpus >> first
        length = (~run & (run + 1)).bit_length() - 1
        parts.append(str(first) if length == 1 else f"{first}-{first + length - 1}")
        first += length
    return ",".join(parts)
