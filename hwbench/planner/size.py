"""From a model, tokens and a deadline or a budget to how many nodes of which cluster: does it fit, which layout, how long, what it costs.

For one cluster: the node counts at which a layout exists at all, a lower bound by FLOPs and memory, then the smallest count whose quickest
layout meets the deadline; with a budget and no deadline the quickest count that the budget pays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

from msgspec.structs import replace

from hwbench.core.codec import to_builtins
from hwbench.core.errors import NoPlanError, UserError
from hwbench.core.prediction import Offer, Progress, Rejected, Sizing, SizingAnswer
from hwbench.core.profile import ClusterProfile

from .cost import check_terms, co2_kg, costs, energy, power_w
from .goodput import goodput
from .offers import Quoted
from .question import Ask, Model, Question, check, fewest_nodes, pose, train_time_s
from .reasons import no_such_count, none_possible, too_dear, too_large, too_slow, unknowns, why_layout, why_nodes
from .search import Sends
from .tradeoffs import beats, options, probability_within, sensitivities, spread

LOOK_BACK = 8
"""How many of the largest node counts are looked at to say how near a cluster comes that is too slow."""
LOOKS = 16
"""A budget is first looked at with node counts twice apart, then with so many between the largest that it pays and the next."""


def size(model: Model, ask: Ask, profiles: Sequence[ClusterProfile], sends: Sends, quotes: Sequence[Quoted] = ()) -> SizingAnswer:
    """Every cluster's and every quote's answer, best first, and why the others can't. UserError for a question that makes no sense.

    A number that a profile lacks is the user's error with one cluster, and a reason for rejection among several.
    """
    check(ask)
    check_terms(ask.terms)
    alone = len(profiles) + len(quotes) == 1
    tried = [_try(lambda p=profile: _sized(model, ask, p, sends), profile.name, alone=alone) for profile in profiles]  # type: ignore[misc]
    tried += [_try(lambda q=quote: _quoted(model, ask, q, sends), quote.name, alone=alone) for quote in quotes]  # type: ignore[misc]
    can = [(one, question) for one, question in tried if isinstance(one, Sizing)]
    ranked_by, key = _ranking(ask, [one for one, _ in can])
    can.sort(key=lambda pair: key(pair[0]))
    sizings = tuple(one for one, _ in can)
    asked: dict[str, Any] = {"model": model.name, "clusters": [profile.name for profile in profiles]} | _asked(ask)
    return SizingAnswer(
        question=asked,
        sizings=sizings,
        rejected=tuple(one for one, _ in tried if isinstance(one, Rejected)),
        ranked_by=ranked_by,
        options=options([(one, question) for one, question in can if question is not None]),
        sensitivities=sensitivities(model, ask, can[0][0], can[0][1].profile, sends) if can and can[0][1] is not None else (),
        beats=beats(sizings, ranked_by),
    )


def no_plan(answer: SizingAnswer) -> NoPlanError:
    """The error for an answer without a single sizing: every cluster's reason in one line."""
    return NoPlanError(
        "; ".join(f"{one.name}: {one.reason}" for one in answer.rejected),
        hint="allow more time, more nodes, more money or a larger global batch, or ask for another cluster (`hwbench list clusters`)",
    )


def size_cluster(model: Model, ask: Ask, profile: ClusterProfile, sends: Sends) -> Sizing | Rejected:
    """One cluster's answer: the fixed node count, or the smallest that fits and meets the deadline."""
    return _sized(model, ask, profile, sends)[0]


Tried = tuple[Sizing | Rejected, Question | None]


def _sized(model: Model, ask: Ask, profile: ClusterProfile, sends: Sends) -> Tried:
    question = pose(model, ask, profile, sends)
    if ask.nodes is not None:
        return _fixed(question, ask.nodes), question
    if not question.counts:
        return Rejected(name=profile.name, reason=none_possible(question)), question
    if ask.budget_usd is not None and ask.deadline_s is None:
        return _within_budget(question, ask.budget_usd), question
    found = _smallest(question)
    if isinstance(found, Sizing) and ask.budget_usd is not None and _outlay(question, found.nodes) > ask.budget_usd:
        return Rejected(name=profile.name, reason=too_dear(question, found.nodes, _outlay(question, found.nodes))), question
    return found, question


