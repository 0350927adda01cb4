import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hwbench.cli.compare import JSON_FIELDS
from hwbench.cli.main import cli
from hwbench.core.errors import UserError

SESSION = Path(__file__).parent.parent / "data" / "sessions" / "same_code_raised_priority_40_rounds.csv.gz"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["compare", *map(str, arguments)], catch_exceptions=True)


def test_json_has_one_object_a_file_in_the_order_given_with_the_documented_fields(tmp_path: Path) -> None:
    other = tmp_path / "[red].csv.gz"
    shutil.copy(SESSION, other)
    result = run("--session", other, SESSION, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert [one["file"] for one in found] == [str(other), str(SESSION)]
    assert found[0]["comparisons"] == found[1]["comparisons"]
    assert [c["kernel"] for c in found[0]["comparisons"]] == ["embed", "gemm512", "lstm", "sdpa"]
    assert all(tuple(c) == JSON_FIELDS and c["verdict"] in ("same", "can't tell") for c in found[0]["comparisons"])


def test_the_table_names_every_kernel_and_the_file_as_it_is(tmp_path: Path) -> None:
    other = tmp_path / "[red].csv.gz"
    shutil.copy(SESSION, other)
    result = run("--session", other)
    assert result.exit_code == 0
    for word in ("[red]", "embed", "gemm512", "lstm", "sdpa", "same", "98.5 %"):
        assert word in result.stdout


def test_a_note_goes_to_stderr_beside_json_and_under_the_table(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("round,process,kernel,side,block,call,wall_ns,cpu_ns\n0,0,k,A,0,0,5,5\n", "utf-8")
    as_json, as_table = run("--session", "--json", path), run("--session", path)
    assert json.loads(as_json.stdout)[0]["comparisons"][0]["verdict"] == "can't tell"
    assert "k: side B has no samples" in as_json.stderr
    assert "k: side B has no samples" in as_table.stdout


@pytest.mark.parametrize("data", [b"", b"a,b\n1,2\n", b"\x1f\x8bbroken"])
def test_an_unusable_file_is_the_users_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "s.csv.gz"
    path.write_bytes(data)
    result = run("--session", SESSION, path)
    assert isinstance(result.exception, UserError)
    assert "s.csv.gz" in result.exception.message
    assert result.stdout == ""
