"""Layouts and machines side by side: stacked steps, memory of ranks, scaling curves, ratios, outliers, and how they look."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from hwbench.reports import _figure_against, _figure_layouts, _figure_scaling_curves, _fleet
from hwbench.reports.html import render
from hwbench.reports.markdown import render as markdown

from hwbench.analyse.summarise import summarise
from hwbench.core.profile import Accelerator, ClusterProfile, Node
from hwbench.core.summary import FactByNode, Fleet, FleetOutlier, RankShare, StepSplit, Summary
from tests.made_runs import WORKLOADS, demo_run, record, run
from tests.made_summaries import MARKUP, demo, hostile, summary, two_runs
from tests.reports.test_browser import browser, problems
from tests.reports.test_html import Page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["browser"]  # a fixture
LAYOUTS = ("single", "dp=2", "tp=2", "pp=2,schedule=1f1b,microbatches=4", "dp=4", "tp=4", "dp=2,tp=2", "dp=8")


def layouts() -> Summary:
    """gpt under eight layouts, every step taken apart, rank 1 of dp=2 lagging; lstm under two."""
    records = [
        record(name, layout=layout, process=process, slower=1 + 0.1 * place)
        for place, layout in enumerate(LAYOUTS)
        for name in (("gpt", "lstm") if place < 2 else ("gpt",))
        for process in range(3)
    ]
    made = summary(run((*records, record("triad"), record("matmul"))))
    rows = tuple(
        row
        if row.kind == "ceiling"
        else msgspec.structs.replace(row, split=_split(row.step_time_s, row.layout), ranks=_ranks(row.layout, row.world_size))
        for row in made.throughput
    )
    return msgspec.structs.replace(made, throughput=rows)


def _split(step_s: float, layout: str) -> StepSplit:
    communication = 0.0 if layout == "single" else 0.2
    bubble = 0.1 if layout.startswith("pp") else 0.0
    return StepSplit(
        compute_s=(0.9 - communication - bubble) * step_s, exposed_communication_s=communication * step_s, bubble_s=bubble * step_s,
        other_s=0.1 * step_s, profiled_ratio=1.2,
    )  # fmt: skip


def _ranks(layout: str, count: int) -> tuple[RankShare, ...]:
    late = 1 if layout == "dp=2" else None
    return tuple(
        RankShare(
            rank=rank, host="bench-1", memory_bytes=(400 + 20 * rank) << 20, busy_s=0.1, lags_fraction=0.3 if rank == late else None
        )
        for rank in range(count)
    )  # fmt: skip


def priced() -> Summary:
    """Two runs, the second slower and of a machine with a price and a power."""
    node = Node(accelerators=4, price_usd_per_hour=3.0, power_w=800.0)
    profile = ClusterProfile(name="cloud", description="", accelerator=Accelerator(name="x", vendor="y"), node=node, sources={})
    second = demo_run(id="20261121-093000", slower=1.3, machine={"product_name": "Another Box"})
    return summarise(
        (demo_run(), second), made_at="2026-11-20T10:00:00+00:00", hwbench_version="0.1.0", workloads=WORKLOADS,
        profiles={"20261121-093000": profile},
    )  # fmt: skip


def fleet() -> Summary:
    """Four hosts, one of them slow, and a run whose nodes differ."""
    found = Fleet(
        hosts=("a", "b", "c", "d"), cases=3, threshold="z above 3.5",
        outliers=(FleetOutlier(host="c", rank=None, case="matmul single", slower_fraction=0.31, score=9.1),),
    )  # fmt: skip
    fact = FactByNode(run="20261120-093000", nodes=("0 (a)", "1 (b)"), fact="memory.total_bytes", values=("16 GiB", ""))
    return msgspec.structs.replace(demo(), fleet=found, nodes=(fact,))


def words(made: Summary) -> str:
    return " ".join(Page(render(made)).text.split())


def test_one_bar_a_layout_whose_parts_are_the_step() -> None:
    made = layouts()
    drawn = {plot.title.partition(":")[0]: plot for plot in _figure_layouts.splits(made)}
    assert set(drawn) == {"gpt", "lstm"}
    steps = [row.step_time_s for row in made.throughput if row.workload == "gpt"]
    bars = drawn["gpt"].figure["data"]
    assert len(bars) == 4
    assert [sum(trace["x"][index] for trace in bars) for index in range(len(LAYOUTS))] == pytest.approx([1000 * step for step in steps])
    assert "pipeline bubble" not in [key.text for key in drawn["lstm"].keys]
    assert "which took 1.20 times as long" in drawn["gpt"].caption


def test_every_rank_has_a_dot_and_the_one_that_lags_is_named() -> None:
    made = layouts()
    drawn = _figure_layouts.memory(made)
    assert drawn is not None
    assert len(drawn.figure["data"][0]["x"]) == sum(row.world_size for row in made.throughput if row.world_size > 1)
    text = words(made)
    assert "lags, its own work takes 30 % longer than the ranks' median" in text
    assert "Exposed communication" in text


def test_without_a_profiled_repeat_the_page_says_so() -> None:
    made = layouts()
    plain = msgspec.structs.replace(made, throughput=tuple(msgspec.structs.replace(row, split=None) for row in made.throughput))
    assert _figure_layouts.splits(plain) == ()
    assert "No step was taken apart here" in words(plain)
    assert "No step was taken apart here" not in words(made)


def test_scaling_is_a_curve_from_three_numbers_of_ranks_on() -> None:
    speedup, efficiency = _figure_scaling_curves.plots(layouts())
    names = [key.text for key in speedup.keys]
    assert set(names) == {"dp", "tp", "pp", "dp,tp", "ideal"}
    assert names[-1] == "ideal"
    assert list(speedup.figure["data"][names.index("dp")]["x"]) == [1, 2, 4, 8]
    assert speedup.figure["data"][-1]["line"]["dash"] == "dash"
    assert efficiency.figure["data"][0]["y"][0] == pytest.approx(100)
    assert "The batch of a rank is fixed" in speedup.caption
    assert _figure_scaling_curves.plots(demo()) == ()


def test_runs_are_told_apart_on_scaling_curves() -> None:
    made = layouts()
    other = tuple(msgspec.structs.replace(one, run="20261121-093000", mode="strong") for one in made.curves)
    both = msgspec.structs.replace(made, curves=(*made.curves, *other), runs=(*made.runs, *made.runs))
    names = [key.text for key in _figure_scaling_curves.plots(both)[0].keys]
    assert "dp · weak · 20261120-093000" in names
    assert "dp · strong · 20261121-093000" in names


def test_ratios_lie_around_one_on_a_logarithmic_axis() -> None:
    made = priced()
    (drawn,) = _figure_against.plots(made.configurations)
    assert made.configurations is not None
    assert list(drawn.figure["data"][0]["x"]) == [one.ratio for one in made.configurations.against]
    assert drawn.figure["layout"]["xaxis"]["type"] == "log"
    assert 1.0 in drawn.figure["layout"]["xaxis"]["tickvals"]
    assert drawn.title == "run 20261121-093000 against run 20261120-093000"  # two machines of one name


def test_a_page_of_two_runs_has_ratios_prices_and_what_differs() -> None:
    text = words(priced())
    for said in (
        "Side by side",
        "a million tokens",
        "$1.50 an hour",
        "machine.product_name",
        "the runs were not interleaved",
        "Another Box",
    ):
        assert said in text, said
    assert 'id="beside"' not in render(demo())
    assert "no prices: no run has a cluster profile" in words(two_runs())
    assert "| gpt | single |" in markdown(priced())


def test_runs_without_a_common_case_say_why() -> None:
    text = words(summary(run((record("gpt"),)), run((record("lstm"),), id="other")))
    assert "These runs share no case that can be compared" in text
    assert "run other did not measure gpt" in text


def test_many_cases_are_cut_to_those_that_differ_most() -> None:
    made = priced().configurations
    assert made is not None
    many = tuple(msgspec.structs.replace(made.against[0], settings=f"size={n}", ratio=1 + n / 100) for n in range(60))
    (drawn,) = _figure_against.plots(msgspec.structs.replace(made, against=many))
    assert len(drawn.figure["data"][0]["x"]) == _figure_against.MOST_ROWS
    assert "Of 60 cases the 40 that differ most are shown" in drawn.caption


def test_nodes_that_differ_and_hosts_that_stand_out() -> None:
    text = words(fleet())
    for said in ("4 hosts, 3 cases judged: z above 3.5.", "matmul single", "+31.0 %", "memory.total_bytes", "0 (a)"):
        assert said in text, said
    found = fleet().fleet
    assert found is not None
    calm = msgspec.structs.replace(fleet(), fleet=msgspec.structs.replace(found, outliers=()), nodes=())
    assert "No host stands out." in words(calm)
    assert _fleet.tables(calm) == ()
    assert "Nodes: are they alike?" not in words(demo())


def test_hostile_names_are_text_side_by_side() -> None:
    first = hostile()
    made = summary(run((record("gpt", dtype=MARKUP),)), run((record("gpt", dtype=MARKUP),), id="b", machine={"host_name": MARKUP}))
    assert MARKUP not in render(made)
    assert MARKUP not in render(first)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("make", "width", "scheme"),
    [(layouts, 1280, "light"), (layouts, 390, "dark"), (priced, 1280, "dark"), (priced, 390, "light"), (fleet, 390, "light")],
)
def test_the_page_is_drawn_and_readable(browser: "Browser", make: Callable[[], Summary], width: int, scheme: str, tmp_path: Path) -> None:
    assert problems(browser, render(make()), tmp_path, width, scheme=scheme) == []
