"""`hwbench compare BASE CANDIDATE`, as typed."""

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from hwbench import store
from hwbench.cli.main import cli
from hwbench.core.errors import UserError
from hwbench.core.record import Run
from tests.made_runs import demo_run

BASE, CANDIDATE = "20261119-000000-000", "20261120-000000-000"


def stored(results: Path, run: Run) -> None:
    folder = store.create_run(results, run.header)
    with store.writing(folder, "node") as file:
        for record in run.records:
            store.append(file, record)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    stored(folder, demo_run(id=BASE, processes=6))
    stored(folder, demo_run(id=CANDIDATE, processes=6, slower=1.25))
    return folder


def run(results: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["compare", *arguments, "--results", str(results)], catch_exceptions=True, env={"COLUMNS": "60"})


def test_the_table_is_readable_at_sixty_columns_and_exits_zero(results: Path) -> None:
    done = run(results, "20261119", "20261120")
    assert done.exit_code == 0, done.output
    assert max(len(line.rstrip()) for line in done.stdout.splitlines()) <= 60
    text = " ".join(done.stdout.split())
    for words in ("gpt single fp32 cpu", "slower", "6 a side", "not interleaved", "by chance alone", "changes below 5 % count as same"):
        assert words in text
    assert "…" not in done.stdout


def test_json_is_the_whole_comparison(results: Path) -> None:
    found = json.loads(run(results, BASE, CANDIDATE, "--json").stdout)
    assert (found["base"], found["candidate"], found["same_machine"]) == (BASE, CANDIDATE, True)
    verdicts = {one["case"]: one["comparison"]["verdict"] for one in found["cases"]}
    assert verdicts["gpt single fp32 cpu"] == "slower"
    assert set(verdicts.values()) <= {"slower", "can't tell"}


def test_a_threshold_above_the_change_makes_it_the_same_or_unsure(results: Path) -> None:
    found = json.loads(run(results, BASE, CANDIDATE, "--threshold", "60", "--json").stdout)
    assert {one["comparison"]["verdict"] for one in found["cases"]} == {"same"}


def test_another_machine_is_said_first(results: Path) -> None:
    other = demo_run(id="20261121-000000-000", processes=6)
    machine = msgspec.structs.replace(other.header.inventory.machine, product_name="Another [Box]")
    inventory = msgspec.structs.replace(other.header.inventory, machine=machine)
    stored(results, msgspec.structs.replace(other, header=msgspec.structs.replace(other.header, inventory=inventory)))
    text = " ".join(run(results, BASE, "20261121").stdout.replace("•", "").split())
    assert "machines or software differ" in text
    assert "machine.product_name KVM Virtual Machine → Another [Box]" in text
    assert "different kinds" in text
    assert "slower" not in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((BASE,), "expected two runs"),
        ((BASE, CANDIDATE, BASE), "expected two runs"),
        ((BASE, BASE), "given twice"),
        ((BASE, "20250101"), "unknown run"),
        (("2026", BASE), "could be any of"),
        ((BASE, CANDIDATE, "--rename", "gpt"), "expected OLD=NEW"),
        ((BASE, CANDIDATE, "--rename", "nothing=gpt"), "unknown workload"),
    ],
)
def test_what_makes_no_sense_is_the_users_error(results: Path, arguments: tuple[str, ...], says: str) -> None:
    done = run(results, *arguments)
    assert isinstance(done.exception, UserError)
    assert says in done.exception.message
