"""What readers share: a file's content, what one file tells, and records made of its figures."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec

from hwbench.core.errors import UserError
from hwbench.core.inventory import Gap, Inventory
from hwbench.core.record import Case, Measurement, Outcome, Record, Run, Samples
from hwbench.core.value import Value

from ._figures import Figures

T = TypeVar("T")

UNKNOWN: Final = "unknown"
"""A case's dtype or device where the file doesn't tell."""
NO_TIMES: Final = "the file holds no time of it"


@dataclass(frozen=True, kw_only=True)
class Content:
    """A file as read: its text, and the JSON it is; `document` is None and `lines` empty where it is none."""

    source: str
    """What errors call it."""
    text: str
    document: Any = None
    lines: tuple[Any, ...] = ()
    """The objects of JSON Lines."""


class Told(Value):
    """What one file tells. `started_at` is UTC, ISO 8601; None where the file doesn't say when it was measured."""

    kind: str
    version: str | None = None
    """Of the tool that wrote it."""
    commit: str | None = None
    dirty: bool = False
    """Files differed from the commit, so that two files of it need not be of the same code."""
    started_at: str | None = None
    inventory: Inventory = Inventory()
    versions: dict[str, str] = {}
    records: tuple[Record, ...]
    unknown: dict[str, str] = {}
    """What a record holds only for want of something better, and why: field -> reason."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How one kind of file is known and read. `read` raises UserError for one that is damaged."""

    kind: str
    looks_like: str
    """For people: what such a file holds."""
    recognises: Callable[[Content], bool]
    read: Callable[[Content], Told]


@dataclass(frozen=True, kw_only=True)
class Writer:
    """How a run is written: one file's bytes, or one a process where the format knows no more than one (`file_a_process`)."""

    suffix: str
    write: Callable[[Run, Figures], tuple[bytes, ...]]
    """Of the run, and a row of figures a record."""
    file_a_process: bool = False


def parse(text: str, source: str) -> Content:
    """The text of a file and what JSON it holds; Python's dialect of it (NaN, Infinity), as several tools write that. Never raises."""
    whole = _json(text)
    if whole is not None:
        return Content(source=source, text=text, document=whole)
    lines = [_json(line) for line in text.splitlines() if line.strip()]
    if lines and not isinstance(lines[-1], dict):
        lines.pop()  # torn when its writer was killed
    return Content(source=source, text=text, lines=tuple(lines) if all(isinstance(line, dict) for line in lines) else ())


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # not JSON, a number of more digits than Python reads, or nested without end
        return None


def shaped(value: Any, type_: type[T], source: str) -> T:
    """Plain values as a type that lists only the keys that are understood; UserError names the key that is of another type."""
    try:
        return msgspec.convert(value, type_)
    except (msgspec.ValidationError, UnicodeEncodeError, RecursionError) as error:  # the second: half of a surrogate pair
        raise UserError(f"{source}: {clean(str(error)).replace('`', '')}", hint="is it damaged, or edited by hand?") from error


def clean(text: str) -> str:
    """Text that can be stored: half of a surrogate pair, which JSON can spell and UTF-8 can't, becomes '?'."""
    return text.encode("utf-8", "replace").decode()


def utc(moment: str | float | None) -> str | None:
    """A moment as UTC, ISO 8601, from ISO 8601 text (without a zone it counts as UTC) or seconds since 1970; None where it is none."""
    try:
        if isinstance(moment, int | float):
            return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
        then = datetime.fromisoformat(moment or "")
        return (then if then.tzinfo else then.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return None


def case(workload: str, config: Mapping[str, Any] | None = None, **known: Any) -> Case:
    """An imported case: dtype and device are 'unknown' unless they are told."""
    return Case(workload=clean(workload), config=dict(config or {}), **({"dtype": UNKNOWN, "device": UNKNOWN} | known))


def record(
    of: Case,
    wall_s: Sequence[float],
    *,
    started_at: str,
    cpu_s: Sequence[float] = (),
    host: str = UNKNOWN,
    warnings: Iterable[str] = (),
    **work: Any,
) -> Record:
    """A record of the times of single calls; `work` overrides the measurement's fields. Times that can't be stored make a failed record."""
    bad = sum(not 0 < wall < math.inf for wall in wall_s)
    if bad or not wall_s or not math.isfinite(sum(wall_s)):
        reason = f"{bad} of {len(wall_s)} times are not positive numbers" if wall_s else NO_TIMES
        return unmeasured(of, "failed", reason, started_at)
    known_cpu = tuple(cpu_s) if len(cpu_s) == len(wall_s) and all(0 <= one < math.inf for one in cpu_s) else ()
    samples = Samples(rank=0, host=host, warmup_wall_s=(), wall_s=tuple(wall_s), cpu_s=known_cpu)
    told: dict[str, Any] = {"items_per_step": 1, "item_unit": "call", "flops_per_step": None, "bytes_per_step": None, "parameters": None}
    measured = Measurement(ranks=(samples,), check=None, **(told | work))
    return Record(
        case=of, outcome="done", started_at=started_at, duration_s=sum(wall_s), measurement=measured, warnings=tuple(map(clean, warnings))
    )


def unmeasured(of: Case, outcome: Outcome, reason: str, started_at: str) -> Record:
    """A record without figures."""
    return Record(case=of, outcome=outcome, reason=" ".join(clean(reason).split()), started_at=started_at, duration_s=0.0)


def not_told(kind: str, *sections: str) -> tuple[Gap, ...]:
    """Gaps for parts of the inventory that this kind of file says nothing about."""
    return tuple(Gap(path=section, reason=f"a file of {kind} doesn't tell") for section in sections)
