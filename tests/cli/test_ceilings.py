"""Measured ceilings in the terminal, and `hwbench probe --ceilings` as a user calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from hwbench.cli._ceilings_view import ceilings_view
from hwbench.cli.probe import command as probe
from hwbench.core.ceilings import Ceilings, Disk, Exchange, Latency, Product, Stream, Transfer
from hwbench.core.inventory import Gap

SIZES = (16 << 10, 1 << 20, 1 << 29)
MADE = Ceilings(
    run="r1",
    streams=(
        *(
            Stream(
                kernel=kernel, dtype="fp64", working_set_bytes=3 << 28, level="memory", threads=threads, cpus="0-63", node=node,
                pages=pages, bytes_per_s=1e11, best_bytes_per_s=1.234e11 * threads, noisy=threads == 64,
            )
            for kernel in ("triad", "copy", "read", "write") for threads in (1, 64) for node in (0, None) for pages in ("system", "huge")
        ),
        *(
            Stream(
                kernel=kernel, dtype="fp64", working_set_bytes=size, level="L1", threads=1, cpus="", node=None, pages="system",
                bytes_per_s=1e11, best_bytes_per_s=2.5e11,
            )
            for kernel in ("read", "triad") for size in SIZES
        ),
    ),
    latencies=tuple(
        Latency(working_set_bytes=size, level="L2", pages=pages, latency_s=2e-7, best_latency_s=1.5e-7)
        for size in SIZES for pages in ("system", "huge")
    ),
    products=tuple(
        Product(
            dtype=dtype, device="cpu", layout=layout, ranks=1, m=size, n=size, k=size, flops_per_s=1e12, best_flops_per_s=1.39e12,
            efficiency_fraction=0.987, noisy=True,
        )
        for dtype in ("bf16", "fp16", "fp32", "fp64") for size in (128, 4096) for layout in ("single", "dp=2")
    ),
    exchanges=tuple(
        Exchange(
            collective=name, device="cpu", layout="dp=2", ranks=2, message_bytes=size, time_s=1e-3, best_time_s=1e-3,
            algbw_bytes_per_s=1.04e9, busbw_bytes_per_s=1.04e9,
        )
        for name in ("all_reduce", "reduce_scatter") for size in (1 << 10, 1 << 15, 1 << 20, 1 << 25)
    ),
    transfers=(
        Transfer(direction="host_to_device", device="cuda", pinned=False, message_bytes=1 << 28, bytes_per_s=5e10, best_bytes_per_s=5.5e10),
    ),
    disks=(Disk(direction="read", file_bytes=1, folder="/data/[bold]scratch", bytes_per_s=1e9, best_bytes_per_s=2e9),),
    gaps=(Gap(path="ceilings.latency", reason="numba is not installed, and torch can't express this kernel (18 cases)"),),
    warnings=("bandwidth triad: arrays of 170 MiB are less than 4 times the last-level cache",),
)  # fmt: skip


def shown(found: Ceilings, width: int) -> str:
    console = Console(width=width, highlight=False, color_system=None)
    with console.capture() as capture:
        console.print(ceilings_view(found))
    return capture.get()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(len(line) for line in shown(MADE, width).splitlines()) <= width


def test_every_figure_has_its_place() -> None:
    lines = [" ".join(line.split()) for line in shown(MADE, 100).splitlines()]
    assert "node 0, 1 thread 123 123 123 123" in lines
    assert "CPUs 0-63, 64 threads, huge pages 7,900 ! 7,900 ! 7,900 ! 7,900 !" in lines
    assert "16.0 KiB L1 250 250 150 ns 150 ns" in lines
    assert "4096³ 1.39 T 99% ! 1.39 T 99% ! 1.39 T 99% ! 1.39 T 99% !" in lines
    assert "all_reduce 1.0/1.0 1.0/1.0 1.0/1.0 1.0/1.0" in lines
    assert "host to device, not pinned 256 MiB 55.0 GB/s" in lines
    assert "read in /data/[bold]scratch 2.00 GB/s" in lines
    assert "- latency: numba is not installed, and torch can't express this kernel (18 cases)" in lines
    assert lines.index("Matrix products on cpu, single: FLOP/s, of the best") > lines.index(
        "Matrix products on cpu, dp=2: FLOP/s, of the best"
    )


def test_nothing_measured_shows_nothing() -> None:
    assert shown(Ceilings(run="r1"), 60).strip() == ""


def test_another_machine_can_not_be_measured(tmp_path: Path) -> None:
    done = CliRunner().invoke(probe, ["--ceilings", "--sysroot", str(tmp_path)])
    assert "--ceilings measures this machine" in str(done.exception)


SUITE = """
description = "one of each, small"
layouts = ["single"]
dtypes = ["fp64"]
[[entries]]
workload = "bandwidth"
set = { kernel = ["triad", "read"], cpus = "<machine>", working_set_bytes = 3000000, last_level_cache_bytes = "<caches>" }
[[entries]]
workload = "latency"
set = { working_set_bytes = 65536 }
[[entries]]
workload = "matmul"
set = { m = [32, 64], n = 64, k = 64 }
[[entries]]
workload = "transfer"
[[entries]]
workload = "disk"
set = { file_bytes = 1000000 }
"""


@pytest.mark.heavy
def test_a_small_suite_on_real_workers(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SUITE)
    root = str(Path(__file__).parents[2])
    words = ("probe", "--ceilings", "--suite", "small.toml", "--time-budget", "30s", "--json", "--redact", "--output", "found.json")
    done = subprocess.run(
        [sys.executable, "-m", "hwbench", *words],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": root}, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert json.loads((tmp_path / "found.json").read_text()) == found
    assert found["inventory"]["limits"]["effective_cpus"]
    measured = found["ceilings"]
    assert all(one["best_bytes_per_s"] > 1e7 for one in (*measured["streams"], *measured["disks"]))
    assert all(1e-10 < one["best_latency_s"] < 1e-4 for one in measured["latencies"])
    reasons = {gap["path"]: gap["reason"] for gap in measured["gaps"]}
    reasons = {path: reason for path, reason in reasons.items() if "the time budget" not in reason}  # on a busy machine
    if len(measured["gaps"]) == 1:
        assert reasons == {"ceilings.transfer": "transfer: there is no accelerator to copy to or from"}
        assert {one["kernel"] for one in measured["streams"]} == {"triad", "read"}
        assert [one["m"] for one in measured["products"]] == [32, 64]
        assert (len(measured["latencies"]), len(measured["disks"])) == (1, 1)
    assert "cases measured, in" in done.stderr
