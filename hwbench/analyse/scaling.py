"""Scaling: every layout against `single` of the same case in the same run.

Weak scaling: the batch of a rank is fixed, so the ideal is as many times the items per second as there are ranks.
"""

from collections.abc import Iterable

import msgspec

from hwbench.core.summary import Interval, Scaling, Throughput


def scaling(rows: Iterable[Throughput]) -> tuple[Scaling, ...]:
    """One value for each row that is not `single` and has a `single` row beside it, in the rows' order."""
    listed = list(rows)
    alone = {_case(row): row for row in listed if row.layout == "single"}
    return tuple(_against(row, alone[_case(row)]) for row in listed if row.layout != "single" and _case(row) in alone)


def with_scaling_gaps(rows: Iterable[Throughput]) -> tuple[Throughput, ...]:
    """The rows, those without a `single` beside them with a gap that says so."""
    listed = list(rows)
    alone = {_case(row) for row in listed if row.layout == "single"}
    missing = "no scaling efficiency: single of the same case was not measured in this run"
    return tuple(
        row if row.layout == "single" or _case(row) in alone else msgspec.structs.replace(row, gaps=(*row.gaps, missing)) for row in listed
    )


def _against(row: Throughput, alone: Throughput) -> Scaling:
    speedup = row.items_per_s / alone.items_per_s
    return Scaling(
        run=row.run,
        workload=row.workload,
        kind=row.kind,
        label=row.label,
        settings=row.settings,
        dtype=row.dtype,
        device=row.device,
        layout=row.layout,
        world_size=row.world_size,
        speedup=speedup,
        efficiency_fraction=speedup / row.world_size,
        interval=_interval(row, alone, speedup / row.world_size),
    )


def _interval(row: Throughput, alone: Throughput, efficiency: float) -> Interval | None:
    """The ends of both step times' intervals, combined the unfavourable way each: wider than 95 %, never narrower."""
    ours, theirs = row.step_interval_s, alone.step_interval_s
    if ours is None or theirs is None:
        return None
    low = efficiency * (theirs.low / alone.step_time_s) * (row.step_time_s / ours.high)
    high = efficiency * (theirs.high / alone.step_time_s) * (row.step_time_s / ours.low)
    return Interval(low=low, high=high, method="both intervals' ends combined (cautious)")


def _case(row: Throughput) -> tuple[object, ...]:
    return row.run, row.workload, row.settings, row.dtype, row.device, row.threads
