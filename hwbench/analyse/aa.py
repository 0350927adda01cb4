"""What a recorded session of identical code says about verdicts made here today: false alarms under label swaps."""

import dataclasses
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hwbench.core.comparison import Comparison

from .ab import THRESHOLD_FRACTION, judge_cells
from .cells import Cells, Clock, cells
from .permutation import label_swaps
from .sequential import CHANGES
from .sessions import Session

REPLAYS: Final = 60
"""Label swaps judged a kernel: each takes some 50 ms."""


def swapped_verdicts(
    session: Session,
    kernel: int,
    *,
    clock: Clock = "cpu",
    threshold_fraction: float = THRESHOLD_FRACTION,
    replays: int = REPLAYS,
    seed: int = 1,
) -> list[Comparison]:
    """Judgements of one kernel with the labels A and B swapped at random for each pair of processes; the process is what is replicated.

    Both sides ran the same code, so every "slower" or "faster" is a false alarm. Fewer than `replays` where there are no more
    different swaps; empty where the samples can't be judged.
    """
    found = cells(session, kernel, clock)
    if isinstance(found, str):
        return []
    processes, place = np.unique(found.round_process, return_inverse=True)
    swaps = label_swaps(len(processes), seed, replays)
    name = session.kernel_names[kernel]
    return [judge_cells(name, _swapped(found, swap[place]), threshold_fraction=threshold_fraction) for swap in swaps]


def false_alarms(judged: list[Comparison]) -> int:
    """How many of the judgements call a change where there is none."""
    return sum(of.verdict in CHANGES for of in judged)


def _swapped(of: Cells, rounds: NDArray[np.bool_]) -> Cells:
    """The cells with A and B changed over in the rounds that are marked."""

    def turned(logs: NDArray[np.float64], swap: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.where(swap[:, None], logs[:, ::-1], logs)

    pairs = rounds[of.pair_round]
    return dataclasses.replace(
        of, round_low=turned(of.round_low, rounds), block_low=turned(of.block_low, pairs), block_mid=turned(of.block_mid, pairs)
    )
