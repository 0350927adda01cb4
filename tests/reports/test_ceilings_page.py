"""The curves of the measured ceilings: what they show, what they leave out, and how the page looks."""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from hwbench.reports import _axes, _figure_ceilings
from hwbench.reports._ceilings_tables import gaps, tables
from hwbench.reports._figure_ceilings import HOLLOW, plots
from hwbench.reports._plot import Plot
from hwbench.reports.html import render
from hwbench.reports.markdown import render as markdown
from hypothesis import given
from hypothesis import strategies as st

from hwbench.core.ceilings import Ceilings, Disk
from hwbench.core.summary import Summary
from tests.made_ceilings import SIZES, ceilings
from tests.made_summaries import MARKUP, demo, two_runs
from tests.reports.test_browser import browser, problems
from tests.reports.test_html import Page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["browser"]  # a fixture
OTHER = "20261121-093000"


def with_ceilings() -> Summary:
    return msgspec.structs.replace(demo(), ceilings=(ceilings(),))


def two_with_ceilings() -> Summary:
    return msgspec.structs.replace(two_runs(), ceilings=(ceilings(), ceilings(OTHER, pace=1.4)))


def plot(id_: str, *found: Ceilings) -> Plot:
    return next(one for one in plots(found or (ceilings(),)) if one.id == id_)


def test_every_kind_of_ceiling_is_drawn() -> None:
    ids = {one.id.rpartition("-")[0] if one.id[-1].isdigit() else one.id for one in plots((ceilings(),))}
    assert ids == {
        "ceiling-bandwidth", "ceiling-latency", "ceiling-threads", "ceiling-product", "ceiling-efficiency", "ceiling-busbw",
        "ceiling-algbw", "ceiling-time", "ceiling-transfers", "ceiling-disk",
    }  # fmt: skip


def test_curves_hold_the_measured_values_in_the_unit_of_the_axis() -> None:
    drawn = plot("ceiling-bandwidth").figure
    read = drawn["data"][0]
    assert list(read["x"]) == list(SIZES)
    assert read["y"][0] == pytest.approx(200)
    assert drawn["layout"]["yaxis"]["title"]["text"] == "GB/s"
    latency = plot("ceiling-latency").figure
    assert latency["data"][0]["y"][0] == pytest.approx(1.3 * 1.2)
    assert latency["layout"]["yaxis"]["title"]["text"] == "ns"


def test_cache_levels_are_named_and_parted() -> None:
    layout = plot("ceiling-bandwidth").figure["layout"]
    assert [note["text"] for note in layout["annotations"]] == ["L1", "L2", "L3", "memory"]
    edges = [shape["x0"] for shape in layout["shapes"]]
    assert [SIZES.index(max(size for size in SIZES if size < edge)) for edge in edges] == [1, 7, 11]


def test_noisy_points_are_hollow_and_the_legend_says_so() -> None:
    drawn = plot("ceiling-bandwidth")
    signs = drawn.figure["data"][0]["marker"]["symbol"]
    assert [sign.endswith("-open") for sign in signs] == [size == 1 << 22 for size in SIZES]
    assert drawn.keys[-1].text == HOLLOW
    assert HOLLOW not in [key.text for key in plot("ceiling-busbw-0").keys]


def test_only_squares_are_on_the_curve_of_products_and_all_are_in_the_table() -> None:
    assert list(plot("ceiling-product-0").figure["data"][0]["x"]) == [128, 256, 512, 1024, 2048, 4096]
    assert any("512 × 50,304 × 768" in row[0] for table in tables((ceilings(),)) for row in table.rows)


def test_runs_are_told_apart() -> None:
    drawn = plot("ceiling-latency", ceilings(), ceilings(OTHER, pace=1.4))
    names = [key.text for key in drawn.keys]
    assert sum(OTHER in name for name in names) == 2
    assert len({(trace["line"]["color"], trace["marker"]["symbol"][0], trace["line"]["dash"]) for trace in drawn.figure["data"]}) == 4
    assert all(table.columns[-1] == "Run" for table in tables((ceilings(), ceilings(OTHER))))


def test_one_size_makes_no_curve_and_nothing_makes_no_section() -> None:
    only = msgspec.structs.replace(
        ceilings(), streams=ceilings().streams[:1], latencies=(), products=(), exchanges=(), transfers=(), disks=()
    )
    assert plots((only,)) == ()
    assert plots(()) == ()
    assert 'id="ceilings"' not in render(demo())


def test_page_says_what_was_not_measured_and_why() -> None:
    text = " ".join(Page(render(with_ceilings())).text.split())
    assert "latency: numba is not installed" in text
    assert "Time of a load by working set" in text
    assert gaps((ceilings(), ceilings(OTHER)))[1].startswith(f"run {OTHER}: latency: ")


def test_markdown_has_the_tables() -> None:
    text = markdown(with_ceilings())
    for caption in ("Bandwidth of streams", "Time of a load", "Matrix products", "Collectives", "Copies and files"):
        assert f"**{caption}**" in text


def test_names_from_outside_are_text() -> None:
    folder = Disk(direction="read", file_bytes=1, folder=MARKUP, bytes_per_s=1e9, best_bytes_per_s=2e9)
    html = render(msgspec.structs.replace(demo(), ceilings=(msgspec.structs.replace(ceilings(), run=MARKUP, disks=(folder,)),)))
    assert MARKUP not in html
    assert MARKUP in Page(html).text


@given(st.lists(st.floats(min_value=1, max_value=1e15), min_size=1, max_size=30), st.booleans())
def test_an_axis_has_few_ticks_inside_its_frame(values: list[float], in_bytes: bool) -> None:
    axis = _axes.logarithmic(values, in_bytes=in_bytes)
    assert len(axis["tickvals"]) == len(axis["ticktext"]) <= _axes.MOST_TICKS
    assert axis["range"][0] < axis["range"][1]


@pytest.mark.parametrize(
    ("values", "unit"), [((2e9, 5e10), "GB/s"), ((1e3, 1e12), "MB/s"), ((3e12,), "TB/s"), ((), "B/s"), ((0.0, 1e6), "MB/s")]
)
def test_the_unit_of_an_axis_is_that_of_its_middle(values: tuple[float, ...], unit: str) -> None:
    assert _axes.rate_unit(values, "B/s").name == unit


def test_values_that_differ_much_get_a_logarithmic_axis() -> None:
    assert _axes.upright((1.0, 15.0), "s")["range"][0] == 0
    assert _axes.upright((1.0, 25.0), "s")["type"] == "log"
    assert _axes.upright((0.0, 25.0), "s")["range"][0] == 0


def test_the_figures_are_no_larger_than_need_be() -> None:
    assert len(render(with_ceilings())) < 2_600_000
    assert _figure_ceilings.plots((ceilings(),))[0].height_px == 320


@pytest.mark.heavy
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_is_drawn_and_readable(browser: "Browser", width: int, scheme: str, tmp_path: Path) -> None:
    assert problems(browser, render(two_with_ceilings()), tmp_path, width, scheme=scheme) == []
