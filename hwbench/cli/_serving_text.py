"""A serving answer as text for a terminal: the best cluster, then all of them, then what can't be and what is not known."""

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hwbench.core.prediction import Serving, ServingAnswer
from hwbench.core.units import UNKNOWN, format_bytes, format_count, format_rate, format_seconds, format_usd, significant

from ._sizing_text import print_block, print_list


def print_serving(console: Console, answer: ServingAnswer) -> None:
    """Everything a reader needs to judge the answer; narrow enough for 60 columns."""
    asked = answer.question
    load = f"{asked['users']} users, {asked['prompt_tokens']} tokens in, {asked['output_tokens']} out"
    console.print(Text(f"{asked['model']} for {load}", style="bold"))
    console.print()
    best = answer.servings[0]
    print_block(console, "Best" if len(answer.servings) > 1 else "Answer", _facts(best))
    print_list(console, "Why", best.why)
    if len(answer.servings) > 1:
        console.print(Text(f"All that can do it, by {answer.ranked_by}", style="bold"))
        console.print(_ranking(answer))
        console.print()
    print_list(console, "Can't do it", [f"{one.name}: {one.reason}" for one in answer.rejected])
    print_list(console, "Not known", best.gaps)


def _facts(one: Serving) -> Iterator[tuple[str, str]]:
    yield "cluster", one.cluster
    yield "nodes", f"{one.nodes:,} ({one.accelerators:,} accelerators used)"
    yield "replicas", f"{one.replicas:,} of tp={one.tp}{f', pp={one.pp}' if one.pp > 1 else ''}, {one.batch} sequences each"
    yield "first token", f"{format_seconds(one.ttft_s)}{_interval(one, one.ttft_s)}"
    yield "each token", f"{format_seconds(one.tpot_s)}{_interval(one, one.tpot_s)}"
    yield "output", f"{significant(one.tokens_per_s)} tokens/s"
    held = one.weights_bytes + one.kv_bytes
    yield "memory", f"{format_bytes(held)} of {format_bytes(one.memory_capacity_bytes)}, {format_bytes(one.kv_bytes)} of it keys and values"
    yield "limit", one.limit
    yield "cost", UNKNOWN if one.cost_usd_per_hour is None else f"{format_usd(one.cost_usd_per_hour)} an hour"
    if one.usd_per_million_tokens is not None:
        yield "", f"{format_usd(one.usd_per_million_tokens)} a million tokens of output"
    yield "power", UNKNOWN if one.power_w is None else format_rate(one.power_w, "W")
    yield "room for", f"{format_count(float(one.users))} users"


def _interval(one: Serving, seconds: float) -> str:
    return f" (90 %: {format_seconds(seconds * one.low_fraction)} to {format_seconds(seconds * one.high_fraction)})"


def _ranking(answer: ServingAnswer) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("cluster", overflow="fold")
    for name in ("nodes", "first", "token", "cost/h"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in answer.servings:
        cost = format_usd(one.cost_usd_per_hour)
        table.add_row(escape(one.cluster), f"{one.nodes:,}", format_seconds(one.ttft_s), format_seconds(one.tpot_s), cost)
    return table
