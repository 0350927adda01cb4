"""Google Benchmark (`--benchmark_format=json`), read: each repetition is a sample, the mean of its iterations, of one process."""

from typing import Any, Final

import msgspec

from hwbench.core.inventory import Inventory
from hwbench.core.record import Record

from ._told import Content, Reader, Told, case, clean, not_told, record, shaped, unmeasured, utc

KIND: Final = "Google Benchmark"
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
"""`time_unit` of an entry; `ns` where it has none."""
_AGGREGATES: Final = ("_mean", "_median", "_stddev", "_cv", "_BigO", "_RMS")
"""Endings of aggregates' names; versions before 1.5 have no `run_type`."""
_UNKNOWN: Final = {
    "dtype, device": "Google Benchmark times a function and knows nothing of what it computes with",
    "warmup_wall_s, involuntary_switches": "it keeps neither",
    "flops_per_step, bytes_per_step, parameters": "its rates don't say which clock they were divided by; an item is one iteration",
    "commit": "its files name none; `--commit` tells it",
}


class _Entry(msgspec.Struct):
    name: str
    run_name: str | None = None
    run_type: str | None = None
    aggregate_name: str | None = None
    real_time: float | None = None
    cpu_time: float | None = None
    time_unit: str = "ns"
    threads: int = 1
    error_occurred: bool = False
    error_message: str = ""
    skipped: bool = False
    skip_message: str = ""

    @property
    def group(self) -> str:
        return self.run_name or self.name

    @property
    def aggregate(self) -> bool:
        return self.run_type == "aggregate" or (self.run_type is None and self.name.endswith(_AGGREGATES))


class _Context(msgspec.Struct):
    date: str | None = None
    host_name: str | None = None
    num_cpus: int | None = None
    library_version: str | None = None


class _File(msgspec.Struct):
    context: _Context
    benchmarks: list[_Entry]


def recognises(content: Content) -> bool:
    """Whether it is an object with `context` and `benchmarks`."""
    found = content.document
    return isinstance(found, dict) and "context" in found and "benchmarks" in found


def read(content: Content) -> Told:
    """One process. Where only aggregates were written, the median stands for the process, with a warning."""
    file = shaped(content.document, _File, content.source)
    started_at = _date(file.context.date)
    host = clean(file.context.host_name or "") or None
    groups: dict[str, list[_Entry]] = {}
    for entry in file.benchmarks:
        groups.setdefault(_name(entry), []).append(entry)
    plain = {"machine": {"host_name": host}, "cpu": {"online_count": file.context.num_cpus}}
    gaps = not_told(KIND, "cpu.model", "limits", "memory", "pci", "network", "storage", "software", "tuning", "accelerators")
    return Told(
        kind=KIND,
        version=file.context.library_version and clean(file.context.library_version),
        started_at=started_at,
        inventory=msgspec.structs.replace(msgspec.convert(plain, Inventory), gaps=gaps),
        records=tuple(_record(name, entries, started_at or "", host or "unknown") for name, entries in groups.items()),
        unknown=_UNKNOWN | ({} if started_at else {"started_at": "the file's `context.date` is not one"}),
    )


def _date(text: str | None) -> str | None:
    """ISO 8601, or as versions before 1.5 wrote it: 2016/08/02-18:46:47."""
    day, _, time = (text or "").replace("/", "-").rpartition("-")
    return utc(text) or utc(f"{day}T{time}")


def _name(entry: _Entry) -> str:
    ending = next((end for end in _AGGREGATES if entry.run_name is None and entry.aggregate and entry.name.endswith(end)), "")
    return entry.group.removesuffix(ending)


def _record(name: str, entries: list[_Entry], started_at: str, host: str) -> Record:
    of = case(name, threads=max(1, entries[0].threads))
    failed = next((entry for entry in entries if entry.error_occurred), None)
    if failed:
        return unmeasured(of, "failed", failed.error_message or "the benchmark reported an error", started_at)
    if any(entry.skipped for entry in entries):
        return unmeasured(of, "skipped", next((e.skip_message for e in entries if e.skip_message), "skipped"), started_at)
    chosen = [entry for entry in entries if not entry.aggregate]
    warnings: tuple[str, ...] = ()
    if not chosen:
        chosen = [entry for entry in entries if entry.aggregate_name == "median" or entry.name.endswith("_median")]
        warnings = ("only aggregates were written (--benchmark_report_aggregates_only): the median stands for the process",)
    units: dict[str, Any] = {entry.time_unit: _SECONDS.get(entry.time_unit) for entry in chosen}
    if None in units.values():
        return unmeasured(of, "failed", f"times are in {', '.join(units)}, expected {', '.join(_SECONDS)}", started_at)
    timed = [entry for entry in chosen if entry.real_time is not None]
    wall_s = [float(entry.real_time or 0.0) * units[entry.time_unit] for entry in timed]
    cpu_s = [entry.cpu_time * units[entry.time_unit] for entry in timed if entry.cpu_time is not None]
    return record(of, wall_s, cpu_s=cpu_s, started_at=started_at, host=host, warnings=warnings)


READER: Final = Reader(kind=KIND, looks_like="JSON with context and benchmarks", recognises=recognises, read=read)
