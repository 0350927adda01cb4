"""Changes of level in a history: segments under a noise density that the series itself tells, each change with its place.

docs/statistics.md says why, and what was tried and left.
"""

import math
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from hwbench.core.comparison import ChangePoint

from .segmentation import PENALTY, SHORTEST_SEGMENT, Array, Likelihood, cuts_of, fitted, gains

SMALLEST_CHANGE_FRACTION: Final = 0.02
SUSPECT_PENALTY_FRACTION: Final = 0.6
"""Of PENALTY, for a suspect: a change among the newest points that more points may yet confirm."""
YOUNG_POINTS: Final = 8
TOO_YOUNG: Final = "too young to confirm"
PLACE_TOLERANCE: Final = 3
SMALLEST_PLACE_PROBABILITY: Final = 0.5
"""That the change lies within PLACE_TOLERANCE points of where it is said to be; less makes it a suspect."""
MOST_POINTS: Final = 1000
"""Older points are not looked at: the search grows with the square of the length."""
RECOVERED_FRACTION: Final = 0.25
"""Of a change's size: what may be left of it where a later level counts as recovered."""


def change_points(values: Sequence[float], *, smallest_change_fraction: float = SMALLEST_CHANGE_FRACTION) -> list[ChangePoint]:
    """Changes of level in positive `values`, oldest first; suspects among them are marked, and are not to be relied on.

    Logarithms are cut by dynamic programming into segments of one level each, under a density estimated from the residuals;
    a change must gain PENALTY in log likelihood, and the size given. Fewer than two segments' worth of points have none.
    """
    offset = max(0, len(values) - MOST_POINTS)
    logs = np.log(np.asarray(values[offset:], dtype=np.float64))
    if len(logs) < 2 * SHORTEST_SEGMENT or np.ptp(logs) < math.log1p(smallest_change_fraction):
        return []
    likelihood, cuts = fitted(logs)
    found = _described(likelihood, logs, cuts, offset)
    young = _young(likelihood, cuts, len(logs), offset)
    large = [c for c in (*found, *young) if abs(math.log(c.ratio)) >= math.log1p(smallest_change_fraction)]
    return _recoveries(large)


def confirmed(of: Sequence[ChangePoint]) -> list[ChangePoint]:
    """Those that are no suspects."""
    return [change for change in of if not change.suspect]


def _described(of: Likelihood, logs: Array, cuts: list[int], offset: int) -> list[ChangePoint]:
    """Each cut with its place: the median of where it may be, and the 95 % about it."""
    edges = [0, *cuts, len(logs)]
    found = []
    for before, cut, after in zip(edges, cuts, edges[2:], strict=False):
        gain = gains(of.sums, before, after)
        probability = np.exp((gain - gain.max()) / of.inflation)
        probability /= probability.sum()
        low, place, high = (int(np.searchsorted(np.cumsum(probability), tail)) for tail in (0.025, 0.5, 0.975))
        near = float(probability[max(0, place - PLACE_TOLERANCE) : place + PLACE_TOLERANCE + 1].sum())
        reason = "" if near >= SMALLEST_PLACE_PROBABILITY else "the data don't say where"
        if _support(of, logs, before, cut, after) < SHORTEST_SEGMENT:
            reason = TOO_YOUNG if after == len(logs) else "too few points at one of its levels"
        found.append(_change(of, (before, cut, after), tuple(before + at + offset for at in (low, place, high)), reason))
    return found


def _support(of: Likelihood, logs: Array, before: int, cut: int, after: int) -> int:
    """How many points, on the side that has fewer, lie nearer to their own level than to the other's."""
    old, new = of.best(before, cut)[1], of.best(cut, after)[1]
    nearer_old = np.abs(logs - old) < np.abs(logs - new)
    return min(int(nearer_old[before:cut].sum()), int((~nearer_old[cut:after]).sum()))


def _young(of: Likelihood, cuts: list[int], count: int, offset: int) -> list[ChangePoint]:
    """A change among the newest points that PENALTY does not let pass, as a suspect."""
    candidates = cuts_of(of, SUSPECT_PENALTY_FRACTION * PENALTY, SHORTEST_SEGMENT // 2)
    newest = [cut for cut in candidates if cut >= count - YOUNG_POINTS and all(abs(cut - known) > PLACE_TOLERANCE for known in cuts)]
    if not newest:
        return []
    before = max((cut for cut in cuts if cut < newest[-1]), default=0)
    return [_change(of, (before, newest[-1], count), (newest[-1] + offset,) * 3, TOO_YOUNG)]


def _change(of: Likelihood, edges: tuple[int, int, int], places: tuple[int, ...], suspicion: str) -> ChangePoint:
    """The change between segments edges[0]..edges[1] and ..edges[2]; `places` are its low, likeliest and high index."""
    before, cut, after = edges
    old, new = of.best(before, cut)[1], of.best(cut, after)[1]
    low, place, high = places
    text = f"{'slower' if new > old else 'faster'} by {100 * abs(math.expm1(new - old)):.1f} % from point {place}"
    return ChangePoint(
        index=place,
        ratio=math.exp(new - old),
        index_low=low,
        index_high=high,
        before=math.exp(old),
        after=math.exp(new),
        suspect=bool(suspicion),
        explanation=f"{text}; {suspicion}" if suspicion else text,
    )


def _recoveries(changes: list[ChangePoint]) -> list[ChangePoint]:
    """The changes in order; one whose level a later confirmed change brought back says so, and stays."""
    ordered = sorted(changes, key=lambda change: change.index)
    return [_recovered(change, confirmed(ordered[i + 1 :])) for i, change in enumerate(ordered)]


def _recovered(change: ChangePoint, later: list[ChangePoint]) -> ChangePoint:
    allowed = max(RECOVERED_FRACTION * abs(math.log(change.ratio)), math.log1p(SMALLEST_CHANGE_FRACTION))
    back = next((other for other in later if abs(math.log(other.after / change.before)) <= allowed), None)
    if back is None or change.suspect:
        return change
    return msgspec.structs.replace(change, recovered=True, explanation=f"{change.explanation}, then recovered from point {back.index}")
