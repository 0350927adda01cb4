"""Accept a delivered cluster: its runs against the plan that it was bought by."""

import sys
from pathlib import Path

import click

from hwbench import store
from hwbench.core.codec import read_json, to_json, write_atomic
from hwbench.core.errors import GateFailed
from hwbench.core.prediction import Acceptance, Plan


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--plan", "plan_file", required=True, type=click.Path(path_type=Path), metavar="PLAN.json", help="From `hwbench plan`.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 100, max_open=True),
    default=10.0,
    show_default=True,
    metavar="PERCENT",
    help="By how much a single figure may miss the plan's.",
)
@click.option("--results", type=click.Path(path_type=Path), default=Path("hwbench-results"), show_default=True, help="The results folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the acceptance as JSON.")
@click.option("--output", type=click.Path(path_type=Path), metavar="PAGE.md", help="Write the page for the supplier there.")
def command(runs: tuple[str, ...], plan_file: Path, tolerance: float, results: Path, as_json: bool, output: Path | None) -> None:
    """Say for every workload and every node whether it keeps what the plan promised: pass, fail or can't tell.

    RUNs are made on the delivered cluster with `hwbench run`: one for all nodes, one a node, or several of either; repeated cases count as
    more processes. Prints one Markdown page for the supplier. Exit status 1 tells that something fails; what can't be told does not fail.

    \b
    hwbench plan --model llama3-70b --cluster dgx-h100 --gpus 256 --global-batch 512 --output PLAN.json
    hwbench run --suite ceilings
    hwbench accept --plan PLAN.json 20261120
    """
    from hwbench.planner.accept import FAIL, accept

    from ._acceptance import Folder, delivered, measured, promises, unmeasured
    from ._acceptance_page import page
    from .report import installed_workloads

    plan = read_json(plan_file, Plan, what="plan")
    paths = dict.fromkeys(store.find_run(results, wanted) for wanted in runs)
    folders = [Folder(store.read_run(path), store.records_by_node(path)) for path in paths]
    read = [folder.run for folder in folders]
    workloads = installed_workloads(read)
    cases = measured(folders, workloads)
    made: Acceptance = accept(
        plan,
        [one for one, _ in cases],
        delivered(read),
        promises(plan, cases, workloads, tolerance / 100),
        runs=tuple(run.header.id for run in read),
        unmeasured=unmeasured(folders, cases),
    )
    text = page(plan, made)
    if output is not None:
        write_atomic(output, text.encode())
    sys.stdout.write(to_json(made, pretty=True).decode() if as_json else text)
    if made.outcome == FAIL:
        failed = [one for one in made.verdicts if one.outcome == FAIL]
        nodes = ", ".join(sorted({one.node for one in failed}))
        raise GateFailed(
            f"{len(failed)} of {len(made.verdicts)} measurements fail the plan for {plan.cluster}, on {nodes}",
            hint="the page says which and by how much; the plan's figures are in its `profile`",
        )
