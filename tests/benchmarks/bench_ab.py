"""`hwbench ab` live on this machine: false alarms on identical code, and how often a true slowdown is found.

    python tests/benchmarks/bench_ab.py [--sessions 13] [--each 5] [--units 20] [--budget 60s] [--priority normal]

A/A: sessions of four kernels, both versions `same`; each kernel's verdict is one comparison. Slowdowns: a call of `units` units against one
of `units + 1` (tests/benchmarks/units.py), so 20 units make a true 5 %, in turns of four kinds of work and of both signs. Every
comparison is a command of its own, from start to verdict. Prints a line each, so that an interrupted benchmark has told something.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
AA_KERNELS = ("matmul", "attention", "embedding", "lstm")
AA_SETTINGS = ("m=512", "n=512", "k=512", "batch=8", "seq_len=64", "passes=forward", "tokens=2048", "vocabulary=8192")
KINDS = ("gemm", "sdpa", "embed", "lstm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=13, help="A/A sessions of four kernels each")
    parser.add_argument("--each", type=int, default=5, help="comparisons with a slowdown, of each kind of work")
    parser.add_argument("--units", type=int, default=20, help="20 for 5 %%")
    parser.add_argument("--budget", default="60s", help="a kernel")
    parser.add_argument("--priority", default="raised", choices=("raised", "normal"))
    asked = parser.parse_args()
    options = ("--budget", asked.budget, "--priority", asked.priority)
    if asked.sessions:
        identical(asked.sessions, options)
    if asked.each:
        slowed(asked.each, asked.units, options)


def identical(sessions: int, options: tuple[str, ...]) -> None:
    verdicts: Counter[str] = Counter()
    scores: list[float] = []
    settings = tuple(word for setting in AA_SETTINGS for word in ("--set", setting))
    for number in range(sessions):
        started = time.monotonic()
        found = compare(("--base", "same", "--candidate", "same", *AA_KERNELS, *settings, *options))
        verdicts.update(one["verdict"] for one in found["comparisons"])
        scores += [abs(one["ratio"] - 1) for one in found["comparisons"] if one["ratio"]]
        print(f"A/A {number + 1}: {time.monotonic() - started:.0f} s, load {os.getloadavg()[0]:.1f}: {told(found)}", flush=True)
    alarms = verdicts["slower"] + verdicts["faster"]
    off = f"median |ratio - 1| {100 * statistics.median(scores):.2f} %, largest {100 * max(scores):.2f} %" if scores else "no ratios"
    print(f"A/A: {alarms} false alarms in {verdicts.total()} comparisons, {dict(verdicts)}; {off}")


def slowed(each: int, units: int, options: tuple[str, ...]) -> None:
    mine, right, took = str(HERE / "units.py"), Counter[str](), []
    for number in range(each * len(KINDS)):
        kind, slower = KINDS[number % len(KINDS)], (number // len(KINDS)) % 2 == 0
        more, fewer = f"set:units={units + 1}", f"set:units={units}"
        base, candidate = (fewer, more) if slower else (more, fewer)
        found = compare(("--base", base, "--candidate", candidate, mine, "--set", f"kind={kind}", *options))
        good = found["comparisons"][0]["verdict"] == ("slower" if slower else "faster")
        right[kind] += good
        took.append(found["duration_s"])
        print(f"{kind} {'+' if slower else '-'}: {found['duration_s']:.0f} s, load {os.getloadavg()[0]:.1f}: {told(found)}", flush=True)
    total = each * len(KINDS)
    print(
        f"a true {100 / units:.1f} %: found in {right.total()} of {total} ({dict(right)}), "
        f"median {statistics.median(took):.0f} s, longest {max(took):.0f} s a comparison"
    )


def compare(words: tuple[str, ...]) -> dict[str, Any]:
    command = (sys.executable, "-m", "hwbench", "ab", *words, "--json")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def told(found: dict[str, Any]) -> str:
    return "; ".join(
        f"{one['kernel'].partition('(')[0]} {one['verdict']} {one['ratio'] or 0:.3f}, "
        f"detectable {100 * (one['minimum_detectable_effect'] or 0):.1f} %, {one['rounds']} rounds"
        for one in found["comparisons"]
    )


if __name__ == "__main__":
    main()
