"""Sweeps as curves, and a roofline with many kernels: what is drawn, what tells it apart, and how it looks."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from hwbench.reports import _figure_roofline, _palette
from hwbench.reports._figure_sweeps import MOST_LINES, plots, tables
from hwbench.reports._figure_throughput import plots as bars
from hwbench.reports.csv import render as csv
from hwbench.reports.html import render
from hwbench.reports.markdown import render as markdown

from hwbench.core.summary import Summary
from tests.analyse.test_sweeps import attention
from tests.made_runs import record, run
from tests.made_summaries import demo, summary
from tests.reports.test_browser import browser, problems
from tests.reports.test_html import Page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["browser"]  # a fixture
LENGTHS = (128, 256, 512, 1024, 2048, 4096)
BACKENDS = ("math", "flash", "efficient", "flex with a long name", "cudnn")


def sweep() -> Summary:
    """Attention over six lengths, five backends, two dtypes, forward and backward; gpt beside it without a sweep."""
    records = [
        attention(length, dtype=dtype, config={"backend": backend, "direction": direction}, spread=0.3 if length == 512 else 0.02)
        for length in LENGTHS
        for place, backend in enumerate(BACKENDS)
        for dtype in ("fp32", "bf16")
        for direction in ("forward", "backward")
    ]
    return summary(run((*records, record("gpt"), record("triad"), record("matmul"))))


def kernels(count: int = 44) -> Summary:
    """So many kernels under two layouts, all on one roofline."""
    made = demo()
    rows = [row for row in made.throughput if row.flops_per_s and row.kind != "ceiling"]
    many = tuple(
        msgspec.structs.replace(
            rows[index % len(rows)],
            workload=f"kernel_{index // 2:02}",
            layout=("single", "dp=2")[index % 2],
            intensity_flops_per_byte=0.2 * 1.18**index,
            flops_per_s=(1e9 + 3e8 * index) * (1 + index % 3),
        )
        for index in range(count)
    )
    return msgspec.structs.replace(made, throughput=many, scaling=())


def test_too_many_lines_for_one_plot_make_several() -> None:
    drawn = plots(sweep())
    assert [plot.title for plot in drawn] == [
        f"attention over seq_len, {part}" for part in ("direction backward, dtype bf16", "direction backward, dtype fp32",
                                                       "direction forward, dtype bf16", "direction forward, dtype fp32")
    ]  # fmt: skip
    assert all(len(plot.figure["data"]) == len(BACKENDS) <= MOST_LINES for plot in drawn)
    assert {key.text for key in drawn[0].keys} >= {f"backend {name}" for name in BACKENDS}


def test_axis_and_values_are_the_measured_ones() -> None:
    made = sweep()
    drawn = plots(made)[0].figure
    assert drawn["layout"]["xaxis"]["type"] == "log"
    assert set(drawn["layout"]["xaxis"]["tickvals"]) <= set(LENGTHS)
    assert list(drawn["data"][0]["x"]) == list(LENGTHS)
    rates = {row.rate_per_s for row in made.throughput}
    assert set(drawn["data"][0]["y"]) <= rates


def test_curves_replace_bars_and_stand_in_a_table() -> None:
    made = sweep()
    assert {plot.title for plot in bars(made)} == {"gpt", "matmul", "triad"}
    (table,) = tables(made)
    assert len(table.rows) == 20
    assert table.columns[1:] == tuple(f"{length:,}" for length in LENGTHS)
    text = " ".join(Page(render(made)).text.split())
    assert "Where a setting was given several values, the cases are curves instead of bars." in text
    assert "attention over seq\\_len" in markdown(made)
    assert "seq_len" in csv(made)


def test_no_sweep_no_section() -> None:
    assert plots(demo()) == ()
    assert "Over one setting" not in render(demo())


def test_kernels_on_a_roofline_differ_in_colour_or_shape() -> None:
    made = kernels()
    drawn = _figure_roofline.plot(made)
    assert drawn is not None
    points = [trace for trace in drawn.figure["data"] if trace["mode"] == "markers"]
    assert len({(trace["marker"]["color"], trace["marker"]["symbol"]) for trace in points}) == 44
    assert [key.text for key in drawn.keys if key.text.startswith(("filled", "hollow"))] == ["filled: single", "hollow: dp=2"]
    marks = {(index % len(_palette.WORKLOAD_COLOURS), _palette.mark(index)) for index in range(64)}
    assert len(marks) == 64


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("make", "width", "scheme"), [(sweep, 1280, "light"), (sweep, 390, "dark"), (kernels, 1280, "dark"), (kernels, 390, "light")]
)
def test_the_page_is_drawn_and_readable(browser: "Browser", make: Callable[[], Summary], width: int, scheme: str, tmp_path: Path) -> None:
    assert problems(browser, render(make()), tmp_path, width, scheme=scheme) == []


def test_many_cases_and_roofs_stay_readable() -> None:
    made = kernels()
    row, other = made.throughput[0], made.throughput[3]
    same = tuple(msgspec.structs.replace(row, settings=f"shape={n}x{n % 7}") for n in range(50))
    many = msgspec.structs.replace(
        made,
        throughput=(*same, other),
        roofs=tuple(msgspec.structs.replace(roof, threads=threads) for roof in made.roofs for threads in range(1, 40)),
    )
    drawn, _ = bars(many)
    assert len(drawn.figure["data"][0]["x"]) == 32
    assert "18 more cases are in the table" in drawn.caption
    roofline = _figure_roofline.plot(many)
    assert roofline is not None
    assert 5 < len(roofline.figure["layout"]["annotations"]) < 30
    assert "Throughput of every case (51 rows)" in render(many)
