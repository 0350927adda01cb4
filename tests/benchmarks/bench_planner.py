"""Speed and memory of the planner: `python tests/benchmarks/bench_planner.py`. CPU time of one core, the best of a few repeats.

Targets: 100,000 layout evaluations a second; the plan of GPT-3 175B on 512 A100 with a batch of 1,536 within 10 s; the search of
Llama-3 405B on 16,384 accelerators within 20 s and 2 GiB.
"""

import resource
import time
from collections.abc import Callable

import numpy as np

from hwbench.cli._planning import load_model, sends
from hwbench.core.layout import Schedule
from hwbench.core.registry import load_cluster
from hwbench.planner.candidates import SCHEDULES, Cuts, enumerate_candidates
from hwbench.planner.explore import DEFAULT_SCHEDULES, Wanted, space_of
from hwbench.planner.plan import plan
from hwbench.planner.ranked import evaluate_all, table_rows

REPEATS = 5
MILLION = 1_000_000


def seconds(call: Callable[[], object]) -> float:
    """The least CPU time of a call over a few repeats."""
    taken = []
    for _ in range(REPEATS):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return min(taken)


def evaluations() -> None:
    """A million candidates through memory and, all of them, the step model: every layout of GPT-3 again and again, as if all fitted."""
    model, profile = load_model("gpt3-175b", {}), load_cluster("dgx-a100-80gb")
    space = space_of(model, profile, Wanted(512, 1536, "bf16", quick=False, schedules=SCHEDULES))
    once = enumerate_candidates(space, Cuts())
    many = once.take(np.arange(MILLION) % len(once))
    rows_of = table_rows(model.shape, profile, space, dtype="bf16", framework=None)
    start = time.process_time()
    seen = evaluate_all(many, rows_of, float("inf"))
    taken = time.process_time() - start
    assert not np.isnan(seen.step_s).any()
    print(f"{MILLION / taken:,.0f} layout evaluations a second ({MILLION:,} in {taken:.1f} s)")


def one_plan(name: str, cluster: str, accelerators: int, batch: int, schedules: tuple[Schedule, ...] = DEFAULT_SCHEDULES) -> None:
    """A plan as `hwbench plan` makes it."""
    model, profile = load_model(name, {}), load_cluster(cluster)
    made = plan(model, profile, sends, accelerators=accelerators, global_batch=batch, schedules=schedules)
    taken = seconds(lambda: plan(model, profile, sends, accelerators=accelerators, global_batch=batch, schedules=schedules))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    best = made.entries[0]
    print(f"{name} on {accelerators:,} of {cluster}, {', '.join(schedules)}:")
    print(f"    {taken:.2f} s, {made.tried:,} layouts, {made.fitted:,} fit; process peak {peak:.0f} MiB")
    print(f"    {best.prediction.step_time_s:.2f} s  {best.layout.text}")


def main() -> None:
    """All figures."""
    one_plan("gpt3-175b", "dgx-a100-80gb", 512, 1536)
    one_plan("gpt3-175b", "dgx-a100-80gb", 512, 1536, SCHEDULES)
    one_plan("llama3-405b", "dgx-h100", 16_384, 2048)
    evaluations()


if __name__ == "__main__":
    main()
