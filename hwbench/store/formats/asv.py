"""asv (airspeed velocity) results, format 2, read: `.asv/results/MACHINE/COMMIT-ENVIRONMENT.json`, timing benchmarks only."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from hwbench.core.errors import UserError
from hwbench.core.inventory import Inventory
from hwbench.core.record import Record

from ._told import Content, Reader, Told, case, clean, not_told, record, shaped, unmeasured, utc

KIND: Final = "asv"
FORMAT: Final = 2
_TIMES: Final = ("time_", "timeraw_", "Time", "TimeRaw")
"""How the last part of a timing benchmark's name begins (asv's manual, "Writing benchmarks"); its figures are seconds a call."""
_UNKNOWN: Final = {
    "dtype, device, threads": "asv times a Python function and knows nothing of what it computes with",
    "cpu_s, warmup_wall_s, involuntary_switches": "its results don't hold them",
    "flops_per_step, bytes_per_step, parameters": "it doesn't count work; an item is one call",
    "processes": "asv pools the samples of its processes, so that a file counts as one process",
}


class _File(msgspec.Struct):
    version: int
    results: dict[str, list[Any] | None]
    result_columns: list[str]
    commit_hash: str | None = None
    python: str | None = None
    params: dict[str, Any] = {}
    requirements: dict[str, Any] = {}


def recognises(content: Content) -> bool:
    """Whether it is an object with `results` and asv's `result_columns` or `commit_hash`."""
    found = content.document
    return isinstance(found, dict) and "results" in found and ("result_columns" in found or "commit_hash" in found)


def read(content: Content) -> Told:
    """One process; a benchmark with parameters is one case for each of their combinations. UserError for another format than 2."""
    found = content.document.get("version")
    if found != FORMAT:
        hint = "`asv update` brings results to the current format"
        raise UserError(f"{content.source}: key version: expected asv's results format {FORMAT}, found {found!r}", hint=hint)
    file = shaped(content.document, _File, content.source)
    rows = {name: dict(zip(file.result_columns, row or [], strict=False)) for name, row in file.results.items()}
    begun = [moment for row in rows.values() if isinstance(moment := row.get("started_at"), int | float) and math.isfinite(moment)]
    started_at = utc(min(begun) / 1000) if begun else None
    return Told(
        kind=KIND,
        commit=clean(file.commit_hash) if file.commit_hash else None,
        started_at=started_at,
        inventory=_inventory(file),
        versions=_versions(file),
        records=tuple(one for name, row in rows.items() for one in _records(name, row, started_at or "", _text(file.params, "machine"))),
        unknown=_UNKNOWN | ({} if started_at else {"started_at": "no benchmark has a `started_at`; `date` is the commit's"}),
    )


def _records(name: str, row: dict[str, Any], started_at: str, host: str | None) -> Iterator[Record]:
    """A case a combination of parameters, the last parameter running fastest, as asv stores its results."""
    parameters = row.get("params")
    axes = [axis for axis in parameters if isinstance(axis, list)] if isinstance(parameters, list) else []
    combinations = list(itertools.islice(itertools.product(*axes), 100_000))
    results, samples = row.get("result"), row.get("samples")
    for index, values in enumerate(combinations):
        of = case(name, {f"param{place}": _plain(value) for place, value in enumerate(values, start=1)})
        if not name.rpartition(".")[2].startswith(_TIMES):
            yield unmeasured(of, "skipped", "its figure is not a time: only timing benchmarks (time_…) are imported", started_at)
            continue
        taken = _at(samples, index)
        warned = () if isinstance(taken, list) and taken else ("stored without its samples: asv's median stands for the process",)
        wall_s = taken if isinstance(taken, list) and taken else [_at(results, index)]
        yield record(of, _numbers(wall_s), started_at=started_at, host=host or "unknown", warnings=warned)


def _numbers(values: Sequence[Any]) -> list[float]:
    """The times; asv writes null or NaN for a benchmark that failed, and what is no number can't be a time either."""
    if list(values) == [None]:
        return []
    return [float(v) if isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e300 else math.nan for v in values]


def _at(values: Any, index: int) -> Any:
    return values[index] if isinstance(values, list) and index < len(values) else None


def _plain(value: Any) -> Any:
    return clean(value if isinstance(value, str) else repr(value))


def _text(of: dict[str, Any], key: str) -> str | None:
    value = of.get(key)
    return clean(value) or None if isinstance(value, str) else None


def _versions(file: _File) -> dict[str, str]:
    packages = {clean(name): clean(value) for name, value in file.requirements.items() if isinstance(value, str) and value}
    return ({"python": clean(file.python)} if file.python else {}) | packages


def _inventory(file: _File) -> Inventory:
    count = _text(file.params, "num_cpu")
    plain = {
        "cpu": {
            "architecture": _text(file.params, "arch"),
            "model": _text(file.params, "cpu"),
            "online_count": int(count) if count and count.isascii() and count.isdigit() and len(count) < 7 else None,
        },
        "machine": {"host_name": _text(file.params, "machine")},
        "software": {"os": _text(file.params, "os"), "python": clean(file.python) if file.python else None},
    }
    gaps = not_told(KIND, "limits", "memory", "pci", "network", "storage", "tuning", "accelerators")
    return msgspec.structs.replace(msgspec.convert(plain, Inventory), gaps=gaps)


READER: Final = Reader(kind=KIND, looks_like="JSON with commit_hash, result_columns and results", recognises=recognises, read=read)
