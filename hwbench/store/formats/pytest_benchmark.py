"""pytest-benchmark: its JSON, read and written. One file is one process; samples are its `stats.data`, in seconds a call."""

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from hwbench.core.codec import to_builtins
from hwbench.core.record import Record, Run

from ._figures import Figures
from ._machine import inventory_of, machine_info
from ._told import Content, Reader, Told, Writer, case, clean, record, shaped, utc

KIND: Final = "pytest-benchmark"
COPIES: Final = "imported"
"""Folder in a run's folder that keeps imported files byte for byte."""
_NO_COMMIT: Final = ("unversioned", "unknown", "")
_UNKNOWN: Final = {
    "dtype, device, threads": "pytest-benchmark times a Python function and knows nothing of what it computes with",
    "cpu_s, involuntary_switches": "it takes wall times only",
    "warmup_wall_s": "it keeps no warm-up calls",
    "flops_per_step, bytes_per_step, parameters": "it doesn't count work; an item is one call",
}


class _Stats(msgspec.Struct):
    data: list[float] | None = None
    median: float | None = None
    mean: float | None = None


class _Benchmark(msgspec.Struct):
    fullname: str
    stats: _Stats


class _Commit(msgspec.Struct):
    id: str | None = None
    dirty: bool | None = None


class _File(msgspec.Struct):
    """Only what is understood; all else of the file stays in its copy."""

    benchmarks: list[_Benchmark]
    machine_info: dict[str, Any] = {}
    commit_info: _Commit | None = None
    datetime: str | None = None
    version: str | None = None


def recognises(content: Content) -> bool:
    """Whether it is an object with `benchmarks` and the `machine_info` or `commit_info` that only pytest-benchmark writes."""
    found = content.document
    return isinstance(found, dict) and "benchmarks" in found and ("machine_info" in found or "commit_info" in found)


def read(content: Content) -> Told:
    """One process. A benchmark saved without its samples is stored as its median, with a warning."""
    file = shaped(content.document, _File, content.source)
    inventory = inventory_of(file.machine_info)
    started_at = utc(file.datetime)
    commit = file.commit_info or _Commit()
    return Told(
        kind=KIND,
        version=file.version and clean(file.version),
        commit=None if commit.id in (None, *_NO_COMMIT) else clean(commit.id or ""),
        dirty=bool(commit.dirty),
        started_at=started_at,
        inventory=inventory,
        versions={"python": inventory.software.python} if inventory.software.python else {},
        records=tuple(_record(one, started_at or "", inventory.machine.host_name) for one in file.benchmarks),
        unknown=_UNKNOWN | ({} if started_at else {"started_at": "the file's `datetime` is not one"}),
    )


def _record(of: _Benchmark, started_at: str, host: str | None) -> Record:
    data = of.stats.data
    warnings: tuple[str, ...] = ()
    if data is None:
        middle = of.stats.median if of.stats.median is not None else of.stats.mean
        data = [] if middle is None else [middle]
        warnings = ("saved without its samples (--benchmark-save-data keeps them): the median stands for the process",)
    return record(case(of.fullname), data, started_at=started_at, host=host or "unknown", warnings=warnings)


def write(run: Run, figures: Figures) -> tuple[bytes, ...]:  # noqa: ARG001  # the format has no place for them
    """One file a process. What was imported from pytest-benchmark comes back byte for byte."""
    copies = run.header.settings.get("imported") or []
    if copies and all(one.get("kind") == KIND for one in copies):
        return tuple((Path(run.path) / COPIES / Path(one["copy"]).name).read_bytes() for one in copies)
    processes = sorted({one.case.process for one in run.records})
    return tuple(_file(run, [one for one in run.records if one.case.process == process]) for process in processes)


def _file(run: Run, records: Iterable[Record]) -> bytes:
    header = run.header
    commit = (header.commit or "unversioned").removesuffix("+")
    dirty = (header.commit or "").endswith("+")
    made = {
        "machine_info": machine_info(header.inventory, header.versions),
        "commit_info": {"id": commit, "time": None, "author_time": None, "dirty": dirty, "project": "", "branch": "(unknown)"},
        "benchmarks": [_benchmark(one) for one in records if one.outcome == "done" and one.measurement and one.measurement.step_wall_s],
        "datetime": header.started_at,
        "version": f"hwbench {header.hwbench_version}",
    }
    return json.dumps(made, indent=4).encode() + b"\n"


def _benchmark(of: Record) -> dict[str, Any]:
    assert of.measurement is not None
    plain = of.case
    told = {name: getattr(plain, name) for name in ("layout", "dtype", "device", "threads")}
    more = {"outcome": of.outcome, "warnings": of.warnings, "state": of.state, "item_unit": of.measurement.item_unit}
    return {
        "group": plain.workload,
        "name": plain.key,
        "fullname": plain.key,
        "params": to_builtins(plain.config) or None,
        "param": None,
        "extra_info": {"hwbench": to_builtins(told | more | {"items_per_step": of.measurement.items_per_step})},
        "options": {"disable_gc": False, "warmup": True},
        "stats": stats(of.measurement.step_wall_s) | {"iterations": of.measurement.ranks[0].calls_per_sample},
    }


def stats(data: Sequence[float]) -> dict[str, Any]:
    """The `stats` of a benchmark, seconds a call, as pytest-benchmark names them; quartiles linear between neighbours."""
    ordered, mean = sorted(data), statistics.fmean(data)
    deviation = statistics.stdev(data) if len(data) > 1 else 0.0
    low, middle, high = statistics.quantiles(data, n=4, method="inclusive") if len(data) > 1 else (mean, mean, mean)
    inside = [one for one in ordered if low - 1.5 * (high - low) <= one <= high + 1.5 * (high - low)]
    far = sum(not mean - deviation <= one <= mean + deviation for one in data)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": deviation,
        "rounds": len(data),
        "median": middle,
        "iqr": high - low,
        "q1": low,
        "q3": high,
        "iqr_outliers": len(data) - len(inside),
        "stddev_outliers": far,
        "outliers": f"{far};{len(data) - len(inside)}",
        "ld15iqr": inside[0],
        "hd15iqr": inside[-1],
        "ops": len(data) / sum(data),
        "total": sum(data),
        "data": list(data),
    }


READER: Final = Reader(kind=KIND, looks_like="JSON with machine_info, commit_info and benchmarks", recognises=recognises, read=read)
WRITER: Final = Writer(suffix=".json", write=write, file_a_process=True)
