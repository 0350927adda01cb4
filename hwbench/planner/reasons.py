"""The planner's answers in words, with every number: why this many nodes, why this layout, why not."""

from __future__ import annotations

import math

from hwbench.core.prediction import Prediction
from hwbench.core.profile import ClusterProfile
from hwbench.core.sourcing import unsourced
from hwbench.core.units import format_bytes, format_count, format_fraction, format_seconds

from .constants import shipped
from .cost import gaps
from .overrides import SOURCE
from .question import Question, train_time_s
from .search import Found, scale_up_domain, tensor_degrees

LOW_MFU_FRACTION = 0.25
"""Below this share of the peak an answer says that it is wasteful: published training runs reach 0.3 to 0.6."""
MEASURED = "measured here"
"""How the sources of a calibrated profile begin."""


def plural(nodes: int) -> str:
    """So many nodes, in words."""
    return f"{nodes} node" if nodes == 1 else f"{nodes} nodes"


def why_nodes(question: Question, nodes: int) -> str:
    """Why not fewer nodes."""
    if question.ask.nodes is not None:
        return f"{plural(nodes)}: as asked"
    smaller = [count for count in question.counts if count < nodes]
    if not smaller:
        return f"{plural(nodes)}: the smallest number at which a layout exists"
    time = train_time_s(question, smaller[-1])
    if time == math.inf:
        return f"{plural(nodes)}: the model does not fit on {smaller[-1]}"
    return f"{plural(nodes)}: {smaller[-1]} would take {format_seconds(time)}"


def why_layout(question: Question, found: Found) -> tuple[str, ...]:
    """How the layout was chosen, what bounds tensor parallelism, and where the batch comes from."""
    widest, domain = max(tensor_degrees(question.sample, question.profile)), scale_up_domain(question.profile)
    said = [f"layout: the quickest of {found.fitted} that fit, of {found.tried} tried"]
    if widest > 1:
        said.append(f"tp up to {widest} was tried: its all-reduces stay within the {domain} accelerators of the scale-up domain")
    if question.ask.global_batch is None:
        tokens = question.global_batch * question.sample.items
        said.append(f"global batch: {format_count(tokens)} tokens, the default for a model of this size; change it with --global-batch")
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
        f"asked for; at most {plural(question.most_nodes)} can be had and share a global batch of {question.global_batch} samples"
    )


def too_large(question: Question, nodes: int) -> str:
    """What memory is short and by how much, for the layout that came nearest to fitting."""
    closest = question.look(nodes).closest
    if closest is None:
        return f"no layout of {nodes * question.profile.node.accelerators} accelerators divides the model"
    need, memory = closest.memory.total_bytes, closest.memory
    parts = ", ".join(
        f"{name} {format_bytes(getattr(memory, f'{name}_bytes'))}"
        for name in ("weights", "gradients", "optimizer", "activations", "buffers")
    )
    return (
        f"does not fit on {plural(nodes)}: the least memory is {format_bytes(need)} an accelerator ({closest.layout.text}, micro-batch "
        f"{closest.micro_batch}, full recomputation: {parts}), it has {format_bytes(question.capacity_bytes)}: "
        f"{format_bytes(need - question.capacity_bytes)} short"
    )


def no_such_count(question: Question, nodes: int) -> str:
    """Why a fixed node count has no layout, and the nearest that have."""
    if nodes > question.most_nodes:
        return f"{plural(nodes)} asked for, at most {question.most_nodes} can be had and used"
    near = ", ".join(str(n) for n in sorted(sorted(question.counts, key=lambda n: abs(n - nodes))[:4]))
    return (
        f"{plural(nodes)} are {nodes * question.profile.node.accelerators} accelerators, and no tp·pp·data of them divides the model and "
        f"the global batch of {question.global_batch} samples; node counts that do: {near or 'none'}"
    )


def unknowns(question: Question, found: Found) -> tuple[str, ...]:
    """What the answer does not know, with what would tell it."""
    said = list(gaps(question.profile))
    if found.uncorrected:
        said.append(f"interval: unknown, and software's overhead is not in the step: {found.uncorrected}")
    if bare := unsourced(question.profile):
        said.append(f"no source is given for {', '.join(bare[:3])}{f' and {len(bare) - 3} more' if len(bare) > 3 else ''}")
    if question.ask.failures is None:
        said.append("failures are not counted; give --node-mtbf, --checkpoint-time and --restart-time")
    return tuple(said)


def basis(profile: ClusterProfile, prediction: Prediction) -> str:
    """What a prediction on this profile rests on, from its sources."""
    texts = profile.sources.values()
    curves = bool(profile.efficiency.matmul) or any(tier.efficiency for tier in profile.tiers)
    if any(text.startswith(MEASURED) for text in texts):
        parts = ["calibrated here"]
    else:
        parts = ["datasheet", *(["published efficiency curves"] if curves else [])]
    if SOURCE in texts:
        parts.append("figures set by the user")
    if prediction.low_s is not None:
        parts.append(f"{sum(shipped().fitted_on.values())} published training runs")
    return ", ".join(parts)
