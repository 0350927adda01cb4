"""pytest-benchmark's table with one column more: a terminal that appends to the lines it is given.

PYTEST_DONT_REWRITE
"""

from collections.abc import Iterable
from typing import Any, Final

from hwbench.core.comparison import Comparison

HEADING: Final = "Verdict (time x, interval)"
_MARKUP: Final[dict[str, dict[str, bool]]] = {"slower": {"red": True, "bold": True}, "faster": {"green": True, "bold": True}}


def cell(of: Comparison) -> str:
    """The verdict with the ratio of times and its interval: 'slower 1.31 (1.28-1.35)'."""
    ratio = f" {of.ratio:.2f}" if of.ratio is not None else ""
    interval = f" ({of.ratio_low:.2f}-{of.ratio_high:.2f})" if of.ratio_low is not None and of.ratio_high is not None else ""
    return f"{of.verdict}{ratio}{interval}" if ratio else f"{of.verdict} (not in the baseline)"


class Column:
    """Stands for the terminal while the table is written: heading, rules and rows get longer, everything else passes through.

    `rows`: name as shown and verdict (None: an empty cell), in the order in which the table writes them. `complete` tells whether each
    row was met; where pytest-benchmark writes its table differently one day, it stays False and nothing is spoilt.
    """

    def __init__(self, terminal: Any, rows: Iterable[tuple[str, Comparison | None]]) -> None:
        self._terminal = terminal
        self._rows = list(rows)
        self._met = 0
        self._row: tuple[str, Comparison | None] | None = None
        self._width = 3 + max((len(HEADING), *(len(cell(one)) for _, one in self._rows if one is not None)))

    @property
    def complete(self) -> bool:
        """Whether every row was written, and got its cell."""
        return self._met == len(self._rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._terminal, name)

    def write_line(self, line: str, **markup: bool) -> None:
        """A whole line: the heading, a rule, or text of the table's surroundings."""
        if line.startswith("Name (time in "):
            line += HEADING.rjust(self._width)
        elif line.startswith("---"):
            line += "-" * self._width
        self._terminal.write_line(line, **markup)

    def write(self, content: str, **markup: bool) -> None:
        """A part of a row: its name begins it, a line's end completes it."""
        if content == "\n" and self._row is not None:
            verdict = self._row[1]
            if verdict is not None:
                self._terminal.write(cell(verdict).rjust(self._width), **_MARKUP.get(verdict.verdict, {}))
            self._row = None
            self._met += 1
        elif self._row is None and not self.complete and content.startswith(self._rows[self._met][0]):
            self._row = self._rows[self._met]
        self._terminal.write(content, **markup)
