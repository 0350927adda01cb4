"""The page of a history: self-contained, escaped, drawn in a real browser."""

import json
import random
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hwbench.reports._figure_history import plot
from hwbench.reports._history_page import findings, render

from hwbench.core.comparison import ChangePoint
from hwbench.core.history import Change, History, HistorySeries, Point
from tests.made_runs import START
from tests.made_summaries import MARKUP
from tests.reports.test_browser import browser, problems
from tests.reports.test_html import Page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["browser"]  # a fixture


def change(index: int, ratio: float, *, suspect: bool = False, acknowledged: str | None = None, note: str = "commit a → b") -> Change:
    text = "slower; too young to confirm" if suspect else ""
    found = ChangePoint(
        index=index, ratio=ratio, index_low=index, index_high=index, before=0.1, after=0.1 * ratio, suspect=suspect, explanation=text
    )
    runs = (f"run{index - 1}", f"run{index}", f"run{index}")
    return Change(
        id=f"{index:08}", found=found, last_run_before=runs[0], first_run=runs[1], surely_after=runs[2], explanation=(note,),
        acknowledged=acknowledged,
    )  # fmt: skip


def series(number: int, *changes: Change, name: str = "gpt", dated: bool = True, count: int = 50) -> HistorySeries:
    dice = random.Random(number)
    points = tuple(
        Point(
            run=f"run{i}", started_at=(START + timedelta(days=i)).isoformat() if dated else "", processes=3, commit=name, torch=None,
            value_s=0.1 * dice.lognormvariate(0, 0.01),
        )
        for i in range(count)
    )  # fmt: skip
    return HistorySeries(
        id=f"{number:08}", workload=name, settings="size=1", case_key=f"{name}{number}", layout="single", dtype="fp32", device="cpu",
        threads=1, machine=name, machine_key="m", clock="cpu", points=points, changes=changes, notes=(f"note of {name}",),
    )  # fmt: skip


def history(*of: HistorySeries) -> History:
    return History(title="made up", made_at="2026-11-22T00:00:00+00:00", hwbench_version="0.1.0", series=of, problems=("line 3: torn",))


def demo() -> History:
    first = series(0, change(20, 1.1), change(30, 0.9, acknowledged="known"), change(45, 1.2, suspect=True))
    return history(first, series(1), series(2, name="lstm", dated=False), series(3, name="triad", count=1))


def hostile() -> History:
    return history(series(0, change(20, 1.1, acknowledged=MARKUP, note=MARKUP), name=MARKUP), series(1, name=MARKUP))


def test_everything_said_stands_in_the_page() -> None:
    text = " ".join(Page(render(demo())).text.split())
    for words in (
        "slower by 10 %", "acknowledged: known", "suspect: too young to confirm", "commit a → b", "note of gpt",
        "line 3: torn", "stands", "triad", "2 changes of level in 4 series",
    ):  # fmt: skip
        assert words in text, words


def test_names_from_outside_are_text() -> None:
    html = render(hostile())
    assert MARKUP not in html
    page = Page(html)
    assert page.text.count(MARKUP) >= 4
    drawn = json.dumps([json.loads(script) for script in page.scripts[:-2]])
    assert "<script" not in drawn
    assert "<img" not in drawn


def test_nothing_is_loaded_from_anywhere() -> None:
    assert {load[0] for load in Page(render(demo())).loads if load != "data:,"} <= {"#"}


def test_findings_name_the_largest_slowdown_that_stands() -> None:
    assert "The largest slowdown that stands: gpt" in findings(demo().series)[1]
    assert findings((series(1),)) == ("No change of level in 1 series.",)
    assert len(findings((series(0, change(20, 1.1, acknowledged="known")),))) == 1


def test_levels_lie_between_the_changes() -> None:
    figure = plot(series(0, change(20, 1.1), change(30, 0.9))).figure
    lines = [trace for trace in figure["data"] if trace["mode"] == "lines"]
    assert [trace["y"][0] for trace in lines] == pytest.approx([100, 110, 90])
    assert len(figure["layout"]["shapes"]) == 2


def test_of_long_series_the_newest_runs_are_drawn() -> None:
    long = plot(series(0, change(100, 1.1), change(1100, 1.2), count=1200, dated=False))
    assert len(long.figure["data"][0]["x"]) == 1000
    assert len(long.figure["layout"]["shapes"]) == 1
    assert "200 oldest runs are left out" in long.caption


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "width"), [("demo", 1280), ("demo", 390), ("hostile", 390)])
def test_the_page_is_drawn_and_readable(browser: "Browser", name: str, width: int, tmp_path: Path) -> None:
    made = {"demo": demo, "hostile": hostile}[name]
    assert problems(browser, render(made()), tmp_path, width) == []
