"""Around a recommendation: other sizes of each cluster, what better parts would bring, and how sure the choice is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from msgspec.structs import replace

from hwbench.core.prediction import Beats, Option, Prediction, Sensitivity, Sizing
from hwbench.core.profile import ClusterProfile

from .cost import costs, energy
from .overrides import with_settings
from .question import Ask, Model, Question, pose, train_time_s
from .search import Sends

SIZES = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Multiples of the recommended number of nodes that are looked at for the Pareto front."""
BETTER = 1.10
NORMAL_90 = 1.6449
"""Half the width of a 90 % interval in standard deviations of a normal distribution."""


def options(sized: Sequence[tuple[Sizing, Question]]) -> tuple[Option, ...]:
    """Every cluster at several sizes, the quickest first; what no other beats in all that is known is marked as efficient."""
    points = [point for one, question in sized for point in _points(one, question)]
    known = [name for name in ("cost_usd", "energy_j") if all(getattr(point, name) is not None for point in points)]
    if len({one.energy_covers for one, _ in sized}) > 1:  # whole nodes and bare accelerators can't be compared
        known = [name for name in known if name != "energy_j"]
    axes = ["train_time_s", *known] if known else ["train_time_s", "nodes"]
    marked = (replace(point, efficient=not any(_dominates(other, point, axes) for other in points)) for point in points)
    return tuple(sorted(marked, key=lambda point: point.train_time_s))


def _points(one: Sizing, question: Question) -> list[Option]:
    if one.offer is not None:  # a quote is for so many nodes and no others
        return [
            Option(
                cluster=f"{one.offer.supplier}: {one.cluster}", nodes=one.nodes, train_time_s=one.train_time_s, cost_usd=one.cost_usd,
                energy_j=one.energy_j, efficient=False,
            )
        ]  # fmt: skip
    terms, profile = question.ask.terms, question.profile
    wanted = {min(question.counts, key=lambda count: abs(count - factor * one.nodes)) for factor in SIZES} | {one.nodes}
    times = {nodes: train_time_s(question, nodes) for nodes in sorted(wanted)}
    made = []
    for nodes, time in times.items():
        if time == math.inf:
            continue
        paid, used = costs(profile, nodes, time, terms), energy(profile, nodes, time, pue=terms.pue or 1.0)
        made.append(
            Option(
                cluster=profile.name,
                nodes=nodes,
                train_time_s=time,
                cost_usd=None if paid is None else paid.total_usd,
                energy_j=None if used is None else used.energy_j,
                efficient=False,
            )
        )
    return made


def _dominates(one: Option, other: Option, axes: Sequence[str]) -> bool:
    pairs = [(float(getattr(one, axis)), float(getattr(other, axis))) for axis in axes]
    return all(left <= right for left, right in pairs) and any(left < right for left, right in pairs)


def sensitivities(model: Model, ask: Ask, one: Sizing, profile: ClusterProfile, sends: Sends) -> tuple[Sensitivity, ...]:
    """The training time on as many nodes with one figure of the cluster 10 % higher, searched again; the largest gain first."""
    found = []
    for part, keys in _figures(profile, one.dtype).items():
        changed = with_settings(profile, {key: value * BETTER for key, value in keys.items()})
        question = pose(model, replace(ask, nodes=one.nodes, deadline_s=None), changed, sends)
        time = train_time_s(question, one.nodes)
        if time < math.inf:
            key = next(iter(keys))
            found.append(Sensitivity(part=part, key=key, train_time_s=time, change_fraction=time / one.train_time_s - 1))
    return tuple(sorted(found, key=lambda each: each.change_fraction))


def _figures(profile: ClusterProfile, dtype: str) -> dict[str, dict[str, float]]:
    """What can be better, as settings of the profile: part -> key -> today's figure. What is unknown is not there."""
    device, tiers = profile.accelerator, profile.tiers
    found: dict[str, dict[str, float | None]] = {
        "FLOP/s": dict(_rates(profile, dtype)),
        "memory": {"accelerator.memory_bytes": device.memory_bytes},
        "memory bandwidth": {"accelerator.memory_bandwidth_bytes_per_s": device.memory_bandwidth_bytes_per_s},
    }
    if tiers:
        found["scale-up"] = {f"tiers.{tiers[0].name}.bandwidth_bytes_per_s": tiers[0].bandwidth_bytes_per_s}
    if len(tiers) > 1:
        found["network"] = {f"tiers.{tier.name}.bandwidth_bytes_per_s": tier.bandwidth_bytes_per_s for tier in tiers[1:]}
    return {part: known for part, keys in found.items() if (known := {key: value for key, value in keys.items() if value is not None})}


def _rates(profile: ClusterProfile, dtype: str) -> dict[str, float]:
    """Rates of all dtypes, the one that is trained in first: it names the part."""
    peaks = sorted(profile.accelerator.peak_flops_per_s.items(), key=lambda item: item[0] != dtype)
    return {f"accelerator.peak_flops_per_s.{name}": rate for name, rate in peaks}


def spread(prediction: Prediction) -> float | None:
    """Standard deviation of the logarithm of a step time, from its 90 % interval; None without one."""
    low, high = prediction.low_s, prediction.high_s
    return None if low is None or high is None or not 0 < low < high else math.log(high / low) / (2 * NORMAL_90)


def probability_within(prediction: Prediction, time_s: float, limit_s: float) -> float | None:
    """That a run predicted to take `time_s` takes no more than `limit_s`, the error log-normal; None without an interval."""
    sigma = spread(prediction)
    return None if sigma is None else _normal(math.log(limit_s / time_s) / sigma)


def beats(sizings: Sequence[Sizing], ranked_by: str) -> Beats | None:
    """That the first is really better than the second in what they are ranked by; None where an interval or a second is missing.

    What decides is proportional to the step time, or nearly: cost, time, and the accelerators that a deadline takes.
    """
    for first, second in pairwise(sizings[:2]):
        sigmas = spread(first.prediction), spread(second.prediction)
        values = _decides(first, ranked_by), _decides(second, ranked_by)
        if sigmas[0] is None or sigmas[1] is None or min(values) <= 0 or first.meets_deadline != second.meets_deadline:
            return None
        return Beats(
            winner=_name(first),
            runner_up=_name(second),
            by=ranked_by,
            probability=_normal(math.log(values[1] / values[0]) / math.hypot(sigmas[0], sigmas[1])),
            how="errors log-normal, as wide as the 90 % intervals, and independent: what both predictions share makes it surer",
        )
    return None


def _name(one: Sizing) -> str:
    return one.cluster if one.offer is None else f"{one.offer.supplier}: {one.cluster}"


def _decides(one: Sizing, ranked_by: str) -> float:
    if ranked_by == "cost":
        return one.cost_usd or 0.0
    return float(one.accelerators) if ranked_by.startswith("number of accelerators") else one.train_time_s


def _normal(x: float) -> float:
    """The standard normal distribution function."""
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))
