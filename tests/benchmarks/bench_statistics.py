"""False alarms, power and intervals of `compare --session`, and change points of `history`, on recordings with known truth.

    python tests/benchmarks/bench_statistics.py [--session FILE...] [--histories DIR] [--replays 2000] [--rounds 20]

Sessions hold identical code. A replay takes consecutive rounds at random, swaps A and B independently for each respawned
process (the unit of replication), multiplies B's times by a factor, and judges one kernel. False alarms are replays at
factor 1 called slower or faster; power is the share called by its right name. Without arguments: what lies in tests/data.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

DATA = Path(__file__).parent.parent / "data"
sys.path.insert(0, str(DATA.parent.parent))

from hwbench.analyse.sessions import read_session  # noqa: E402  # the repository is not on the path of a script
from tests.histories import scored  # noqa: E402
from tests.replays import Replay, replays  # noqa: E402

FACTORS = (1.0, 1.03, 1.05, 1.10, 1 / 1.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--session", type=Path, nargs="*", default=sorted((DATA / "sessions").glob("*.csv.gz")))
    parser.add_argument("--histories", type=Path, default=DATA / "histories")
    parser.add_argument("--replays", type=int, default=2000, help="at factor 1, over all kernels; a fifth as many at each other factor")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    for path in asked.session:
        report_session(path, asked.rounds, asked.replays, asked.seed)
    report_histories(asked.histories)


def report_session(path: Path, rounds: int, count: int, seed: int) -> None:
    session = read_session(path)
    kernels = len(session.kernel_names)
    started = time.perf_counter()
    found = replays(session, rounds=rounds, windows=-(-count // kernels), factors=(1.0,), seed=seed)
    found += replays(session, rounds=rounds, windows=-(-count // kernels // 5), factors=FACTORS[1:], seed=seed + 1)
    print(f"{path.name}: windows of {rounds} rounds, {len(found)} replays in {time.perf_counter() - started:.0f} s")
    for kernel in (*session.kernel_names, None):
        mine = [one for one in found if kernel in (one.kernel, None)]
        shares = "  ".join(f"x{factor:.3f} {share(mine, factor)}" for factor in FACTORS)
        covered = 100 * statistics.mean(one.covered for one in mine)
        width = 100 * statistics.median(one.width for one in mine)
        print(f"  {kernel or 'all':10} {shares}  covered {covered:.1f} %  median width {width:.1f} %")


def share(found: list[Replay], factor: float) -> str:
    mine = [one for one in found if one.factor == factor]
    right = 100 * statistics.mean(one.right for one in mine)
    return f"false alarms {100 - right:.2f} % of {len(mine)}" if factor == 1 else f"found {right:.0f} %"


def report_histories(folder: Path) -> None:
    started = time.perf_counter()
    score = scored(folder, json.loads((folder / "truth.json").read_text("utf-8"))["cases"])
    print(f"{folder.name}: {score} in {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
