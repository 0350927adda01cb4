"""The table of all samples of a run, a row a sample, each with its record's figures: what the CSV and Parquet exports hold."""

from collections.abc import Iterator
from typing import Any, Final

from hwbench.core.codec import to_json
from hwbench.core.record import Record, Run

from ._figures import FIGURES, Figures, told

COLUMNS: Final = {
    "run": "VARCHAR",
    "commit": "VARCHAR",
    "started_at": "VARCHAR",
    "workload": "VARCHAR",
    "config": "VARCHAR",
    "layout": "VARCHAR",
    "dtype": "VARCHAR",
    "device": "VARCHAR",
    "threads": "BIGINT",
    "process": "BIGINT",
    "outcome": "VARCHAR",
    "reason": "VARCHAR",
    "rank": "BIGINT",
    "host": "VARCHAR",
    "warmup": "BOOLEAN",
    "sample": "BIGINT",
    "wall_s": "DOUBLE",
    "cpu_s": "DOUBLE",
    "calls_per_sample": "BIGINT",
    "involuntary_switches": "BIGINT",
    "items_per_step": "BIGINT",
    "item_unit": "VARCHAR",
    "flops_per_step": "DOUBLE",
    "executed_flops_per_step": "DOUBLE",
    "bytes_per_step": "DOUBLE",
    **{name: figure.sql for name, figure in FIGURES.items()},
}
"""Column -> SQL type; what is unknown is NULL. `config` is JSON; `wall_s` is of `calls_per_sample` calls (of one call in warm-up).

Those of FIGURES are of the whole record, the same in each of its rows.
"""


_WORK: Final = ("items_per_step", "item_unit", "flops_per_step", "executed_flops_per_step", "bytes_per_step")


def rows(run: Run, figures: Figures) -> Iterator[dict[str, Any]]:
    """One row a sample and rank, warm-up calls first; one row without figures for what failed or was skipped."""
    for record, reached in zip(run.records, figures, strict=True):
        common = _common(run, record) | told(record, reached)
        if record.measurement is None:
            yield common
            continue
        measured = record.measurement
        work = {name: getattr(measured, name) for name in _WORK}
        for rank in measured.ranks:
            place = common | work | {"rank": rank.rank, "host": rank.host}
            for sample, wall_s in enumerate(rank.warmup_wall_s):
                yield place | {"warmup": True, "sample": sample, "wall_s": wall_s, "calls_per_sample": 1}
            for sample, wall_s in enumerate(rank.wall_s):
                taken = {"cpu_s": _at(rank.cpu_s, sample), "involuntary_switches": _at(rank.involuntary_switches, sample)}
                yield (
                    place
                    | taken
                    | {
                        "warmup": False,
                        "sample": sample,
                        "wall_s": wall_s,
                        "calls_per_sample": rank.calls_per_sample,
                    }
                )


def _common(run: Run, record: Record) -> dict[str, Any]:
    case = record.case
    return dict.fromkeys(COLUMNS) | {
        "run": run.header.id,
        "commit": run.header.commit,
        "started_at": record.started_at or None,
        "workload": case.workload,
        "config": to_json(case.config).decode(),
        "layout": case.layout,
        "dtype": case.dtype,
        "device": case.device,
        "threads": case.threads,
        "process": case.process,
        "outcome": record.outcome,
        "reason": record.reason or None,
    }


def _at(values: tuple[Any, ...], index: int) -> Any:
    return values[index] if index < len(values) else None
