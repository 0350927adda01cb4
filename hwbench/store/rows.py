"""One row of the index a measured process of a case: what a table can hold of a record, and where in which file the rest is."""

import math
import types
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec

from hwbench.core.comparability import comparison_key, machine_key, machine_name
from hwbench.core.moments import moment
from hwbench.core.record import Measurement, Record, RunHeader, fault
from hwbench.core.value import Value
from hwbench.core.workload import METRICS

_LARGEST_BIGINT: Final = 2**63 - 1


class RunColumns(Value):
    """The same in every row of a run. Times of day are UTC; None where the text is no time."""

    run: str
    """Name of the run's folder: what `hwbench report` and `compare` take."""
    run_started_at: datetime | None
    commit: str | None
    torch: str | None
    hwbench_version: str
    suite: str | None
    machine: str
    """The machine's kind in words."""
    machine_key: str
    """Equal for machines of one kind, whatever their software and settings: one series of a history."""
    comparison_key: str
    """Equal where software and settings are equal too."""


class Row(RunColumns):
    """A row of the index. Names carry their units; None is unknown.

    `step_…` is the wall time of one call of the step over the samples of one process, the slowest rank's where there are several;
    `cpu_…` the CPU time of a lone rank's own thread. Quantiles are by linear interpolation between order statistics.
    """

    started_at: datetime | None
    workload: str
    config: str
    """The complete configuration as JSON, keys sorted."""
    case_key: str
    layout: str
    dtype: str
    device: str
    threads: int
    process: int
    outcome: str
    reason: str
    """Why it failed or was skipped."""
    fault: str
    """Why a record that says done can't be used; empty where it can."""
    host: str | None
    ranks: int
    samples: int
    calls_per_sample: int | None = None
    items_per_step: int | None = None
    item_unit: str | None = None
    flops_per_step: float | None = None
    executed_flops_per_step: float | None = None
    bytes_per_step: float | None = None
    energy_per_step_j: float | None = None
    resident_peak_bytes: int | None = None
    device_peak_bytes: int | None = None
    step_floor_s: float | None = None
    """The fastest sample."""
    step_median_s: float | None = None
    step_mean_s: float | None = None
    step_p05_s: float | None = None
    step_p25_s: float | None = None
    step_p75_s: float | None = None
    step_p95_s: float | None = None
    cpu_floor_s: float | None = None
    cpu_median_s: float | None = None
    first_loss: float | None = None
    last_loss: float | None = None
    perplexity: float | None = None
    """This and the next five: how good the model was after the last sample, asked about `evaluated_on`."""
    accuracy: float | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    bleu: float | None = None
    evaluated_on: str | None = None
    check_passed: bool | None = None
    involuntary_switches: int | None = None
    load_1min: float | None = None
    cpu_pressure_fraction: float | None = None
    steal_fraction: float | None = None
    throttled: bool | None = None
    clock_backwards: bool = False
    """Whether this record says that it began before the one written before it: the clock was set back."""
    warnings: str = ""
    """One a line."""
    file: str
    offset_bytes: int
    length_bytes: int


class Place(NamedTuple):
    """Where a record lies: the file's name in the run's folder, and its line there."""

    file: str
    offset_bytes: int
    length_bytes: int


def run_columns(name: str, header: RunHeader) -> RunColumns:
    """What the rows of the run in the folder `name` share."""
    return RunColumns(
        run=name,
        run_started_at=moment(header.started_at),
        commit=header.commit,
        torch=header.versions.get("torch"),
        hwbench_version=header.hwbench_version,
        suite=header.suite,
        machine=machine_name(header.inventory),
        machine_key=machine_key(header.inventory),
        comparison_key=comparison_key(header.inventory),
    )


