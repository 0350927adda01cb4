"""Wall time and peak memory of a passive `hwbench probe`: of this machine, and of a tree of 256 threads.

    python tests/benchmarks/bench_probe.py [--rounds 7]

Goals: 1 s on an idle two-core machine, 3 s on the 256-thread tree, below 100 MiB. Processes are started afresh; medians are printed.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

ASK = """
import sys
import hwbench.cli.main
status = hwbench.cli.main._run(False)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(status)
"""
TREES = Path(__file__).parents[1] / "probe/conftest.py"


def trees() -> ModuleType:
    spec = importlib.util.spec_from_file_location("trees", TREES)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{TREES}: missing")
    module = importlib.util.module_from_spec(spec)
    sys.modules["trees"] = module
    spec.loader.exec_module(module)
    return module


def large_machine(made: ModuleType, root: Path) -> int:
    """Two sockets of 64 cores with two threads and an L3 for every eight cores; gives the number of files back."""
    cores = tuple(made.Core((core, core + 128), core // 64, core // 64, core % 64) for core in range(128))
    own = tuple(core.threads for core in cores)
    shared = tuple(tuple(cpu for core in cores[at : at + 8] for cpu in core.threads) for at in range(0, 128, 8))
    files = made.topology(cores) | made.lists(range(256)) | made.frequencies(dict.fromkeys(range(256), 3500000))
    kept = (
        (0, 1, "Data", "32K", own),
        (1, 1, "Instruction", "32K", own),
        (2, 2, "Unified", "1024K", own),
        (3, 3, "Unified", "32768K", shared),
    )
    files |= made.caches(tuple(made.Kept(*cache) for cache in kept))
    files |= made.nodes({node: made.cpus_of(cores[node * 64 : node * 64 + 64]) for node in (0, 1)}, {0: 1 << 29, 1: 1 << 29})
    files |= {"proc/cpuinfo": made.x86_cpuinfo(range(256), "AMD EPYC 9554", "AuthenticAMD"), "proc/meminfo": made.meminfo(1 << 30)}
    made.write(made.Machine(files, {}), root)
    return len(files)


def measured(arguments: list[str]) -> tuple[float, float]:
    """Seconds of wall time and MiB of peak resident memory of one process, which tells its own VmHWM: wait4's figure holds ours too."""
    start = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-c", ASK, "probe", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True
    )
    return time.perf_counter() - start, int(run.stderr.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        count = large_machine(trees(), Path(folder))
        cases = {
            "this machine, tables": [],
            "this machine, JSON": ["--json"],
            f"256 threads ({count} files), JSON": ["--sysroot", folder, "--json"],
        }
        for name, arguments in cases.items():
            runs = [measured(arguments) for _ in range(rounds + 1)][1:]  # the first one fills the page cache
            wall, memory = (statistics.median(values) for values in zip(*runs, strict=True))
            print(f"{name:40} {wall:6.2f} s  {memory:6.1f} MiB  (slowest {max(run[0] for run in runs):.2f} s)")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")


if __name__ == "__main__":
    main()
