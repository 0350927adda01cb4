"""From a model, tokens and a deadline to how many nodes of which cluster: does it fit, which layout, how long, what it costs.

For one cluster: the node counts at which a layout exists at all, a lower bound by FLOPs and memory, then the smallest count whose quickest
layout meets the deadline.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from hwbench.core.codec import to_builtins
from hwbench.core.errors import NoPlanError, UserError
from hwbench.core.prediction import Rejected, Sizing, SizingAnswer
from hwbench.core.profile import ClusterProfile

from .cost import energy, rent_usd
from .goodput import goodput
from .question import Ask, Model, Question, check, fewest_nodes, pose, train_time_s
from .reasons import basis, no_such_count, too_large, too_slow, unknowns, why_layout, why_nodes
from .search import Sends

LOOK_BACK = 8
"""How many of the largest node counts are looked at to say how near a cluster comes that is too slow."""


def size(model: Model, ask: Ask, profiles: Sequence[ClusterProfile], sends: Sends) -> SizingAnswer:
    """Every cluster's answer, best first, and why the others can't. UserError for a question that makes no sense.

    A number that a profile lacks is the user's error with one cluster, and a reason for rejection among several.
    """
    check(ask)
    answers = [_answer(model, ask, profile, sends, alone=len(profiles) == 1) for profile in profiles]
    sizings = [answer for answer in answers if isinstance(answer, Sizing)]
    ranked_by, key = _ranking(ask, sizings)
    asked: dict[str, Any] = {"model": model.name, "clusters": [profile.name for profile in profiles]} | to_builtins(ask)
    return SizingAnswer(
        question=asked,
        sizings=tuple(sorted(sizings, key=key)),
        rejected=tuple(answer for answer in answers if isinstance(answer, Rejected)),
        ranked_by=ranked_by,
    )


def no_plan(answer: SizingAnswer) -> NoPlanError:
    """The error for an answer without a single sizing: every cluster's reason in one line."""
    return NoPlanError(
        "; ".join(f"{one.name}: {one.reason}" for one in answer.rejected),
        hint="allow more time, more nodes or a larger global batch, or ask for another cluster (`hwbench list clusters`)",
    )


def size_cluster(model: Model, ask: Ask, profile: ClusterProfile, sends: Sends) -> Sizing | Rejected:
    """One cluster's answer: the fixed node count, or the smallest that fits and meets the deadline."""
    question = pose(model, ask, profile, sends)
    if ask.nodes is None:
        return _smallest(question)
    if ask.nodes not in question.counts:
        return Rejected(name=profile.name, reason=no_such_count(question, ask.nodes))
    if question.look(ask.nodes).best is None:
        return Rejected(name=profile.name, reason=too_large(question, ask.nodes))
    return _sizing(question, ask.nodes)


def _answer(model: Model, ask: Ask, profile: ClusterProfile, sends: Sends, *, alone: bool) -> Sizing | Rejected:
    try:
        return size_cluster(model, ask, profile, sends)
    except UserError as error:
        if alone:
            raise
        return Rejected(name=profile.name, reason=f"{error.message} ({error.hint})" if error.hint else error.message)


def _smallest(question: Question) -> Sizing | Rejected:
    """The smallest count that fits and meets the deadline.

    A gallop up from the lower bound finds a count that does it; then every count below is tried in turn, since time against nodes is not
    monotone: a count that the batch or the layers divide badly is slower than a smaller one.
    """
    counts = question.counts
    first = next((i for i, nodes in enumerate(counts) if nodes >= fewest_nodes(question)), len(counts) - 1)
    if not counts:
        reason = f"no layout divides {question.most_nodes} nodes or fewer and a global batch of {question.global_batch} samples"
        return Rejected(name=question.profile.name, reason=reason)
    index, stride = first, 1
    while not does(question, counts[index]):
        if index == len(counts) - 1:
            return _none(question, counts[first:])
        index, stride = min(index + stride, len(counts) - 1), 2 * stride
    return _sizing(question, next(nodes for nodes in counts[first : index + 1] if does(question, nodes)))


def does(question: Question, nodes: int) -> bool:
    """Whether the model fits on so many nodes and is trained in time."""
    time = train_time_s(question, nodes)
    return time < math.inf and (question.ask.deadline_s is None or time <= question.ask.deadline_s)


def _none(question: Question, counts: Sequence[int]) -> Rejected:
    """Nothing fits, or the quickest is too slow: looks at the largest counts to say by how much."""
    fitting = [nodes for nodes in counts[-LOOK_BACK:] if question.look(nodes).best is not None]
    reason = too_slow(question, fitting) if fitting else too_large(question, counts[-1])
    return Rejected(name=question.profile.name, reason=reason)


def _sizing(question: Question, nodes: int) -> Sizing:
    found, ask, profile = question.look(nodes), question.ask, question.profile
    best = found.best
    assert best is not None
    time = train_time_s(question, nodes)
    used = energy(profile, nodes, time)
    return Sizing(
        cluster=profile.name,
        model=question.model,
        nodes=nodes,
        accelerators=nodes * profile.node.accelerators,
        layout=best.layout,
        micro_batch=best.micro_batch,
        global_batch=question.global_batch,
        prediction=replace(best.prediction, basis=basis(profile, best.prediction)),
        tokens=ask.tokens,
        train_time_s=time,
        cost_usd=rent_usd(profile, nodes, time),
        energy_j=None if used is None else used.energy_j,
        meets_deadline=ask.deadline_s is None or time <= ask.deadline_s,
        gaps=unknowns(question, found),
        dtype=question.dtype,
        recompute=best.recompute,
        energy_covers=None if used is None else used.covers,
        goodput_fraction=None if ask.failures is None else goodput(ask.failures, nodes).fraction,
        why=(why_nodes(question, nodes), *why_layout(question, found)),
        notes=profile.notes,
    )


def _ranking(ask: Ask, sizings: Sequence[Sizing]) -> tuple[str, Callable[[Sizing], tuple[bool, float]]]:
    """What decides among clusters: dollars where every one has a price; else time for fixed nodes, else the number of accelerators."""
    if sizings and all(one.cost_usd is not None for one in sizings):
        return "cost", lambda one: (not one.meets_deadline, one.cost_usd or 0.0)
    if ask.nodes is not None:
        return "time to train (prices are missing)", lambda one: (not one.meets_deadline, one.train_time_s)
    return "number of accelerators (prices are missing)", lambda one: (not one.meets_deadline, float(one.accelerators))
