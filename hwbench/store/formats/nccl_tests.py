"""nccl-tests and rccl-tests (their text output), read: each message size, out of place and in place, is a case of one process.

Found as people keep it: indented in a document, every line marked with its rank by `mpirun --tag-output`, NCCL's own messages between.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from hwbench.core.errors import UserError
from hwbench.core.inventory import Gap, Inventory
from hwbench.core.record import Record

from ._told import UNKNOWN, Content, Reader, Told, case, clean, not_told, record, unmeasured

KIND: Final = "nccl-tests"
_TAG: Final = re.compile(r"^\[\d+,\d+\](?:<std\w+>)?:\s?", re.MULTILINE)
"""`[1,0]<stdout>:` before a line: Open MPI's mark of job and rank."""
_HEADING: Final = re.compile(r"^\s*#?\s*size\s+count\b.*\btime\s+algbw\s+busbw\b.*$", re.MULTILINE)
_DEVICE: Final = re.compile(r"^\s*#?\s*Rank\s+\d+\b.*?\bon\s+(?P<host>\S+)\s+device\s+\d+\s+\[[^\]]*\]\s*(?P<name>.*\S)", re.MULTILINE)
_NAME: Final = re.compile(r"Collective test (?:starting|concluded):\s*(\w+?)(?:_perf)?\s*$", re.MULTILINE)
_DTYPES: Final = {"float": "fp32", "half": "fp16", "double": "fp64", "bfloat16": "bf16", "f8e4m3": "fp8", "f8e5m2": "fp8", "int8": "int8"}
"""nccl-tests' names of types; another keeps its own."""
_NUMBER: Final = re.compile(r"^\d+(?:\.\d*)?(?:[eE][+-]?\d+)?$")
_FIGURES: Final = ("time", "algbw", "busbw", "#wrong")
_UNKNOWN: Final = {
    "wall_s": "nccl-tests prints the mean of its iterations: one sample a size, no spread",
    "cpu_s, warmup_wall_s, involuntary_switches": "it doesn't print them",
    "threads": "the layout says how many ranks there are; what each computes with is not told",
    "commit, started_at": "its output names neither; `--commit` tells the first",
}


def recognises(content: Content) -> bool:
    """Whether the table's heading is somewhere in the text."""
    return content.document is None and _HEADING.search(_TAG.sub("", content.text)) is not None


def read(content: Content) -> Told:
    """One process for all ranks. algbw is size / time, so that `bytes_per_step` is the size; a size of 0 has no rate."""
    text = _TAG.sub("", content.text)
    heading = _HEADING.search(text)
    columns = heading.group().strip().lstrip("# ").split() if heading else []
    devices = [(clean(found["host"]), clean(found["name"])) for found in _DEVICE.finditer(text)]
    named = _NAME.search(text)
    rows = list(_rows(text, columns))
    if not rows:
        raise UserError(f"{content.source}: a heading of {KIND}, but no line of figures below it", hint="was the test ended before?")
    operation = named.group(1) if named else UNKNOWN
    return Told(
        kind=KIND,
        inventory=_inventory(devices),
        records=tuple(one for row in rows for one in _records(row, operation, devices)),
        unknown=_UNKNOWN
        | ({} if devices else {"layout": "the output lists no devices: how many ranks took part is not known"})
        | ({} if named else {"workload": "which collective it was is told by newer versions only"}),
    )


def _rows(text: str, columns: list[str]) -> Iterator[tuple[dict[str, str], list[dict[str, str]]]]:
    """Each line of figures: its columns before the times, and time, algbw, busbw, errors out of place and, where it was done, in place."""
    before, sides = columns[: columns.index("time")], columns.count("time")
    for line in text.splitlines():
        words = line.split()
        if len(words) == len(before) + sides * len(_FIGURES) and words[0].isascii() and words[0].isdigit():
            figures = words[len(before) :]
            found = [dict(zip(_FIGURES, figures[4 * side : 4 * side + 4], strict=True)) for side in range(sides)]
            yield dict(zip(before, words, strict=False)), found


def _records(row: tuple[dict[str, str], list[dict[str, str]]], operation: str, devices: list[tuple[str, str]]) -> Iterator[Record]:
    told, sides = row
    size = int(told["size"]) if len(told["size"]) < 19 else 0
    kind = told.get("type", UNKNOWN)
    ranks: dict[str, Any] = {"ranks": len(devices)} if devices else {}
    for in_place, side in zip((False, True), sides, strict=False):
        config = {"message_bytes": size, "in_place": in_place, "redop": told.get("redop", UNKNOWN)} | ranks
        of = case(f"{KIND} {operation}", config, layout=_layout(len(devices)), dtype=_DTYPES.get(kind, clean(kind)), device="cuda")
        if _NUMBER.match(side["time"]):
            host = devices[0][0] if devices else UNKNOWN
            work: dict[str, Any] = {"items_per_step": size, "item_unit": "byte", "bytes_per_step": float(size)}
            yield record(of, [float(side["time"]) * 1e-6], started_at="", host=host, warnings=_wrong(side["#wrong"]), **work)
        else:
            yield unmeasured(of, "failed", f"its time is {side['time']}", "")


def _wrong(text: str) -> tuple[str, ...]:
    """A warning where values were wrong: a count in newer versions, the largest error in older ones, N/A where it wasn't checked."""
    if text == "N/A":
        return ("the results were not checked (-c 0)",)
    wrong = text.isascii() and text.isdigit() and int(text[:18]) > 0
    return (f"{text} values were wrong",) if wrong else ()


def _layout(ranks: int) -> str:
    return f"dp={ranks}" if ranks > 1 else "single"


def _inventory(devices: list[tuple[str, str]]) -> Inventory:
    gaps = not_told(KIND, "cpu", "limits", "memory", "pci", "network", "storage", "software", "tuning")
    if not devices:
        return Inventory(gaps=(*gaps, Gap(path="accelerators", reason=f"the output of {KIND} lists no devices")))
    host = devices[0][0]
    mine = [name for where, name in devices if where == host]
    found = [{"label": f"GPU{index}", "source": KIND, "index": index, "name": name} for index, name in enumerate(mine)]
    plain = {"machine": {"host_name": host}, "accelerators": {"devices": found}}
    return msgspec.structs.replace(msgspec.convert(plain, Inventory), gaps=gaps)


READER: Final = Reader(kind=KIND, looks_like="text with the heading `size count type … time algbw busbw`", recognises=recognises, read=read)
