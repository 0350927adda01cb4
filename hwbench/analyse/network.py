"""Collectives over message sizes as a tier of a cluster profile: latency, bandwidth, and the share of it that each size reaches.

A plain line through all sizes is wrong where switches or token buckets let small messages through, so the latency is that of messages too
small to matter, the bandwidth that of the best size, and between measured sizes the planner interpolates. What counts is the lower
quartile of calls (`busy.wall_floor_s`): others on the machine or the network only add, but a bucket's burst makes a few calls too quick.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from hwbench.core.profile import CurvePoint, Tier

from .collectives import BUS_FACTORS

_MAIN: Final = "all_reduce"
_SMALL_TIMES: Final = 2.0
"""Sizes that take up to this many times as long as the smallest one are all latency."""


class Timed(NamedTuple):
    """One collective at one size: the time of a call when least disturbed."""

    collective: str
    ranks: int
    message_bytes: float
    time_s: float


def latency_steps(collective: str, ranks: int) -> float:
    """Latencies of one call, as the planner counts them: log2 of the ranks, twice for all_reduce; one for broadcast and send_recv."""
    depth = float(max(1, (ranks - 1).bit_length()))
    if collective in ("broadcast", "send_recv"):
        return 1.0
    return 2 * depth if collective == _MAIN else depth


def tier(name: str, accelerators: int | None, timed: Iterable[Timed]) -> Tier | None:
    """The tier that explains these times; None where nothing was measured. Its curves give back each measured time at its size.

    Of collectives measured over several numbers of ranks, those over the most count.
    """
    measured = _of_most_ranks(timed)
    if not measured:
        return None
    main = [one for one in measured if one.collective == _MAIN] or measured
    latency_s = min(_latency_s([one for one in main if one.collective == name]) for name in {one.collective for one in main})
    bandwidth = max(_bus_bytes(one) / _sending_s(one, latency_s) for one in measured)
    curves = {
        name: tuple(_point(one, latency_s, bandwidth) for one in _by_size(measured, name)) for name in {one.collective for one in measured}
    }
    efficiency = curves.get(_MAIN, ())
    return Tier(
        name=name,
        accelerators=accelerators,
        bandwidth_bytes_per_s=bandwidth,
        latency_s=latency_s,
        efficiency=efficiency,
        collectives={name: curve for name, curve in sorted(curves.items()) if name != _MAIN},
    )


def _of_most_ranks(timed: Iterable[Timed]) -> list[Timed]:
    listed = [one for one in timed if one.ranks > 1 and one.collective in BUS_FACTORS]
    most: dict[str, int] = {}
    for one in listed:
        most[one.collective] = max(most.get(one.collective, 0), one.ranks)
    return [one for one in listed if one.ranks == most[one.collective]]


def _latency_s(of: Sequence[Timed]) -> float:
    """One latency of one collective: from the largest of the sizes whose time is still about that of the smallest."""
    ordered = sorted(of, key=lambda one: one.message_bytes)
    small = [one for one in ordered if one.time_s <= _SMALL_TIMES * ordered[0].time_s]
    return min(one.time_s for one in small) / latency_steps(of[0].collective, of[0].ranks)


def _bus_bytes(one: Timed) -> float:
    """What has to go over each rank's link."""
    return BUS_FACTORS[one.collective](one.ranks) * one.message_bytes


def _by_size(measured: Sequence[Timed], collective: str) -> list[Timed]:
    """The fastest call of each size, ascending."""
    best: dict[float, Timed] = {}
    for one in measured:
        if one.collective == collective and (one.message_bytes not in best or one.time_s < best[one.message_bytes].time_s):
            best[one.message_bytes] = one
    return [best[size] for size in sorted(best)]


def _point(one: Timed, latency_s: float, bandwidth: float) -> CurvePoint:
    """The share of the bandwidth that, with the latency before it, gives the measured time."""
    return CurvePoint(size=one.message_bytes, fraction=_bus_bytes(one) / _sending_s(one, latency_s) / bandwidth)


def _sending_s(one: Timed, latency_s: float) -> float:
    """The time without its latencies; a twentieth of it at least, since small messages are all latency."""
    return max(one.time_s - latency_steps(one.collective, one.ranks) * latency_s, one.time_s / 20)
