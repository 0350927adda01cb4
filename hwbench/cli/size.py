"""Size a cluster: how many nodes of which, for a model, a number of tokens and a deadline."""

import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwbench.core.codec import to_json, write_atomic
from hwbench.core.errors import UserError
from hwbench.core.profile import ClusterProfile
from hwbench.core.units import parse_duration_s

from ._planning import HERE, Count, Duration, calibrated, load_clusters, load_model, parse_settings, sends

if TYPE_CHECKING:
    from hwbench.planner.goodput import Failures


@click.command()
@click.option("--model", required=True, metavar="PRESET|FILE.toml", help="What is to be trained (`hwbench list models`).")
@click.option("--tokens", required=True, type=Count(), metavar="N", help="Training tokens: 300B, 2T.")
@click.option("--deadline", metavar="TIME|DATE", help="30d, or a day such as 2027-03-31: the smallest number of nodes that meets it.")
@click.option(
    "--cluster", "clusters", multiple=True, metavar="NAME[,NAME]|FILE.toml", help=f"Clusters to compare; `{HERE}` is this machine."
)
@click.option("--nodes", type=int, metavar="N", help="Exactly so many nodes, instead of the smallest number.")
@click.option("--max-nodes", type=int, metavar="N", help="At most so many nodes.")
@click.option("--global-batch", type=int, metavar="N", help="Samples a step.  [default: by the model's size]")
@click.option("--framework", metavar="NAME", help="Software, such as Megatron-LM or torchtitan.  [default: by the layout]")
@click.option("--dtype", metavar="DTYPE", help="bf16, fp16, fp8 …  [default: the fastest of bf16, fp16, fp32 that the profile has]")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a figure: model.seq_len=4096, accelerator.power_w=650 …"
)
@click.option("--price-usd-per-hour", "prices", multiple=True, metavar="CLUSTER=USD", help="Rent of one node, for the cost.")
@click.option("--node-mtbf", type=Duration(), metavar="TIME", help="Mean time between failures of one node, for the goodput.")
@click.option("--checkpoint-time", type=Duration(), metavar="TIME", help="Standstill to write a checkpoint.")
@click.option("--restart-time", type=Duration(), metavar="TIME", help="From a failure to the next step.")
@click.option("--from-run", metavar="RUN", help=f"The run that calibrates `{HERE}`.  [default: the newest]")
@click.option("--results", type=click.Path(path_type=Path), default=Path("hwbench-results"), show_default=True, help="The results folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE.json", help="Write the answer there too.")
def command(**options: Any) -> None:
    """Say how many nodes of which cluster train a model in time: layout, step time by parts, memory, days, rent, energy.

    Clusters are ranked, and the ones that can't do it are listed with what is short and by how much. Exit status 5 tells that none
    can. A figure that nobody could source is null, and the text names the option that gives it.

    \b
    hwbench size --model gpt3-175b --tokens 300B --deadline 30d --cluster dgx-a100-80gb,dgx-h100
    hwbench size --model llama3-8b --tokens 1T --nodes 64 --cluster dgx-h100 --set model.seq_len=4096
    hwbench size --model gpt2 --tokens 1B --cluster here
    """
    from hwbench.planner.question import Ask
    from hwbench.planner.size import no_plan, size

    settings = parse_settings(options["settings"])
    model = load_model(options["model"], settings["model"])
    ask = Ask(
        tokens=options["tokens"],
        deadline_s=_deadline_s(options["deadline"], datetime.now(UTC)),
        nodes=options["nodes"],
        max_nodes=options["max_nodes"],
        global_batch=options["global_batch"],
        dtype=options["dtype"],
        framework=options["framework"],
        failures=_failures(options),
    )
    answer = size(model, ask, _clusters(options, settings["cluster"]), sends)
    if options["output"] is not None:
        write_atomic(options["output"], to_json(answer, pretty=True))
    if options["as_json"]:
        click.echo(to_json(answer, pretty=True), nl=False)
    elif answer.sizings:
        from rich.console import Console

        from ._sizing_text import print_sizing

        print_sizing(Console(file=sys.stdout, highlight=False), answer)
    if not answer.sizings:
        raise no_plan(answer)


def _clusters(options: dict[str, Any], settings: dict[str, Any]) -> list[ClusterProfile]:
    """The profiles asked for, with the user's figures and prices in them."""
    asked = ",".join(options["clusters"]).split(",")
    here = calibrated(options["results"], options["from_run"]) if options["from_run"] is not None or HERE in asked else None
    return _priced(load_clusters(options["clusters"], settings=settings, here=here), options["prices"])


def _priced(profiles: list[ClusterProfile], prices: tuple[str, ...]) -> list[ClusterProfile]:
    """The profiles with the prices of `--price-usd-per-hour CLUSTER=USD`. UserError for a cluster that was not asked for, or no price."""
    from hwbench.planner.overrides import with_settings

    found: dict[str, float] = {}
    for text in prices:
        name, _, price = text.partition("=")
        if name not in {profile.name for profile in profiles}:
            raise UserError(f"--price-usd-per-hour {text}: {name!r} is not among the clusters: {', '.join(p.name for p in profiles)}")
        try:
            found[name] = float(price)
        except ValueError:
            raise UserError(f"--price-usd-per-hour {text}: expected CLUSTER=USD, found {price!r} for the price") from None
    return [with_settings(p, {"node.price_usd_per_hour": found[p.name]} if p.name in found else {}) for p in profiles]


def _failures(options: dict[str, Any]) -> "Failures | None":
    """How often nodes fail and what it costs; all three figures or none."""
    from hwbench.planner.goodput import Failures

    given = {name: options[name] for name in ("node_mtbf", "checkpoint_time", "restart_time")}
    missing = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if missing:
        raise UserError(f"failures need all three of --node-mtbf, --checkpoint-time and --restart-time; missing: {', '.join(missing)}")
    return Failures(node_mtbf_s=given["node_mtbf"], checkpoint_s=given["checkpoint_time"], restart_s=given["restart_time"])


def _deadline_s(text: str | None, now: datetime) -> float | None:
    """Seconds of a duration, or until the end of a day. UserError for a day that is past."""
    if text is None:
        return None
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return parse_duration_s(text)
    try:
        end = datetime.fromisoformat(f"{text}T23:59:59+00:00")
    except ValueError:
        raise UserError(f"--deadline {text}: no such day", hint="write it like 2027-03-31, or as a duration such as 30d") from None
    left = (end - now).total_seconds()
    if left <= 0:
        raise UserError(f"--deadline {text} is in the past: today is {now:%Y-%m-%d}", hint="give a later day, or a duration such as 30d")
    return left
