"""The same kernels on many hosts: who is not like the others, by the median and the median absolute deviation.

Modified z-score after Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993): half of the hosts may be odd before the rule breaks.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from hwbench.core.record import Record, Run, fault
from hwbench.core.summary import Fleet, FleetOutlier
from hwbench.core.workload import Workload

from .throughput import case_name

SUITE: Final = "fleet-check"
FEWEST_HOSTS: Final = 3
LARGEST_SCORE: Final = 3.5
SMALLEST_DEVIATION_FRACTION: Final = 0.05
"""Hosts closer than this to the median are alike, however well the others agree."""
FLOOR_FRACTION: Final = 0.01
"""The deviation is taken to be at least this share of the median: a few equal values would make it zero."""
_MAD_TO_SIGMA: Final = 1.4826
THRESHOLD: Final = (
    f"|time - median| / (1.4826 · MAD) above {LARGEST_SCORE}, and {100 * SMALLEST_DEVIATION_FRACTION:.0f} % off the median or more; "
    f"at least {FEWEST_HOSTS} hosts"
)

_Times = dict[str, dict[int, float]]
"""Median seconds of a call by host and rank."""


def fleet(runs: Sequence[Run], workloads: Mapping[str, Workload]) -> Fleet | None:
    """The hosts of these runs, judged case by case; None where too few hosts share one and it was no fleet check.

    A case is judged where at least FEWEST_HOSTS hosts measured it: first the hosts (the median of each one's ranks), and where hosts have
    several ranks also these among all ranks, so that one slow accelerator in a node is named.
    """
    cases = _times(runs, workloads)
    hosts = tuple(sorted({host for times in cases.values() for host in times}))
    asked = any(run.header.suite == SUITE for run in runs)
    shared = {name: times for name, times in cases.items() if len(times) >= (1 if asked else FEWEST_HOSTS)}
    if not shared:
        return None
    judged = {name: times for name, times in shared.items() if len(times) >= FEWEST_HOSTS}
    found = sorted((one for name, times in judged.items() for one in _outliers(name, times)), key=lambda one: -abs(one.score))
    few = f"{len(hosts)} hosts: who stands out can be said of {FEWEST_HOSTS} or more"
    return Fleet(hosts=hosts, cases=len(judged), threshold=THRESHOLD, outliers=tuple(found), notes=() if judged else (few,))


def sentences(of: Fleet) -> list[str]:
    """What stands out, a sentence a host and case."""
    return [
        f"{_who(one)} stands out among {len(of.hosts)} hosts: {one.case} takes {_how(one)} (robust z {one.score:.1f})"
        for one in of.outliers
    ]


def _who(of: FleetOutlier) -> str:
    return f"host {of.host}" if of.rank is None else f"rank {of.rank} on host {of.host}"


def _how(of: FleetOutlier) -> str:
    return f"{abs(100 * of.slower_fraction):.0f} % {'longer' if of.slower_fraction > 0 else 'less'} than the median"


def scores(values: Sequence[float]) -> list[float]:
    """Robust z of each value among all: its distance from the median over 1.4826·MAD, with the floor of FLOOR_FRACTION."""
    middle = statistics.median(values)
    deviation = _MAD_TO_SIGMA * statistics.median(abs(value - middle) for value in values)
    scale = max(deviation, FLOOR_FRACTION * middle)
    return [(value - middle) / scale for value in values]


def _times(runs: Sequence[Run], workloads: Mapping[str, Workload]) -> dict[str, _Times]:
    """By case: kernels and ceilings only, since in a training step ranks wait for each other."""
    collected: dict[str, dict[str, dict[int, list[float]]]] = {}
    for record in _kernels(runs):
        name = case_name(record.case, workloads.get(record.case.workload))
        for rank in record.measurement.ranks if record.measurement else ():
            value = statistics.median(rank.wall_s) / rank.calls_per_sample
            collected.setdefault(name, {}).setdefault(rank.host, {}).setdefault(rank.rank, []).append(value)
    return {
        name: {host: {rank: statistics.median(values) for rank, values in ranks.items()} for host, ranks in hosts.items()}
        for name, hosts in collected.items()
    }


def _kernels(runs: Sequence[Run]) -> Iterator[Record]:
    for run in runs:
        for record in run.records:
            kind = record.measurement.kind if record.measurement else None
            if record.outcome == "done" and kind in ("kernel", "ceiling") and not fault(record):
                yield record


def _outliers(case: str, times: _Times) -> Iterator[FleetOutlier]:
    of_hosts = {host: statistics.median(ranks.values()) for host, ranks in times.items()}
    named = set()
    for host, found in _beyond({(host, None): value for host, value in of_hosts.items()}, case):
        named.add(host)
        yield found
    if any(len(ranks) > 1 for ranks in times.values()):
        of_ranks: dict[tuple[str, int | None], float] = {(host, rank): v for host, ranks in times.items() for rank, v in ranks.items()}
        yield from (found for host, found in _beyond(of_ranks, case) if host not in named)


def _beyond(values: Mapping[tuple[str, int | None], float], case: str) -> Iterator[tuple[str, FleetOutlier]]:
    middle = statistics.median(values.values())
    for ((host, rank), value), score in zip(values.items(), scores(list(values.values())), strict=True):
        slower = value / middle - 1
        if abs(score) > LARGEST_SCORE and abs(slower) >= SMALLEST_DEVIATION_FRACTION:
            yield host, FleetOutlier(host=host, rank=rank, case=case, slower_fraction=slower, score=score)
