"""Size a cluster: how many nodes of which, for a model, a number of tokens and a deadline or a budget; or for a serving load."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwbench.core.codec import read_text, to_json
from hwbench.core.errors import HwbenchError, UserError
from hwbench.core.prediction import ServingAnswer, SizingAnswer
from hwbench.core.profile import ClusterProfile

from ._planning import HERE, Count, Duration, Size, calibrated, load_clusters, load_model, parse_settings, sends
from ._writing import TERMINAL, write_or_show

if TYPE_CHECKING:
    from hwbench.planner.cost import Terms
    from hwbench.planner.goodput import Outages
    from hwbench.planner.offers import Quoted

TIME = Duration()


@click.command()
@click.option("--model", required=True, metavar="PRESET|FILE.toml", help="What is trained or served (`hwbench list models`).")
@click.option("--tokens", type=Count(), metavar="N", help="Training tokens: 300B, 2T.")
@click.option("--deadline", metavar="TIME|DATE", help="30d, or a day such as 2027-03-31: the smallest number of nodes that meets it.")
@click.option("--confidence", type=float, metavar="P", help="How sure the deadline is to be met, such as 0.9.  [default: 0.5]")
@click.option("--budget", type=Count(), metavar="USD", help="What may be paid: 2e6. Without a deadline: the quickest that it pays.")
@click.option(
    "--cluster", "clusters", multiple=True, metavar="NAME[,NAME]|FILE.toml", help=f"Clusters to compare; `{HERE}` is this machine."
)
@click.option(
    "--quotes", type=click.Path(path_type=Path, dir_okay=False), metavar="CSV", help="Offers: supplier,cluster,nodes,price,delivery."
)
@click.option("--nodes", type=int, metavar="N", help="Exactly so many nodes, instead of the smallest number.")
@click.option("--max-nodes", type=int, metavar="N", help="At most so many nodes.")
@click.option("--max-power-kw", type=float, metavar="KW", help="What the site can supply, cooling included.")
@click.option("--global-batch", type=int, metavar="N", help="Samples a step.  [default: by the sizes of model and cluster]")
@click.option("--framework", metavar="NAME", help="Software: Megatron-LM, torchtitan, 'NeMo 24.09' …  [default: by the layout]")
@click.option("--dtype", metavar="DTYPE", help="bf16, fp16, fp8 …  [default: the fastest of bf16, fp16, fp32 that the profile has]")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a figure: model.seq_len=4096, accelerator.power_w=650 …"
)
@click.option("--price-usd-per-hour", "prices", multiple=True, metavar="CLUSTER=USD", help="Rent of one node.")
@click.option("--buy-usd", "purchases", multiple=True, metavar="CLUSTER=USD", help="Purchase price of one node, instead of rent.")
@click.option("--lifetime", type=TIME, metavar="TIME", help="Over which a purchase is written off, such as 1460d.")
@click.option("--power-usd-per-kwh", type=float, metavar="USD", help="Price of power, for what is bought.")
@click.option("--pue", type=float, metavar="X", help="Power of the site over that of the nodes, such as 1.3.")
@click.option("--grid-co2", type=float, metavar="G", help="CO2 of the grid, grams a kWh.")
@click.option("--node-mtbf", type=TIME, metavar="TIME", help="Mean time between failures of one node, for the goodput.")
@click.option("--storage-bandwidth", type=Size(), metavar="BYTES", help="Bytes a second at which checkpoints are written: 100GB.")
@click.option("--checkpoint-time", type=TIME, metavar="TIME", help="Standstill to write one.  [default: from the storage]")
@click.option("--restart-time", type=TIME, metavar="TIME", help="From a failure to the next step.  [default: reading a checkpoint]")
@click.option("--serve", is_flag=True, help="Size for serving: answers to prompts, instead of training.")
@click.option("--prompt-tokens", type=int, metavar="N", help="Serving: tokens of a prompt.")
@click.option("--output-tokens", type=int, metavar="N", help="Serving: tokens of an answer.")
@click.option("--users", type=int, metavar="N", help="Serving: requests in flight at a time.")
@click.option("--ttft", type=TIME, metavar="TIME", help="Serving: longest time to the first token, such as 2s.")
@click.option("--tpot", type=TIME, metavar="TIME", help="Serving: longest time of each further token, such as 50ms.")
@click.option("--from-run", metavar="RUN", help=f"The run that calibrates `{HERE}`.  [default: the newest]")
@click.option("--results", type=click.Path(path_type=Path), default=Path("hwbench-results"), show_default=True, help="The results folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE.json", help="Write the answer there too.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with the answer in words and pictures.")
def command(**options: Any) -> None:
    """Say how many nodes of which cluster train a model in time: layout, step time by parts, memory, days, price, energy.

    Clusters and suppliers' quotes are ranked, and the ones that can't do it are listed with what is short and by how much. Exit status 5
    tells that none can. A figure that nobody could source is null, and the text names the option that gives it.

    \b
    hwbench size --model gpt3-175b --tokens 300B --deadline 30d --cluster dgx-a100-80gb,dgx-h100
    hwbench size --model llama3-8b --tokens 1T --budget 500k --cluster dgx-h100 --price-usd-per-hour dgx-h100=24
    hwbench size --model gpt2 --tokens 1B --cluster here,dgx-h100 --html sizing.html
    hwbench size --model llama3-70b --serve --prompt-tokens 2000 --output-tokens 500 --users 200 --ttft 2s --tpot 50ms --cluster dgx-h100
    """
    answer, failure = _serving(options) if options["serve"] else _training(options)
    if options["output"] is not None and (options["output"] != TERMINAL or not options["as_json"]):
        write_or_show(options["output"], to_json(answer, pretty=True))
    if options["html"] is not None:
        _write_page(answer, options["html"], as_json=options["as_json"])
    if options["as_json"]:
        click.echo(to_json(answer, pretty=True), nl=False)
    elif failure is None and TERMINAL not in (options["output"], options["html"]):
        _print(answer)
    if failure is not None:
        raise failure


def _write_page(answer: SizingAnswer | ServingAnswer, path: Path, *, as_json: bool) -> None:
    """The page, also where no cluster can: it says why."""
    if isinstance(answer, ServingAnswer):
        from hwbench.reports._serving_page import render as rendered

        text = rendered(answer)
    else:
        from hwbench.reports._sizing_page import render

        text = render(answer)
    if write_or_show(path, text.encode()):
        click.echo(f"page: {path}", err=as_json)


def _print(answer: SizingAnswer | ServingAnswer) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    if isinstance(answer, SizingAnswer):
        from ._sizing_text import print_sizing

        print_sizing(console, answer)
    else:
        from ._serving_text import print_serving

        print_serving(console, answer)


def _training(options: dict[str, Any]) -> tuple[SizingAnswer, HwbenchError | None]:
    from hwbench.planner.offers import day_s
    from hwbench.planner.question import Ask
    from hwbench.planner.size import no_plan, size

    for name in ("prompt_tokens", "output_tokens", "users", "ttft", "tpot"):
        if options[name] is not None:
            raise UserError(f"--{name.replace('_', '-')} belongs to serving", hint="add --serve, or leave it out")
    if options["tokens"] is None:
        raise UserError("--tokens is missing", hint="how many tokens are trained on: --tokens 300B; or --serve for serving")
    now = datetime.now(UTC)
    settings = parse_settings(options["settings"])
    model = load_model(options["model"], settings["model"])
    quotes = _quotes(options["quotes"], settings["cluster"], now)
    profiles = _clusters(options, settings["cluster"], needed=not quotes)
    ask = Ask(
        tokens=options["tokens"],
        deadline_s=None if options["deadline"] is None else day_s(options["deadline"], now, where="--deadline"),
        nodes=options["nodes"],
        max_nodes=options["max_nodes"],
        global_batch=options["global_batch"],
        dtype=options["dtype"],
        framework=options["framework"],
        failures=_outages(options),
        budget_usd=options["budget"],
        confidence=options["confidence"],
        max_power_w=None if options["max_power_kw"] is None else 1000 * options["max_power_kw"],
        terms=_terms(options, {one.name for one in profiles} | {quote.profile.name for quote in quotes}),
    )
    answer = size(model, ask, profiles, sends, quotes)
    return answer, None if answer.sizings else no_plan(answer)


def _serving(options: dict[str, Any]) -> tuple[ServingAnswer, HwbenchError | None]:
    from hwbench.planner.serve import Load, no_serving, serve

    wanted = ("prompt_tokens", "output_tokens", "users", "ttft", "tpot")
    lacking = [f"--{name.replace('_', '-')}" for name in wanted if options[name] is None]
    if lacking:
        raise UserError(f"--serve needs {', '.join(lacking)}", hint="for example --prompt-tokens 2000 --output-tokens 500 --users 200")
    settings = parse_settings(options["settings"])
    model = load_model(options["model"], settings["model"])
    load = Load(
        prompt_tokens=options["prompt_tokens"],
        output_tokens=options["output_tokens"],
        users=options["users"],
        ttft_s=options["ttft"],
        tpot_s=options["tpot"],
        dtype=options["dtype"],
        max_nodes=options["max_nodes"],
        pue=options["pue"],
    )
    answer = serve(model, load, _clusters(options, settings["cluster"]))
    return answer, None if answer.servings else no_serving(answer)


def _clusters(options: dict[str, Any], settings: dict[str, Any], *, needed: bool = True) -> list[ClusterProfile]:
    """The profiles asked for, with the user's figures and prices in them."""
    asked = ",".join(options["clusters"]).split(",")
    here = calibrated(options["results"], options["from_run"]) if options["from_run"] is not None or HERE in asked else None
    if not options["clusters"] and here is None and not needed:
        return []
    return _priced(load_clusters(options["clusters"], settings=settings, here=here), options["prices"])


