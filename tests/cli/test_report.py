"""`hwbench report` on a results folder as it lies on disk, and the summary in a narrow terminal."""

import io
import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from hwbench import store
from hwbench.cli._summary_view import summary_view
from hwbench.cli.report import SIZING_FILE, command, installed_workloads
from hwbench.core import codec
from hwbench.core.errors import UserError
from hwbench.core.record import Run
from tests.made_runs import demo_run, record, run, sizing_answer
from tests.made_summaries import MARKUP, demo, hostile, nothing


def stored(results: Path, made: Run) -> Path:
    """The run as `hwbench run` would have left it."""
    folder = store.create_run(results, made.header)
    lines = b"".join(codec.to_json(one) + b"\n" for one in made.records)
    (folder / "records-bench-1.jsonl").write_bytes(lines)
    return folder


def called(*words: str) -> Result:
    result = CliRunner().invoke(command, words, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result


@pytest.fixture
def results(tmp_path: Path) -> Path:
    stored(tmp_path / "results", demo_run(processes=1))
    return tmp_path / "results"


def test_html_is_the_default_and_lies_in_the_results_folder(results: Path) -> None:
    result = called("--results", str(results))
    assert result.output == f"report: {results / 'report.html'}\n"
    assert (results / "report.html").read_text().lower().startswith("<!doctype html>")


@pytest.mark.parametrize(("format_", "begin"), [("markdown", "# hwbench: bench-1"), ("csv", "run,workload"), ("json", "{")])
def test_text_goes_to_the_terminal_or_a_file(results: Path, format_: str, begin: str) -> None:
    shown = called("--results", str(results), "--format", format_).output
    assert shown.startswith(begin)
    called("--results", str(results), "--format", format_, "--output", str(results / "out"))
    assert (results / "out").read_text().startswith(begin)


def test_several_runs(results: Path) -> None:
    stored(results, demo_run(processes=1, id="20261121-093000"))
    text = called("20261120", "20261121-093000", "--results", str(results), "--format", "json").output
    assert [made["id"] for made in json.loads(text)["runs"]] == ["20261120-093000", "20261121-093000"]


def test_redacted_report_has_no_host_name(results: Path) -> None:
    assert "bench-1" in called("--results", str(results), "--format", "json").output
    assert "bench-1" not in called("--results", str(results), "--format", "json", "--redact").output


def test_sizing_beside_the_run_is_shown(results: Path) -> None:
    folder = store.find_run(results)
    codec.write_atomic(folder / SIZING_FILE, codec.to_json(sizing_answer()))
    assert "h100-sxm-ib" in called("--results", str(results), "--format", "markdown").output


def test_unknown_format_names_the_nearest(results: Path) -> None:
    with pytest.raises(UserError) as error:
        called("--results", str(results), "--format", "markdwn")
    assert "markdown" in error.value.hint


def test_no_runs_and_a_place_that_cannot_be_written(results: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no runs"):
        called("--results", str(tmp_path / "nowhere"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't write"):
        called("--results", str(results), "--output", str(tmp_path / "file" / "report.html"))


def test_a_workload_that_a_record_names_by_path_is_not_run(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    made = run((record("gpt"),))
    case = msgspec.structs.replace(made.records[0].case, workload=str(mine))
    assert installed_workloads([msgspec.structs.replace(made, records=(msgspec.structs.replace(made.records[0], case=case),))]).keys() == {
        "gpt"
    }
    assert not (tmp_path / "ran").exists()


def shown(width: int) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width)
    for made in (demo(), hostile(), nothing()):
        console.print(summary_view(made))
    return out.getvalue()


@pytest.mark.parametrize("width", [60, 120])
def test_summary_fits_the_terminal_and_keeps_its_figures(width: int) -> None:
    text = shown(width)
    assert max(map(len, text.splitlines())) <= width
    for fact in ("6,940 token/s", "76.5 GFLOP/s", "1.71 ×", "26.4 days", "Not measured", "Before you rely on it"):
        assert fact in text, fact


def test_summary_takes_no_markup_from_outside() -> None:
    assert MARKUP[:20] in shown(200)


def test_prices_come_from_the_profile_that_a_run_is_given(results: Path, tmp_path: Path) -> None:
    stored(results, demo_run(processes=1, id="20261121-093000"))
    profile = tmp_path / "offered.toml"
    text = 'name = "offered"\ndescription = "an offer"\nsources = {}\n[accelerator]\nname = "x"\nvendor = "y"\n'
    profile.write_text(text + "[node]\naccelerators = 2\nprice_usd_per_hour = 3.0\n")
    words = ("20261120", "20261121", "--results", str(results), "--format", "json")
    made = json.loads(called(*words, "--cluster", f"20261121={profile}").output)["configurations"]
    assert {price["run"] for price in made["prices"]} == {"20261121-093000"}
    assert all(price["usd_per_million_items"] > 0 for price in made["prices"])
    both = json.loads(called(*words, "--cluster", str(profile)).output)["configurations"]
    assert {price["run"] for price in both["prices"]} == {"20261120-093000", "20261121-093000"}
    with pytest.raises(UserError, match="run 20261121-093000 is not among those of the report"):
        called("20261120", "--results", str(results), "--cluster", f"20261121={profile}")
