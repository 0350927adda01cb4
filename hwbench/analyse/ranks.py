"""What single ranks tell: where a step's time goes, the memory each needs, and which of them keep the others waiting."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Final

from hwbench.core.record import Measurement, Samples
from hwbench.core.summary import RankShare, StepSplit

LAG_FRACTION: Final = 0.15
"""A rank whose own work takes this much longer than the ranks' median is named: well above what equal ranks differ by chance."""


def shares(measured: Sequence[Measurement]) -> tuple[RankShare, ...]:
    """One value a rank of a case, over its processes; empty without measurements.

    A rank's own work is the CPU time of its thread, on an accelerator the time it computes in the profiled repeat: both leave out waiting.
    The median is the lower one of an even number, so that of two ranks the slower one can lag.
    """
    by_rank: dict[int, list[Samples]] = {}
    for measurement in measured:
        for samples in measurement.ranks:
            by_rank.setdefault(samples.rank, []).append(samples)
    busy = {rank: _busy_s(of) for rank, of in sorted(by_rank.items())}
    known = [value for value in busy.values() if value is not None]
    usual_s = statistics.median_low(known) if len(known) == len(busy) > 1 else None
    return tuple(_share(rank, by_rank[rank], own_s, usual_s) for rank, own_s in busy.items())


def split(measured: Sequence[Measurement], step_time_s: float) -> StepSplit | None:
    """A step's time in parts: the mean shares of all profiled ranks and processes; None where none was profiled."""
    found = [(one.split, unprofiled_s(one)) for measurement in measured for one in measurement.ranks if one.split is not None]
    if not found:
        return None

    def part_s(name: str) -> float:
        return step_time_s * statistics.mean(float(getattr(of, name)) / of.profiled_s for of, _ in found)

    return StepSplit(
        compute_s=part_s("compute_s"),
        exposed_communication_s=part_s("communication_s"),
        bubble_s=part_s("bubble_s"),
        other_s=part_s("other_s"),
        profiled_ratio=statistics.median(of.profiled_s / plain_s for of, plain_s in found),
    )


def unprofiled_s(of: Samples) -> float:
    """Median wall time of one call of a rank."""
    return statistics.median(of.wall_s) / of.calls_per_sample


def lagging(ranks: Iterable[RankShare]) -> tuple[str, ...]:
    """The ranks that lag, a sentence each."""
    return tuple(
        f"rank {one.rank} on {one.host} lags: its own work takes {100 * one.lags_fraction:.0f} % longer than the ranks' median"
        for one in ranks
        if one.lags_fraction is not None
    )


def _share(rank: int, of: Sequence[Samples], busy_s: float | None, usual_s: float | None) -> RankShare:
    longer = busy_s / usual_s - 1 if busy_s is not None and usual_s else 0.0
    return RankShare(
        rank=rank,
        host=of[0].host,
        memory_bytes=_peak(one.device_peak_bytes for one in of) or _peak(one.resident_peak_bytes for one in of),
        busy_s=busy_s,
        lags_fraction=longer if longer > LAG_FRACTION else None,
    )


def _busy_s(of: Sequence[Samples]) -> float | None:
    """CPU time of the rank's thread over all samples, on an accelerator what its few profiled calls computed."""
    if any(one.device_peak_bytes is not None for one in of):
        profiled = [one.split.compute_s for one in of if one.split is not None]
        return statistics.median(profiled) if profiled else None
    timed = [statistics.median(one.cpu_s) / one.calls_per_sample for one in of if one.cpu_s]
    return statistics.median(timed) if timed else None


def _peak(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
