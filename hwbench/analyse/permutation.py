"""Label swaps: what two versions would differ by if they were the same code; and what several tests or looks cost."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

SWAPS: Final = 300
"""Random swaps for a standard error: known to 1 / sqrt(2 * 300) = 4 % of itself."""


def label_swaps(rounds: int, seed: int, count: int = SWAPS) -> NDArray[np.bool_]:
    """Which rounds swap their labels, [swaps, rounds]: all that differ where they are no more than `count`, else drawn at random.

    A swap and its mirror image give the same statistic with the sign turned, so that the first round of a complete list stays.
    """
    if 2 ** (rounds - 1) <= count:
        return ((np.arange(2 ** (rounds - 1))[:, None] >> np.arange(rounds)) & 1).astype(bool)
    return np.random.default_rng(seed).integers(0, 2, (count, rounds)).astype(bool)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (1979), in the order given: all below alpha holds the family's error rate at alpha."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def look_alphas(looks: Sequence[int], alpha: float) -> list[float]:
    """The two-sided error each look may spend, for looks at these numbers of rounds, the last one being the largest.

    Lan and DeMets' spending function of the O'Brien-Fleming shape, 2 - 2 Phi(z / sqrt(t)); each look gets what was added
    since the one before. The sum over looks is alpha, which by Bonferroni's inequality bounds the false alarms of them all.
    """
    z = float(special.ndtri(1 - alpha / 2))
    spent = [2 * float(special.ndtr(-z / np.sqrt(look / looks[-1]))) for look in looks]
    return [now - before for now, before in zip(spent, [0.0, *spent[:-1]], strict=True)]
