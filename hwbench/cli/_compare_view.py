"""Two stored runs compared, in the terminal: what differs first, then a row a case; readable at 60 columns."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hwbench.core.comparability import difference_texts
from hwbench.core.comparison import CaseComparison, RunsComparison, Unmatched
from hwbench.core.units import UNKNOWN, format_seconds, significant

MOST_UNMATCHED: Final = 8
"""As many cases that only one run has as a terminal shows; --json has them all."""
_STYLES: Final = {"slower": "bold red", "faster": "green", "same": "", "can't tell": "yellow"}


def comparison_view(of: RunsComparison, threshold_fraction: float) -> Group:
    """What `console.print` shows of a comparison. Texts from outside are never read as markup."""
    return Group(*_parts(of, threshold_fraction))


def _parts(of: RunsComparison, threshold_fraction: float) -> Iterator[RenderableType]:
    yield Text(f"{of.candidate} against {of.base}", style="bold")
    if of.differences:
        yield Text("\nThe runs' machines or software differ", style="bold yellow")
        yield from _lines(difference_texts(of.differences))
    if of.cases:
        yield Text()
        counts = {(one.base_processes, one.candidate_processes) for one in of.cases}
        yield _table(of.cases, counted=len(counts) > 1)
        percent = f"{100 * threshold_fraction:g} %"
        of_each = f" ({_processes(of.cases[0])})" if len(counts) == 1 else ""
        yield Text(f"Time of CANDIDATE / BASE, over processes{of_each}; changes below {percent} count as same.", style="dim")
        yield from _lines([f"{one.case}: {one.comparison.note}" for one in of.cases if one.comparison.note])
    else:
        yield Text("\nNo case was measured by both.", style="bold yellow")
    yield from _unmatched("Only in BASE", of.only_base)
    yield from _unmatched("Only in CANDIDATE: no baseline", of.only_candidate)
    yield Text("\nBefore you rely on it", style="bold")
    yield from _lines(of.notes)


def _table(cases: Sequence[CaseComparison], *, counted: bool) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("case", overflow="fold", ratio=1)
    for name in ("verdict", "ratio", "interval", "detects"):
        table.add_column(name, no_wrap=True, justify="left" if name == "verdict" else "right")
    for one in cases:
        found = one.comparison
        label = Text(one.case)
        label.append(f"\n{one.clock} {format_seconds(one.base_s)} → {format_seconds(one.candidate_s)}", style="dim")
        if counted:
            label.append(f"\n{_processes(one)}", style="dim")
        table.add_row(
            label,
            Text(found.verdict, style=_STYLES[found.verdict]),
            UNKNOWN if found.ratio is None else f"{found.ratio:.3f}",
            UNKNOWN if found.ratio_low is None or found.ratio_high is None else f"{found.ratio_low:.2f}–{found.ratio_high:.2f}",
            UNKNOWN if found.minimum_detectable_effect is None else f"{significant(100 * found.minimum_detectable_effect, 2)} %",
        )
    return table


def _processes(one: CaseComparison) -> str:
    first, second = one.base_processes, one.candidate_processes
    return f"{first} a side" if first == second else f"{first} and {second} processes"


def _unmatched(heading: str, found: Sequence[Unmatched]) -> Iterator[RenderableType]:
    if not found:
        return
    yield Text(f"\n{heading}", style="bold")
    lines = [f"{one.case}: {one.why}" + (f"; renamed? nearest: {one.nearest}" if one.nearest else "") for one in found]
    yield from _lines([*lines[:MOST_UNMATCHED], *([f"and {len(lines) - MOST_UNMATCHED} more"] if len(lines) > MOST_UNMATCHED else [])])


def _lines(texts: Sequence[str]) -> Iterator[RenderableType]:
    for text in texts:
        yield Padding(Text(f"• {text}"), (0, 0, 0, 1))
