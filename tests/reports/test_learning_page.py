"""What training steps learned: the curve where each call got a new batch, and in every format what the metrics are of."""

import csv as csv_module
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hwbench.reports import csv, html, markdown
from hwbench.reports._figure_learning import MOST_LINES, MOST_POINTS, plot, table
from rich.console import Console

from hwbench.cli._summary_view import summary_view
from hwbench.core.record import Record
from hwbench.core.summary import Summary
from hwbench.core.workload import EvaluatedOn, Evaluation
from tests.made_runs import record, run
from tests.made_summaries import demo, summary
from tests.reports.test_browser import browser, problems
from tests.reports.test_html import Page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["browser"]  # a fixture
LOSSES = tuple(9 * math.exp(-call / 90) for call in range(137))


def learned(data: EvaluatedOn | None = "held_out", *, losses: tuple[float, ...] = LOSSES, reason: str = "", **case: Any) -> Record:
    made = record("gpt", **case)
    assert made.measurement is not None
    metrics = {"perplexity": 512.4, "accuracy": 0.1234} if data else {}
    told = Evaluation(metrics=metrics, data=data, reasons=(reason,) if reason else ())
    of = msgspec.structs.replace(made.measurement, losses=losses, batches="repeated" if data == "batch" else "new", evaluation=told)
    return msgspec.structs.replace(made, measurement=of)


def shown(*records: Record) -> Summary:
    return summary(run(records))


def test_a_curve_is_the_losses_thinned_by_means() -> None:
    made = plot(shown(learned()))
    assert made is not None
    (curve,) = made.figure["data"]
    assert len(curve["x"]) == len(curve["y"]) <= MOST_POINTS
    assert curve["x"][-1] == len(LOSSES)
    assert curve["y"][0] == pytest.approx(sum(LOSSES[:4]) / 4)
    assert "mean of 4 up to number 4" in curve["hovertext"][0]


def test_more_cases_than_colours_are_in_the_table() -> None:
    many = shown(*(learned(dtype="fp32", config={"size": size, "batch": 8}) for size in range(MOST_LINES + 2)))
    made = plot(many)
    assert made is not None
    assert len(made.figure["data"]) == MOST_LINES
    assert "2 more cases are in the table" in made.caption
    assert len(table(many).rows) == MOST_LINES + 2


def test_a_repeated_batch_has_no_curve_and_its_metrics_say_so() -> None:
    made = shown(learned("batch"))
    assert plot(made) is None
    (row,) = table(made).rows
    assert "perplexity 512, accuracy 12.3 %" in row
    assert "of its own batch, learned by heart" in row
    assert "it is learned by heart" in html.render(made)


def test_what_was_not_evaluated_has_its_reason_in_the_notes() -> None:
    made = shown(learned(None, reason="no evaluation: torchmetrics is away"))
    assert "no evaluation: torchmetrics is away" in made.throughput[0].gaps
    for text in (html.render(made), markdown.render(made)):
        assert "no evaluation: torchmetrics is away" in text


def test_every_format_tells_losses_and_metrics() -> None:
    made = shown(learned())
    (row,) = csv_module.DictReader(io.StringIO(csv.render(made)))
    assert (row["perplexity"], row["accuracy"], row["bleu"], row["evaluated_on"], row["batches"]) == (
        "512.4",
        "0.1234",
        "",
        "held_out",
        "new",
    )
    assert "perplexity 512, accuracy 12.3 %" in markdown.render(made)
    page = html.render(made)
    assert "of text never trained on" in page
    assert 'id="learned"' in page
    Page(page)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(summary_view(made))
    text = console.export_text()
    assert "Loss and evaluation" in text
    assert "10.1 → 9.4" in text
    assert "perplexity 512\n" in text.replace(" \n", "\n")


def test_a_repetition_without_metrics_does_not_hide_those_of_the_first() -> None:
    first, second = learned(), learned(None, reason="evaluated in the first process, which the others repeat", process=1)
    (row,) = shown(second, first).throughput
    assert row.metrics["perplexity"] == 512.4
    assert row.evaluated_on == "held_out"
    assert not any("first process" in gap for gap in row.gaps)


@pytest.mark.heavy
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_is_drawn_and_readable(browser: "Browser", width: int, scheme: str, tmp_path: Path) -> None:
    several = shown(*(learned(config={"size": size, "batch": 8}) for size in range(4)), learned("batch", dtype="bf16"))
    assert problems(browser, html.render(several), tmp_path, width, scheme=scheme) == []


def test_records_from_before_have_no_section() -> None:
    page = html.render(demo())
    assert 'id="learned"' not in page
    assert not table(demo()).rows
