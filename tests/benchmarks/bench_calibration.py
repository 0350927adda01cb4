"""How well `hwbench calibrate` predicts whole training steps of sizes it has not measured, in one process and in two-rank layouts.

    python tests/benchmarks/bench_calibration.py [--rounds 3] [--results DIR] [--realtime] [--keep]

Protocol. The models and sizes stand in calibration_steps.toml and were fixed before anything was fitted. A round is `hwbench run --suite
calibrate` (at most 60 s) and then a run of these steps, so that calibration and steps lie interleaved. Three sets of errors:
  * each round by itself: calibrated from this round, its own steps by the floor of their CPU time. The figure is the median over steps of
    the median over rounds;
  * all rounds together: calibrated from the least disturbed of all rounds, steps by the least disturbed of all rounds;
  * A/A: a step's floor in one round against its floor over all rounds: the noise below which no predictor can come.
Time is CPU time (`analyse/busy.py`), wall time beside it. --realtime runs all of it under SCHED_FIFO, so that other processes on a busy
machine don't take the CPU away in mid-sample; needs root. --keep evaluates runs that are there already.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from msgspec.structs import replace  # noqa: E402  # the repository is not on the path of a script

from hwbench import store  # noqa: E402
from hwbench.analyse.busy import floor_s  # noqa: E402
from hwbench.analyse.calibrate import calibrate  # noqa: E402
from hwbench.cli._planning import sends  # noqa: E402
from hwbench.cli._verification import with_step_factor  # noqa: E402
from hwbench.core import codec, registry  # noqa: E402
from hwbench.core.errors import UserError  # noqa: E402
from hwbench.core.layout import parse_layout  # noqa: E402
from hwbench.core.profile import ClusterProfile  # noqa: E402
from hwbench.core.record import Case, Record, Run  # noqa: E402
from hwbench.core.workload import Workload  # noqa: E402
from hwbench.planner.step import predict_step  # noqa: E402

STEPS = Path(__file__).with_name("calibration_steps.toml")
CALIBRATE = "calibrate"
SIZES = ("hidden", "layers", "seq_len", "source_len", "target_len", "micro_batch", "vocabulary")


class Row(NamedTuple):
    """One step: what it is, measured and predicted seconds."""

    name: str
    layout: str
    wall_s: float
    measured_s: float
    predicted_s: float

    @property
    def error(self) -> float:
        """Above zero is a prediction too slow."""
        return self.predicted_s / self.measured_s - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, help="where the runs are written; a temporary folder otherwise")
    parser.add_argument("--steps-budget", default="60s", help="time for the steps of a round")
    parser.add_argument("--realtime", action="store_true", help="run under SCHED_FIFO; needs root")
    parser.add_argument("--keep", action="store_true", help="measure nothing, evaluate the runs in --results")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        results = asked.results or Path(temporary)
        for number in range(0 if asked.keep else asked.rounds):
            print(f"round {number + 1} of {asked.rounds}", flush=True)
            measure(results, CALIBRATE, "60s", realtime=asked.realtime)
            measure(results, str(STEPS), asked.steps_budget, realtime=asked.realtime)
        evaluate([store.read_run(path) for path in store.list_runs(results)])


def measure(results: Path, suite: str, budget: str, *, realtime: bool) -> None:
    """One run of a suite in processes of its own."""
    command = (sys.executable, "-P", "-m", "hwbench", "run", "--suite", suite, "--time-budget", budget, "--results", str(results))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    first = (lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(20))) if realtime else None
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, preexec_fn=first)


def evaluate(runs: Sequence[Run]) -> None:
    """The tables: by operators alone, as the report predicts, and times what the suite's own steps took beside them, as a sizing does."""
    for title, calibrated in (("operators alone", calibrate), ("times the step factor", with_factor)):
        print(f"\n== {title}")
        compare(runs, calibrated)


