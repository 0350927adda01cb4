"""Replays of a recorded session of identical code: windows, labels swapped by respawned process, one side slowed."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwbench.analyse.ab import judge_cells
from hwbench.analyse.cells import Cells, cells
from hwbench.analyse.sessions import Session
from hwbench.core.comparison import Comparison


@dataclass(frozen=True, kw_only=True)
class Replay:
    """One judged window: the factor that B's times were multiplied by, and what was said of it."""

    kernel: str
    factor: float
    found: Comparison

    @property
    def right(self) -> bool:
        """Whether a true change was called by its name; for identical code, whether no change was called."""
        if self.factor == 1:
            return self.found.verdict not in ("slower", "faster")
        return self.found.verdict == ("slower" if self.factor > 1 else "faster")

    @property
    def covered(self) -> bool:
        """Whether the interval holds the true factor."""
        low, high = self.interval
        return low <= self.factor <= high

    @property
    def width(self) -> float:
        """Width of the interval, as a fraction of A's time."""
        low, high = self.interval
        return high - low

    @property
    def interval(self) -> tuple[float, float]:
        """The interval, which these sessions always have."""
        assert self.found.ratio_low is not None
        assert self.found.ratio_high is not None
        return self.found.ratio_low, self.found.ratio_high


def cells_by_kernel(session: Session) -> dict[str, Cells]:
    """Every kernel's cells; none may be unusable."""
    found = {}
    for kernel, name in enumerate(session.kernel_names):
        of = cells(session, kernel, "cpu")
        assert isinstance(of, Cells), of
        found[name] = of
    return found


def part(of: Cells, rows: NDArray[np.int64], swapped: NDArray[np.bool_], factor: float) -> Cells:
    """The rounds `rows`, labels swapped where told (one flag a row), then B's times multiplied by `factor`."""
    place = np.full(len(of.round_low), -1)
    place[rows] = np.arange(len(rows))
    pairs = place[of.pair_round] >= 0
    pair_round = place[of.pair_round[pairs]]
    slowed = np.array([0.0, np.log(factor)])

    def turned(logs: NDArray[np.float64], swap: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.asarray(np.where(swap[:, None], logs[:, ::-1], logs) + slowed)

    return dataclasses.replace(
        of,
        round_low=turned(of.round_low[rows], swapped),
        block_low=turned(of.block_low[pairs], swapped[pair_round]),
        block_mid=turned(of.block_mid[pairs], swapped[pair_round]),
        pair_round=pair_round,
        round_process=of.round_process[rows],
    )


def replays(session: Session, *, rounds: int, windows: int, factors: tuple[float, ...], seed: int, by_process: bool = True) -> list[Replay]:
    """Every factor on every kernel in `windows` windows of consecutive rounds.

    `by_process`: labels are swapped independently for each respawned process, else for the whole window alike.
    """
    rng = np.random.default_rng(seed)
    return [
        Replay(kernel=kernel, factor=factor, found=judge_cells(kernel, part(of, *_window(of, rounds, rng, by_process), factor)))
        for kernel, of in cells_by_kernel(session).items()
        for _ in range(windows)
        for factor in factors
    ]


def _window(of: Cells, rounds: int, rng: np.random.Generator, by_process: bool) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    start = int(rng.integers(0, len(of.round_low) - rounds + 1))
    rows = np.arange(start, start + rounds)
    processes, place = np.unique(of.round_process[rows], return_inverse=True)
    flags = rng.integers(0, 2, len(processes) if by_process else 1).astype(bool)
    return rows, flags[place] if by_process else np.repeat(flags, rounds)
