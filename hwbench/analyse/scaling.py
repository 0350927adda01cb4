"""Scaling: every layout against `single` of the same case in the same run, and what that is over the number of ranks.

The ideal is as many times the items per second as there are ranks, whether the batch of a rank is fixed (weak scaling) or that of all
ranks together (strong scaling): a case's settings then hold the whole batch, so both meet the same `single`.
"""

from collections.abc import Iterable, Sequence

import msgspec

from hwbench.core.layout import parse_layout
from hwbench.core.summary import CurvePoint, Interval, Scaling, ScalingCurve, Throughput


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
        interval=ratio_interval(speedup / row.world_size, row, alone),
        mode=row.scaling,
    )


def ratio_interval(ratio: float, row: Throughput, base: Throughput) -> Interval | None:
    """An interval of what is proportional to the rate of `row` over that of `base`; None where one of them has none.

    The ends of both step times' intervals, combined the unfavourable way each: wider than 95 %, never narrower.
    """
    ours, theirs = row.step_interval_s, base.step_interval_s
    if ours is None or theirs is None:
        return None
    low = ratio * (theirs.low / base.step_time_s) * (row.step_time_s / ours.high)
    high = ratio * (theirs.high / base.step_time_s) * (row.step_time_s / ours.low)
    return Interval(low=low, high=high, method="both intervals' ends combined (cautious)")


def curves(scaled: Iterable[Scaling]) -> tuple[ScalingCurve, ...]:
    """Scaling values as curves over the number of ranks, a curve a family of layouts; of several at one size the fastest."""
    families: dict[tuple[str, ...], list[Scaling]] = {}
    for one in scaled:
        family = ",".join(parse_layout(one.layout).axes())
        families.setdefault((one.run, one.workload, one.settings, one.dtype, one.device, family, one.mode), []).append(one)
    return tuple(_curve(key[5], members) for key, members in families.items())


def _curve(family: str, members: Sequence[Scaling]) -> ScalingCurve:
    first = members[0]
    best: dict[int, Scaling] = {}
    for one in members:
        if one.world_size not in best or one.speedup > best[one.world_size].speedup:
            best[one.world_size] = one
    alone = CurvePoint(world_size=1, layout="single", speedup=1.0, efficiency_fraction=1.0)
    points = (
        CurvePoint(
            world_size=one.world_size,
            layout=one.layout,
            speedup=one.speedup,
            efficiency_fraction=one.efficiency_fraction,
            interval=one.interval,
        )
        for _, one in sorted(best.items())
    )
    return ScalingCurve(
        run=first.run,
        workload=first.workload,
        settings=first.settings,
        dtype=first.dtype,
        device=first.device,
        family=family,
        mode=first.mode,
        points=(alone, *points),
    )


def _case(row: Throughput) -> tuple[object, ...]:
    return row.run, row.workload, row.settings, row.dtype, row.device, row.threads
