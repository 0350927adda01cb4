"""hwbench's streams beside STREAM and likwid-bench, interleaved in one run: medians of the ratio of rates, with 95 % intervals.

    python tests/benchmarks/bench_bandwidth.py --stream stream.c [--rounds 40] [--turns 3] [--threads 1,2] [--pages system,huge]

Every round measures each program in so many turns, each turn in random order and with fresh memory, keeps each program's best turn, since
others on the machine only take from a rate, and gives one ratio a kernel; the interval is that of the median over rounds (bootstrap).
Statistics are matched: against STREAM, which reports the best of nine passes that take turns with its other kernels, stands the best of
nine calls in turn; against likwid-bench, which reports all bytes over all time of ten passes, stand ten calls timed together. A call is one
pass, of several threads four.

STREAM is stream.c as its author publishes it, or the variant in HPC Challenge (Debian: `apt-get source hpcc`, STREAM/stream.c), for which
a few lines stand in for MPI. It is compiled twice: plainly (gcc then uses 256-bit vectors, and turns its copy into a call of memcpy), and
with the widest vectors and its copy left a loop, as ours are. likwid-bench comes from Debian's package likwid; of its kernels those with
the widest vectors and ordinary stores are what compilers make of these loops. What is not there is left out, with the reason.

Pages: `system` leaves their size to the system for all three; `huge` asks for huge pages (glibc.malloc.hugetlb=1 for the other two).
--realtime runs all three under SCHED_RR, so that other processes on a busy machine don't take the CPU away in mid-pass; needs root.
"""

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import numpy as np  # the repository is not on the path of a script
import torch
from hwbench.workloads import bandwidth

from hwbench.core.units import format_rate
from hwbench.core.workload import Context

PASSES = 10
BOOTSTRAPS = 4000
_WIDE = "avx512f" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
LIKWID = {
    "triad": "stream_avx512_fma" if _WIDE else "stream_avx_fma",
    **{kernel: f"{name}_{'avx512' if _WIDE else 'avx'}" for kernel, name in (("copy", "copy"), ("read", "load"), ("write", "store"))},
}
"""likwid-bench's kernel of each of ours: the widest vectors of this CPU, ordinary stores."""
ARRAYS = {"triad": 3, "copy": 2, "read": 1, "write": 1}
Rates = dict[tuple[str, str], float]
"""Bytes a second by (program, kernel)."""


class Place(NamedTuple):
    """One table: how many threads, on which pages."""

    threads: int
    pages: str
    size_bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stream", type=Path, metavar="FILE.c", help="STREAM's source")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--turns", type=int, default=3, help="of each program in a round; the best one counts")
    parser.add_argument("--threads", default="1,2", help="numbers of threads")
    parser.add_argument("--pages", default="system", help="system, huge or both, with a comma")
    parser.add_argument("--mib", type=int, default=384, help="size of all arrays of a kernel together; STREAM's has three of a third")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--realtime", action="store_true", help="run everything under SCHED_RR")
    asked = parser.parse_args()
    if asked.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))  # not FIFO: likwid-bench's threads spin for one another
    random.seed(asked.seed)
    with tempfile.TemporaryDirectory(prefix="hwbench-stream-") as folder:
        elements = (asked.mib << 20) // 24
        programs = dict(_streams(asked.stream, elements, Path(folder)))
        if shutil.which("likwid-bench"):
            programs |= {f"likwid {LIKWID[kernel]}": _likwid(kernel) for kernel in LIKWID}
        else:
            print("likwid-bench left out: not installed (Debian's package likwid)")
        for threads in map(int, asked.threads.split(",")):
            for pages in asked.pages.split(","):
                _table(Place(threads, pages, 24 * elements), programs, asked.rounds, asked.turns)


