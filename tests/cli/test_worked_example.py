"""The worked example of docs/sizing.md: its commands run as written, and its sentences are true of their answers."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hwbench.core.codec import read_json
from hwbench.core.prediction import Plan, SizingAnswer

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sizing.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
QUOTES = re.findall(r"```csv\n(.*?)```", PAGE, re.DOTALL)[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("example")
    (path / "QUOTES.csv").write_text(QUOTES)
    return path


@pytest.fixture(scope="module")
def outputs(folder: Path) -> list[str]:
    said = []
    for line in COMMANDS:
        program, *arguments = shlex.split(line)
        assert program == "hwbench"
        environment = {"PATH": "", "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
        ran = subprocess.run(
            [sys.executable, "-m", "hwbench", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
        )
        assert ran.returncode == 0, f"{line}\n{ran.stderr}"
        said.append(" ".join(ran.stdout.split()))
    return said


def test_the_recommendation_is_what_the_page_says(outputs: list[str], folder: Path) -> None:
    answer = read_json(folder / "sizing.json", SizingAnswer)
    assert {one.cluster for one in answer.sizings} == {"dgx-h100", "dgx-b200", "mi300x-platform"}
    assert answer.ranked_by == "cost"
    best = answer.sizings[0]
    assert best.train_time_s <= 60 * 86_400
    assert best.deadline_probability is not None
    assert 0.5 <= best.deadline_probability < 0.8  # "a little above one half"
    costs = [one.cost_usd or 0 for one in answer.sizings]
    assert costs[-1] < 1.20 * costs[0]  # "within a fifth of each other"
    assert answer.beats is not None
    assert 0.65 <= answer.beats.probability < 0.85  # "about three quarters"
    gains = {one.part: one.change_fraction for one in answer.sensitivities}
    assert gains["FLOP/s"] < -0.05
    assert gains["network"] > -0.02
    assert "How sure the first place is" in outputs[0]


def test_being_sure_takes_more_nodes(outputs: list[str]) -> None:
    sure = re.search(r"in time with a probability of (\d+) %", outputs[1])
    assert sure is not None
    assert int(sure[1]) >= 90


def test_the_offers_are_ranked_with_their_suppliers(outputs: list[str]) -> None:
    assert all(f"{supplier}:" in outputs[2] for supplier in ("Alpha", "Beta", "Gamma"))
    assert "to pay $" in outputs[2]


def test_the_plan_is_for_what_was_bought(outputs: list[str], folder: Path) -> None:
    plan = read_json(folder / "PLAN.json", Plan)
    assert (plan.cluster, plan.accelerators, plan.nodes) == ("dgx-b200", 256, 32)
    assert "Why the others can't" in outputs[3]


def test_serving_says_what_binds(outputs: list[str]) -> None:
    assert "limit" in outputs[4]
    assert "keys and values" in outputs[4]
