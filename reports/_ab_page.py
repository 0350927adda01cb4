"""The page of a live A/B comparison: verdicts in a table, and the block pairs of each kernel plotted."""

from datetime import UTC, datetime
from typing import NamedTuple

import hwbench
from hwbench.core.ab import AbKernel, AbResult
from hwbench.core.units import format_seconds

from . import _figure_ab
from ._page import page as made
from ._plot import Plot
from ._tables import Table


class Part(NamedTuple):
    """What the page shows of one kernel."""

    name: str
    verdict: str
    note: str
    plots: tuple[Plot, ...]


def page(result: AbResult) -> str:
    """One self-contained page."""
    return made(
        "ab.html.j2",
        title=f"{result.candidate} against {result.base}",
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        hwbench_version=hwbench.__version__,
        result=result,
        parts=[_part(kernel, index) for index, kernel in enumerate(result.kernels)],
        verdicts=_verdicts(result),
        circumstances=_circumstances(result),
    )


def _part(kernel: AbKernel, index: int) -> Part:
    of = kernel.comparison
    size = "" if of.ratio is None else f": {of.ratio:.3f} × the base's time"
    plots = (_figure_ab.times(kernel, index), _figure_ab.ratios(kernel, index))
    return Part(of.kernel, f"{of.verdict}{size}", of.note, tuple(plot for plot in plots if plot))


def _verdicts(result: AbResult) -> Table:
    rows = [
        (
            kernel.comparison.kernel,
            kernel.comparison.verdict,
            _number(kernel.comparison.ratio, " ×"),
            _interval(kernel),
            "–" if kernel.comparison.minimum_detectable_effect is None else f"{100 * kernel.comparison.minimum_detectable_effect:.1f} %",
            f"{kernel.rounds} in {kernel.processes}",
            format_seconds(kernel.duration_s, 2),
        )
        for kernel in result.kernels
    ]
    columns = ("Kernel", "Verdict", "Time", "Interval", "Detectable", "Rounds in processes", "Took")
    return Table("Verdicts", columns, tuple(rows), numeric=frozenset((2, 3, 4, 5, 6)))


def _interval(kernel: AbKernel) -> str:
    of = kernel.comparison
    return "–" if of.ratio_low is None or of.ratio_high is None else f"{of.ratio_low:.3f} to {of.ratio_high:.3f}"


def _circumstances(result: AbResult) -> Table:
    rows = [
        (side, label, *(result.versions.get(side, {}).get(name, "–") for name in ("torch", "python", "hwbench")))
        for side, label in (("base", result.base), ("candidate", result.candidate))
    ]
    return Table("What was compared", ("Side", "Version", "torch", "Python", "hwbench"), tuple(rows))


def _number(value: float | None, unit: str = "") -> str:
    return "–" if value is None else f"{value:.3f}{unit}"
