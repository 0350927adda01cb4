"""What the store has of cases over time, asked of the index."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hwbench.core.errors import unknown_name
from hwbench.core.history import Measured

from .index import Progress, select

_SHARED: Final = (
    "run", "run_started_at", "commit", "torch", "machine", "machine_key", "comparison_key", "workload", "config", "case_key", "layout",
    "dtype", "device", "threads", "ranks",
)  # fmt: skip
_SQL: Final = f"""
    SELECT {", ".join(f'"{name}"' for name in _SHARED)}, any_value(host), list(step_floor_s ORDER BY process),
           list(cpu_floor_s ORDER BY process), bool_or(clock_backwards)
    FROM measurements
    WHERE outcome = 'done' AND fault = '' AND (len($workloads) = 0 OR list_contains($workloads, workload))
    GROUP BY {", ".join(f'"{name}"' for name in _SHARED)}
    ORDER BY run_started_at NULLS FIRST, run, case_key
"""  # noqa: S608  # our own column names


def measured(
    results: Path, workloads: Sequence[str] = (), *, progress: Progress | None = None
) -> tuple[tuple[Measured, ...], tuple[str, ...]]:
    """Every usable case of every run, oldest first, of these workloads (all, where none is named), and what could not be read.

    UserError for a workload that no run measured, with the nearest one that was.
    """
    found = select(results, _SQL, {"workloads": list(workloads)}, progress=progress)
    made = tuple(
        Measured(
            **dict(zip(_SHARED, row, strict=False)),
            host=row[-4],
            floors_s=tuple(row[-3]),
            cpu_floors_s=tuple(row[-2]),
            clock_backwards=row[-1],
        )
        for row in found.rows
    )
    for missing in set(workloads) - {one.workload for one in made}:
        known = select(results, "SELECT DISTINCT workload FROM measurements WHERE outcome = 'done'").rows
        raise unknown_name(f"workload in {results}:", missing, (name for (name,) in known))
    return made, found.problems
