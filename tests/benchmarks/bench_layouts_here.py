"""How well the calibrated planner ranks layouts of four ranks here: `python tests/benchmarks/bench_layouts_here.py [--keep DIR]`.

Protocol. `hwbench run --suite calibrate` (60 s), then one GPT step of the same whole batch under each of LAYOUTS (strong scaling, each in a
launch of its own, at most 200 s together). Four ranks share the CPUs there are, so a step is judged by the CPU time of its ranks, the mean
over them, as calibration does: waiting costs none, and a pipeline's bubble none. Predicted is what operators and messages take of a rank's
CPU, the average stage's. The regret is what the layout predicted to be quickest took longer than the one that was. Memory: a rank's peak
resident size, the fullest's.
"""

import argparse
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from msgspec.structs import replace  # noqa: E402  # the repository is not on the path of a script
from scipy.stats import spearmanr  # noqa: E402

from hwbench.analyse.busy import floor_s  # noqa: E402
from hwbench.cli._planning import calibrated, sends  # noqa: E402
from hwbench.core import codec, registry  # noqa: E402
from hwbench.core.layout import parse_layout  # noqa: E402
from hwbench.core.profile import ClusterProfile  # noqa: E402
from hwbench.core.record import Case, Record  # noqa: E402
from hwbench.core.workload import Cost, Workload  # noqa: E402
from hwbench.planner.memory import rank_memory  # noqa: E402
from hwbench.planner.step import rank_work_s  # noqa: E402
from hwbench.run.cases import config_of_rank  # noqa: E402
from hwbench.run.events import Recorded  # noqa: E402
from hwbench.run.execute import Options, execute  # noqa: E402

RANKS = 4
LAYOUTS = (
    "dp=4", "dp=4,zero=1", "fsdp=4", "tp=4", "dp=2,tp=2", "pp=4,microbatches=4", "dp=2,pp=2,microbatches=2", "cp=4",
)  # fmt: skip
STEP = {"hidden": 384, "layers": 4, "heads": 4, "seq_len": 128, "micro_batch": 8, "vocabulary": 8192}
BUDGET_S = 200.0


class Row(NamedTuple):
    """One layout: seconds of a rank's CPU and bytes of the fullest rank, measured and predicted."""

    layout: str
    measured_s: float
    predicted_s: float
    measured_bytes: float
    predicted_bytes: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write calibration and records there, or evaluate what is there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "layouts.jsonl"
        if not kept.exists():
            command = (sys.executable, "-P", "-m", "hwbench", "run", "--suite", "calibrate", "--results", str(folder))
            subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            kept.write_bytes(b"".join(codec.to_json(record) + b"\n" for record in measured(folder)))
        records = [codec.from_json(line, Record, source=str(kept)) for line in kept.read_bytes().splitlines()]
        show(records, calibrated(folder, None))


def measured(folder: Path) -> list[Record]:
    """A record of each layout, measured with as many ranks as it has, however few CPUs there are."""
    config = codec.to_builtins(codec.convert(STEP, registry.load("workloads", "gpt", Workload).config, source="STEP"))
    cases = tuple(  # each in a launch of its own: ranks keep memory of what they did before; the first process profiles, which takes more
        Case(workload="gpt", config=config, layout=layout, dtype="fp32", device="cpu", scaling="strong", process=number)
        for number, layout in enumerate(LAYOUTS, start=1)
    )
    with closing(execute(cases, Options(time_budget_s=BUDGET_S, cpus=RANKS), folder / "logs")) as events:
        return [event.record for event in events if isinstance(event, Recorded)]


def show(records: list[Record], profile: ClusterProfile) -> None:
    """The table, and what it says of the choice."""
    wide = replace(profile, tiers=tuple(replace(tier, accelerators=None) for tier in profile.tiers[-1:]))
    found = sorted((row(record, wide) for record in records if record.outcome == "done"), key=lambda one: one.measured_s)
    for record in records:
        if record.outcome != "done":
            print(f"{record.case.layout}: {record.outcome}: {record.reason}")
    print(f"{'layout':28} {'CPU':>9} {'predicted':>9} {'error':>7}   {'memory':>8} {'predicted':>9} {'error':>7}")
    for one in found:
        times = f"{1e3 * one.measured_s:6.0f} ms {1e3 * one.predicted_s:6.0f} ms {100 * (one.predicted_s / one.measured_s - 1):+6.1f} %"
        sizes = f"{one.measured_bytes / 2**20:5.0f} MiB {one.predicted_bytes / 2**20:5.0f} MiB"
        print(f"{one.layout:28} {times}   {sizes} {100 * (one.predicted_bytes / one.measured_bytes - 1):+6.1f} %")
    chosen = min(found, key=lambda one: one.predicted_s)
    order = spearmanr([one.measured_s for one in found], [one.predicted_s for one in found]).statistic
    apart = sorted(abs(one.predicted_s / one.measured_s - 1) for one in found)
    memory = sorted(abs(one.predicted_bytes / one.measured_bytes - 1) for one in found)
    print(f"chosen {chosen.layout}: regret {100 * (chosen.measured_s / found[0].measured_s - 1):.1f} %, rank correlation {order:.2f}")
    print(f"time: median error {100 * apart[len(apart) // 2]:.1f} %; memory: median error {100 * memory[len(memory) // 2]:.1f} %, ", end="")
    print(f"largest {100 * memory[-1]:.1f} %")


def row(record: Record, profile: ClusterProfile) -> Row:
    """Measured and predicted of one record."""
    assert record.measurement is not None
    case, workload = record.case, registry.load("workloads", record.case.workload, Workload)
    cost, layout = workload.cost(config_of_rank(case, workload), case.dtype), parse_layout(case.layout)
    need = rank_memory(
        cost, layout, micro_batches=layout.microbatches, recompute="none", process_bytes=profile.efficiency.process_bytes
    ).total_bytes
    peak = max(rank.resident_peak_bytes or 0 for rank in record.measurement.ranks)
    return Row(case.layout, floor_s([record]) or 0.0, predicted_s(cost, case.layout, profile), float(peak), need)


def predicted_s(cost: Cost, text: str, profile: ClusterProfile) -> float:
    """CPU seconds of the average rank: its stage's share of computing, and all that it sends."""
    layout = parse_layout(text)
    return sum(rank_work_s(cost, layout, profile, sends(cost, layout), layout.microbatches))


if __name__ == "__main__":
    main()
