"""One kernel's calls in a session, reduced to what the estimators need: rounds and block pairs, on the logarithmic scale."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from .sessions import Session

Clock = Literal["cpu", "wall"]
"""Thread-CPU time for work on the processor; wall time for work that the processor only waits for (accelerators)."""
LOW_QUANTILE: Final = 0.02
"""Of a round's calls: near its floor, yet not its minimum, which one glitch of a clock can spoil."""
LARGEST_UNPAIRED_FRACTION: Final = 0.1
"""Of rounds with a side missing; more means that something failed which may depend on the side."""
LARGEST_FAULTY_FRACTION: Final = 0.001
"""Of a side's samples that may be zero, negative or missing: a virtual machine's thread clock was seen to stand still once in
400,000 calls. More condemn the clock, and with it the samples that look sound."""
SIDES: Final = ("A", "B")


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Logarithms of nanoseconds, column 0 for A and 1 for B.

    `round_low` [rounds, 2] is the 2 % quantile of each round's calls; `block_low` and `block_mid` [pairs, 2] are the minimum
    and the median of each block; `pair_round` [pairs] is the row of `round_low` that a pair belongs to. `round_process`
    [rounds] numbers the processes that made a round: that side's which was respawned less often. `note` says what was left out.
    """

    round_low: NDArray[np.float64]
    block_low: NDArray[np.float64]
    block_mid: NDArray[np.float64]
    pair_round: NDArray[np.int64]
    round_process: NDArray[np.int64]
    note: str


def cells(session: Session, kernel: int, clock: Clock) -> Cells | str:
    """The cells of `session.kernel_names[kernel]`, or a sentence that says why its samples can't be compared."""
    mine = session.kernel == kernel
    times = (session.cpu_ns if clock == "cpu" else session.wall_ns)[mine]
    sound = np.isfinite(times) & (times > 0)
    fault, note = _faults(times, session.side[mine], clock)
    if fault:
        return fault
    rounds, sides, warm = session.round[mine], session.side[mine], sound & (session.call[mine] > 0)
    both, warm_both = (_rounds_with_both(rounds[kept], sides[kept]) for kept in (sound, warm))
    if len(both) < (1 - LARGEST_UNPAIRED_FRACTION) * len(np.unique(rounds)):
        return f"only {len(both)} of {len(np.unique(rounds))} rounds hold samples of both sides: something failed on one of them"
    keep = warm & np.isin(rounds, warm_both)
    if len(warm_both) < (1 - LARGEST_UNPAIRED_FRACTION) * len(both):  # dropping the cold call would leave nothing of most blocks
        keep, warm_both = sound & np.isin(rounds, both), both
        note = f"{note}; blocks hold a single call each: cold calls were kept on both sides".lstrip("; ")
    row = np.searchsorted(warm_both, rounds[keep])
    made_by = _round_process(row, sides[keep], session.process[mine][keep])
    return _reduced(np.log(times[keep]), row, sides[keep], session.block[mine][keep], made_by, note)


def _faults(times: NDArray[np.float64], sides: NDArray[np.int64], clock: Clock) -> tuple[str, str]:
    """What makes the samples unusable, and else what is left out of them; empty where nothing does or is."""
    left_out = []
    for side, name in enumerate(SIDES):
        own = times[sides == side]
        if not len(own):
            return f"side {name} has no samples of it (missing, or renamed?)", ""
        for count, what in (
            (~np.isfinite(own), "missing or not numbers"),
            (own < 0, "negative: the clock went backwards"),
            (own == 0, "zero"),
        ):
            found = f"{int(count.sum())} of {len(own)} {clock} times of side {name} are {what}"
            if count.sum() > LARGEST_FAULTY_FRACTION * len(own):
                return found, ""
            if count.any():
                left_out.append(f"{found}, left out")
    return "", "; ".join(left_out)


def _rounds_with_both(rounds: NDArray[np.int64], sides: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.intersect1d(rounds[sides == 0], rounds[sides == 1])


def _round_process(row: NDArray[np.int64], sides: NDArray[np.int64], process: NDArray[np.int64]) -> NDArray[np.int64]:
    """The process that made each round, of the side that was respawned less often (its rounds share most)."""
    made_by = []
    for side in (0, 1):
        _, first = np.unique(row[sides == side], return_index=True)
        made_by.append(process[sides == side][first])
    return min(made_by, key=lambda processes: len(np.unique(processes)))


def _reduced(
    logs: NDArray[np.float64],
    row: NDArray[np.int64],
    sides: NDArray[np.int64],
    blocks: NDArray[np.int64],
    round_process: NDArray[np.int64],
    note: str,
) -> Cells:
    """Sort once by block and once by round; the statistics of a group are then elements at known places."""
    order = np.lexsort((logs, sides, row))
    starts, counts = _groups(row[order] * 2 + sides[order])
    round_low = _quantile(logs[order], starts, counts, LOW_QUANTILE).reshape(-1, 2)
    order = np.lexsort((logs, blocks, sides, row))
    starts, counts = _groups((row[order] * 2 + sides[order]) * (int(blocks.max()) + 1) + blocks[order])
    low, mid = logs[order][starts], _quantile(logs[order], starts, counts, 0.5)
    left, right = _partners(row[order][starts] * 2 + sides[order][starts])
    return Cells(
        round_low=round_low,
        block_low=np.stack((low[left], low[right]), axis=1),
        block_mid=np.stack((mid[left], mid[right]), axis=1),
        pair_round=row[order][starts][left],
        round_process=round_process,
        note=note,
    )


def _groups(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each run of equal keys starts, and how long it is."""
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    return starts, np.diff(np.append(starts, len(keys)))


def _quantile(values: NDArray[np.float64], starts: NDArray[np.int64], counts: NDArray[np.int64], fraction: float) -> NDArray[np.float64]:
    """The quantile of each group of sorted values, linear between neighbours."""
    place = (counts - 1) * fraction
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, counts - 1)
    low, high = values[starts + below], values[starts + above]
    return np.asarray(low + (place - below) * (high - low), dtype=np.float64)


def _partners(cell: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of A's and B's blocks that belong together: the k-th of A with the k-th of B in a round, however numbered."""
    starts, counts = _groups(cell)
    rank = np.arange(len(cell)) - np.repeat(starts, counts)
    width = int(counts.max())
    key = (cell // 2) * width + rank
    left, right = np.flatnonzero(cell % 2 == 0), np.flatnonzero(cell % 2 == 1)
    _, at_left, at_right = np.intersect1d(key[left], key[right], assume_unique=True, return_indices=True)
    return left[at_left], right[at_right]
