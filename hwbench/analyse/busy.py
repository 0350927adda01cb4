"""Time of a step as if the machine had been ours alone: the floor of its CPU time where others may have been running, wall time elsewhere.

What disturbs a computation only ever adds to its time: other processes by the caches and the memory they use, a hypervisor by the sibling
thread it gives away. So what is least disturbed counts: of a process the lower quartile of its samples (the least is a matter of how many
there are), and of several processes the least of these.
"""

from collections.abc import Iterable, Sequence
from statistics import fmean, quantiles

import msgspec

from hwbench.core.record import Measurement, Record
from hwbench.core.summary import Throughput


def floor_s(records: Iterable[Record]) -> float | None:
    """CPU seconds of a step when least disturbed; None on an accelerator and where a record doesn't tell.

    A lone rank computes in one thread of its own; several have threads for their collectives too, so there it is the process' time, the
    mean over ranks. Waiting for each other is not in it.
    """
    found = [_cpu_s(record.measurement) for record in records if record.case.device == "cpu" and record.measurement is not None]
    known = [seconds for seconds in found if seconds]
    return min(known) if known and len(known) == len(found) else None


def wall_floor_s(records: Iterable[Record]) -> float:
    """Wall seconds of a call when least disturbed, the slowest rank's: what waits for a network takes no CPU time.

    Not the fastest call: the burst that a token bucket lets through makes a few calls quicker than any that follow each other.
    Needs a record at least.
    """
    return min(_lower_quartile(record.measurement.step_wall_s) for record in records if record.measurement is not None)


def _cpu_s(measured: Measurement) -> float | None:
    """The lower quartile of a step's CPU time, the mean over ranks; None in records without the process' time, which older ones lack."""
    if not all(rank.process_cpu_s for rank in measured.ranks):
        return None
    alone = len(measured.ranks) == 1
    times: Sequence[Sequence[float]] = [rank.cpu_s if alone else rank.process_cpu_s for rank in measured.ranks]
    return fmean(_lower_quartile(cpu) for cpu in times) / measured.ranks[0].calls_per_sample


def _lower_quartile(values: Sequence[float]) -> float:
    return quantiles(values, n=4, method="inclusive")[0] if len(values) > 1 else values[0]


def undisturbed(row: Throughput, records: Iterable[Record]) -> Throughput:
    """The row with time and rates by `floor_s`, where that is known."""
    seconds = floor_s(records)
    if seconds is None:
        return row
    return msgspec.structs.replace(
        row,
        step_time_s=seconds,
        flops_per_s=row.flops_per_step / seconds,
        bytes_per_s=row.bytes_per_step / seconds,
        items_per_s=row.items_per_s * row.step_time_s / seconds,
    )
