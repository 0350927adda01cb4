"""The planner's answers in words, with every number: why this many nodes, why this layout, why not."""

from __future__ import annotations

import math

from hwbench.core.prediction import Offer
from hwbench.core.sourcing import unsourced
from hwbench.core.units import format_bytes, format_count, format_fraction, format_rate, format_seconds, format_usd

from .cost import gaps, power_w
from .question import Question, train_time_s
from .search import Found

LOW_MFU_FRACTION = 0.25
"""Below this share of the peak an answer says that it is wasteful: published training runs reach 0.3 to 0.6."""


def plural(nodes: int) -> str:
    """So many nodes, in words."""
    return f"{nodes} node" if nodes == 1 else f"{nodes} nodes"


def why_nodes(question: Question, nodes: int, offer: Offer | None = None) -> str:
    """Why not fewer nodes, or more."""
    if offer is not None:
        return f"{plural(nodes)}: as {offer.supplier} quoted, delivered in {format_seconds(offer.delivery_s)}"
    if question.ask.budget_usd is not None and question.ask.deadline_s is None and question.ask.nodes is None:
        return f"{plural(nodes)}: the quickest that {format_usd(question.ask.budget_usd)} pays"
    if question.ask.nodes is not None:
        return f"{plural(nodes)}: as asked"
    smaller = [count for count in question.counts if count < nodes]
    if not smaller:
        return f"{plural(nodes)}: the smallest number at which a layout exists"
    time = train_time_s(question, smaller[-1])
    if time == math.inf:
        return f"{plural(nodes)}: the model does not fit on {smaller[-1]}"
    sure = "" if question.ask.confidence is None else f", to be {format_fraction(question.ask.confidence, 2)} sure"
    return f"{plural(nodes)}: {smaller[-1]} would take {format_seconds(time)}{sure}"


def why_layout(question: Question, found: Found, nodes: int) -> tuple[str, ...]:
    """How the layout was chosen, and where the batch comes from."""
    said = [f"layout: the quickest of {found.fitted} that fit, of {found.tried} tried"]
    if question.ask.global_batch is None:
        tokens = question.batch(nodes) * question.sample.items
        said.append(f"global batch: {format_count(tokens)} tokens, the default for this model and cluster; change it with --global-batch")
    mfu = found.best.prediction.mfu_fraction if found.best else None
    if mfu is not None and mfu < LOW_MFU_FRACTION:
        said.append(f"only {format_fraction(mfu)} of the peak is used: a longer deadline, a larger batch or a better network wastes less")
    return tuple(said)


def too_slow(question: Question, tried: list[int]) -> str:
    """By how much the quickest of the node counts tried misses the deadline, and what limits it."""
    best = min(tried, key=lambda nodes: train_time_s(question, nodes))
    time, deadline = train_time_s(question, best), question.ask.deadline_s or math.inf
    return (
        f"too slow: {format_seconds(time)} on {plural(best)}, {format_seconds(time - deadline)} more than the {format_seconds(deadline)} "
        f"asked for; at most {plural(question.most_nodes)} can be had and share a global batch of {question.batch(best)} samples"
    )


def too_large(question: Question, nodes: int) -> str:
    """What memory is short and by how much, for the layout that came nearest to fitting."""
    closest = question.look(nodes).closest
    if closest is None:
        ranks = nodes * question.profile.node.accelerators
        return f"no layout of {ranks} accelerators divides the model and a batch of {question.batch(nodes)}"
    need, memory = closest.memory.total_bytes, closest.memory
    parts = ", ".join(
        f"{name} {format_bytes(getattr(memory, f'{name}_bytes'))}"
        for name in ("weights", "gradients", "optimizer", "activations", "buffers")
    )
    return (
        f"does not fit on {plural(nodes)}: the least memory is {format_bytes(need)} an accelerator ({closest.layout.text}, micro-batch "
        f"{closest.micro_batch}, recompute {closest.recompute}: {parts}), it has {format_bytes(question.capacity_bytes)}: "
        f"{format_bytes(need - question.capacity_bytes)} short"
    )


def too_dear(question: Question, nodes: int, outlay_usd: float) -> str:
    """By how much the money is short."""
    budget = question.ask.budget_usd or 0.0
    return (
        f"too dear: {format_usd(outlay_usd)} for {plural(nodes)} and {format_seconds(train_time_s(question, nodes))}, "
        f"{format_usd(outlay_usd - budget)} more than the {format_usd(budget)} asked for"
    )


def none_possible(question: Question) -> str:
    """Why not a single node can be had."""
    ask, profile = question.ask, question.profile
    if ask.max_power_w is not None and (known := power_w(profile, 1)) is not None and known[0] * (ask.terms.pue or 1.0) > ask.max_power_w:
        need = known[0] * (ask.terms.pue or 1.0)
        return f"one node takes {format_rate(need, 'W')}, {format_rate(need - ask.max_power_w, 'W')} more than the site has"
    return f"no layout divides {plural(question.most_nodes)} or fewer and a global batch of {ask.global_batch} samples"


def no_such_count(question: Question, nodes: int) -> str:
    """Why a fixed node count has no layout, and the nearest that have."""
    if nodes > question.most_nodes:
        return f"{plural(nodes)} asked for, at most {question.most_nodes} can be had and used"
    near = ", ".join(str(n) for n in sorted(sorted(question.counts, key=lambda n: abs(n - nodes))[:4]))
    return (
        f"{plural(nodes)} are {nodes * question.profile.node.accelerators} accelerators, and no tp·pp·data of them divides the model and "
        f"the global batch of {question.batch(nodes)} samples; node counts that do: {near or 'none'}"
    )


def unknowns(question: Question, found: Found, *, quoted: bool = False) -> tuple[str, ...]:
    """What the answer does not know, with what would tell it."""
    said = list(gaps(question.profile, question.ask.terms, quoted=quoted))
    if found.uncorrected:
        said.append(f"software's share of the step is a general one, and the interval wide: {found.uncorrected}")
    if bare := unsourced(question.profile):
        said.append(f"no source is given for {', '.join(bare[:3])}{f' and {len(bare) - 3} more' if len(bare) > 3 else ''}")
    if question.ask.failures is None:
        said.append("failures are not counted; give --node-mtbf and --storage-bandwidth")
    elif question.ask.failures.restart_s is None:
        said.append("a restart counts only the reading of the checkpoint; give --restart-time for detection and replacement too")
    if question.ask.terms.pue is None:
        said.append("cooling and conversion are not in power and energy; give --pue")
    return tuple(said)