def _quoted(model: Model, ask: Ask, quote: Quoted, sends: Sends) -> Tried:
    """A supplier's offer: exactly its nodes, in what time is left after delivery."""
    left = None if ask.deadline_s is None else ask.deadline_s - quote.offer.delivery_s
    if left is not None and left <= 0:
        return Rejected(name=quote.name, reason=quote.late(-left)), None
    question = pose(model, replace(ask, nodes=quote.nodes, deadline_s=left), quote.profile, sends)
    found = _fixed(question, quote.nodes, quote.offer)
    if isinstance(found, Sizing) and found.costs is not None and found.costs.outlay_usd > (ask.budget_usd or math.inf):
        return Rejected(name=quote.name, reason=too_dear(question, quote.nodes, found.costs.outlay_usd)), question
    return (found if isinstance(found, Sizing) else replace(found, name=quote.name)), question


def _try(answer: Callable[[], Tried], name: str, *, alone: bool) -> Tried:
    try:
        return answer()
    except UserError as error:
        if alone:
            raise
        return Rejected(name=name, reason=f"{error.message} ({error.hint})" if error.hint else error.message), None


def _fixed(question: Question, nodes: int, offer: Offer | None = None) -> Sizing | Rejected:
    name = question.profile.name
    if nodes not in question.counts:
        return Rejected(name=name, reason=no_such_count(question, nodes))
    if question.look(nodes).best is None:
        return Rejected(name=name, reason=too_large(question, nodes))
    return _sizing(question, nodes, offer)


def _smallest(question: Question) -> Sizing | Rejected:
    """The smallest count that fits and meets the deadline.

    A gallop up from the lower bound finds a count that does it; then every count below is tried in turn, since time against nodes is not
    monotone: a count that the batch or the layers divide badly is slower than a smaller one.
    """
    counts = question.counts
    first = _first(question)
    index, stride = first, 1
    while not does(question, counts[index]):
        if index == len(counts) - 1:
            return _none(question, counts[first:])
        index, stride = min(index + stride, len(counts) - 1), 2 * stride
    return _sizing(question, next(nodes for nodes in counts[first : index + 1] if does(question, nodes)))


