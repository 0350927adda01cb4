"""What a run shows while it goes on: a progress bar with the time left on a terminal, plain lines elsewhere; a line a finished case."""

import math
import re
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from hwbench.core.record import Measurement, Record
from hwbench.core.units import format_rate, format_seconds, significant
from hwbench.run.cases import name_of
from hwbench.run.events import Advanced, Event, Launching, Recorded, Started

Show: TypeAlias = Callable[[Event], None]
SHORT: Final = 24
"""Letters of a text that is no longer than a pointer to it."""
_NUMBERS: Final = re.compile(r"\d[\d.,]*")


@contextmanager
def display(total: int) -> Iterator[Show]:
    """A function that shows events on standard error, as its kind (terminal or not) allows."""
    console = Console(stderr=True, highlight=False)
    said: dict[str, str] = {}
    if not console.is_terminal:
        yield lambda event: _plain(console, event, said)
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    # No thread of its own refreshes it: that would disturb what is measured.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("starting", total=total, left="")
        yield lambda event: _live(progress, task, event, said)


def _plain(console: Console, event: Event, said: dict[str, str]) -> None:
    if isinstance(event, Recorded):
        console.print(f"{line_of(event, said)}  ({_left(event)})", markup=False, soft_wrap=True)


def _live(progress: Progress, task: TaskID, event: Event, said: dict[str, str]) -> None:
    if isinstance(event, Recorded):
        progress.console.print(line_of(event, said), markup=False, soft_wrap=True)
        progress.update(task, completed=event.number, left=_left(event))
    elif isinstance(event, Launching):
        progress.update(task, description=f"starting {event.ranks} rank{'s' if event.ranks > 1 else ''}", left=_left(event))
    elif isinstance(event, Started):
        progress.update(task, description=name_of(event.case), left=_left(event))
    elif isinstance(event, Advanced):
        progress.update(task, left=f"{_left(event)}, {event.phase}{f' {event.samples}' if event.samples else ''}")
    progress.refresh()


def _left(event: Event) -> str:
    if event.left_s < 1:
        return "nearly done"
    return f"about {f'{event.left_s:.0f} s' if event.left_s < 120 else format_seconds(event.left_s)} left"


def line_of(event: Recorded, said: dict[str, str] | None = None) -> str:
    """One finished case as one line: its number, name, and median time, spread and rate, or why there is none.

    `said` remembers between the lines of one run which case first carried a warning or a reason: the same again is only pointed to.
    """
    place = f"[{event.number:>{len(str(event.total))}}/{event.total}]"
    return f"{place} {name_of(event.record.case)}: {_result(event.record, str(event.number), {} if said is None else said)}"


def _result(record: Record, number: str, said: dict[str, str]) -> str:
    if record.outcome != "done" or record.measurement is None:
        reason = record.reason or ""
        return f"{record.outcome}: {reason if record.outcome == 'failed' else _once(reason, number, said)}"
    note = f"  ! {_once(record.warnings[0], number, said)}" if record.warnings else ""
    return _figures(record.measurement) + note


def _once(text: str, number: str, said: dict[str, str]) -> str:
    """The text where it is short or new, else the number of the line that has it; texts that differ in numbers alone are the same."""
    first = said.setdefault(_NUMBERS.sub("#", text), number)
    return text if first == number or len(text) <= SHORT else f"as [{first}]"


def _figures(measurement: Measurement) -> str:
    """Median of the step's wall time, half the middle 90 % of its samples, how many, and items over the whole time."""
    walls = sorted(measurement.step_wall_s)
    median, count = statistics.median(walls), len(walls)
    tail = math.floor(0.05 * count)
    spread = (walls[count - 1 - tail] - walls[tail]) / 2 / median
    rate = format_rate(measurement.items_per_step * count / sum(walls), f"{measurement.item_unit}s/s")
    if count == 1:
        return f"{format_seconds(median)} (1 sample), {rate}"
    return f"{format_seconds(median)} ±{significant(100 * spread, 2)} % ({count} samples), {rate}"
