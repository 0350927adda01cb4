"""Bandwidth of collectives by the definitions of nccl-tests (its PERFORMANCE.md).

algbw = size / time says how fast a user's data moves; busbw multiplies it by the share of the data that an optimal algorithm has to put on
each rank's link, so that it can be held against the link's rate whatever the number of ranks.
"""

from collections.abc import Callable, Mapping

from hwbench.core.errors import UserError

BUS_FACTORS: Mapping[str, Callable[[int], float]] = {
    "all_reduce": lambda n: 2 * (n - 1) / n,  # every byte is reduced (n-1)/n of the way round and sent as far again
    "all_gather": lambda n: (n - 1) / n,  # all but one's own share comes in
    "reduce_scatter": lambda n: (n - 1) / n,
    "all_to_all": lambda n: (n - 1) / n,  # all but one's own share goes out
    "broadcast": lambda _: 1.0,
    "send_recv": lambda _: 1.0,
}


def algorithm_bandwidth_bytes_per_s(message_bytes: float, time_s: float) -> float:
    """algbw: the message over the time it took."""
    return message_bytes / time_s


def bus_bandwidth_bytes_per_s(collective: str, message_bytes: float, time_s: float, ranks: int) -> float:
    """busbw of a collective over `ranks` ranks; UserError for one that nccl-tests does not define."""
    if collective not in BUS_FACTORS:
        raise UserError(f"collective {collective!r}: expected one of {', '.join(BUS_FACTORS)}")
    return algorithm_bandwidth_bytes_per_s(message_bytes, time_s) * BUS_FACTORS[collective](ranks)
