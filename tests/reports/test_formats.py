"""Markdown, CSV and JSON: the same figures, and what comes from outside stays text."""

import csv as csv_module
import io
import re
from collections.abc import Callable

import msgspec
import pytest
from hwbench.reports import csv, json, markdown
from hypothesis import given
from hypothesis import strategies as st

from hwbench.core import codec, registry
from hwbench.core.summary import SCHEMA, Report, Summary
from tests.made_summaries import MARKUP, demo, hostile, many_cases, nothing, sizing_only, two_runs

ALL = [demo, two_runs, many_cases, hostile, nothing, sizing_only]


def test_formats_are_found_by_name() -> None:
    assert list(registry.names("reports")) == ["csv", "html", "json", "markdown"]
    for name in registry.names("reports"):
        assert registry.load("reports", name, Report).suffix.startswith(".")


def csv_rows(summary: Summary) -> list[dict[str, str]]:
    return list(csv_module.DictReader(io.StringIO(csv.render(summary))))


def test_csv_has_a_row_a_case_with_the_figures_unrounded() -> None:
    summary = demo()
    rows = csv_rows(summary)
    assert len(rows) == len(summary.throughput)
    for row, figures in zip(rows, summary.throughput, strict=True):
        assert (row["workload"], row["layout"]) == (figures.workload, figures.layout)
        assert float(row["step_time_s"]) == figures.step_time_s
        assert float(row["items_per_s"]) == figures.items_per_s
        assert (row["mfu_fraction"] == "") == (figures.mfu_fraction is None)


def test_csv_columns_carry_their_units() -> None:
    unitless = {
        "world_size",
        "threads",
        "processes",
        "samples",
        "parameters",
        "first_loss",
        "last_loss",
        "noisy",
        "intensity_flops_per_byte",
    }
    for name, text in csv_rows(demo())[0].items():
        if re.fullmatch(r"[\d.e+-]+", text) and name not in unitless | {"run"}:
            assert name.endswith(("_s", "_per_s", "_per_step", "_bytes", "_fraction")), name


@pytest.mark.parametrize("word", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_csv_holds_no_formula(word: str) -> None:
    summary = demo()
    row = msgspec.structs.replace(summary.throughput[0], workload=word)
    (read,) = csv_rows(msgspec.structs.replace(summary, throughput=(row,)))
    assert read["workload"] == f"'{word}"


@pytest.mark.parametrize("make", ALL)
def test_json_reads_back_as_the_same_summary(make: Callable[[], Summary]) -> None:
    summary = make()
    read = codec.from_json(json.render(summary), Summary, source="test")
    assert read == summary
    assert read.schema == SCHEMA


@pytest.mark.parametrize("make", ALL)
def test_markdown_tables_are_whole(make: Callable[[], Summary]) -> None:
    for block in markdown.render(make()).split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
        assert len(widths) <= 1, block


def test_markdown_says_what_was_found() -> None:
    text = markdown.render(demo())
    for fact in ("# hwbench: bench-1", "68.6 %", "h100-sxm-ib", "Before you rely on it", "out of memory?", "dp=2"):
        assert fact in text, fact


def test_markdown_of_hostile_names_holds_no_markup() -> None:
    text = markdown.render(hostile())
    assert MARKUP not in text
    assert not re.search(r"(?<!\\)<(script|img)", text)


@given(st.text())
def test_escaped_markdown_has_no_bare_special_letter(text: str) -> None:
    shown = markdown.escaped(text)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*[<|`\[]", shown)
