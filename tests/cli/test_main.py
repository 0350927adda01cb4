"""The command line as a whole: commands are found, help is quick and light, every error is a line and a documented status."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(
    f.stem.rstrip("_").replace("_", "-") for f in (ROOT / "hwbench" / "cli").glob("*.py") if f.stem != "main" and f.stem[0] != "_"
)
HEAVY = ("torch", "numpy", "pandas", "plotly", "scipy")


def hwbench(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "hwbench", *arguments], cwd=cwd, capture_output=True, text=True, timeout=60)


def test_help_names_every_command_with_one_line() -> None:
    out = hwbench("--help").stdout
    for command in COMMANDS:
        (line,) = [x for x in out.splitlines() if x.startswith(f"  {command} ")]
        assert len(line.split()) > 2


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_examples(command: str) -> None:
    ran = hwbench(command, "--help")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(f"Usage: hwbench {command}")
    assert "\n  hwbench " in ran.stdout, "an example on a line of its own"


@pytest.mark.parametrize("arguments", [["--help"], ["list", "workloads"], ["probe", "--json"], ["run", "--help"], ["size", "--help"]])
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; sys.argv = ['hwbench', *sys.argv[1:]]\n"
        "from hwbench.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"print('HEAVY', [m for m in {HEAVY} if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.rstrip().endswith("HEAVY []")


def test_unknown_command_names_the_nearest() -> None:
    ran = hwbench("prob")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "hwbench: unknown command 'prob'\n  try: did you mean probe?\n"


def test_unknown_option_is_the_users_error() -> None:
    ran = hwbench("probe", "--jsn")
    assert ran.returncode == 2
    assert "--json" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_reader_that_goes_away_is_no_fault() -> None:
    ran = subprocess.run(f"{sys.executable} -m hwbench probe --json | head -c 10", shell=True, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("line", ["list clusters >&-", "list clusters >&- 2>&-", "probe >/dev/null"])
def test_closed_or_narrow_output_costs_characters_and_not_the_command(line: str) -> None:
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run(
        f"{sys.executable} -m hwbench {line}", shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_full_disk_is_no_fault_of_the_program() -> None:
    ran = subprocess.run(f"{sys.executable} -m hwbench probe --json >/dev/full", shell=True, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 3
    assert "No space left on device" in ran.stderr
    assert "Traceback" not in ran.stderr
