"""The store at scale: builds the index of many synthetic runs once, then asks it with ten runs stale.

    python tests/benchmarks/bench_store.py --runs 10000 [--folder /tmp/store] [--keep]

Each run has 100 measurements of 100 samples (ten workloads, two configurations, five processes): about 5 kB a measurement, so ten
thousand runs need 5 GB of disk. Every command is a process of its own; its wall time, CPU time and largest memory (with its children's)
are printed, and beside them the goals of one million measurements.
"""

import argparse
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

sys.path.insert(0, str(Path(__file__).parents[2]))

from hwbench.core import codec  # the repository is not on the path of a script
from hwbench.core.record import Case, Record, RunHeader
from hwbench.store import create_run
from tests import made_runs

WORKLOADS: Final = tuple(f"w{number}" for number in range(10))
CONFIGS: Final = tuple({"size": size, "batch": 8} for size in (512, 1024))
PROCESSES: Final = 5
SAMPLES: Final = 100
POOL: Final = 40
"""Different measurements a level of a case; each is used many times, which no part of the store can notice."""
CHANGED: Final = WORKLOADS[0]
"""Its second half takes 8 % more time."""
START: Final = datetime(2024, 1, 1, tzinfo=UTC)
CASES: Final = tuple(
    Case(workload=name, config=config, process=process) for process in range(PROCESSES) for name in WORKLOADS for config in CONFIGS
)


def generate(results: Path, first: int, count: int, total: int) -> None:
    """Write `count` runs, the first of them the run number `first` of `total`."""
    pools = {(name, level): _pool(name, level) for name in WORKLOADS for level in (1.0, 1.08)}
    dice = random.Random(first)
    for number in range(first, first + count):
        started = START + timedelta(hours=number)
        header = RunHeader(
            id=f"{started:%Y%m%d-%H%M%S}-000", started_at=started.isoformat(), hwbench_version="0.1.0", command=("hwbench", "run"),
            suite="synthetic", cases=CASES, inventory=made_runs.inventory(), versions={"torch": "2.13.0"}, commit=f"{number:07x}",
        )  # fmt: skip
        folder = create_run(results, header)
        lines = [
            _line(case, started, dice.choice(pools[case.workload, 1.08 if case.workload == CHANGED and number > total // 2 else 1.0]))
            for case in CASES
        ]
        (folder / "records-bench-1.jsonl").write_bytes(b"\n".join(lines) + b"\n")


def _pool(name: str, level: float) -> list[bytes]:
    shape = made_runs.SHAPES["gpt"]
    dice = random.Random(f"{name} {level}")
    slower = (level * dice.lognormvariate(0, 0.01) for _ in range(POOL))
    return [codec.to_json(made_runs.measurement(shape, slower=one, count=SAMPLES, seed=seed)) for seed, one in enumerate(slower)]


def _line(case: Case, started: datetime, measurement: bytes) -> bytes:
    record = Record(case=case, outcome="done", started_at=started.isoformat(), duration_s=20.0, state=made_runs.record().state)
    return codec.to_json(msgspec.structs.replace(record)).replace(b'"measurement":null', b'"measurement":' + measurement)


def timed(what: str, command: Sequence[str], goal: str) -> None:
    """Run a command and print what it took."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{what:34} {wall_s:7.2f} s wall {cpu_s:7.2f} s CPU, largest process so far {after.ru_maxrss / 1024:5.0f} MiB   (goal: {goal})")
    if done.returncode:
        print(done.stderr)


def main() -> None:
    """Generate, build, ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--keep", action="store_true", help="leave the runs where they are")
    arguments = parser.parse_args()
    results = arguments.folder or Path(tempfile.mkdtemp(prefix="hwbench-store-"))
    stale = 10
    try:
        start = time.perf_counter()
        generate(results, 0, arguments.runs - stale, arguments.runs)
        took_s = time.perf_counter() - start
        print(f"{arguments.runs - stale:,} runs of {len(CASES)} measurements written in {took_s:.0f} s; load {os.getloadavg()[0]:.1f}")
        _ask(results, arguments.runs, stale)
    finally:
        if not arguments.keep:
            shutil.rmtree(results)


def _ask(results: Path, runs: int, stale: int) -> None:
    hwbench = (sys.executable, "-m", "hwbench")
    build = (
        "import sys; from pathlib import Path; from hwbench.store import index\nif __name__ == '__main__': index.refresh(Path(sys.argv[1]))"
    )
    timed("index built", (sys.executable, "-c", build, str(results)), "180 s")
    generate(results, runs - stale, stale, runs)
    ids = sorted(folder.name for folder in results.iterdir() if not folder.name.startswith("."))
    compare = (*hwbench, "compare", ids[0], ids[-1], "--results", str(results))
    history = (*hwbench, "history", WORKLOADS[0], "--results", str(results))
    timed(f"compare, {stale} runs stale", compare, "2 s")
    timed(f"history of a workload, {stale} stale", history, "3 s")
    timed("history again, nothing stale", history, "3 s")
    timed("history of all workloads", (*hwbench, "history", "--results", str(results)), "–")
    size = sum(file.stat().st_size for file in (results / ".index").iterdir())
    print(f"index: {size / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
