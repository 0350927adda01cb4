"""JSON: the summary itself, with its schema number, for programs; every sample of the plots is in it."""

from typing import Final

from hwbench.core.codec import to_json
from hwbench.core.summary import Report, Summary


def render(summary: Summary) -> str:
    """Indented JSON; `hwbench.core.codec.from_json(text, Summary, source=…)` reads it back."""
    return to_json(summary, pretty=True).decode()


REPORT: Final = Report(suffix=".json", render=render)