def compare(runs: Sequence[Run], calibrated: Callable[[Run], ClusterProfile]) -> None:
    calibrations = [run for run in runs if run.header.suite == CALIBRATE]
    steps = [run for run in runs if run.header.suite != CALIBRATE]
    rounds = [rows(calibrated(one), two.records) for one, two in zip(calibrations, steps, strict=True)]
    together = rows(calibrated(merged(calibrations)), merged(steps).records)
    show("all rounds together", together)
    by_step: dict[tuple[str, str], list[Row]] = {}
    for found in rounds:
        for row in found:
            by_step.setdefault((row.name, row.layout), []).append(row)
    middle = {place: median(abs(row.error) for row in found) for place, found in by_step.items()}
    for number, found in enumerate(rounds):
        print(f"round {number + 1}: {summary([row.error for row in found])}")
    print(f"each round by itself, median over rounds: {summary(middle.values())}")
    floors = {(row.name, row.layout): row.measured_s for row in together}
    repeats = [row.measured_s / floors[place] - 1 for place, found in by_step.items() for row in found]
    print(f"A/A, a step in one round against its floor: {summary(repeats)}")


def with_factor(run: Run) -> ClusterProfile:
    """As `hwbench calibrate` makes it, with the ratio of measured to predicted of the suite's own steps."""
    return with_step_factor(calibrate(run), run)


def merged(runs: Sequence[Run]) -> Run:
    """Several runs of one suite as processes of one."""
    records = [replace(one, case=replace(one.case, process=number)) for number, run in enumerate(runs) for one in run.records]
    return replace(runs[0], records=tuple(records))


def rows(profile: ClusterProfile, records: Iterable[Record]) -> list[Row]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.outcome == "done":
            groups.setdefault(record.case.key, []).append(record)
    return sorted(made for group in groups.values() if (made := row_of(profile, group)))


def row_of(profile: ClusterProfile, group: list[Record]) -> Row | None:
    case, measured_s = group[0].case, floor_s(group)
    walls = [median(record.measurement.step_wall_s) for record in group if record.measurement]
    if measured_s is None:
        return None
    try:
        found_s = predicted_s(profile, case)
    except UserError as error:
        print(f"{case.workload} {case.layout}: {error.message}")
        return None
    sizes = " ".join(f"{key}={case.config[key]}" for key in SIZES if key in case.config)
    return Row(f"{case.workload} {sizes}", case.layout, min(walls), measured_s, found_s)


def predicted_s(profile: ClusterProfile, case: Case) -> float:
    """Operators and messages, times what whole steps took beside them where the profile has it."""
    workload = registry.load("workloads", case.workload, Workload)
    cost = workload.cost(codec.convert(case.config, workload.config, source=case.workload), case.dtype)
    layout = parse_layout(case.layout)
    step = predict_step(cost, layout, profile, transfers=sends(cost, layout), micro_batches=1)
    return step.step_time_s * (profile.efficiency.step_factor or 1.0)


def show(title: str, found: Sequence[Row]) -> None:
    print(f"\n{title}\n{'step':62} {'layout':7} {'wall':>9} {'CPU':>9} {'predicted':>9} {'error':>7}")
    for row in found:
        times = f"{1e3 * row.wall_s:6.1f} ms {1e3 * row.measured_s:6.1f} ms {1e3 * row.predicted_s:6.1f} ms"
        print(f"{row.name:62} {row.layout:7} {times} {100 * row.error:+6.1f} %")
    for layout in sorted({row.layout for row in found}):
        print(f"{layout}: {summary([row.error for row in found if row.layout == layout])}")
    print(f"all: {summary([row.error for row in found])}\n")


def summary(errors: Iterable[float]) -> str:
    sizes = sorted(abs(error) for error in errors)
    return f"median {100 * median(sizes):.1f} %, mean {100 * sum(sizes) / len(sizes):.1f} %, worst {100 * sizes[-1]:.1f} % ({len(sizes)})"


if __name__ == "__main__":
    main()
