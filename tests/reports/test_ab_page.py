"""The page of a live A/B comparison: verdicts, block pairs, what disturbed it, and how it looks."""

import random
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from hwbench.reports import _figure_ab
from hwbench.reports._ab_page import page

from hwbench.core.ab import AbKernel, AbResult
from hwbench.core.comparison import Comparison, Verdict
from tests.made_summaries import MARKUP
from tests.reports.test_browser import browser, problems
from tests.reports.test_html import Page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["browser"]  # a fixture
PAIRS = 120


def kernel(name: str, ratio: float | None, *, verdict: Verdict = "slower", disturbed: int = 0, note: str = "") -> AbKernel:
    """A kernel of 12 rounds of ten pairs around 1 ms; `disturbed` pairs took ten times as long."""
    dice = random.Random(name)
    base = [2e-3 * dice.lognormvariate(0, 0.01) * (10 if pair < disturbed else 1) for pair in range(PAIRS)]
    found = ratio or 1.0
    comparison = Comparison(
        kernel=name, verdict=verdict, ratio=ratio, ratio_low=None if ratio is None else 0.98 * ratio,
        ratio_high=None if ratio is None else 1.02 * ratio, minimum_detectable_effect=None if ratio is None else 0.013, note=note,
    )  # fmt: skip
    return AbKernel(
        comparison=comparison, rounds=12, processes=3, looks=2, duration_s=31.0, pair_round=tuple(pair // 10 for pair in range(PAIRS)),
        base_s=tuple(base), candidate_s=tuple(found * value * dice.lognormvariate(0, 0.01) for value in base),
    )  # fmt: skip


def result(*kernels: AbKernel) -> AbResult:
    return AbResult(
        base="main", candidate="my-branch", clock="cpu", threshold_fraction=0.02, kernels=kernels, duration_s=70.0,
        versions={"base": {"torch": "2.13.0", "python": "3.11"}, "candidate": {"torch": "2.14.0", "python": "3.11"}},
        warnings=("another job held a core",),
    )  # fmt: skip


def demo() -> AbResult:
    return result(
        kernel("attention", 1.08), kernel("lstm", 1.001, verdict="same", disturbed=4), kernel("gpt", 0.9, verdict="faster"),
        kernel("softmax", None, verdict="can't tell", note="the candidate raised ValueError"),
    )  # fmt: skip


def hostile() -> AbResult:
    made = result(kernel(MARKUP, 1.2, note=MARKUP))
    return msgspec.structs.replace(made, base=MARKUP, candidate=MARKUP, warnings=(MARKUP,), versions={"base": {"torch": MARKUP}})


def nothing() -> AbResult:
    empty = msgspec.structs.replace(kernel("gpt", None, verdict="can't tell", note="no sample"), pair_round=(), base_s=(), candidate_s=())
    return result(empty)


def test_everything_said_stands_in_the_page() -> None:
    text = " ".join(Page(page(demo())).text.split())
    for words in (
        "my-branch against main", "attention: slower: 1.080 × the base's time", "1.058 to 1.102", "1.3 %", "12 in 3", "31 s",
        "softmax: can't tell", "the candidate raised ValueError", "another job held a core", "2.14.0", "thread-CPU time", "below 2 %",
    ):  # fmt: skip
        assert words in text, words


def test_pairs_are_drawn_in_the_order_measured_and_disturbed_ones_are_counted() -> None:
    drawn = _figure_ab.times(kernel("lstm", 1.1, disturbed=4), 0)
    assert drawn is not None
    base, candidate = drawn.figure["data"]
    assert list(base["x"]) == list(range(1, PAIRS + 1))
    assert base["y"][50] == pytest.approx(2, rel=0.1)  # milliseconds
    assert base["marker"]["symbol"] != candidate["marker"]["symbol"]
    assert [key.sign for key in drawn.keys] == ["●", "◆"]
    low, high = drawn.figure["layout"]["yaxis"]["range"]
    assert sum(value > high for trace in (base, candidate) for value in trace["y"]) == 8
    assert "8 disturbed blocks lie above the plot" in drawn.caption
    assert low < 2 < high


def test_ratios_are_counted_once_each_with_the_interval_above() -> None:
    drawn = _figure_ab.ratios(kernel("attention", 1.08), 0)
    assert drawn is not None
    bars, interval = drawn.figure["data"]
    assert sum(bars["y"]) == PAIRS
    assert interval["x"][0] == pytest.approx(1.08)
    assert interval["error_x"]["array"][0] == pytest.approx(0.02 * 1.08)
    assert drawn.figure["layout"]["shapes"][0]["x0"] == 1


def test_without_pairs_or_interval_there_is_no_plot_but_the_reason() -> None:
    assert _figure_ab.times(nothing().kernels[0], 0) is None
    assert _figure_ab.ratios(kernel("softmax", None), 0) is None
    text = " ".join(Page(page(nothing())).text.split())
    assert "no sample" in text
    assert "gpt: can't tell" in text


def test_a_clock_that_stood_still_is_no_ratio() -> None:
    still = msgspec.structs.replace(kernel("gpt", 1.0), base_s=(0.0, 1e-3), candidate_s=(1e-3, 1e-3), pair_round=(0, 0))
    drawn = _figure_ab.ratios(still, 0)
    assert drawn is not None
    assert sum(drawn.figure["data"][0]["y"]) == 1


def test_names_from_outside_are_text_and_nothing_is_loaded() -> None:
    html = page(hostile())
    assert MARKUP not in html
    assert Page(html).text.count(MARKUP) >= 5
    assert {load[0] for load in Page(html).loads if load != "data:,"} <= {"#"}
    assert len(html) < 2_500_000


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "width", "scheme"), [("demo", 1280, "light"), ("demo", 390, "dark"), ("hostile", 390, "light")])
def test_the_page_is_drawn_and_readable(browser: "Browser", name: str, width: int, scheme: str, tmp_path: Path) -> None:
    made = {"demo": demo, "hostile": hostile}[name]
    assert problems(browser, page(made()), tmp_path, width, scheme=scheme) == []
