"""The pages of a sizing, a plan and a serving cluster: the figures, the words, what is left out, and how they look."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hwbench.reports import _plan_page, _serving_page, _sizing_page, _tables
from hwbench.reports._figure_sizing import plots
from hwbench.reports._figure_step import grouped
from hwbench.reports._plot import Plot
from hwbench.reports._sizing_words import probability, sentences
from hwbench.reports.html import render as report
from hwbench.reports.markdown import render as markdown

from hwbench.core.prediction import Rejected, SizingAnswer
from tests.made_sizings import DAY_S, bought, none_can, plan, rented, serving, unpriced
from tests.made_summaries import MARKUP, summary
from tests.reports.test_browser import browser, problems
from tests.reports.test_html import Page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["browser"]  # a fixture


def drawn(answer: SizingAnswer, id_: str) -> Plot:
    return next(plot for plot in plots(answer) if plot.id == id_)


def words(html: str) -> str:
    return " ".join(Page(html).text.split())


PAGES: dict[str, Callable[[], str]] = {
    "rented": lambda: _sizing_page.render(rented()),
    "bought": lambda: _sizing_page.render(bought()),
    "unpriced": lambda: _sizing_page.render(unpriced()),
    "none": lambda: _sizing_page.render(none_can()),
    "plan": lambda: _plan_page.render(plan()),
    "no plan": lambda: _plan_page.render(plan(entries=0)),
    "serving": lambda: _serving_page.render(serving()),
    "no serving": lambda: _serving_page.render(msgspec.structs.replace(serving(), servings=())),
}


def test_a_sizing_has_every_picture_that_its_figures_allow() -> None:
    assert [plot.id for plot in plots(rented())] == [
        "sizing-front", "sizing-times", "sizing-step", "sizing-memory", "sizing-costs", "sizing-tornado",
    ]  # fmt: skip
    assert [plot.id for plot in plots(unpriced())] == ["sizing-front", "sizing-times", "sizing-step", "sizing-memory"]
    assert plots(none_can()) == ()
    assert plots(None) == ()


def test_the_front_marks_what_nothing_beats_the_recommended_one_and_the_deadline() -> None:
    front = drawn(rented(), "sizing-front")
    line, *clusters, ring = front.figure["data"]
    assert len(line["x"]) == 4
    assert [len(trace["x"]) for trace in clusters] == [4, 4, 4]
    assert all(not sign.endswith("-open") for sign in clusters[0]["marker"]["symbol"])
    assert all(sign.endswith("-open") for sign in clusters[1]["marker"]["symbol"])
    assert (ring["x"][0], ring["y"][0]) == (pytest.approx(26.4), pytest.approx(1.18))
    assert clusters[2]["marker"]["opacity"][0] < 1  # 41 days, where 30 were asked for
    assert clusters[0]["marker"]["opacity"][0] == 1
    assert [shape["x0"] for shape in front.figure["layout"]["shapes"]] == [pytest.approx(30)]


def test_offers_are_placed_by_the_day_they_are_done() -> None:
    layout = drawn(bought(), "sizing-front").figure
    firsts = [trace["x"][0] for trace in layout["data"][1:4]]
    assert firsts == pytest.approx([46.4, 28.9, 101.0])
    assert "delivery included" in layout["layout"]["xaxis"]["title"]["text"]
    assert len(layout["layout"]["shapes"]) == 1  # the deadline: a budget is no limit for what a run uses up of a purchase


def test_without_prices_the_front_is_about_energy() -> None:
    front = drawn(unpriced(), "sizing-front")
    assert "energy" in front.title
    assert front.figure["layout"]["yaxis"]["title"]["text"] == "MWh"


def test_parts_are_grouped_and_add_up_to_the_step() -> None:
    said = rented().sizings[0].prediction
    groups = grouped(said)
    assert list(groups)[:3] == ["compute", "exposed communication", "pipeline bubble"]
    assert "something new" in groups
    assert sum(share.time_s for share in groups.values()) == pytest.approx(said.step_time_s)
    assert groups["exposed communication"].parts[0].startswith("tp communication 500 ms")
    for figure in (drawn(rented(), "sizing-step").figure, _plan_page.plots(plan())[1].figure):
        assert len({trace["marker"]["color"] for trace in figure["data"]}) == len(figure["data"])


def test_intervals_and_costs_over_time() -> None:
    times: dict[str, Any] = drawn(rented(), "sizing-times").figure["data"][0]
    assert times["error_x"]["arrayminus"][0] == pytest.approx(2.64)
    assert times["error_x"]["array"][0] == pytest.approx(0.15 * 26.4)
    rent = drawn(rented(), "sizing-costs").figure["data"]
    assert [(trace["x"][0], trace["y"][0]) for trace in rent] == [(0, 0)] * 3
    assert rent[0]["y"][-1] == pytest.approx(1.18)
    purchase = drawn(bought(), "sizing-costs").figure["data"]
    assert purchase[0]["y"][:2] == pytest.approx((16, 16.04))
    assert purchase[0]["x"][0] == pytest.approx(20)
    assert purchase[-1]["line"]["dash"] == "dash"  # the budget


def test_the_tornado_shows_what_is_saved() -> None:
    tornado = drawn(rented(), "sizing-tornado")
    assert list(tornado.figure["data"][0]["x"]) == pytest.approx([-8.3, -1.5, -0.4, 0])
    shown = [note["text"] for note in tornado.figure["layout"]["annotations"] if note["name"] == "value"]
    assert shown[0] == "2.20 days saved (8.3 %)"
    assert shown[3] == "no change"


def test_words_for_who_decides() -> None:
    text = words(PAGES["rented"]())
    for said in (
        "Take 21 nodes of b200 (168 accelerators, the first by cost of 3 that can do it): they train gpt3-175b on 300 B tokens in "
        "26.4 days (in nine cases of ten between 23.8 days and 30.4 days), for $1.18 million of rent.",
        "The probability that it is done within 30.0 days is 61 %; --confidence 0.9 asks for",
        "b200 really beats mi300x in cost is 62 %: hardly more than a coin's",
        "10 % more FLOP/s would save 2.20 days (8.3 %); the same of network, scale-up would save less than 1 %",
        "a node fails every 417 days; storage 100 GB/s; PUE 1.3",
        "tiny", "needs 66.0 GB a rank",
    ):  # fmt: skip
        assert said in text, said
    assert "$16.0 million to pay, of which the run uses up $520,000" in " ".join(sentences(bought()))
    assert "It is $1.04 million over the budget of $15.0 million." in list(sentences(bought()))
    assert "no price was given" in " ".join(sentences(unpriced()))
    assert "For mi300x no published run tells" in " ".join(sentences(unpriced()))


def test_what_cannot_be_is_said() -> None:
    assert "None of the 1 clusters can do it. tiny: needs 66.0 GB a rank" in words(PAGES["none"]())
    assert "No layout fits: 14,187 were tried" in words(PAGES["no plan"]())
    assert "None of the 1 clusters can do it" in words(PAGES["no serving"]())
    late = msgspec.structs.replace(rented(), sizings=rented().sizings[2:], beats=None)
    assert "misses the deadline of 30.0 days" in " ".join(sentences(late))


@pytest.mark.parametrize(("value", "said"), [(1.0, "over 99 %"), (0.62, "62 %"), (0.0, "under 1 %")])
def test_nothing_is_certain(value: float, said: str) -> None:
    assert probability(value) == said


def test_a_plan_names_what_cannot_be_told_from_the_first() -> None:
    text = words(PAGES["plan"]())
    assert "Split the step as dp 32 · tp 2 · pp 2×4 · cp 2, ZeRO 1: 512 samples take" in text
    assert "2 of the others are within 2 % of it" in text
    assert "dp 256, FSDP over 128" in text
    assert "node.price_usd_per_hour" in text
    signs = _plan_page.plots(plan())[0].figure["data"][0]["marker"]["symbol"]
    assert list(signs) == ["diamond"] * 3 + ["diamond-open"] * 7


def test_serving_says_what_to_take() -> None:
    text = words(PAGES["serving"]())
    assert "Take 4 accelerators (1 node) of b200, in 1 replica of 4: they serve 200 users at a time" in text
    assert "first token within 2.00 s" in text
    assert "A million tokens cost $2.60" in text


@pytest.mark.parametrize("make", [rented, bought, unpriced, none_can])
def test_tables_are_whole(make: Callable[[], SizingAnswer]) -> None:
    answer = make()
    for name in ("options", "costs", "sensitivities", "sizing", "step_parts", "memory_parts"):
        table = getattr(_tables, name)(answer)
        assert all(len(row) == len(table.columns) for row in table.rows), name


def test_the_report_of_a_run_with_a_sizing_has_the_same_pictures_and_words() -> None:
    made = summary(sizing=rented())
    html = report(made)
    assert "sizing-tornado" in html
    assert "Take 21 nodes of b200" in words(html)
    assert "What better parts of the first cluster would bring" in markdown(made)


def test_names_from_outside_are_text() -> None:
    answer = rented()
    hostile = msgspec.structs.replace(
        answer,
        sizings=(msgspec.structs.replace(answer.sizings[0], cluster=MARKUP, why=(MARKUP,)), *answer.sizings[1:]),
        rejected=(Rejected(name=MARKUP, reason=MARKUP),),
    )
    html = _sizing_page.render(hostile)
    assert MARKUP not in html
    assert Page(html).text.count(MARKUP) > 4


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_loaded_from_anywhere(name: str) -> None:
    html = PAGES[name]()
    assert {load[0] for load in Page(html).loads if load != "data:,"} <= {"#"}
    assert len(html) < 2_500_000


def test_a_late_date_is_not_drawn_far_outside() -> None:
    answer = rented()
    far = msgspec.structs.replace(answer, question=answer.question | {"deadline_s": 4000 * DAY_S})
    assert not drawn(far, "sizing-front").figure["layout"].get("shapes")


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [("rented", 1280, "light"), ("rented", 390, "dark"), ("bought", 390, "light"), ("none", 390, "light"),
     ("plan", 1280, "dark"), ("plan", 390, "light"), ("no plan", 390, "light"), ("serving", 390, "dark")],
)  # fmt: skip
def test_the_page_is_drawn_and_readable(browser: "Browser", name: str, width: int, scheme: str, tmp_path: Path) -> None:
    assert problems(browser, PAGES[name](), tmp_path, width, scheme=scheme) == []
