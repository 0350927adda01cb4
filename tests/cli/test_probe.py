"""`hwbench probe` and `hwbench doctor` as a user calls them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from hwbench.cli.doctor import command as doctor
from hwbench.cli.probe import command as probe
from hwbench.core.codec import read_json
from hwbench.core.inventory import Inventory


def small_tree(root: Path) -> Path:
    """One CPU in a container with half a CPU of time and 1 GiB of 4; memory and /proc/loadavg are there, little else is."""
    files = {
        "sys/devices/system/cpu/online": "0-3",
        "proc/cpuinfo": "".join(
            f"processor\t: {cpu}\nvendor_id\t: X\nmodel name\t: [bold]Odd[/bold] CPU\nflags\t: lm avx2\n\n" for cpu in range(4)
        ),
        "proc/meminfo": "MemTotal: 4194304 kB\nSwapTotal: 1024 kB\nSwapFree: 0 kB\n",
        "proc/loadavg": "3.00 1.00 1.00 1/10 5",
        "proc/self/status": "Cpus_allowed_list:\t0-3",
        "proc/self/cgroup": "0::/",
        "proc/self/mountinfo": "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
        "sys/fs/cgroup/cgroup.controllers": "cpu memory",
        "sys/fs/cgroup/cgroup.events": "populated 1",
        "sys/fs/cgroup/cpu.max": "50000 100000",
        "sys/fs/cgroup/memory.max": str(1 << 30),
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


def test_host_and_effective_figures_side_by_side(tmp_path: Path) -> None:
    shown = CliRunner(env={"COLUMNS": "100"}).invoke(probe, ["--sysroot", str(small_tree(tmp_path))])
    assert shown.exit_code == 0
    rows = {words[0]: words[1:] for line in shown.output.splitlines() if (words := line.split())[:1] and words[-1].startswith("/sys/fs")}
    assert rows["CPUs"][:3] == ["4", "0.5", "/sys/fs/cgroup/cpu.max"]
    assert rows["memory"][:5] == ["4.00", "GiB", "1.00", "GiB", "/sys/fs/cgroup/memory.max"]
    assert "[bold]Odd[/bold] CPU" in shown.output  # what a file says is text, never markup
    assert "Not seen" in shown.output


@pytest.mark.parametrize("width", [40, 60, 200])
def test_no_line_is_wider_than_the_terminal(tmp_path: Path, width: int) -> None:
    shown = CliRunner(env={"COLUMNS": str(width)}).invoke(probe, ["--sysroot", str(small_tree(tmp_path))])
    assert max(len(line) for line in shown.output.splitlines()) <= width


def test_json_and_output_are_the_same_inventory(tmp_path: Path) -> None:
    tree, file = small_tree(tmp_path / "tree"), tmp_path / "inventory.json"
    shown = CliRunner().invoke(probe, ["--sysroot", str(tree), "--json", "--output", str(file)])
    assert json.loads(shown.output)["limits"]["effective_cpus"] == 0.5
    assert read_json(file, Inventory).limits.cpu_quota == 0.5


def test_doctor_says_what_why_and_how(tmp_path: Path) -> None:
    found = json.loads(CliRunner().invoke(doctor, ["--json", "--sysroot", str(small_tree(tmp_path))]).output)
    by_name = {finding["check"]: finding for finding in found}
    assert by_name["load"]["state"] == "warning"
    assert by_name["CPU quota"]["command"] == "export OMP_NUM_THREADS=1"
    assert by_name["swap"]["command"] == "sudo swapoff --all"
    assert by_name["turbo"]["state"] == "unknown"
    assert all(finding["matters"] for finding in found)
    assert not by_name["turbo"]["command"]


def test_doctor_for_people(tmp_path: Path) -> None:
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(doctor, ["--all", "--sysroot", str(small_tree(tmp_path))])
    assert "Nothing was changed" in shown.output
    assert "unknown" in shown.output


def test_probe_of_this_machine_starts_without_the_heavy_packages() -> None:
    code = (
        "import sys, hwbench.cli.main as m; m._run(False); print([n for n in ('torch', 'numpy', 'pandas', 'plotly') if n in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.argv[1:] = ['probe', '--json']; {code}"], capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[-1] == "[]"


def test_a_folder_that_is_not_there() -> None:
    run = subprocess.run([sys.executable, "-m", "hwbench", "probe", "--sysroot", "/nowhere"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "not a directory" in run.stderr
    assert "Traceback" not in run.stderr
