"""How long hwbench takes to say something, beside a bare interpreter that imports click and rich.console.

    python tests/benchmarks/bench_start.py [--rounds 15]

The commands take turns in one session, so that a busy machine disturbs all alike; medians of wall time, and of the ratio within a round.
"""

import argparse
import statistics
import subprocess
import sys
import time

BASE = [sys.executable, "-c", "import click, rich.console"]
COMMANDS = {
    "hwbench --help": ["--help"],
    "hwbench list workloads": ["list", "workloads"],
    "hwbench probe --json": ["probe", "--json"],
}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    walls: dict[str, list[float]] = {name: [] for name in ("base", *COMMANDS)}
    for turn in range(rounds + 1):
        for name in walls:
            command = BASE if name == "base" else [sys.executable, "-m", "hwbench", *COMMANDS[name]]
            taken = seconds(command)
            if turn:  # the first round fills the page cache
                walls[name].append(taken)
    for name, taken_s in walls.items():
        ratios = [mine / base for mine, base in zip(taken_s, walls["base"], strict=True)]
        print(f"{name:24} {1e3 * statistics.median(taken_s):7.1f} ms   {statistics.median(ratios):5.2f} × click and rich.console")


if __name__ == "__main__":
    main()