def _table(place: Place, programs: dict[str, Callable[[Place], Rates]], rounds: int, turns: int) -> None:
    """Measure the rounds of one table and print it."""
    began_s = time.monotonic()
    seen = [_round(place, programs, turns) for _ in range(rounds)]
    took_s = time.monotonic() - began_s
    print(
        f"\n{place.threads} thread(s), {place.pages} pages, {place.size_bytes >> 20} MiB, {rounds} rounds of {turns} turns, {took_s:.0f} s"
    )
    print(f"  {'kernel':6} {'beside':22} {'hwbench':>10} {'other':>10}   ratio  95 % interval")
    for program, kernel in (key for key in seen[0] if not key[0].startswith("hwbench")):
        mine = np.array([rates[_partner(program), kernel] for rates in seen])
        other = np.array([rates[program, kernel] for rates in seen])
        low, high = _interval(mine / other)
        rates = f"{format_rate(float(np.median(mine)), 'B/s'):>10} {format_rate(float(np.median(other)), 'B/s'):>10}"
        verdict = "inside 0.95-1.05" if low >= 0.95 and high <= 1.05 else "OUTSIDE" if high < 0.95 or low > 1.05 else "not decided"
        print(f"  {kernel:6} {program:22} {rates}   {np.median(mine / other):.3f}  {low:.3f} to {high:.3f}  {verdict}", flush=True)


def _partner(program: str) -> str:
    return "hwbench best" if program.startswith("STREAM") else "hwbench total"


def _round(place: Place, programs: dict[str, Callable[[Place], Rates]], turns: int) -> Rates:
    """The best of every program's turns, in each of which all have theirs, in random order."""
    parts = [*programs.values(), _ours]
    found: Rates = {}
    for _ in range(turns):
        random.shuffle(parts)
        for key, rate in (item for part in parts for item in part(place).items()):
            found[key] = max(rate, found.get(key, 0.0))
    return {key: found[key] for key in sorted(found, key=lambda key: (key[0].startswith("hwbench"), list(ARRAYS).index(key[1]), key[0]))}


def _ours(place: Place) -> Rates:
    """All four streams: in turn, as STREAM's own main loop has it, for the best of nine; then each alone, ten calls timed together."""
    context, steps = Context(device=torch.device("cpu"), dtype="fp64"), {}
    for kernel in ARRAYS:
        config = bandwidth.Config(kernel=kernel, working_set_bytes=place.size_bytes, threads=place.threads, pages=place.pages)
        steps[kernel] = bandwidth.build(config, context).run, bandwidth.cost(config, "fp64").bytes
    times: dict[str, list[float]] = {kernel: [] for kernel in steps}
    for _ in range(PASSES):
        for kernel, (run, _) in steps.items():
            times[kernel].append(_time(run, 1))
    best = {("hwbench best", kernel): moved / min(times[kernel][1:]) for kernel, (_, moved) in steps.items()}
    return best | {("hwbench total", kernel): PASSES * moved / _time(run, PASSES) for kernel, (run, moved) in steps.items()}


def _time(run: Callable[[], object], calls: int) -> float:
    began_s = time.perf_counter()
    for _ in range(calls):
        run()
    return time.perf_counter() - began_s


def _likwid(kernel: str) -> Callable[[Place], Rates]:
    """One group of threads, each on its own part, ten passes."""

    def run(place: Place) -> Rates:
        size = f"{place.size_bytes // 1000}kB"
        command = ("likwid-bench", "-t", LIKWID[kernel], "-w", f"N:{size}:{place.threads}", "-i", str(PASSES))
        text = _said(command, place)
        found = re.search(r"MByte/s:\s+([\d.]+)", text)
        if found is None:
            raise SystemExit(f"likwid-bench said no rate:\n{text}")
        return {(f"likwid {LIKWID[kernel]}", kernel): 1e6 * float(found[1])}

    return run


