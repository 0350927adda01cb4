"""The kernel's list form of CPUs and nodes: "0-3,8"."""

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
