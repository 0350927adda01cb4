"""Values that comparing makes: an interval over processes, one verdict on two versions, one change in a history."""

from typing import Final, Literal

from hwbench.core.comparability import Difference
from hwbench.core.value import Value

Verdict = Literal["slower", "faster", "same", "can't tell"]
"""What is said of B against A. "same": the whole interval lies inside the size threshold."""

CANT_TELL: Final = "can't tell"


class Interval(Value, frozen=True):
    """The median of per-process values, in their unit, and an interval over processes.

    `low` and `high` are None where there is no interval (one process); `method` says how it was made, or why there is none.
    """

    median: float
    low: float | None
    high: float | None
    processes: int
    confidence_fraction: float
    method: str


class Comparison(Value, frozen=True):
    """The verdict on one kernel, B against A: `ratio` is time of B / time of A, above 1 where B is slower.

    `ratio`, its interval and `minimum_detectable_effect` (the smallest change of time, as a fraction, that these data would
    have shown with 80 % power) are None where the data allow none; `note` then says why. `p_value` is that of the
    label-swap permutation test, None where it could not be made.
    """

    kernel: str
    verdict: Verdict
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    minimum_detectable_effect: float | None = None
    p_value: float | None = None
    note: str = ""


class CaseComparison(Value, frozen=True):
    """One case of two stored runs. Times are the medians over processes of each process's median, in seconds a call of the step."""

    case: str
    """The case in words: workload, what of its settings tells it from others, layout, dtype, device."""
    case_key: str
    clock: Literal["cpu", "wall"]
    base_s: float | None
    candidate_s: float | None
    base_processes: int
    candidate_processes: int
    comparison: Comparison


class Unmatched(Value, frozen=True):
    """A case that only one of two runs measured."""

    case: str
    why: str
    """What the other run says of it: not among its cases, failed, skipped, or not reached."""
    nearest: str = ""
    """The most similar case that only the other run has: the same one under another name?"""


class RunsComparison(Value, frozen=True):
    """Two stored runs, CANDIDATE against BASE, with all that speaks against comparing them."""

    base: str
    candidate: str
    same_machine: bool
    """Whether both machines are of one kind; where they are not, a ratio tells of the machines."""
    differences: tuple[Difference, ...]
    """Stable facts of machine and software that differ."""
    cases: tuple[CaseComparison, ...]
    only_base: tuple[Unmatched, ...]
    only_candidate: tuple[Unmatched, ...]
    notes: tuple[str, ...]


class ChangePoint(Value, frozen=True):
    """One change of level in a series: `index` is the first point of the new level (0-based), `ratio` new level / old level.

    `index_low`..`index_high` is where the change may lie; `before` and `after` are the levels in the series' unit;
    `suspect` marks one too young to confirm; `recovered` one whose level a later change brought back.
    """

    index: int
    ratio: float
    index_low: int
    index_high: int
    before: float
    after: float
    suspect: bool = False
    recovered: bool = False
    explanation: str = ""


class Series(Value, frozen=True):
    """A history of one figure, oldest first; lower is better. The three tuples have one element a point.

    `indices` are the points' places in their source (what was without a value is left out), `values` are positive, `times`
    are text as found, empty where unknown. `note` says what is odd about them.
    """

    indices: tuple[int, ...]
    values: tuple[float, ...]
    times: tuple[str, ...]
    note: str = ""