def _quotes(path: Path | None, settings: dict[str, Any], now: datetime) -> "Sequence[Quoted]":
    """The suppliers' offers with their clusters."""
    from hwbench.planner.offers import Quoted, read_quotes

    if path is None:
        return ()
    lines = read_quotes(read_text(path, what="quotes"), source=str(path), now=now)
    return [Quoted(load_clusters([one.cluster], settings=settings, here=None)[0], one.nodes, one.offer) for one in lines]


def _priced(profiles: list[ClusterProfile], prices: tuple[str, ...]) -> list[ClusterProfile]:
    """The profiles with the rents of `--price-usd-per-hour CLUSTER=USD`."""
    from hwbench.planner.overrides import with_settings

    found = _dollars("--price-usd-per-hour", prices, {profile.name for profile in profiles})
    return [with_settings(p, {"node.price_usd_per_hour": found[p.name]} if p.name in found else {}) for p in profiles]


def _dollars(option: str, texts: tuple[str, ...], clusters: set[str]) -> dict[str, float]:
    """CLUSTER=USD texts. UserError for a cluster that was not asked for, or no price."""
    found: dict[str, float] = {}
    for text in texts:
        name, _, price = text.partition("=")
        if name not in clusters:
            raise UserError(f"{option} {text}: {name!r} is not among the clusters: {', '.join(sorted(clusters))}")
        try:
            found[name] = float(price)
        except ValueError:
            raise UserError(f"{option} {text}: expected CLUSTER=USD, found {price!r} for the price") from None
    return found


def _terms(options: dict[str, Any], clusters: set[str]) -> "Terms":
    from hwbench.planner.cost import Terms

    return Terms(
        buy_usd=_dollars("--buy-usd", options["purchases"], clusters),
        lifetime_s=options["lifetime"],
        power_usd_per_kwh=options["power_usd_per_kwh"],
        pue=options["pue"],
        grid_co2_g_per_kwh=options["grid_co2"],
    )


def _outages(options: dict[str, Any]) -> "Outages | None":
    """How often nodes fail and what it costs; UserError for what a failure costs without how often."""
    from hwbench.planner.goodput import Outages

    given = [name for name in ("storage_bandwidth", "checkpoint_time", "restart_time") if options[name] is not None]
    if options["node_mtbf"] is None:
        if given:
            raise UserError(f"--{given[0].replace('_', '-')} needs --node-mtbf", hint="how long one node runs between failures: 10000h")
        return None
    return Outages(
        node_mtbf_s=options["node_mtbf"],
        checkpoint_s=options["checkpoint_time"],
        restart_s=options["restart_time"],
        storage_bytes_per_s=options["storage_bandwidth"],
    )
