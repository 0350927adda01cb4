"""Sweeps: cases of one workload that differ in one number of their settings, as lines over that number."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from hwbench.core.record import Run
from hwbench.core.summary import Sweep, SweepLine, SweepPoint, Throughput
from hwbench.core.workload import Workload

from .throughput import settings_text

FEWEST_VALUES: Final = 3
"""Two values are a pair, told better by two bars."""
KINDS: Final = ("training", "inference", "kernel")
"""Ceilings and collectives have curves of their own (`ceilings`)."""


class _Case(NamedTuple):
    """A row with its whole configuration."""

    row: Throughput
    config: dict[str, Any]


def sweeps(runs: Sequence[Run], rows: Sequence[Throughput], workloads: Mapping[str, Workload]) -> tuple[Sweep, ...]:
    """One sweep for each workload whose rows take at least FEWEST_VALUES values of one number while nothing else changes.

    Where several numbers were swept the one with the most values is the axis, and the others tell the lines apart. `rows` are those of the
    report, from these runs.
    """
    configs = {
        (run.header.id, record.case.workload, settings_text(record.case.config, workloads.get(record.case.workload))): record.case.config
        for run in runs
        for record in run.records
    }
    cases: dict[str, list[_Case]] = {}
    for row in rows:
        config = configs.get((row.run, row.workload, row.settings))
        if row.kind in KINDS and config is not None:
            cases.setdefault(row.workload, []).append(_Case(row, config))
    return tuple(sweep for name, mine in cases.items() for sweep in _sweep(name, mine))


def _sweep(workload: str, cases: Sequence[_Case]) -> Iterator[Sweep]:
    """The workload's sweep, if it has one; rows of another unit of rate are left out."""
    unit = cases[0].row.rate_unit
    mine = [case for case in cases if case.row.rate_unit == unit]
    swept = [(key, found) for key in _numbers(mine) if (found := _lines(key, mine))]
    if not swept:
        return
    key, lines = max(swept, key=lambda one: max(len(line) for line in one[1]))
    varied = _varied([line[0] for line in lines], key)
    yield Sweep(
        workload=workload,
        setting=key,
        rate_unit=unit,
        lines=tuple(
            SweepLine(about={name: _about(line[0], name) for name in varied}, points=tuple(_point(case, key) for case in line))
            for line in lines
        ),
    )


def _numbers(cases: Sequence[_Case]) -> list[str]:
    """Settings that take several values, all of them numbers."""
    keys = dict.fromkeys(key for case in cases for key in case.config)
    return [
        key for key in keys if all(_is_number(case.config.get(key)) for case in cases) and len({case.config[key] for case in cases}) > 1
    ]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _lines(key: str, cases: Sequence[_Case]) -> list[list[_Case]]:
    """Cases that differ in this setting alone, by its value; groups of fewer than FEWEST_VALUES values are no line."""
    groups: dict[tuple[object, ...], dict[float, _Case]] = {}
    for case in cases:
        rest = tuple(sorted((name, repr(value)) for name, value in case.config.items() if name != key))
        row = case.row
        groups.setdefault((row.run, row.layout, row.dtype, row.device, row.threads, row.scaling, rest), {})[case.config[key]] = case
    return [[group[value] for value in sorted(group)] for group in groups.values() if len(group) >= FEWEST_VALUES]


def _varied(firsts: Sequence[_Case], key: str) -> list[str]:
    """What tells the lines apart: settings, then layout, dtype, device, threads, run."""
    settings = dict.fromkeys(name for case in firsts for name in case.config if name != key)
    names = (*settings, *_OF_ROW)
    return [name for name in names if len({_about(case, name) for case in firsts}) > 1]


_OF_ROW: Final = ("layout", "dtype", "device", "threads", "scaling", "run")


def _about(case: _Case, name: str) -> str:
    return str(getattr(case.row, name) if name in _OF_ROW else case.config.get(name, ""))


def _point(case: _Case, key: str) -> SweepPoint:
    row = case.row
    return SweepPoint(
        value=float(case.config[key]),
        rate_per_s=row.rate_per_s,
        step_time_s=row.step_time_s,
        flops_per_s=row.flops_per_s if row.flops_per_step else None,
        roof_fraction=row.roof_fraction,
        peak_bytes=row.device_peak_bytes if row.device_peak_bytes is not None else row.resident_peak_bytes,
        noisy=row.noisy,
    )
