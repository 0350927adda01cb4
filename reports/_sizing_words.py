"""A sizing in plain words, for who decides on a purchase: what to take, whether it is in time, how sure that is, what to negotiate."""

from collections.abc import Iterator
from typing import Final

from hwbench.core.prediction import Beats, Sizing, SizingAnswer
from hwbench.core.units import format_bytes, format_count, format_fraction, format_rate, format_seconds, format_usd

from ._figure_front import name_of
from ._figure_sizing import NO_EFFECT_FRACTION
from ._tiles import Tile

COIN: Final = 0.65
"""A probability nearer to one half than this is called a coin's."""
LIKELY: Final = 0.9


def sentences(answer: SizingAnswer) -> Iterator[str]:
    """The recommendation first, then how sure it is, the lever, and what is not known."""
    if not answer.sizings:
        yield _nothing(answer)
        return
    first = answer.sizings[0]
    yield _recommendation(first, answer)
    yield from _deadline(first, answer)
    yield from _budget(first, answer)
    if answer.beats is not None:
        yield _beats(answer.beats)
    yield from _lever(answer)
    general = [name_of(one) for one in answer.sizings if not one.corrected]
    if general:
        yield f"For {', '.join(general)} no published run tells how much time software adds: a median over others stands for it."


def _nothing(answer: SizingAnswer) -> str:
    if not answer.rejected:
        return "No cluster was asked about."
    reasons = "; ".join(f"{one.name}: {one.reason}" for one in answer.rejected[:3])
    return f"None of the {len(answer.rejected)} clusters can do it. {reasons}."


def _recommendation(first: Sizing, answer: SizingAnswer) -> str:
    of = f" of {len(answer.sizings)} that can do it" if len(answer.sizings) > 1 else ""
    ranked = f", the first by {answer.ranked_by}{of}" if answer.ranked_by and of else ""
    cost = "at a cost that is not known, since no price was given" if first.costs is None else f"for {_price(first)}"
    nodes = f"{first.nodes:,} node{'s' if first.nodes != 1 else ''} of {name_of(first)}"
    trained = f"{first.model} on {format_count(first.tokens)} tokens in {format_seconds(first.train_time_s)}{_interval(first)}"
    return f"Take {nodes} ({first.accelerators:,} accelerators{ranked}): they train {trained}, {cost}."


def _price(first: Sizing) -> str:
    if first.costs is None:
        return format_usd(first.cost_usd)
    if first.costs.rent_usd:
        return f"{format_usd(first.costs.rent_usd)} of rent"
    return f"{format_usd(first.costs.outlay_usd)} to pay, of which the run uses up {format_usd(first.costs.total_usd)}"


def _interval(first: Sizing) -> str:
    made = first.prediction
    if made.low_s is None or made.high_s is None:
        return ""
    factor = first.train_time_s / made.step_time_s
    return f" (in nine cases of ten between {format_seconds(made.low_s * factor)} and {format_seconds(made.high_s * factor)})"


def _deadline(first: Sizing, answer: SizingAnswer) -> Iterator[str]:
    deadline = answer.question.get("deadline_s")
    if not isinstance(deadline, float | int):
        return
    if not first.meets_deadline:
        yield f"That misses the deadline of {format_seconds(deadline)}; nothing that was asked about meets it."
    elif first.deadline_probability is not None:
        chance = probability(first.deadline_probability)
        more = "" if first.deadline_probability >= LIKELY else "; --confidence 0.9 asks for as many nodes as make it nine in ten"
        yield f"The probability that it is done within {format_seconds(deadline)} is {chance}{more}."


def _budget(first: Sizing, answer: SizingAnswer) -> Iterator[str]:
    budget = answer.question.get("budget_usd")
    if not isinstance(budget, float | int) or first.costs is None:
        return
    left = budget - first.costs.outlay_usd
    asked = f"the budget of {format_usd(float(budget))}"
    yield f"It leaves {format_usd(left)} of {asked}." if left >= 0 else f"It is {format_usd(-left)} over {asked}."


def probability(value: float) -> str:
    """Nothing is certain: 'over 99 %' rather than 100."""
    return "over 99 %" if value > 0.99 else "under 1 %" if value < 0.01 else format_fraction(value, 2)


def _beats(of: Beats) -> str:
    said = f"The probability that {of.winner} really beats {of.runner_up} in {of.by} is {probability(of.probability)}"
    if of.probability < COIN:
        return f"{said}: hardly more than a coin's, so let delivery, power and software decide between the two, and not the last per cent."
    if of.probability < LIKELY:
        return f"{said}: more likely than not, and no certainty."
    return f"{said}."


def _lever(answer: SizingAnswer) -> Iterator[str]:
    found = [one for one in answer.sensitivities if one.change_fraction < -NO_EFFECT_FRACTION]
    if not found:
        return
    best, first = found[0], answer.sizings[0]
    idle = [one.part for one in answer.sensitivities if one.change_fraction > -0.01]
    rest = f"; the same of {', '.join(idle)} would save less than 1 %" if idle else ""
    saved = format_seconds(first.train_time_s - best.train_time_s)
    yield f"What to negotiate: 10 % more {best.part} would save {saved} ({format_fraction(-best.change_fraction, 2)}){rest}."


def tiles(answer: SizingAnswer) -> tuple[Tile, ...]:
    """The key figures of the recommended cluster."""
    if not answer.sizings:
        return ()
    first = answer.sizings[0]
    energy = "" if first.energy_j is None else f", {format_rate(first.energy_j / 3600, 'Wh')}"
    made = [
        Tile("Recommended", f"{first.nodes:,} nodes", f"of {name_of(first)}, {first.accelerators:,} accelerators"),
        Tile("Time to train", format_seconds(first.train_time_s), "predicted" if first.meets_deadline else "predicted, too late"),
        Tile("Cost", format_usd(first.cost_usd) if first.cost_usd is not None else "not known", _cost_note(first)),
        Tile("Memory", format_bytes(first.prediction.memory.total_bytes), _of(first)),
    ]
    if first.power_w is not None:
        made.append(Tile("Power", format_rate(first.power_w, "W"), f"that the site must supply{energy}"))
    if first.goodput_fraction is not None:
        made.append(Tile("Goodput", format_fraction(first.goodput_fraction), "of the time makes progress despite failures"))
    return tuple(made)


def _cost_note(first: Sizing) -> str:
    if first.costs is None:
        return "no price was given"
    return "of rent" if first.costs.rent_usd else f"used up by the run; to pay {format_usd(first.costs.outlay_usd)}"


def _of(first: Sizing) -> str:
    capacity = first.prediction.memory_capacity_bytes
    return f"of {format_bytes(capacity)} of the fullest accelerator" if capacity is not None else "of the fullest accelerator"
