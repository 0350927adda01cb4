"""How long blocks are, how many make a round, and how often processes are replaced. Pure; docs/ab.md says why."""

import math
import random
from collections.abc import Iterator
from typing import Final

from hwbench.core.value import Value

BLOCK_S: Final = 0.025
"""What a block is meant to take: short against the scheduler's and the neighbours' moods, long against a switch of processes."""
SAMPLE_S: Final = 50e-6
"""Shorter calls are timed together: reading four clocks costs about 2 µs."""
PAIRS: Final = 8
ROUND_S: Final = 1.0
"""A round of long calls has fewer pairs, so that it takes no longer than this where it can."""
LONG_CALL_S: Final = 0.025
"""From here on a block is one call, which the analysis then keeps: what a switch costs it, some 100 µs of cold caches, is not seen."""
MOST_ROUNDS_PER_PROCESS: Final = 4
FEWEST_ROUNDS: Final = 13
"""A round is made small enough for so many to fit into the time, where it can be: a verdict needs rounds and processes, not pairs."""
FEWEST_PROCESSES: Final = 4


class Sizes(Value):
    """What a round of one kernel is: `pairs` block pairs, each block of `samples` samples of `repeat` calls."""

    samples: int
    repeat: int
    pairs: int


def sizes(call_s: float, allowance_s: float) -> Sizes:
    """The sizes for a call that takes so long on the slower side, and a kernel that may take so long; both sides make as many calls.

    The first sample of a block is cold and dropped by the analysis; so a block has two at least, unless a call is as long as a block.
    """
    repeat = max(1, math.ceil(SAMPLE_S / call_s)) if call_s > 0 else 1000
    sample_s = call_s * repeat
    samples = 1 if sample_s >= LONG_CALL_S else 1 + max(1, round(BLOCK_S / sample_s) if sample_s else 1)
    round_s = min(ROUND_S, allowance_s / FEWEST_ROUNDS)
    pairs = min(PAIRS, max(1, math.floor(round_s / (2 * samples * sample_s)) if sample_s else PAIRS))
    return Sizes(samples=samples, repeat=repeat, pairs=pairs)


def rounds_per_process(round_s: float, respawn_s: float, left_s: float) -> int:
    """One to four: as few as keep the making of processes at half of the time or less. Processes are what is replicated.

    Fewer where the time left would not be enough for FEWEST_PROCESSES otherwise.
    """
    wanted = min(MOST_ROUNDS_PER_PROCESS, math.ceil(respawn_s / max(round_s, 1e-6)))
    room = math.floor((left_s / FEWEST_PROCESSES - respawn_s) / max(round_s, 1e-6))
    return max(1, min(wanted, room))


def fitted(of: Sizes, rounds: int, round_s: float, left_s: float) -> Sizes:
    """The sizes with fewer pairs where rounds that take so long would not make FEWEST_ROUNDS in the time left; `rounds` are done already.

    On a crowded machine a round takes many times its calls' time: every block waits for two processes to get a CPU.
    """
    missing = FEWEST_ROUNDS - rounds
    if missing <= 0 or round_s * missing <= left_s:
        return of
    pairs = max(1, math.floor(of.pairs * max(left_s, 0.0) / max(round_s * missing, 1e-9)))
    return Sizes(samples=of.samples, repeat=of.repeat, pairs=min(of.pairs, pairs))


def block_order(pairs: int, dice: random.Random) -> Iterator[tuple[int, int]]:
    """(pair, side) in the order of measuring: within each pair the two sides in random order."""
    for pair in range(pairs):
        first = dice.randrange(2)
        yield pair, first
        yield pair, 1 - first
