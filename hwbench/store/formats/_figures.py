"""What every export tells of a record beside its samples: rates, shares of roofs, energy, memory, numerics. docs/store.md defines each."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from hwbench.core.record import Measurement, Record
from hwbench.core.summary import Throughput
from hwbench.core.workload import METRICS

Figures: TypeAlias = Sequence[Throughput | None]
"""One a record of the run, in their order; None where a record holds nothing usable."""


class Figure(NamedTuple):
    """A column: its SQL type, and where it is found; None is unknown."""

    sql: str
    of: Callable[[Throughput, Measurement], Any]


def _field(name: str) -> Callable[[Throughput, Measurement], Any]:
    return lambda row, _: getattr(row, name)


def _metric(name: str) -> Callable[[Throughput, Measurement], float | None]:
    return lambda row, _: row.metrics.get(name)


def _rate(name: str, amount: str) -> Callable[[Throughput, Measurement], float | None]:
    """A rate of work; of work that an imported record doesn't tell the row's is 0."""
    return lambda row, of: getattr(row, name) if getattr(of, amount) is not None else None


def _executed(row: Throughput, of: Measurement) -> float | None:
    return row.executed_fraction * row.flops_per_s if of.flops_per_step is not None else None


FIGURES: Final[dict[str, Figure]] = {
    "step_time_s": Figure("DOUBLE", _field("step_time_s")),
    "items_per_s": Figure("DOUBLE", _field("items_per_s")),
    "flops_per_s": Figure("DOUBLE", _rate("flops_per_s", "flops_per_step")),
    "executed_flops_per_s": Figure("DOUBLE", _executed),
    "bytes_per_s": Figure("DOUBLE", _rate("bytes_per_s", "bytes_per_step")),
    "intensity_flops_per_byte": Figure("DOUBLE", _field("intensity_flops_per_byte")),
    "roof_fraction": Figure("DOUBLE", _field("roof_fraction")),
    "mfu_fraction": Figure("DOUBLE", _field("mfu_fraction")),
    "hfu_fraction": Figure("DOUBLE", _field("hfu_fraction")),
    "energy_per_step_j": Figure("DOUBLE", _field("energy_per_step_j")),
    "resident_peak_bytes": Figure("BIGINT", _field("resident_peak_bytes")),
    "device_peak_bytes": Figure("BIGINT", _field("device_peak_bytes")),
    "first_loss": Figure("DOUBLE", _field("first_loss")),
    "last_loss": Figure("DOUBLE", _field("last_loss")),
    **{name: Figure("DOUBLE", _metric(name)) for name in METRICS},
    "evaluated_on": Figure("VARCHAR", _field("evaluated_on")),
    "check": Figure("VARCHAR", _field("check")),
    "gaps": Figure("VARCHAR", lambda row, _: "; ".join(row.gaps) or None),
}
"""By column name, in order. `gaps` says why others are unknown."""


def told(record: Record, row: Throughput | None) -> dict[str, Any]:
    """The figures of a record by column; all None where it holds nothing usable."""
    measured = record.measurement
    return {name: figure.of(row, measured) if row and measured else None for name, figure in FIGURES.items()}
