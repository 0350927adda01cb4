"""The page of a serving cluster: how many accelerators of which, in plain words, its memory and times in pictures."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import hwbench
from hwbench.core.prediction import Serving, ServingAnswer
from hwbench.core.units import UNKNOWN, format_bytes, format_rate, format_seconds, format_usd, significant

from ._figure_step import GIB, stacks
from ._page import page
from ._palette import part_colours
from ._plot import Key, Plot, Row, hover, rows_figure, stroke, titled
from ._tables import Table, question


def render(answer: ServingAnswer) -> str:
    """One self-contained page; where no cluster can, it says why."""
    return page(
        "serving.html.j2",
        title=f"Serving: {answer.question.get('model', 'a model')}",
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        hwbench_version=hwbench.__version__,
        question=question(answer),
        sentences=list(sentences(answer)),
        plots=(_memory(answer),) if answer.servings else (),
        ranking=ranking(answer),
        rejected=Table("Clusters that can't", ("Cluster", "Reason"), tuple((one.name, one.reason) for one in answer.rejected)),
        grounds=grounds(answer),
    )


def sentences(answer: ServingAnswer) -> Iterator[str]:
    """What to take, what binds it, and how sure the times are."""
    if not answer.servings:
        yield f"None of the {len(answer.rejected)} clusters can do it; the reasons stand below."
        return
    first = answer.servings[0]
    nodes, replicas = (
        f"{count:,} {what}{'s' if count != 1 else ''}" for count, what in ((first.nodes, "node"), (first.replicas, "replica"))
    )
    yield (
        f"Take {first.accelerators:,} accelerators ({nodes}) of {first.cluster}, in {replicas} of {first.tp * first.pp}: they serve "
        f"{first.users:,} users at a time and give {significant(first.tokens_per_s)} tokens a second. A replica is bound by {first.limit}."
    )
    yield (
        f"The first token comes after {format_seconds(first.ttft_s)}, each further one after {format_seconds(first.tpot_s)}; both may be "
        f"{significant(first.low_fraction, 2)} to {significant(first.high_fraction, 2)} times as much in nine cases of ten."
    )
    if first.usd_per_million_tokens is not None:
        yield f"A million tokens cost {format_usd(first.usd_per_million_tokens)}."


def _memory(answer: ServingAnswer) -> Plot:
    """What an accelerator of each cluster holds: weights, keys and values, and what is left."""
    parts = [_needs(one) for one in answer.servings]
    colours = part_colours(parts[0])
    texts = [
        {name: hover(one.cluster, f"{name}: {format_bytes(size * GIB)}") for name, size in need.items()}
        for one, need in zip(answer.servings, parts, strict=True)
    ]
    rows = [
        Row(one.cluster, f"{format_bytes(one.weights_bytes + one.kv_bytes)} of {format_bytes(one.memory_capacity_bytes)}")
        for one in answer.servings
    ]
    most = max(one.memory_capacity_bytes for one in answer.servings) / GIB
    strokes = [stroke(one.memory_capacity_bytes / GIB, index, width_px=3) for index, one in enumerate(answer.servings)]
    axis = {"range": [0, 1.03 * most], "title": titled("GiB an accelerator")}
    return Plot(
        id="serving-memory",
        title="Memory of an accelerator",
        caption="Weights, and keys and values of the sequences in flight; the upright stroke is what there is.",
        alt="Memory: " + "; ".join(f"{row.label} {row.value}" for row in rows) + ".",
        figure=rows_figure(stacks(parts, texts, colours), rows, axis, barmode="stack", shapes=strokes),
        keys=(*(Key(name, colour=colour) for name, colour in colours.items()), Key("capacity", sign="❘")),
    )


def _needs(one: Serving) -> Mapping[str, float]:
    return {"weights": one.weights_bytes / GIB, "keys and values": one.kv_bytes / GIB}


def ranking(answer: ServingAnswer) -> Table:
    """What each cluster would need."""
    rows = tuple(
        (
            one.cluster, f"{one.accelerators:,}", f"{one.nodes:,}", f"{one.replicas:,} × tp {one.tp}, pp {one.pp}", f"{one.batch:,}",
            f"{one.users:,}", format_seconds(one.ttft_s), format_seconds(one.tpot_s), f"{significant(one.tokens_per_s)} token/s",
            f"{format_usd(one.cost_usd_per_hour)}" if one.cost_usd_per_hour is not None else UNKNOWN,
            format_usd(one.usd_per_million_tokens), format_rate(one.power_w, "W"), one.limit,
        )
        for one in answer.servings
    )  # fmt: skip
    columns = (
        "Cluster", "Accelerators", "Nodes", "Replicas", "Batch", "Users", "First token", "Further tokens", "Output", "Cost an hour",
        "A million tokens", "Power", "What binds",
    )  # fmt: skip
    ranked = f" by {answer.ranked_by}" if answer.ranked_by else ""
    return Table(f"Clusters that can, best first{ranked}", columns, rows, frozenset({1, 2, 4, 5, 6, 7, 8, 9, 10, 11}))


def grounds(answer: ServingAnswer) -> Table:
    """Why each answer is what it is, and what is not known."""
    said = [("Why", one.cluster, text) for one in answer.servings for text in one.why]
    said += [("Unknown", one.cluster, text) for one in answer.servings for text in one.gaps]
    return Table("Why, and what is left out", ("", "Cluster", "Said"), tuple(said))
