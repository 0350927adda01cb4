"""The kernel's list form of CPUs and nodes: "0-3,8"."""

from collections.abc import Iterable

from hwbench.core.errors import UserError

_MOST = 1 << 16
"""More than any kernel is built for (NR_CPUS is at most 8192); keeps a wrong number from filling the memory."""


def parse_cpu_list(text: str) -> set[int]:
    """The numbers of a list such as "0-3,8"; empty for empty text. UserError names what can't be read."""
    numbers: set[int] = set()
    for part in filter(None, (p.strip() for p in text.split(","))):
        first, dash, last = part.partition("-")
        if not all(number.isascii() and number.isdigit() for number in ((first, last) if dash else (first,))):
            raise UserError(f"CPU list {text!r}: expected numbers and ranges, found {part!r}", hint="write it like 0-3,8")
        low, high = int(first), int(last or first)
        if not low <= high < _MOST:
            raise UserError(f"CPU list {text!r}: {part} is not a range of CPUs")
        numbers.update(range(low, high + 1))
    return numbers


def format_cpu_list(numbers: Iterable[int]) -> str:
    """Numbers in the list form, ascending, neighbours as a range: {0, 1, 2, 8} is "0-2,8"."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and parts[-1][-1] == number - 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)