def _streams(source: Path | None, elements: int, folder: Path) -> Iterator[tuple[str, Callable[[Place], Rates]]]:
    """STREAM compiled plainly, and with the widest vectors and its copy left a loop."""
    if source is None or not shutil.which("gcc"):
        print(f"STREAM left out: {'no --stream FILE.c' if source is None else 'no gcc'}; see --help for where its source is found")
        return
    wide = ("-fno-tree-loop-distribute-patterns", *(("-mprefer-vector-width=512",) if _WIDE else ()))
    for name, more in (("STREAM", ()), ("STREAM, wide loops", wide)):
        program = folder / name.replace(", ", "-").replace(" ", "-")
        _compile(source, elements, program, more)
        yield name, _stream(name, program)


def _stream(name: str, program: Path) -> Callable[[Place], Rates]:
    """The best rates that one run of STREAM reports, in GB/s (HPC Challenge) or MB/s (the original)."""

    def run(place: Place) -> Rates:
        text = _said((str(program),), place)
        if "Solution Validates" not in text:
            raise SystemExit(f"STREAM did not validate:\n{text}")
        unit = 1e9 if "GB/s" in text else 1e6
        return {(name, word.lower()): unit * float(rate) for word, rate in re.findall(r"^(Copy|Triad):\s+([\d.]+)", text, re.MULTILINE)}

    return run


def _compile(source: Path, elements: int, program: Path, more: tuple[str, ...]) -> None:
    folder, files = program.parent, [str(source)]
    if "hpcc.h" in source.read_text(encoding="utf-8", errors="replace"):
        (folder / "hpcc.h").write_text(_HEADER, encoding="ascii")
        (folder / "main.c").write_text(_MAIN, encoding="ascii")
        files.append(str(folder / "main.c"))
    flags = ("-O3", "-march=native", "-fopenmp", "-w", f"-DSTREAM_ARRAY_SIZE={elements}", f"-I{folder}", *more)
    subprocess.run(("gcc", *flags, "-o", str(program), *files, "-lm"), check=True)


def _said(command: tuple[str, ...], place: Place) -> str:
    """What a program prints, run on so many threads and such pages."""
    tunables = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"} if place.pages == "huge" else {}
    environment = os.environ | tunables | {"OMP_NUM_THREADS": str(place.threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return done.stdout + done.stderr


def _interval(ratios: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> tuple[float, float]:
    """The 95 % bootstrap interval of the median over rounds."""
    drawn = np.random.default_rng(1).choice(ratios, size=(BOOTSTRAPS, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return float(low), float(high)


# What HPC Challenge's stream.c needs of MPI and of its own library, for one process.
_HEADER = """
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
typedef struct { const char *outFname; int StreamVectorSize, StreamThreads; } HPCC_Params;
typedef int MPI_Comm;
static double MPI_Wtime(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + 1e-9 * t.tv_nsec; }
#define MPI_Barrier(comm) ((void)(comm))
#define MPI_Comm_size(comm, n) ((void)(comm), *(n) = 1)
#define MPI_Comm_rank(comm, n) ((void)(comm), *(n) = 0)
#define MPI_Abort(comm, code) exit(code)
#define MPI_Allreduce(from, to, n, type, op, comm) memcpy(to, from, (n) * sizeof(double))
#define MPI_Gather(from, n, type, to, m, type2, root, comm) memcpy(to, from, (n) * sizeof(double))
#define HPCC_LocalVectorSize(p, n, size, power) STREAM_ARRAY_SIZE
#define HPCC_XMALLOC(type, n) ((type *)malloc(sizeof(type) * (n)))
#define HPCC_free free
#define Mmin(a, b) ((a) < (b) ? (a) : (b))
#define Mmax(a, b) ((a) > (b) ? (a) : (b))
"""
_MAIN = """
#include "hpcc.h"
int HPCC_Stream(HPCC_Params *, int, MPI_Comm, int, double *, double *, double *, double *, int *);
int main(void)
{
    HPCC_Params parameters = {"/dev/stdout", 0, 0};
    double rates[4];
    int failed;
    return HPCC_Stream(&parameters, 1, 0, 0, rates, rates + 1, rates + 2, rates + 3, &failed) || failed;
}
"""

if __name__ == "__main__":
    main()