def row_of(shared: RunColumns, record: Record, place: Place, *, clock_backwards: bool = False) -> Row:
    """The row of one record."""
    case, why, state = record.case, fault(record) if record.outcome == "done" else "", record.state
    usable = record.measurement if record.outcome == "done" and not why else None
    columns: dict[str, Any] = {
        "started_at": moment(record.started_at),
        "workload": case.workload,
        "config": msgspec.json.encode(case.config, order="sorted").decode(),
        "case_key": case.key,
        "layout": case.layout,
        "dtype": case.dtype,
        "device": case.device,
        "threads": _bigint(case.threads) or 0,
        "process": _bigint(case.process) or 0,
        "outcome": record.outcome,
        "reason": record.reason,
        "fault": why,
        "host": None,
        "ranks": 0,
        "samples": 0,
        "load_1min": state.load_1min,
        "cpu_pressure_fraction": state.cpu_pressure_fraction,
        "steal_fraction": state.steal_fraction,
        "throttled": None if state.throttle_reasons is None else bool(state.throttle_reasons),
        "clock_backwards": clock_backwards,
        "warnings": "\n".join(record.warnings),
    }
    measured = _measured(usable) if usable else {}
    shared_columns = {name: getattr(shared, name) for name in shared.__struct_fields__}
    return Row(**(shared_columns | columns | measured | place._asdict()))


def _measured(of: Measurement) -> dict[str, Any]:
    ranks = of.ranks
    switches = [count for rank in ranks for count in rank.involuntary_switches]
    return times(of) | {
        "host": ranks[0].host,
        "ranks": len(ranks),
        "samples": len(ranks[0].wall_s),
        "calls_per_sample": _bigint(ranks[0].calls_per_sample),
        "items_per_step": _bigint(of.items_per_step),
        "item_unit": of.item_unit,
        "flops_per_step": of.flops_per_step,
        "executed_flops_per_step": of.executed_flops_per_step,
        "bytes_per_step": of.bytes_per_step,
        "energy_per_step_j": of.energy_per_step_j,
        "resident_peak_bytes": _largest([rank.resident_peak_bytes for rank in ranks]),
        "device_peak_bytes": _largest([rank.device_peak_bytes for rank in ranks]),
        "first_loss": of.first_loss,
        "last_loss": of.last_loss,
        **({name: of.evaluation.metrics.get(name) for name in METRICS} if of.evaluation else {}),
        "evaluated_on": of.evaluation.data if of.evaluation else None,
        "check_passed": of.check.passed if of.check else None,
        "involuntary_switches": _bigint(sum(switches)) if switches else None,
    }


def times(of: Measurement) -> dict[str, float | None]:
    """The `step_…` and `cpu_…` columns of a usable measurement, in seconds."""
    alone, calls = of.ranks[0] if len(of.ranks) == 1 else None, of.ranks[0].calls_per_sample
    # A lone rank needs no maximum over ranks, which takes longer than everything else here.
    walls = _a_call(alone.wall_s, calls) if alone else sorted(of.step_wall_s)
    cpus = _a_call(alone.cpu_s, calls) if alone else []
    if cpus and not 0 < cpus[0] <= cpus[-1] < math.inf:
        cpus = [cpu for cpu in cpus if 0 < cpu < math.inf]
    return {
        "step_floor_s": walls[0],
        "step_median_s": quantile(walls, 0.5),
        "step_mean_s": math.fsum(walls) / len(walls),
        "step_p05_s": quantile(walls, 0.05),
        "step_p25_s": quantile(walls, 0.25),
        "step_p75_s": quantile(walls, 0.75),
        "step_p95_s": quantile(walls, 0.95),
        "cpu_floor_s": cpus[0] if cpus else None,
        "cpu_median_s": quantile(cpus, 0.5) if cpus else None,
    }


def _a_call(samples_s: Sequence[float], calls: int) -> list[float]:
    """The times of one call, in rising order."""
    return sorted(samples_s) if calls == 1 else sorted(sample / calls for sample in samples_s)


def quantile(ordered: Sequence[float], fraction: float) -> float:
    """Linear interpolation between the order statistics around (n - 1) * fraction (Hyndman and Fan's type 7); not for no values."""
    place = (len(ordered) - 1) * fraction
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def sql_columns() -> dict[str, str]:
    """The index's columns in order: name -> DuckDB type."""
    hints = get_type_hints(Row)
    return {name: _SQL_TYPES[_plain_type(hints[name])] for name in Row.__struct_fields__}


_SQL_TYPES: Final[dict[Any, str]] = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN", datetime: "TIMESTAMP"}


def _plain_type(hint: Any) -> Any:
    """The type without `| None`."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(part for part in get_args(hint) if part is not types.NoneType)
    return hint


def _bigint(value: int) -> int | None:
    """None for what a table's integer can't hold."""
    return value if abs(value) <= _LARGEST_BIGINT else None


def _largest(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return _bigint(max(known)) if known else None
