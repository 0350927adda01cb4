"""An acceptance as one Markdown page for the supplier: the outcome, the nodes, every verdict, what is missing, how it was judged."""

from collections.abc import Iterator, Sequence

from hwbench.core.prediction import Acceptance, Plan, Verdict
from hwbench.core.units import format_bytes, format_rate, format_seconds

OUTCOMES = ("pass", "fail", "can't tell")
HOW = """\
A measurement passes when all of its interval keeps the limit, and fails when none of it does; what lies across can't be told. Intervals
are over processes, or with one process the middle 90 % of its samples. The limit of a training step is the upper end of the plan's 90 %
interval; that of a single figure the plan's own figure and a tolerance."""


def page(plan: Plan, made: Acceptance) -> str:
    """The page, ready to be sent."""
    return "\n".join(_lines(plan, made)) + "\n"


def _lines(plan: Plan, made: Acceptance) -> Iterator[str]:
    yield f"# Acceptance of {_cell(made.cluster)}: {made.outcome}"
    yield ""
    yield (
        f"Plan: {_cell(plan.model)} on {plan.accelerators:,} accelerators in {plan.nodes:,} nodes, {plan.dtype}, a global batch of "
        f"{plan.global_batch:,}. Runs: {', '.join(map(_cell, made.runs))}."
    )
    yield ""
    yield from _table(("Node", "Outcome", *OUTCOMES), [(node, outcome, *_counts(made, node)) for node, outcome in made.nodes.items()])
    yield "## What was measured"
    yield ""
    columns = ("Outcome", "Node", "Workload", "Case", "Limit", "Measured", "Interval", "Why")
    yield from _table(columns, [_row(one) for one in made.verdicts])
    if made.missing:
        yield "## What nobody measured"
        yield ""
        yield from (f"* {_cell(one)}" for one in made.missing)
        yield ""
    yield "## How it was judged"
    yield ""
    yield HOW


def _counts(made: Acceptance, node: str) -> Iterator[str]:
    """How many verdicts of each outcome a node has part in."""
    mine = [one.outcome for one in made.verdicts if node in one.node.split(", ")]
    return (str(mine.count(outcome)) for outcome in OUTCOMES)


def _row(one: Verdict) -> tuple[str, ...]:
    limit = f"{'at least ' if one.unit != 's' else 'at most '}{_figure(one.promised, one.unit)}" if one.promised else "none"
    if one.low == one.high == 0:
        return one.outcome, one.node, one.workload, one.what, limit, "none", "none", one.why
    interval = f"{_figure(one.low, one.unit)} to {_figure(one.high, one.unit)}"
    return one.outcome, one.node, one.workload, one.what, limit, _figure(one.measured, one.unit), interval, one.why


def _figure(value: float, unit: str) -> str:
    if unit == "s":
        return format_seconds(value)
    if unit == "B":
        return format_bytes(value)
    return format_rate(value, unit) if unit else f"{value:g}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    for row in rows:
        yield "| " + " | ".join(map(_cell, row)) + " |"
    yield ""


def _cell(text: str) -> str:
    """Text that can't break out of a table's cell or make markup."""
    plain = " ".join(text.split())
    for sign in ("\\", "|", "<", "*", "_", "`", "[", "]"):
        plain = plain.replace(sign, "&lt;" if sign == "<" else f"\\{sign}")
    return plain
