"""`hwbench gate` on a results folder: exit status, the four formats, and mistakes that end in one line."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hwbench import store
from hwbench.cli._gate_formats import FORMATS
from hwbench.cli.gate import command
from hwbench.core import codec
from hwbench.core.errors import GateFailed, HwbenchError, UserError
from hwbench.core.gate import GateResult, Judgement
from hwbench.core.record import Run
from tests.made_runs import demo_run

RULES = """
[[rules]]
workload = "att*"
layout = "single"
largest_slowdown = "5%"

[[rules]]
workload = "gpt"
smallest_throughput = 1000.0
"""


def stored(results: Path, made: Run) -> str:
    folder = store.create_run(results, made.header)
    (folder / "records-bench-1.jsonl").write_bytes(b"".join(codec.to_json(one) + b"\n" for one in made.records))
    return folder.name


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for number, slower in enumerate((1.0, 1.3)):
        stored(tmp_path / "results", demo_run(processes=6, slower=slower, id=f"2026112{number}-093000"))
    (tmp_path / "rules.toml").write_text(RULES)
    return tmp_path / "results"


def called(results: Path, *words: str, rules: str | None = None) -> Result:
    file = results.parent / "rules.toml"
    if rules is not None:
        file.write_text(rules)
    return CliRunner().invoke(command, ["--results", str(results), "--rules", str(file), *words], standalone_mode=False)


def refused(results: Path, *words: str, rules: str | None = None) -> HwbenchError:
    error = called(results, *words, rules=rules).exception
    assert isinstance(error, UserError)
    assert "\n" not in error.message
    return error


def test_a_slowdown_ends_with_status_1_and_names_what_failed(results: Path) -> None:
    result = called(results, "--baseline", "20261120")
    assert isinstance(result.exception, GateFailed)
    assert result.exception.exit_code == 1
    assert "failed      rule 1  attention(batch=8,size=512) single fp32 cpu: 1.2" in result.output
    assert result.exception.message.startswith("gate: 1 of 3 checks failed")


def test_the_same_run_passes_against_itself_slowed(results: Path) -> None:
    result = called(results, "20261120-093000", "--baseline", "20261121-093000")
    assert result.exception is None
    assert result.output.endswith("no check of 3 failed\n")


def test_floors_need_no_baseline(results: Path) -> None:
    rules = RULES[RULES.index('[[rules]]\nworkload = "gpt"') :]
    assert called(results, rules=rules).exception is None
    assert isinstance(called(results, rules=rules.replace("1000.0", "1e12")).exception, GateFailed)


def test_each_format_to_its_file_and_text_to_the_terminal(results: Path, tmp_path: Path) -> None:
    markdown, junit = tmp_path / "gate.md", tmp_path / "deep" / "gate.xml"
    words = ("--format", "markdown", "--output", str(markdown), "--format", "junit", "--output", str(junit))
    result = called(results, "--baseline", "20261120", *words)
    assert result.output.startswith("candidate 20261121-093000, baseline 20261120-093000\n")
    assert markdown.read_text().startswith("### ❌ hwbench gate: 1 of 3 checks failed")
    suite = ElementTree.parse(junit).getroot()[0]
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("3", "1")
    assert len(suite.findall("testcase/failure")) == 1


def test_githubs_annotations_go_where_the_runner_reads_them(results: Path) -> None:
    lines = called(results, "--baseline", "20261120", "--format", "github").output.splitlines()
    assert lines[0].startswith("::error title=attention(batch=8%2Csize=512) single fp32 cpu%3A failed::1.2")
    assert lines[-1].startswith("::notice title=hwbench gate::1 of 3")


@pytest.mark.parametrize(
    ("words", "rules", "message"),
    [
        ((), None, "largest_slowdown needs a baseline, and none is given"),
        (("--baseline", "20270101"), None, "unknown run in"),
        (("--baseline", "20261121"), None, "is both the baseline and the candidate"),
        ((), "", "no rules: a gate without any would always pass"),
        ((), "[[rules]]\nworkload = 3\nsmallest_throughput = 1\n", "key rules[0].workload: expected str, found int"),
        ((), '[[rules]]\nworkload = "gpt"\nsmalest_throughput = 1\n', "unknown key 'smalest_throughput'"),
        ((), "[[rules]\n", "not valid TOML"),
        ((), '[[rules]]\nworkload = "gtp"\nsmallest_throughput = 1\n', "is called 'gtp'"),
        (("--output", "a", "--output", "b"), '[[rules]]\nworkload = "gpt"\nsmallest_throughput = 1\n', "--output is given 2 times"),
    ],
)
def test_a_mistake_is_one_clear_line(results: Path, words: tuple[str, ...], rules: str | None, message: str) -> None:
    assert message in refused(results, *words, rules=rules).message


def test_missing_rules_and_an_empty_results_folder(results: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.toml").unlink()
    assert "can't read the rules" in refused(results).message
    assert "no runs here" in refused(tmp_path / "nothing", rules=RULES[RULES.index("[[rules]]", 5) :]).message


HOSTILE = "a|b\n<script>@me\x00`%0A::error::\ud83d\ude00 ]]>&"


def hostile() -> GateResult:
    one = Judgement(rule=1, case=HOSTILE, check="slowdown", status="failed", fails=True, why=HOSTILE)
    undecided = Judgement(rule=2, case=HOSTILE, check="measured", status="can't tell", fails=False, why=HOSTILE)
    return GateResult(candidate="c", baseline=None, judgements=(one, undecided), flags=(HOSTILE,))


def test_no_text_breaks_out_of_a_format() -> None:
    made = {name: render(hostile()) for name, render in FORMATS.items()}
    assert "<script>" not in made["markdown"]
    assert "@me" not in made["markdown"]
    assert sum(line.startswith("| ") for line in made["markdown"].splitlines()) == 4
    assert ElementTree.fromstring(made["junit"].encode("utf-8", "replace")) is not None
    assert all(line.startswith(("::error title=", "::warning title=", "::notice title=")) for line in made["github"].splitlines())
    assert json.dumps(made)
