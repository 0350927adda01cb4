"""How sure a prediction is: a 90 % interval calibrated on rows that were not fitted.

Split conformal prediction with a normalised score (Lei et al. 2018, arXiv:1604.04173): the score of a row is |ln measured - ln predicted|
over its `doubt`, predicted by constants that saw nothing of its source family; the interval is predicted · exp(± quantile · doubt).
`doubt` says how much less sure one row is than a dense 16-bit one of a known kind of framework on a measured accelerator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .rows import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

COVERAGE = 0.90
EXPERTS = 2.4
"""Factor of doubt for mixtures of experts: software moved by 1.3 times within a year."""
LOW_PRECISION = 1.2
"""Products of 8 bits and fewer: the cast's cost depends on the recipe."""
FOUR_BITS = 1.4
"""Products of 4 bits, of which no row was fitted."""
UNFITTED = 1.3
"""A generation of accelerators of which no row was fitted."""
UNMEASURED = 1.6
"""An accelerator whose product rates nobody measured."""
UNKNOWN_FRAMEWORK = 1.25
"""A framework that is predicted by its kind only."""
UNKNOWN_RECOMPUTE = 1.1
"""Recomputation inferred from memory."""
OLD = 1.15
"""Software of before 2021 and the DeepSpeed forks: nothing overlaps that need not."""
WIDE_TENSOR = 1.4
"""Tensor parallelism between nodes."""
NETWORK_GUESSED = 1.3
"""A network whose speed nobody stated."""
SCALE = 0.35
"""Growth of doubt per doubling of accelerators beyond 512: placement, stragglers, shared fabrics."""
MOST = 3.5


def doubt(rows: Rows) -> Array:
    """Relative width of each row's interval, 1 for the surest, shape (rows,)."""
    guessed = (rows.network_known == 0) & (rows.gpus > rows.domain)
    factors = (
        (rows.moe, EXPERTS),
        (rows.low, LOW_PRECISION),
        (rows.four_bit, FOUR_BITS),
        (~rows.fitted_generation, UNFITTED),
        (~rows.measured & ~rows.is_volta, UNMEASURED),
        (~rows.known_framework, UNKNOWN_FRAMEWORK),
        (rows.recompute_unknown, UNKNOWN_RECOMPUTE),
        (rows.tensor > rows.domain, WIDE_TENSOR),
        (guessed, NETWORK_GUESSED),
        (rows.old, OLD),
    )
    width = 1 + SCALE * np.log2(np.maximum(1.0, rows.gpus / 512))
    for applies, factor in factors:
        width = width * np.where(applies, factor, 1.0)
    return np.asarray(np.minimum(width, MOST))


def quantile(scores: Array, coverage: float = COVERAGE) -> float:
    """The conformal quantile: the score of rank ceil((n + 1) · coverage) of n, the largest where that is beyond n, infinite without any."""
    if not len(scores):
        return float("inf")
    rank = int(np.ceil((len(scores) + 1) * coverage))
    return float(np.sort(scores)[min(rank, len(scores)) - 1])


def interval(step_s: Array, width: Array) -> tuple[Array, Array]:
    """Lower and upper end around each prediction; `width` is in the logarithm."""
    return np.asarray(step_s * np.exp(-width)), np.asarray(step_s * np.exp(width))
