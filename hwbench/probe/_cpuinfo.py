"""/proc/cpuinfo of every architecture as records, one for each processor, and what all of them share.

The file has no common format: x86 and ia64 write one block a processor, old ARM and POWER add a block for the whole machine, s390 writes
"processor 0: version = FF, …" lines, SPARC and Alpha one block in all. Keys are compared without regard to case.
"""

import re
from typing import NamedTuple

from ._parse import MAX_CPUS, integer
from ._sysroot import Sysroot

PATH = "/proc/cpuinfo"
_BYTES = 1 << 25  # 4096 CPUs with long flag lines stay below this
_NUMBERED = re.compile(r"processor\s+([0-9]{1,6})")
_PAIRS = re.compile(r"\s*([^=,]+?)\s*=\s*([^,]*)")
_SPARC_STATE = re.compile(r"cpu([0-9]{1,6})")


class CpuInfo(NamedTuple):
    """`records` maps a processor's number to its lines, `shared` holds the lines of the whole machine."""

    records: dict[int, dict[str, str]]
    shared: dict[str, str]

    def first(self, *keys: str) -> str | None:
        """The first non-empty value of any of these keys, the machine's lines after the processors'."""
        places = [next(iter(self.records.values()), {}), self.shared]
        return next((place[key] for key in keys for place in places if place.get(key)), None)

    def every(self, key: str) -> list[str]:
        """The distinct values of a key over all processors, in order of appearance; the shared one where no processor has it."""
        found = dict.fromkeys(record[key] for record in self.records.values() if record.get(key))
        return list(found) or [value for value in (self.shared.get(key),) if value]

    def numbers(self, cpu: int, *keys: str) -> tuple[int, ...] | None:
        """Several integers of one processor; None where any is missing or junk."""
        record = self.records.get(cpu, {})
        values = tuple(integer(record.get(key)) for key in keys)
        return None if None in values else tuple(value for value in values if value is not None)


def read_cpuinfo(root: Sysroot) -> CpuInfo | None:
    """The parsed file; None where it can't be read (`root.why` says why)."""
    text = root.text(PATH, _BYTES)
    return None if text is None else parse_cpuinfo(text)


def parse_cpuinfo(text: str) -> CpuInfo:
    """Records and shared lines of the file's text; lines without a colon are left out."""
    records: dict[int, dict[str, str]] = {}
    shared: dict[str, str] = {}
    here = shared
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        key, value = " ".join(key.split()).lower(), value.strip()
        if not line.strip():
            here = shared
        elif not colon:
            continue
        elif (number := _starts(key, value, here is shared)) is not None:
            here = records.setdefault(number, {})
            here.update({name.lower(): what.strip() for name, what in _PAIRS.findall(value)})
            here = here if key != f"processor {number}" else shared
        else:
            here.setdefault(key, value)
    return CpuInfo(records, shared)


def _starts(key: str, value: str, outside: bool) -> int | None:
    """The processor that a line begins to speak of, None for a line about the one before.

    s390 numbers its blocks by "cpu number", which ia64 has inside a block and means something else by.
    """
    if key == "processor" or (key == "cpu number" and outside):
        return integer(value, 0, MAX_CPUS - 1)
    match = _NUMBERED.fullmatch(key)
    if match:
        return integer(match[1], 0, MAX_CPUS - 1)
    state = _SPARC_STATE.fullmatch(key)
    return integer(state[1], 0, MAX_CPUS - 1) if state and value == "online" else None
