"""The HTML page without a browser: everything is in it, nothing from outside becomes markup, nothing is asked of a server."""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest
from hwbench.reports import _machine, _tables, _text
from hwbench.reports._terms import terms
from hwbench.reports.html import REPORT, render

from hwbench.core.inventory import Cpu, Inventory
from hwbench.core.summary import Interval, Summary
from tests.made_runs import sizing_answer
from tests.made_summaries import MARKUP, demo, hostile, many_cases, nothing, sizing_only, two_runs

ALL = [demo, two_runs, many_cases, hostile, nothing, sizing_only]


class Page(HTMLParser):
    """What a browser would find: text outside scripts, script elements, headings, attributes that load something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.open = "", ""
        self.scripts: list[str] = []
        self.loads: list[str] = []
        self.tags: dict[str, int] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open = tag
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.loads += [value for name, value in attrs if name in ("src", "href", "action", "data", "srcset") and value]
        assert not [name for name, _ in attrs if name.startswith("on")], "an event handler in an attribute"
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        if self.open == "script":
            self.scripts[-1] += data
        elif self.open != "style":
            self.text += data


@pytest.mark.parametrize("make", ALL)
def test_nothing_is_loaded_from_anywhere(make: Callable[[], Summary]) -> None:
    page = Page(render(make()))
    assert {load[0] for load in page.loads if load != "data:,"} <= {"#"}
    for tag in ("img", "iframe", "object", "link[rel=stylesheet]"):
        assert tag not in page.tags


def test_policy_names_the_only_two_scripts_by_their_hashes() -> None:
    html = render(demo())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy
    allowed = set(re.findall(r"sha256-[A-Za-z0-9+/=]+", policy[1].replace("&#39;", "'")))
    scripts = Page(html).scripts
    library = gzip.decompress(base64.b64decode(scripts[-2]))
    hashes = {f"sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}" for text in (library, scripts[-1].encode())}
    assert allowed == hashes
    assert "default-src 'none'" in policy[1]
    assert "unsafe-inline" not in policy[1].partition("style-src")[0]


def test_hostile_names_are_text() -> None:
    html = render(hostile())
    assert MARKUP not in html
    assert Page(html).text.count(MARKUP) > 5  # still readable, as text


def figures(html: str) -> list[dict[str, Any]]:
    return [json.loads(script) for script in Page(html).scripts[:-2]]


def test_plots_hold_no_markup_either() -> None:
    texts = json.dumps([[f["layout"].get("annotations"), [t.get("hovertext") for t in f["data"]]] for f in figures(render(hostile()))])
    assert "<script" not in texts
    assert "<img" not in texts
    assert "&lt;script" in texts


def test_every_workload_and_layout_is_a_point_under_its_own_colour() -> None:
    roofline = next(f for f in figures(render(demo())) if f["layout"]["xaxis"].get("type") == "log" and f["layout"]["height"] == 460)
    points = [trace for trace in roofline["data"] if trace["mode"] == "markers"]
    lines = [trace for trace in roofline["data"] if trace["mode"] == "lines"]
    assert len(points) == 5  # gpt and attention under two layouts, lstm under one; embedding has no FLOPs
    assert {trace["line"]["dash"] for trace in lines} == {"solid", "dash"}  # the roofs of single and of dp=2
    assert len({trace["marker"]["color"] for trace in points}) == 3


def test_page_says_what_was_found() -> None:
    text = " ".join(Page(render(demo())).text.split())
    for fact in (
        "bench-1",
        "AMD EPYC 7763",
        "control group: time of 2.00 CPUs",
        "68.6 %",
        "out of memory?",
        "h100-sxm-ib",
        "$4.31 million",
    ):
        assert fact in text, fact
    assert "hwbench run --suite quick --processes 3" in text
    assert "needs 66.0 GB a rank" in text


def test_every_term_is_explained() -> None:
    text = " ".join(Page(render(demo())).text.split())
    for term, meaning in terms():
        assert term in text
        assert " ".join(meaning.split()) in text
    assert len(terms()) >= 12


def test_empty_page_says_why() -> None:
    page = Page(render(nothing()))
    assert "No figure could be made" in page.text
    assert "no memory" in page.text
    assert page.scripts[:-2] == []


def test_several_runs_stand_side_by_side() -> None:
    text = Page(render(two_runs())).text
    assert "The runs side by side" in text
    assert "What differs between the runs" in text
    assert "Another Box" in text


@pytest.mark.parametrize("make", ALL)
def test_tables_have_as_many_cells_as_columns(make: Callable[[], Summary]) -> None:
    summary = make()
    tables = [
        getattr(_tables, name)(summary)
        for name in ("throughput", "by_run", "row_notes", "roofs", "scaling", "not_measured", "runs", "versions")
    ]
    tables += [getattr(_tables, name)(summary.sizing or sizing_answer()) for name in ("sizing", "step_parts", "memory_parts", "rejected")]
    if summary.inventory is not None:
        tables += [make_table(summary.inventory) for make_table in (_machine.limits, _machine.facts, _machine.gaps)]
    for table in tables:
        assert all(len(row) == len(table.columns) for row in table.rows), table.caption
        assert max((*table.numeric, -1)) < len(table.columns), table.caption


def test_page_is_no_larger_than_need_be() -> None:
    assert len(render(demo())) < 2_500_000  # plotly alone is 4.8 MB; it travels compressed


def test_suffix() -> None:
    assert REPORT.suffix == ".html"


def test_an_interval_too_wide_to_tell_is_not_drawn_as_a_number() -> None:
    row = demo().throughput[0]
    wide = msgspec.structs.replace(row, step_interval_s=Interval(low=row.step_time_s / 1000, high=1000 * row.step_time_s))
    assert _text.step_time(wide).endswith("(too wide)")
    assert _text.step_time(row).count(" to ") == 1


def test_parts_of_a_step_fill_it() -> None:
    stacked = [f for f in figures(render(demo())) if f["layout"].get("barmode") == "stack"]
    shares = next(f for f in stacked if f["layout"]["xaxis"]["range"] == [0, 100])
    for index in range(len(sizing_answer().sizings)):
        assert sum(trace["x"][index] for trace in shares["data"]) == pytest.approx(100)


@pytest.mark.parametrize(
    ("cpu", "said"),
    [
        (Cpu(sockets=1, physical_cores=2, online_count=2, threads_per_core=(1,)), "1 socket, 2 cores, 2 CPUs online, 1 thread a core"),
        (Cpu(sockets=2, physical_cores=1, online_count=1, threads_per_core=(1, 2)), "2 sockets, 1 core, 1 CPU online, 1/2 threads a core"),
    ],
)
def test_cores_are_counted_in_plain_english(cpu: Cpu, said: str) -> None:
    assert ("Cores", said) in _machine.facts(Inventory(cpu=cpu)).rows
