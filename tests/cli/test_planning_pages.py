"""`--html` of plan and size: a page, also where nothing can, and JSON that stays clean beside it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hwbench.cli.plan import command as plan
from hwbench.cli.size import command as size
from hwbench.core.errors import NoPlanError

TRAINING = ("--model", "gpt2", "--tokens", "1B", "--cluster", "dgx-h100,dgx-a100-80gb")
SERVING = ("--model", "llama3-8b", "--serve", "--prompt-tokens", "500", "--output-tokens", "100", "--users", "8", "--ttft", "2s",
           "--tpot", "50ms", "--cluster", "dgx-h100")  # fmt: skip


def test_a_sizing_and_a_serving_cluster_have_pages(tmp_path: Path) -> None:
    for words, said in ((TRAINING, "How sure the time is"), (SERVING, "Memory of an accelerator")):
        page = tmp_path / "page.html"
        ran = CliRunner().invoke(size, [*words, "--html", str(page)])
        assert ran.exit_code == 0, ran.output
        assert f"page: {page}" in ran.output
        assert said in page.read_text()


def test_a_plan_has_a_page_and_json_stays_json(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    words = ("--model", "gpt2", "--cluster", "dgx-h100", "--gpus", "8", "--global-batch", "64", "--json", "--html", str(page))
    ran = CliRunner().invoke(plan, words)
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["model"] == "gpt2"
    assert "Predicted memory against capacity" in page.read_text()


def test_where_nothing_can_the_page_says_why(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    ran = CliRunner().invoke(size, [*TRAINING, "--deadline", "1s", "--max-nodes", "1", "--html", str(page)])
    assert isinstance(ran.exception, NoPlanError), ran.output
    assert "can do it" in page.read_text()


@pytest.mark.parametrize("command", [plan, size])
def test_the_option_is_called_alike(command: object) -> None:
    assert "--html FILE" in CliRunner().invoke(command, ["--help"]).output  # type: ignore[arg-type]
