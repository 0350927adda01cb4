"""Scores change points against series whose changes are known."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwbench.analyse.changepoints import change_points, confirmed
from hwbench.analyse.series import read_series

TOLERANCE = 3


@dataclass(frozen=True, kw_only=True)
class Score:
    """Counts over series: a change found within TOLERANCE points; one that is none; one missed; quiet series, and those with an alarm."""

    found: int = 0
    wrong: int = 0
    missed: int = 0
    quiet: int = 0
    alarmed: int = 0

    @property
    def precision(self) -> float:
        return self.found / max(self.found + self.wrong, 1)

    @property
    def recall(self) -> float:
        return self.found / max(self.found + self.missed, 1)

    @property
    def f1(self) -> float:
        return 2 * self.found / max(2 * self.found + self.wrong + self.missed, 1)

    def __str__(self) -> str:
        ratios = f"precision {self.precision:.2f}, recall {self.recall:.2f}, F1 {self.f1:.2f}"
        return f"{ratios}; false alarms in {self.alarmed} of {self.quiet} series without a change"


def scored(folder: Path, cases: list[dict[str, Any]]) -> Score:
    counts = dict.fromkeys(("found", "wrong", "missed", "quiet", "alarmed"), 0)
    for case in cases:
        left = [c.index for c in confirmed(change_points(read_series(folder / f"{case['case']}.csv").values))]
        quiet = not case["change_points"] and not case["ramps"]
        counts["quiet"] += quiet
        counts["alarmed"] += quiet and bool(left)
        for wanted in case["change_points"]:
            near = [index for index in left if abs(index - wanted) <= TOLERANCE]
            counts["found" if near else "missed"] += 1
            if near:
                left.remove(min(near, key=lambda index: abs(index - wanted)))
        counts["wrong"] += sum(not any(a - TOLERANCE <= index <= b + TOLERANCE for a, b, *_ in case["ramps"]) for index in left)
    return Score(**counts)
