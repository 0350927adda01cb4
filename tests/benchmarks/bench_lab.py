"""Training steps over two hosts at several link rates, measured in the network lab and predicted from parts that were measured apart.

    sudo python tests/benchmarks/bench_lab.py [--results DIR] [--keep] [--rounds N]

Protocol. Two hosts in network namespaces, each bound to a CPU of its own. A round runs, at every rate, the same step under each layout and
the collectives over message sizes; at 10 Gb/s too, where the CPUs are the bound. What is predicted at a rate is

    compute + own + exchange(rate)

* compute: the step on one host alone, the other idle;
* own: what the layout itself costs, whatever the network: the least of step - compute - exchange at the other rates, never at the one that
  is predicted, nor at 100 Mb/s, where it would be a small difference of large numbers;
* exchange(rate): the layout's transfers (`communication` of hwbench/layouts) through the planner (`planner/communication.py`), on the tier
  that `hwbench.analyse.network` makes of the collectives measured at that rate.

Nothing overlaps: two hosts of one CPU each compute with the threads that send. Times are the lower quartile of a round's samples, the least
of all rounds: whatever else runs on the machine only adds, but the quickest calls are those that a token bucket's burst let through. The
figure is the median of |predicted / measured - 1| over steps and the lab's three rates.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from hwbench import store  # noqa: E402  # the repository is not on the path of a script
from hwbench.analyse import network  # noqa: E402
from hwbench.analyse.busy import wall_floor_s  # noqa: E402
from hwbench.core import registry  # noqa: E402
from hwbench.core.layout import parse_layout  # noqa: E402
from hwbench.core.parallel import Split  # noqa: E402
from hwbench.core.profile import Accelerator, ClusterProfile, Node, Tier  # noqa: E402
from hwbench.core.record import Record  # noqa: E402
from hwbench.core.units import format_seconds  # noqa: E402
from hwbench.planner.communication import transfer_time_s  # noqa: E402
from hwbench.run.cases import cost_of  # noqa: E402
from tests.lab.hosts import Lab, lab, missing  # noqa: E402

RATES = {"10 Gb/s": 1e10, "2 Gb/s": 2e9, "1 Gb/s": 1e9, "100 Mb/s": 1e8}
PORT = 29410
BEYOND_BITS_PER_S = 5e9
"""More than two CPUs can send: rows at such rates are shown, and not counted."""
CPU_BOUND = ("10 Gb/s", "2 Gb/s", "1 Gb/s")
"""Rates at which what is left of a step, its transfers taken off, is more than their own error."""
STEPS = Path(__file__).with_name("lab_steps.toml")


class Row(NamedTuple):
    """One step at one rate."""

    rate: str
    layout: str
    hidden: int
    measured_s: float
    compute_s: float
    exchange_s: float
    own_s: float

    @property
    def predicted_s(self) -> float:
        """The sum of the parts."""
        return self.compute_s + self.exchange_s + self.own_s

    @property
    def error(self) -> float:
        """Above zero is a prediction too slow."""
        return self.predicted_s / self.measured_s - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, help="where the runs are written; a temporary folder otherwise")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="measure nothing, evaluate the runs in --results")
    asked = parser.parse_args()
    if why := missing():
        sys.exit(why)
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.results or Path(temporary)
        if not asked.keep:
            with lab(2) as made:
                for number in range(asked.rounds):
                    for name, bits_per_s in RATES.items():
                        print(f"round {number + 1} of {asked.rounds}: {name}", flush=True)
                        made.limit(bits_per_s)
                        measure(made, folder / name.replace("/", "-per-"))
        evaluate({name: read(folder / name.replace("/", "-per-")) for name in RATES})


def measure(made: Lab, folder: Path) -> None:
    """One run over both hosts."""
    launchers = []
    for host in made.hosts:
        place = folder / host.name
        place.mkdir(parents=True, exist_ok=True)
        where = ("--nnodes", "2", "--node-rank", str(host.number), "--rdzv-endpoint", f"{made.hosts[0].address}:{PORT}")
        what = ("--suite", str(STEPS), "--case-time", "2s") if host.number == 0 else ()
        command = [sys.executable, "-m", "hwbench", "run", *what, *where]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with (place / "said").open("a") as output:
            launchers.append(made.start(host.number, command, cwd=place, env=environment, stdout=output, stderr=output))
    try:
        statuses = [launcher.wait(300) for launcher in launchers]
    except subprocess.TimeoutExpired:
        sys.exit(f"a run did not end: see {folder}")
    finally:
        for launcher in launchers:
            launcher.kill()
    if any(statuses):
        sys.exit(f"a run failed: see {folder}")


def read(folder: Path) -> list[Record]:
    runs = [store.read_run(path) for path in store.list_runs(folder / "lab0/hwbench-results")]
    return [record for run in runs for record in run.records if record.outcome == "done"]


def tier_of(records: Iterable[Record]) -> Tier:
    timed = [
        network.Timed(r.case.config["collective"], 2, r.case.config["message_bytes"], wall_floor_s([r]))
        for r in records
        if r.case.workload == "collective"
    ]
    made = network.tier("lab", None, timed)
    assert made is not None
    return made


def exchange_s(record: Record, tier: Tier) -> float:
    """The layout's transfers on a measured tier, one behind the other."""
    node, accelerator = Node(accelerators=1), Accelerator(name="CPU", vendor="")
    profile = ClusterProfile(name="lab", description="", accelerator=accelerator, node=node, tiers=(tier,), sources={})
    layout, cost = parse_layout(record.case.layout), cost_of(record.case)
    transfers = [one for axis in layout.axes() for one in registry.load("layouts", axis, Split).communication(cost, layout)]
    return sum(transfer_time_s(profile, layout, one) for one in transfers)


def rows(found: dict[str, list[Record]]) -> list[Row]:
    steps: dict[str, dict[tuple[str, int], list[Record]]] = {name: {} for name in found}
    for name, records in found.items():
        for record in records:
            if record.case.workload == "gpt":
                steps[name].setdefault((record.case.layout, record.case.config["hidden"]), []).append(record)
    tiers = {name: tier_of(records) for name, records in found.items()}
    made = []
    for layout, hidden in next(iter(steps.values())):
        if layout == "single":
            continue
        compute_s = min(wall_floor_s(steps[name]["single", hidden]) for name in RATES)
        measured = {
            name: (wall_floor_s(steps[name][layout, hidden]), exchange_s(steps[name][layout, hidden][0], tiers[name])) for name in RATES
        }
        for name, (step_s, sent_s) in measured.items():
            left = [measured[other][0] - compute_s - measured[other][1] for other in CPU_BOUND if other != name]
            made.append(Row(name, layout, hidden, step_s, compute_s, sent_s, max(0.0, min(left))))
    return made


def evaluate(found: dict[str, list[Record]]) -> None:
    print("| link | layout | hidden | measured | predicted | compute | exchange | layout's own | error |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    made = rows(found)
    for row in made:
        times = (row.measured_s, row.predicted_s, row.compute_s, row.exchange_s, row.own_s)
        error = f"{100 * row.error:+.0f} %{' (CPU-bound)' if RATES[row.rate] > BEYOND_BITS_PER_S else ''}"
        print(f"| {row.rate} | {row.layout} | {row.hidden} | {' | '.join(map(format_seconds, times))} | {error} |")
    errors = [abs(row.error) for row in made if RATES[row.rate] < BEYOND_BITS_PER_S]
    print(f"\nmedian error {100 * median(errors):.1f} %, largest {100 * max(errors):.1f} %, over {len(errors)} steps at three rates")


if __name__ == "__main__":
    main()
