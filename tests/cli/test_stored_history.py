"""`hwbench history` over the results folder, as typed."""

import json
import random
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from hwbench import store
from hwbench.cli.main import cli
from hwbench.core.errors import UserError
from hwbench.core.inventory import Software
from tests.made_runs import START, record, run

RUNS, CHANGED = 40, 20


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty runs of two workloads; the second half of gpt is 10 % slower, under another commit and kernel."""
    folder, dice = tmp_path_factory.mktemp("history"), random.Random(5)
    for number in range(RUNS):
        slower = (1.1 if number >= CHANGED else 1.0) * dice.lognormvariate(0, 0.003)
        made = run((record("gpt", slower=slower), record("triad", slower=dice.lognormvariate(0, 0.003))), id=f"2026{number:04}-000000-000")
        kernel = "6.2.0" if number >= CHANGED else "6.1.0"
        inventory = msgspec.structs.replace(made.header.inventory, software=Software(kernel_release=kernel))
        header = msgspec.structs.replace(
            made.header, inventory=inventory, commit="new1234" if number >= CHANGED else "old1234",
            started_at=(START + timedelta(days=number)).isoformat(),
        )  # fmt: skip
        place = store.create_run(folder, header)
        with store.writing(place, "node") as file:
            for one in made.records:
                store.append(file, one)
    return folder


def history(results: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["history", *arguments, "--results", str(results)], catch_exceptions=True, env={"COLUMNS": "60"})


def test_the_change_is_found_with_what_else_changed_there(results: Path) -> None:
    done = history(results)
    assert done.exit_code == 0, done.output
    assert max(len(line.rstrip()) for line in done.stdout.splitlines()) <= 60
    text = " ".join(done.stdout.split())
    for words in (
        "2 series, 1 change of level", "slower by 9", "20260020-000000-000", "commit old1234 → new1234",
        "software.kernel_release 6.1.0 → 6.2.0", "no change of level", "one process", "█",
    ):  # fmt: skip
        assert words in text, words


def test_json_and_a_choice_of_workloads(results: Path) -> None:
    found = json.loads(history(results, "triad", "--json").stdout)
    assert [(one["workload"], len(one["points"]), one["changes"]) for one in found["series"]] == [("triad", RUNS, [])]


def test_the_page_holds_every_series_and_its_change(results: Path, tmp_path: Path) -> None:
    done = history(results, "--html", str(tmp_path / "history.html"))
    assert done.exit_code == 0, done.output
    html = (tmp_path / "history.html").read_text("utf-8")
    for words in ("gpt", "triad", "commit old1234 → new1234", "The largest slowdown that stands"):
        assert words in html


def test_an_acknowledged_change_stays_listed_with_its_note(results: Path) -> None:
    (change,) = (change for one in json.loads(history(results, "--json").stdout)["series"] for change in one["changes"])
    assert change["acknowledged"] is None
    done = history(results, "--acknowledge", change["id"][:5], "--note", "checkpoints [cost]")
    assert done.exit_code == 0, done.output
    assert "acknowledged" in done.stdout
    assert "acknowledged: checkpoints [cost]" in history(results).stdout
    assert len((results / "acknowledged.jsonl").read_text().splitlines()) == 1


def test_unreadable_records_are_named(results: Path) -> None:
    with (store.list_runs(results)[0] / "records-node.jsonl").open("ab") as file:
        file.write(b"{broken\n")
    assert "Not readable in the store" in history(results).stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("gtp",), "unknown workload"),
        (("gpt", "file.csv"), "'gpt' is not a .csv file"),
        (("--acknowledge", "1234"), "belong together"),
        (("--note", "why"), "belong together"),
        (("--acknowledge", "nope", "--note", "why"), "unknown change"),
        (("file.csv", "--html", "x.html"), "for stored runs"),
    ],
)
def test_what_makes_no_sense_is_the_users_error(results: Path, arguments: tuple[str, ...], says: str) -> None:
    done = history(results, *arguments)
    assert isinstance(done.exception, UserError)
    assert says in done.exception.message


def test_no_runs_at_all(tmp_path: Path) -> None:
    done = history(tmp_path)
    assert isinstance(done.exception, UserError)
    assert "no run here" in done.exception.message
    assert "hwbench run" in done.exception.hint
