"""Small things that a user meets: one line for a wrong word, `-` for the terminal, plurals, narrow terminals, the run that is meant."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from hwbench.cli.doctor import command as doctor
from hwbench.cli.list import command as list_
from hwbench.cli.plan import command as plan
from hwbench.cli.predict import command as predict
from hwbench.cli.probe import command as probe
from hwbench.cli.report import command as report
from hwbench.cli.size import command as size
from hwbench.core.errors import UserError
from tests.cli.test_report import stored
from tests.made_runs import demo_run, failed, run

PLAN = ("--model", "gpt2", "--cluster", "dgx-h100", "--gpus", "8", "--global-batch", "64")


@pytest.mark.parametrize("words", [("list", "foo"), ("run", "gpt", "--device", "foo"), ("bench", "--device", "gpu")])
def test_a_wrong_word_is_one_line_and_a_hint(words: tuple[str, ...], tmp_path: Path) -> None:
    env = {"PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])}
    ran = subprocess.run([sys.executable, "-m", "hwbench", *words], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    lines = ran.stderr.splitlines()
    assert ran.returncode == 2
    assert lines[0] == f"hwbench: unknown {'kind' if words[0] == 'list' else 'device'} {words[-1]!r}"
    assert len(lines) == 2
    assert not list(tmp_path.iterdir())


def test_list_still_lists_one_kind() -> None:
    listed = json.loads(CliRunner().invoke(list_, ["suites", "--json"]).output)
    assert list(listed) == ["suites"]


def test_a_dash_is_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    shown = CliRunner().invoke(probe, ["--sysroot", "empty", "--output", "-"])
    assert "gaps" in json.loads(shown.stdout)
    for words in (["--output", "-"], ["--output", "-", "--json"]):
        assert json.loads(CliRunner().invoke(plan, [*PLAN, *words]).stdout)["model"] == "gpt2"
    question = ["--model", "gpt2", "--tokens", "1B", "--cluster", "dgx-h100"]
    assert json.loads(CliRunner().invoke(size, [*question, "--output", "-"]).stdout)["ranked_by"] is not None
    assert CliRunner().invoke(size, [*question, "--html", "-"]).stdout.startswith("<!doctype html>")
    assert [one.name for one in tmp_path.iterdir()] == ["empty"]


def test_doctor_counts_in_plain_english(tmp_path: Path) -> None:
    last = " ".join(CliRunner().invoke(doctor, ["--sysroot", str(tmp_path)]).output.split())
    assert "0 warnings, 0 pieces of advice" in last


@pytest.mark.parametrize("width", [40, 80])
def test_the_ranking_of_a_plan_is_readable_however_narrow(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = CliRunner().invoke(plan, [*PLAN, "--top", "3"]).output.splitlines()
    table = lines[lines.index("") + 1 :]
    assert "step" in table[0]
    assert all(" ms" in line for line in table[1:4])
    assert not any("…" in line for line in table[:4])
    assert max(map(len, table[:4])) <= width


def test_the_parts_of_a_step_are_whole_however_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--model", "gpt2", "--cluster", "dgx-h100", "--gpus", "8", "--layout", "dp=8", "--micro-batch", "8", "--global-batch", "64")
    for width, why in ((40, False), (100, True)):
        monkeypatch.setenv("COLUMNS", str(width))
        shown = CliRunner().invoke(predict, words).output
        assert "dp communication" in shown
        assert ("launches that the device waits for" in shown) == why


def test_the_default_is_the_newest_run_that_measured_something(tmp_path: Path) -> None:
    stored(tmp_path, demo_run(processes=1))
    stored(tmp_path, run((failed("gpt", "no memory"),), id="20261122-093000"))
    (tmp_path / "20261123-093000").mkdir()
    (tmp_path / "20261123-093000" / "records-bench-1.jsonl").write_text("{}\n")
    (tmp_path / "20261124-093000").mkdir()
    (tmp_path / "20261124-093000" / "run.json").write_text("{")
    shown = CliRunner().invoke(report, ["--results", str(tmp_path), "--format", "json"])
    assert [one["id"] for one in json.loads(shown.stdout)["runs"]] == ["20261120-093000"]
    for said in (
        "run 20261122-093000 holds no measurement; the newest that does is 20261120-093000",
        "20261123-093000: records without a run.json",
        "left out: " + str(tmp_path / "20261124-093000" / "run.json"),
    ):
        assert said in shown.stderr, said


def test_where_nothing_was_measured_the_newest_is_shown(tmp_path: Path) -> None:
    stored(tmp_path, run((failed("gpt", "no memory"),)))
    shown = CliRunner().invoke(report, ["--results", str(tmp_path), "--format", "json"])
    assert json.loads(shown.stdout)["not_measured"][0]["reason"] == "no memory"
    with pytest.raises(UserError, match="no runs here"):
        CliRunner().invoke(report, ["--results", str(tmp_path / "none")], standalone_mode=False, catch_exceptions=False)
