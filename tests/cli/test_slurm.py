"""The batch script: bash reads it, shellcheck has nothing to say where it is installed, and words survive whatever they hold."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hwbench.cli.slurm import command, script
from hwbench.core.errors import UserError


def printed(*words: str) -> str:
    done = CliRunner().invoke(command, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def run_line(text: str) -> list[str]:
    return shlex.split(text.split("--kill-on-bad-exit=0 \\\n")[1])


def test_the_script_asks_for_nodes_and_runs_one_launcher_on_each() -> None:
    text = printed("--nodes", "4", "--gpus-per-node", "8", "--time", "90m", "--partition", "gpu", "--", "gpt", "--layout", "fsdp=32")
    directives = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert "#SBATCH --nodes=4" in directives
    assert "#SBATCH --ntasks-per-node=1" in directives
    assert "#SBATCH --gpus-per-node=8" in directives
    assert "#SBATCH --time=01:30:00" in directives
    assert "#SBATCH --partition=gpu" in directives
    assert not any("account" in line for line in directives)
    assert run_line(text) == ["hwbench", "run", "gpt", "--layout", "fsdp=32"]
    assert text.startswith("#!/bin/bash\n#SBATCH")


@pytest.mark.parametrize("setup", [(), ("module load cuda", "source venv/bin/activate")])
def test_bash_and_shellcheck_read_it(tmp_path: Path, setup: tuple[str, ...]) -> None:
    lines = [word for line in setup for word in ("--setup", line)]
    path = tmp_path / "job.sh"
    path.write_text(printed("--nodes", "2", *lines, "--", "--suite", "fleet-check"))
    assert subprocess.run(["bash", "-n", path], check=False, capture_output=True).returncode == 0
    if shutil.which("shellcheck"):
        checked = subprocess.run(["shellcheck", "--exclude=SC1091", path], check=False, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout


@given(st.lists(st.text(st.characters(exclude_characters="\x00", codec="utf-8"), min_size=1), max_size=4))
def test_words_reach_hwbench_as_they_are(words: list[str]) -> None:
    assert run_line(script({}, (), words)) == ["hwbench", "run", *words]


def test_what_srun_tells_is_not_given_twice() -> None:
    with pytest.raises(UserError, match="--node-rank is what srun tells each node"):
        printed("--nodes", "2", "--", "gpt", "--node-rank=1")


def test_a_directive_cant_smuggle_a_line() -> None:
    with pytest.raises(UserError, match="expected letters, digits"):
        printed("--nodes", "2", "--partition", "gpu\n#SBATCH --wrap=evil")


def test_a_fake_slurm_starts_the_run(tmp_path: Path) -> None:
    """srun replaced by a script that shows what it was given: the batch script itself runs to its end under bash."""
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    job = tmp_path / "job.sh"
    job.write_text(printed("--nodes", "2", "--setup", "export MARK=1", "--", "gpt", "--set", "label=a b"))
    variables = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_CPUS_ON_NODE": "16"}
    done = subprocess.run(["bash", job], env=variables, capture_output=True, text=True, check=True)
    options = ["--ntasks-per-node=1", "--cpus-per-task=16", "--cpu-bind=none", "--kill-on-bad-exit=0"]
    assert done.stdout.splitlines() == [*options, "hwbench", "run", "gpt", "--set", "label=a b"]
    assert subprocess.run(["bash", job], env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=False).returncode != 0
