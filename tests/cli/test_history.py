import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hwbench.cli._sparkline import sparkline
from hwbench.cli.main import cli
from hwbench.core.errors import UserError

HISTORIES = Path(__file__).parent.parent / "data" / "histories"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["history", *map(str, arguments)], catch_exceptions=True)


def test_json_lists_confirmed_changes_in_the_order_of_the_files() -> None:
    files = [HISTORIES / "case_080_none.csv", HISTORIES / "case_021_step.csv"]
    result = run(*files, "--json")
    assert result.exit_code == 0
    quiet, step = json.loads(result.stdout)
    assert quiet == {"file": str(files[0]), "change_points": []}
    (change,) = step["change_points"]
    assert abs(change["index"] - 24) <= 3
    assert change["ratio"] == pytest.approx(0.8, abs=0.06)


def test_an_index_is_the_row_in_the_file_even_where_values_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    path.write_text("value\n" + "\n" * 0 + "nan\n" * 5 + "1\n1.01\n" * 10 + "2\n2.02\n" * 10, "utf-8")
    result = run(path, "--json")
    assert [c["index"] for c in json.loads(result.stdout)[0]["change_points"]] == [25]
    assert "5 rows without a positive value" in result.stderr


def test_the_table_shows_series_changes_and_recoveries() -> None:
    result = run(HISTORIES / "case_033_updown.csv", HISTORIES / "case_080_none.csv")
    assert result.exit_code == 0
    assert "150 points" in result.stdout
    assert "recovered" in result.stdout
    assert "no confirmed change" in result.stdout
    assert "█" in result.stdout


@pytest.mark.parametrize("name", ["runs", "missing.csv", "empty.csv"])
def test_what_is_no_history_is_the_users_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.csv").write_text("", "utf-8")
    result = run(tmp_path / name)
    assert isinstance(result.exception, UserError)


def test_a_sparkline_is_as_wide_as_asked_and_spans_its_range() -> None:
    line = sparkline(tuple(float(i) for i in range(500)), width=40)
    assert (len(line), line[0], line[-1]) == (40, "▁", "█")
    assert sparkline((3.0, 3.0)) == "▁▁"
