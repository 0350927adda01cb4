"""The page of a sizing: the recommendation in plain words, then the pictures and the numbers behind it, for who decides on a purchase."""

from datetime import UTC, datetime

import hwbench
from hwbench.core.prediction import SizingAnswer

from . import _tables
from ._figure_sizing import plots
from ._page import page
from ._sizing_words import sentences, tiles


def render(answer: SizingAnswer) -> str:
    """One self-contained page; where no cluster can, it says why."""
    makers = (_tables.options, _tables.step_parts, _tables.memory_parts, _tables.costs, _tables.sensitivities)
    model = answer.question.get("model", "a model")
    return page(
        "sizing.html.j2",
        title=f"Sizing: {model}",
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        hwbench_version=hwbench.__version__,
        question=_tables.question(answer),
        sentences=list(sentences(answer)),
        tiles=tiles(answer),
        plots=plots(answer),
        how_sure=answer.beats.how if answer.beats else "",
        ranking=_tables.sizing(answer),
        numbers=[table for table in (make(answer) for make in makers) if table.rows],
        rejected=_tables.rejected(answer),
        grounds=_tables.sizing_reasons(answer),
    )
