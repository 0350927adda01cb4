"""The one command for newcomers: a page comes of it whatever happens to single cases, and wrong words are refused before anything runs."""

import subprocess
import sys
from pathlib import Path

import pytest

FAILING = '''"""A workload that fails when it is built."""
from hwbench.core.value import Value
from hwbench.core.workload import Block, Cost, Workload

class Config(Value):
    size: int = 1

def cost(config, dtype):
    return Cost(blocks=(Block(name="none", parameters=0, operators=()),), dtype=dtype, items=1)

def build(config, context):
    raise RuntimeError("the shelf fell down")

WORKLOAD = Workload(kind="kernel", config=Config, cost=cost, build=build)
'''


def bench(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "hwbench", "bench", *arguments], cwd=cwd, capture_output=True, text=True, timeout=180)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "gpt5"], "unknown model 'gpt5'"),
        (["--cluster", "dgx-h1000"], "unknown cluster 'dgx-h1000'"),
        (["--suite", "nope"], "unknown suite 'nope'"),
        (["--results", "/dev/null/x"], "can't write"),
    ],
)
def test_wrong_words_are_refused_before_anything_runs(arguments: list[str], message: str, tmp_path: Path) -> None:
    ran = bench(*arguments, cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert message in ran.stderr
    assert not (tmp_path / "hwbench-results").exists() or not list((tmp_path / "hwbench-results").iterdir())


@pytest.mark.heavy
def test_a_page_comes_of_it_although_every_case_failed(tmp_path: Path) -> None:
    (tmp_path / "falls.py").write_text(FAILING)
    (tmp_path / "tiny.toml").write_text('schema = 1\ndescription = "one case"\nentries = [{ workload = "./falls.py" }]\n')
    ran = bench("--suite", "tiny.toml", "--time-budget", "2m", cwd=tmp_path)
    assert ran.returncode == 4, ran.stderr
    assert "Traceback" not in ran.stderr
    page = (tmp_path / "hwbench-results" / "report.html").read_text()
    assert "the shelf fell down" in page
    assert "no matrix product was measured" in page
    assert "Report: " in ran.stdout
