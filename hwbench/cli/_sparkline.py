"""A series as a line of bars."""

import statistics
from collections.abc import Sequence
from typing import Final

_BARS: Final = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """At most `width` bars from the lowest to the highest value; longer series by the medians of equal parts."""
    parts = min(width, len(values))
    points = [statistics.median(values[i * len(values) // parts : (i + 1) * len(values) // parts]) for i in range(parts)]
    low, span = min(points), (max(points) - min(points)) or 1.0
    return "".join(_BARS[min(len(_BARS) - 1, int((p - low) / span * len(_BARS)))] for p in points)
