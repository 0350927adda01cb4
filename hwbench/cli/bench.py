"""The whole job in one go: inventory, measurements, a first sizing, and the report in one page."""

import sys
import time
from pathlib import Path

import click
import msgspec

from hwbench import store
from hwbench.core.codec import to_json, write_atomic
from hwbench.core.errors import HwbenchError, MeasurementError, UnavailableError, UserError
from hwbench.core.prediction import Rejected, SizingAnswer
from hwbench.core.profile import ClusterProfile

from ._planning import HERE, Count, Device, Duration, calibrated, load_clusters, load_model, sends
from .report import SIZING_FILE, summary_of, write_report
from .run import DEFAULT_SUITE, carry_out, new_run, planned

CLUSTERS = f"{HERE},rtx-4090-workstation,dgx-a100-80gb,dgx-h100"


@click.command()
@click.option("--suite", default=DEFAULT_SUITE, show_default=True, metavar="NAME|FILE.toml", help="What to measure.")
@click.option("--time-budget", type=Duration(), metavar="TIME", help="For the measurements, such as 3m.  [default: the suite's]")
@click.option("--device", type=Device(), default="auto", show_default=True, metavar="auto|cpu|cuda|xpu", help="Kind of device.")
@click.option("--model", default="gpt2", show_default=True, metavar="PRESET|FILE.toml", help="What the first sizing is to train.")
@click.option("--tokens", default="2.5B", show_default=True, type=Count(), metavar="N", help="Its training tokens (20 a parameter).")
@click.option("--deadline", default="30d", show_default=True, type=Duration(), metavar="TIME", help="Its deadline.")
@click.option("--cluster", default=CLUSTERS, show_default=True, metavar="NAME[,NAME]", help=f"Its clusters; `{HERE}` is this machine.")
@click.option("--results", type=click.Path(path_type=Path), default=Path("hwbench-results"), show_default=True, help="The results folder.")
def command(
    suite: str,
    time_budget: float | None,
    device: str,
    model: str,
    tokens: float,
    deadline: float,
    cluster: str,
    results: Path,
) -> None:
    """Take the inventory, measure the quick suite, size a first cluster, write one HTML page.

    The page is written even where a case failed; the exit status then is 4.

    \b
    hwbench bench
    hwbench bench --time-budget 1m --results /tmp/look
    hwbench bench --model llama3-8b --tokens 160B --deadline 60d --cluster dgx-h100,gb200-nvl72
    """
    began_s = time.monotonic()
    store.check_writable(results)
    load_model(model, {})  # a wrong name is said now, not after the measurements
    load_clusters([name for name in cluster.split(",") if name != HERE], settings={}, here=None)
    plan = planned((), suite, time_budget_s=time_budget)
    folder = new_run(plan, suite, device, results, {"time_budget_s": plan.time_budget_s, "device": device, "scaling": "weak"})
    failure = _measure(folder, began_s)
    sizing = first_sizing(folder, model=model, tokens=tokens, deadline_s=deadline, cluster=cluster)
    write_atomic(folder / SIZING_FILE, to_json(sizing, pretty=True))
    show(folder, sizing, results / "report.html")
    if failure:
        raise failure


def _measure(folder: Path, began_s: float) -> HwbenchError | None:
    """Carry the run out; what went wrong with its cases is returned, to be raised when the page is written."""
    try:
        carry_out(folder, began_s=began_s)
    except (MeasurementError, UnavailableError) as error:
        return error
    return None


def first_sizing(folder: Path, *, model: str, tokens: float, deadline_s: float, cluster: str) -> SizingAnswer:
    """Clusters, and this machine as the run calibrates it, for one question; no plan is an answer too."""
    from hwbench.planner.question import Ask
    from hwbench.planner.size import size

    names = cluster.split(",")
    here, lost = _calibrated_here(folder) if HERE in names else (None, ())
    profiles = load_clusters([name for name in names if name != HERE or here], settings={}, here=here)
    answer = size(load_model(model, {}), Ask(tokens=tokens, deadline_s=deadline_s), profiles, sends)
    return msgspec.structs.replace(answer, rejected=(*answer.rejected, *lost))


def _calibrated_here(folder: Path) -> tuple[ClusterProfile | None, tuple[Rejected, ...]]:
    """The profile of this machine, or why the run gave none: the page is made all the same."""
    try:
        return calibrated(folder.parent, folder.name), ()
    except UserError as error:
        return None, (Rejected(name=HERE, reason=error.message),)


def show(folder: Path, sizing: SizingAnswer, page: Path) -> None:
    """The summary in the terminal, the page, and where it lies."""
    from rich.console import Console

    from ._summary_view import summary_view

    summary = summary_of([store.read_run(folder)], sizing)
    write_report(summary, page)
    Console(file=sys.stdout, highlight=False).print(summary_view(summary))
    click.echo(f"\nReport: {page.resolve()}")
