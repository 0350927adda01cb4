"""The README's commands work as written, line by line, in the order a newcomer would type them; its links lead somewhere."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [line.split("  #")[0].strip() for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
FASTER = {"--time-budget 1m": "--time-budget 25s", "--time-budget 40s": "--time-budget 25s"}
"""What a test shortens: the same command with a smaller budget."""


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {line.split()[1] for line in COMMANDS if line.startswith("make ")}
    assert used
    assert used <= targets


def test_ci_runs_the_readmes_test_command_and_nothing_else() -> None:
    lines = [x for x in (ROOT / ".ci" / "run").read_text().splitlines() if x and not x.startswith(("#", "set ", "cd "))]
    assert lines == ["make test"]


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{f.name}" for f in sorted((ROOT / "docs").glob("*.md")))])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = [t.split("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", text) if not t.startswith(("http", "#", "mailto:"))]
    assert [t for t in targets if not (ROOT / page).parent.joinpath(t).exists()] == []


def test_every_command_of_the_program_is_named() -> None:
    documented = README + "".join(f.read_text() for f in (ROOT / "docs").glob("*.md"))
    commands = {
        f.stem.strip("_").replace("_", "-") for f in (ROOT / "hwbench" / "cli").glob("*.py") if f.stem != "main" and f.stem[0] != "_"
    }
    assert {c for c in commands if f"hwbench {c}" not in documented} == set()


@pytest.mark.heavy
def test_commands_run_as_written(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "hwbench"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m hwbench "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    for line in COMMANDS:
        if line.startswith("make "):
            continue
        for slow, fast in FASTER.items():
            line = line.replace(slow, fast)
        ran = subprocess.run(shlex.split(line), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, f"{line}\n{ran.stderr}"
        assert ran.stdout, line
    assert (tmp_path / "hwbench-results" / "report.html").stat().st_size > 100_000
