"""What an A/B comparison shows on a terminal: a table of verdicts, and a picture of each kernel's block pairs."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from hwbench.core.ab import AbKernel, AbResult
from hwbench.core.units import format_seconds

if TYPE_CHECKING:
    from rich.console import Console

COLUMNS: Final = 61
"""Width of a picture, in characters; the middle one is "no difference"."""
BARS: Final = " ▁▂▃▄▅▆▇█"
NARROWEST_SPAN_FRACTION: Final = 0.05
STYLES: Final = {"slower": "bold red", "faster": "bold green", "same": "green", "can't tell": "yellow"}
JSON_FIELDS: Final = ("kernel", "verdict", "ratio", "ratio_low", "ratio_high", "minimum_detectable_effect", "p_value", "note")
KERNEL_FIELDS: Final = ("rounds", "processes", "looks", "duration_s", "confirmed", "involuntary_switches_per_call")


@contextmanager
def progress() -> "Iterator[tuple[Callable[[str], None], Callable[[float, float, str], None]]]":
    """How to say a line on standard error, and how to show how far it is there: a bar on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True, highlight=False)

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    if not console.is_terminal:
        yield say, lambda _spent_s, _most_s, _text: None
        return
    columns = (BarColumn(bar_width=30), TextColumn("{task.fields[text]}", markup=False))
    # No thread of its own refreshes it: that would disturb what is measured.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as shown:
        task = shown.add_task("", text="starting")

        def tick(spent_s: float, most_s: float, text: str) -> None:
            shown.update(task, completed=spent_s, total=most_s, text=f"{spent_s:.0f} s of at most {most_s:.0f} s: {text}")
            shown.refresh()

        yield say, tick


def to_plain(result: AbResult) -> dict[str, Any]:
    """What `--json` prints: the comparisons in the fields of `hwbench compare --json`, more about each, and the circumstances."""
    from hwbench.core.codec import to_builtins

    plain: dict[str, Any] = to_builtins(result)
    del plain["kernels"]
    plain["comparisons"] = [
        {name: getattr(kernel.comparison, name) for name in JSON_FIELDS} | {name: getattr(kernel, name) for name in KERNEL_FIELDS}
        for kernel in result.kernels
    ]
    return plain


def show(console: "Console", result: AbResult) -> None:
    """The table, the pictures, and what disturbed the measurement."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, title=escape(f"{result.candidate} against {result.base}"), title_justify="left")
    table.add_column("kernel", overflow="fold")
    for name in ("verdict", "time", "interval", "detectable", "rounds", "took"):
        table.add_column(name, no_wrap=True)
    for kernel in result.kernels:
        of = kernel.comparison
        table.add_row(
            escape(of.kernel),
            f"[{STYLES[of.verdict]}]{escape(of.verdict)}[/]",
            "–" if of.ratio is None else f"{of.ratio:.3f} ×",
            "–" if of.ratio_low is None or of.ratio_high is None else f"{of.ratio_low:.3f}–{of.ratio_high:.3f}",
            "–" if of.minimum_detectable_effect is None else f"{100 * of.minimum_detectable_effect:.1f} %",
            f"{kernel.rounds} in {kernel.processes}",
            format_seconds(kernel.duration_s, 2),
        )
    console.print(table)
    for kernel in result.kernels:
        for line in picture(kernel):
            console.print(line, markup=False, highlight=False, no_wrap=True, overflow="crop")
    for kernel in result.kernels:
        if kernel.comparison.note:
            console.print(f"{kernel.comparison.kernel}: {kernel.comparison.note}", markup=False, highlight=False)
    for warning in result.warnings:
        console.print(f"! {warning}", markup=False, highlight=False, style="yellow")
    console.print(f"Above 1 the candidate takes longer. {meaning(result)}", markup=False, highlight=False, style="dim")


def meaning(result: AbResult) -> str:
    """One sentence about thresholds and intervals."""
    from hwbench.analyse.ab import ALPHA

    clock = "thread-CPU time" if result.clock == "cpu" else "wall time"
    return f"Changes of {clock} below {100 * result.threshold_fraction:g} % count as same; intervals at {100 * (1 - ALPHA):g} %."


def picture(kernel: AbKernel, columns: int = COLUMNS) -> list[str]:
    """A histogram of the pairs' ratios (candidate / base) over an axis of ratios with the interval drawn below; empty without pairs."""
    ratios = sorted(
        candidate / base for base, candidate in zip(kernel.base_s, kernel.candidate_s, strict=True) if base > 0 and candidate > 0
    )
    if not ratios:
        return []
    span = _span(ratios, kernel)
    counts = [0] * columns
    for ratio in ratios:
        counts[_column(ratio, span, columns)] += 1
    top = max(counts)
    bars = "".join(BARS[math.ceil(count / top * (len(BARS) - 1))] for count in counts)
    low, high = f"{math.exp(-span):.2f}", f"{math.exp(span):.2f}"
    middle = "1".center(columns - len(low) - len(high))
    return [
        f"  {kernel.comparison.kernel}: {len(ratios)} block pairs, candidate / base",
        f"  {bars}",
        f"  {_interval(kernel, span, columns)}",
        f"  {low}{middle}{high}",
    ]


def _span(ratios: Sequence[float], kernel: AbKernel) -> float:
    """Half the axis, on the logarithmic scale: it shows the middle 90 % of the pairs and the interval."""
    tail = len(ratios) // 20
    ends = [ratios[tail], ratios[-1 - tail]]
    ends += [end for end in (kernel.comparison.ratio_low, kernel.comparison.ratio_high) if end is not None and 0.5 < end < 2]
    return max(math.log1p(NARROWEST_SPAN_FRACTION), *(1.1 * abs(math.log(end)) for end in ends))


def _column(ratio: float, span: float, columns: int) -> int:
    """The column of a ratio; what lies outside of the axis is drawn at its end."""
    place = (math.log(ratio) + span) / (2 * span) * (columns - 1)
    return min(max(round(place), 0), columns - 1)


def _interval(kernel: AbKernel, span: float, columns: int) -> str:
    """The line under the bars: ─ where the interval is, ● at the ratio, ┼ at 1."""
    of = kernel.comparison
    line = ["┈"] * columns
    line[columns // 2] = "┼"
    if of.ratio is not None and of.ratio_low is not None and of.ratio_high is not None:
        low, high = (_column(end, span, columns) for end in (of.ratio_low, of.ratio_high))
        for column in range(low, high + 1):
            line[column] = "┿" if column == columns // 2 else "━"
        line[_column(of.ratio, span, columns)] = "●"
    return "".join(line)
