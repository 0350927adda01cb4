"""Plan a training step: every legal layout of a model on so many accelerators, ranked, and why the others can't."""

import sys
from pathlib import Path
from typing import Any

import click

from hwbench.core.codec import to_json
from hwbench.core.layout import Schedule

from ._planning import HERE, calibrated, load_clusters, load_model, parse_settings, sends
from ._writing import TERMINAL, write_or_show

SCHEDULES = ("1f1b", "interleaved", "zb", "gpipe")


@click.command()
@click.option("--model", required=True, metavar="PRESET|FILE.toml", help="What is trained (`hwbench list models`).")
@click.option("--cluster", required=True, metavar="NAME|FILE.toml", help=f"Where (`hwbench list clusters`); `{HERE}` is this machine.")
@click.option("--gpus", required=True, type=int, metavar="N", help="Accelerators.")
@click.option("--global-batch", required=True, type=int, metavar="N", help="Samples of one step.")
@click.option("--top", type=int, default=10, show_default=True, metavar="N", help="How many combinations of degrees to list.")
@click.option("--dtype", metavar="DTYPE", help="bf16, fp16, fp8 …  [default: the fastest of bf16, fp16, fp32 that the profile has]")
@click.option("--framework", metavar="NAME", help="Software: Megatron-LM, torchtitan, 'NeMo 24.09' …  [default: by the layout]")
@click.option(
    "--schedule",
    "schedules",
    multiple=True,
    type=click.Choice(SCHEDULES),
    help="Pipeline schedules to try; may be repeated.  [default: 1f1b and interleaved]",
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a figure: model.seq_len=4096, accelerator.memory_bytes=96e9 …"
)
@click.option("--from-run", metavar="RUN", help=f"The run that calibrates `{HERE}`.  [default: the newest]")
@click.option("--results", type=click.Path(path_type=Path), default=Path("hwbench-results"), show_default=True, help="The results folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.option("--output", type=click.Path(path_type=Path), metavar="PLAN.json", help="Write the plan there too, for `hwbench accept`.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with the plan in words and pictures.")
def command(**options: Any) -> None:
    """Search dp, tp, pp, vpp, cp, ep, ZeRO and FSDP, micro-batch, recomputed layers and schedule, and rank what fits.

    Each line is the best of its degrees, with its 90 % interval. What was left out is grouped by reason, with how many there were and the
    nearest miss. Exit status 5 tells that nothing fits.

    \b
    hwbench plan --model gpt3-175b --cluster dgx-a100-80gb --gpus 512 --global-batch 1536
    hwbench plan --model llama3-70b --cluster dgx-h100 --gpus 256 --global-batch 512 --output PLAN.json --html plan.html
    """
    from hwbench.planner.explore import DEFAULT_SCHEDULES
    from hwbench.planner.plan import no_layout, plan

    settings = parse_settings(options["settings"])
    model = load_model(options["model"], settings["model"])
    here = calibrated(options["results"], options["from_run"]) if options["cluster"] == HERE else None
    names: list[str] = [] if here is not None else [options["cluster"]]
    schedules: tuple[Schedule, ...] = options["schedules"] or DEFAULT_SCHEDULES
    made = plan(
        model,
        load_clusters(names, settings=settings["cluster"], here=here)[0],
        sends,
        accelerators=options["gpus"],
        global_batch=options["global_batch"],
        dtype=options["dtype"],
        framework=options["framework"],
        schedules=schedules,
        top=options["top"],
    )
    if options["output"] is not None and (options["output"] != TERMINAL or not options["as_json"]):
        write_or_show(options["output"], to_json(made, pretty=True))
    if options["html"] is not None:
        from hwbench.reports._plan_page import render

        if write_or_show(options["html"], render(made).encode()):
            click.echo(f"page: {options['html']}", err=options["as_json"])
    if options["as_json"]:
        click.echo(to_json(made, pretty=True), nl=False)
    elif made.entries and TERMINAL not in (options["output"], options["html"]):
        from rich.console import Console

        from ._plan_text import print_plan

        print_plan(Console(file=sys.stdout, highlight=False), made)
    if not made.entries:
        raise no_layout(made)