def _within_budget(question: Question, budget_usd: float) -> Sizing | Rejected:
    """The quickest count that the budget pays; the cheapest is quoted where none is."""
    counts = question.counts[_first(question) :]
    if _outlay(question, counts[-1]) == math.inf and costs(question.profile, 1, 1.0, question.ask.terms) is None:
        reason = f"a budget needs a price: give --price-usd-per-hour {question.profile.name}=USD or --buy-usd {question.profile.name}=USD"
        return Rejected(name=question.profile.name, reason=reason)
    coarse = _doubling(question, counts, budget_usd)
    paid = [nodes for nodes in coarse if _outlay(question, nodes) <= budget_usd]
    if not paid:
        possible = [nodes for nodes in coarse if train_time_s(question, nodes) < math.inf]
        if not possible:
            return Rejected(name=question.profile.name, reason=too_large(question, counts[-1]))
        cheapest = min(possible, key=lambda nodes: _outlay(question, nodes))
        return Rejected(name=question.profile.name, reason=too_dear(question, cheapest, _outlay(question, cheapest)))
    between = [nodes for nodes in counts if max(paid) < nodes < 2 * max(paid)]
    step = max(1, len(between) // LOOKS)
    affordable = [nodes for nodes in (*paid, *between[::step]) if _outlay(question, nodes) <= budget_usd]
    return _sizing(question, min(affordable, key=lambda nodes: train_time_s(question, nodes)))


def _doubling(question: Question, counts: Sequence[int], budget_usd: float) -> list[int]:
    """Counts about twice apart, from the smallest until two in a row, after one that the budget pays, cost too much."""
    seen: list[int] = []
    dear = 0
    for nodes in counts:
        if seen and nodes < 2 * seen[-1]:
            continue
        seen.append(nodes)
        paid = _outlay(question, nodes) <= budget_usd
        dear = 0 if paid else dear + 1
        fits = _outlay(question, nodes) < math.inf
        if fits and dear >= 2 and (len(seen) > dear or _outlay(question, nodes) > _outlay(question, seen[-2])):
            break
    return seen


def _first(question: Question) -> int:
    """Place of the first count that is not below the lower bound."""
    counts = question.counts
    return next((place for place, nodes in enumerate(counts) if nodes >= fewest_nodes(question)), len(counts) - 1)


def _outlay(question: Question, nodes: int) -> float:
    """Dollars to be paid; infinite where nothing fits or no price is known."""
    time = train_time_s(question, nodes)
    found = None if time == math.inf else costs(question.profile, nodes, time, question.ask.terms)
    return math.inf if found is None else found.outlay_usd


def does(question: Question, nodes: int) -> bool:
    """Whether the model fits on so many nodes and is trained in time, as surely as was asked."""
    time, ask = train_time_s(question, nodes), question.ask
    if time == math.inf or ask.deadline_s is None:
        return time < math.inf
    best = question.look(nodes).best
    sigma = None if best is None else spread(best.prediction)
    margin = 1.0 if sigma is None or ask.confidence is None else math.exp(NormalDist().inv_cdf(ask.confidence) * sigma)
    return time * margin <= ask.deadline_s


def _none(question: Question, counts: Sequence[int]) -> Rejected:
    """Nothing fits, or the quickest is too slow: looks at the largest counts to say by how much."""
    fitting = [nodes for nodes in counts[-LOOK_BACK:] if question.look(nodes).best is not None]
    reason = too_slow(question, fitting) if fitting else too_large(question, counts[-1])
    return Rejected(name=question.profile.name, reason=reason)


def _sizing(question: Question, nodes: int, offer: Offer | None = None) -> Sizing:
    found, ask, profile = question.look(nodes), question.ask, question.profile
    best = found.best
    assert best is not None
    time = train_time_s(question, nodes)
    pue = ask.terms.pue or 1.0
    used, drawn = energy(profile, nodes, time, pue=pue), power_w(profile, nodes)
    paid = costs(profile, nodes, time, ask.terms, purchase_usd=None if offer is None else offer.price_usd)
    progress = _progress(question, nodes)
    return Sizing(
        cluster=profile.name,
        model=question.model,
        nodes=nodes,
        accelerators=nodes * profile.node.accelerators,
        layout=best.layout,
        micro_batch=best.micro_batch,
        global_batch=question.batch(nodes),
        prediction=best.prediction,
        tokens=ask.tokens,
        train_time_s=time,
        cost_usd=None if paid is None else paid.total_usd,
        energy_j=None if used is None else used.energy_j,
        meets_deadline=ask.deadline_s is None or time <= ask.deadline_s,
        gaps=unknowns(question, found, quoted=offer is not None),
        dtype=question.dtype,
        recompute=best.recompute,
        energy_covers=None if used is None else used.covers,
        goodput_fraction=None if progress is None else progress.fraction,
        why=(why_nodes(question, nodes, offer), *why_layout(question, found, nodes)),
        notes=profile.notes,
        software=best.software,
        costs=paid,
        power_w=None if drawn is None else drawn[0] * pue,
        co2_kg=co2_kg(None if used is None else used.energy_j, ask.terms),
        progress=progress,
        offer=offer,
        deadline_probability=None if ask.deadline_s is None else probability_within(best.prediction, time, ask.deadline_s),
        corrected=not found.uncorrected,
    )


def _progress(question: Question, nodes: int) -> Progress | None:
    failures = question.failures
    if failures is None:
        return None
    steady = goodput(failures, nodes)
    return Progress(
        fraction=steady.fraction,
        checkpoint_interval_s=steady.checkpoint_interval_s,
        checkpoint_s=failures.checkpoint_s,
        restart_s=failures.restart_s,
        job_mtbf_s=steady.job_mtbf_s,
    )


def _asked(ask: Ask) -> dict[str, Any]:
    """The question as plain values: what was not given is left out of terms and failures."""
    plain: dict[str, Any] = to_builtins(ask)
    terms = {key: value for key, value in plain.pop("terms").items() if value not in (None, {})}
    outages = plain.pop("failures") or {}
    return plain | terms | {key: value for key, value in outages.items() if value is not None}


def _ranking(ask: Ask, sizings: Sequence[Sizing]) -> tuple[str, Callable[[Sizing], tuple[bool, float]]]:
    """What decides: time within a budget; dollars where all have a price; else time for fixed nodes, else the number of accelerators."""
    if sizings and ask.budget_usd is not None and ask.deadline_s is None:
        return "time to train within the budget", lambda one: (not one.meets_deadline, one.train_time_s)
    if sizings and all(one.cost_usd is not None for one in sizings):
        return "cost", lambda one: (not one.meets_deadline, one.cost_usd or 0.0)
    if ask.nodes is not None or any(one.offer is not None for one in sizings):
        return "time to train (prices are missing)", lambda one: (not one.meets_deadline, one.train_time_s)
    return "number of accelerators (prices are missing)", lambda one: (not one.meets_deadline, float(one.accelerators))
