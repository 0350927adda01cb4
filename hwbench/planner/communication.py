"""Time of collectives: latency steps plus message over bus bandwidth, at the network tier that the group reaches.

Bus bandwidth and its factors are those of nccl-tests (doc/PERFORMANCE.md): a ring moves 2(n-1)/n of an all-reduce's message
through every link, (n-1)/n of the others'.
"""

from __future__ import annotations

from typing import NamedTuple

from hwbench.core.errors import UserError
from hwbench.core.layout import Layout
from hwbench.core.parallel import Transfer
from hwbench.core.profile import ClusterProfile, Tier

from .compute import interpolate, missing

LATENCY_S = 5e-6
"""One hop where a tier has no latency: NCCL inside a node takes 10-15 µs for a 2-4 rank collective of no size (collectives.csv)."""
BUS_FRACTION = 0.80
"""Share of a tier's bandwidth that a large collective reaches where the tier has no curve: 0.73-0.82 on NVLink in collectives.csv."""
HALF_BYTES = 4 * 2**20
"""Bytes a rank and ring step at which half of that share is reached without a curve (collectives.csv, NVSwitch, 8 ranks)."""

_INNERMOST_FIRST = ("place", "branches", "tp", "cp", "ep", "fsdp", "dp", "pp")


class Reach(NamedTuple):
    """What a group of ranks reaches: the tier it runs at, and how many of its ranks share each unit of the next inner tier."""

    tier: Tier
    bandwidth_bytes_per_s: float
    latency_s: float


def stride_of(layout: Layout, axis: str) -> int:
    """Distance between neighbours of an axis in global rank order: the product of the degrees inside it."""
    stride = 1
    for name in _INNERMOST_FIRST:
        if name == axis:
            break
        if name != "ep":  # expert parallelism lives inside the data ranks
            stride *= int(getattr(layout, name))
    return stride


def reach(profile: ClusterProfile, layout: Layout, transfer: Transfer) -> Reach:
    """The tier, bandwidth and latency of a transfer's group. UserError when no tier of the profile joins so many ranks.

    A ring through k ranks of each node uses k network ports of it, so its bus bandwidth is k times one port's, up to the inner tier's.
    """
    if not profile.tiers:
        raise missing(profile, "tiers", found="none")
    neighbour = stride_of(layout, transfer.axis)
    stride = neighbour * transfer.spacing
    span = neighbour + stride * ((2 if transfer.collective == "send_recv" else transfer.ranks) - 1)
    inner: Tier | None = None
    for tier in profile.tiers:
        if tier.accelerators is None or span <= tier.accelerators:
            local = 1 if inner is None or inner.accelerators is None else max(1, min(transfer.ranks, inner.accelerators // stride))
            if transfer.collective in ("all_to_all", "send_recv"):
                local = 1
            bandwidth = tier.bandwidth_bytes_per_s * local
            if inner is not None:
                bandwidth = min(bandwidth, inner.bandwidth_bytes_per_s)
            return Reach(tier, bandwidth, LATENCY_S if tier.latency_s is None else tier.latency_s)
        inner = tier
    raise UserError(
        f"cluster profile {profile.name!r}: axis {transfer.axis} spans {span} accelerators, the outermost tier "
        f"{profile.tiers[-1].name!r} joins {profile.tiers[-1].accelerators}",
        hint="use fewer accelerators, or add an outer [[tiers]] to the profile",
    )


def transfer_time_s(profile: ClusterProfile, layout: Layout, transfer: Transfer) -> float:
    """Seconds of all `count` repetitions of a transfer, as if nothing overlapped it; 0 for a group of one.

    What the layout itself does for each of them is in it where a run has measured it (`efficiency.message_s`).
    """
    if transfer.ranks < 2 or transfer.count == 0:
        return 0.0
    where = reach(profile, layout, transfer)
    steps, factor = ring(transfer.collective, transfer.ranks)
    share = bus_fraction(where.tier, transfer.message_bytes, transfer.ranks, transfer.collective)
    own_s = profile.efficiency.message_s.get(transfer.axis, 0.0)
    return transfer.count * (own_s + steps * where.latency_s + factor * transfer.message_bytes / (where.bandwidth_bytes_per_s * share))


def ring(collective: str, ranks: int) -> tuple[float, float]:
    """Latency steps and the nccl-tests bus factor of a collective. Steps grow with log2 of the ranks (NCCL's trees and LL protocols)."""
    depth = float(max(1, (ranks - 1).bit_length()))
    if collective == "all_reduce":
        return 2 * depth, 2 * (ranks - 1) / ranks
    if collective in ("all_gather", "reduce_scatter", "all_to_all"):
        return depth, (ranks - 1) / ranks
    return 1.0, 1.0


def bus_fraction(tier: Tier, message_bytes: float, ranks: int, collective: str = "") -> float:
    """Share of the tier's bandwidth that a message of this size reaches: by the collective's own curve, the tier's, or the default."""
    curve = tier.collectives.get(collective) or tier.efficiency
    if curve:
        return max(1e-6, float(interpolate(curve, message_bytes)))
    return BUS_FRACTION * message_bytes / (message_bytes + HALF_BYTES) if ranks > 1 and message_bytes > 0 else BUS_FRACTION
