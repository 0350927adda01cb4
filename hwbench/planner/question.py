"""What is asked of a cluster, with everything derived from it once: dtype, batch, the node counts that are possible."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

from hwbench.core.errors import UserError
from hwbench.core.prediction import Prediction
from hwbench.core.profile import ClusterProfile
from hwbench.core.value import Value
from hwbench.core.workload import DTYPE_BYTES, Cost

from .candidates import divisors
from .compute import missing, peak_flops_per_s
from .cost import Terms, power_w
from .explore import Model as Model
from .explore import Wanted, explore
from .goodput import Failures, Outages, goodput
from .search import Found, Sends, capacity_bytes, pipeline_degrees, tensor_degrees

SHORTLIST = 1
"""How many layouts of a node count are described: the quickest."""
DTYPES = ("bf16", "fp16", "fp32")
"""Training dtypes in the order in which the default is looked for."""
BATCH_TOKENS: tuple[tuple[float, int], ...] = ((1e9, 2**19), (4e9, 2**20), (20e9, 2**21), (math.inf, 2**22))
"""Default global batch in tokens by parameters: 0.5 Mi to 1 B, 1 Mi to 4 B, 2 Mi to 20 B, 4 Mi above (Brown et al. 2020,
arXiv:2005.14165, table 2.1, in powers of two)."""


LEAST_TOKENS = 1024
"""Tokens of a step that every accelerator gets at least in the default batch: Llama 3 405B's 16 Mi on 16,384 (arXiv:2407.21783)."""
MOST_GROWTH = 4
"""How many times its default a batch may grow with the cluster, as Llama 3 405B's did from 4 Mi to 16 Mi tokens."""
BATCH_SLACK = 1.25
"""How far, as a factor, the default batch may move to share more divisors with the accelerators."""
MOST_ACCELERATORS = 131_072
"""Largest cluster that is looked at unless the user says otherwise: what the largest single installations of 2025 have, rounded up."""


class Ask(Value):
    """What is asked of every cluster."""

    tokens: float
    deadline_s: float | None = None
    nodes: int | None = None
    """Fixed number of nodes; None looks for the smallest that does it."""
    max_nodes: int | None = None
    global_batch: int | None = None
    """Samples a step; None takes the documented default for the model's size."""
    dtype: str | None = None
    framework: str | None = None
    """Software whose published runs correct the prediction; None takes the usual one for the layout."""
    failures: Outages | None = None
    budget_usd: float | None = None
    """What may be paid at most; None for any amount."""
    max_power_w: float | None = None
    """What the site can supply, cooling included."""
    terms: Terms = Terms()
    confidence: float | None = None
    """How sure the deadline is to be met, 0.5 to 1; None takes the predicted time as it is."""


class Question(NamedTuple):
    """One model on one cluster. `counts` are the node counts at which some layout exists, ascending; `look` searches one of them."""

    model: str
    profile: ClusterProfile
    ask: Ask
    dtype: str
    sample: Cost
    """The cost of one sample."""
    capacity_bytes: float
    peak_flops_per_s: float
    most_nodes: int
    counts: tuple[int, ...]
    batch: Callable[[int], int]
    """Samples a step on so many nodes: the user's number, or the default, which grows with the cluster."""
    look: Callable[[int], Found]

    @property
    def failures(self) -> Failures | None:
        """How often nodes fail, with the checkpoint of this model."""
        outages = self.ask.failures
        return None if outages is None else outages.of(checkpoint_bytes(self.sample))


def pose(model: Model, ask: Ask, profile: ClusterProfile, sends: Sends) -> Question:
    """The question of one cluster. UserError where the profile lacks a number that any answer needs."""
    dtype = ask.dtype or training_dtype(profile)
    sample, per_node = model.cost_of(1, dtype), profile.node.accelerators
    most = most_nodes(sample, profile, ask)

    @functools.cache
    def batch(nodes: int) -> int:
        return ask.global_batch or default_global_batch(sample, nodes * per_node)

    @functools.cache
    def look(nodes: int) -> Found:
        wanted = Wanted(nodes * per_node, batch(nodes), dtype, ask.framework, top=SHORTLIST)
        return explore(model, sends, profile, wanted)

    return Question(
        model=model.name,
        profile=profile,
        ask=ask,
        dtype=dtype,
        sample=sample,
        capacity_bytes=capacity_bytes(profile),
        peak_flops_per_s=peak_flops_per_s(profile, dtype),
        most_nodes=most,
        counts=node_counts(sample, profile, global_batch=ask.global_batch, most=most, asked=ask.nodes),
        batch=batch,
        look=look,
    )


def check(ask: Ask) -> None:
    """UserError for a question that makes no sense, with the number in the message."""
    for name in ("tokens", "deadline_s", "budget_usd", "max_power_w"):
        value = getattr(ask, name)
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"{name}={value:g}: expected more than zero and finite")
    if ask.failures is not None:
        goodput(ask.failures.of(1.0), 1)
    if ask.confidence is not None and not 0.5 <= ask.confidence < 1:
        raise UserError(f"confidence={ask.confidence:g}: expected at least 0.5, the predicted time itself, and less than 1")
    for name in ("nodes", "max_nodes", "global_batch"):
        value = getattr(ask, name)
        if value is not None and value < 1:
            raise UserError(f"{name}={value}: expected a whole number of at least 1")


def training_dtype(profile: ClusterProfile) -> str:
    """The fastest of the usual training dtypes that the profile has a rate for, bf16 first among equals. UserError where it has none."""
    peaks = profile.accelerator.peak_flops_per_s
    known = [dtype for dtype in DTYPES if dtype in peaks]
    if not known:
        raise missing(profile, "accelerator.peak_flops_per_s.bf16", found=", ".join(peaks) or "no rate at all")
    return max(known, key=lambda dtype: peaks[dtype])


def default_global_batch(sample: Cost, accelerators: int = 1) -> int:
    """Samples a step for a model of this size on so many accelerators: the documented default in tokens, grown where each accelerator
    would see too few, moved by at most BATCH_SLACK to the number that shares most with the accelerators.
    """
    tokens = next(batch for limit, batch in BATCH_TOKENS if sample.parameters <= limit)
    samples = max(tokens, min(accelerators * LEAST_TOKENS, tokens * MOST_GROWTH)) * sample.micro_batch / sample.items
    odd = accelerators // (accelerators & -accelerators)  # model ranks are powers of two, so data ranks must take the rest
    nearby = [_multiple(samples, share) for share in divisors(accelerators) if share % odd == 0]
    inside = [batch for batch in nearby if samples / BATCH_SLACK <= batch <= samples * BATCH_SLACK] or nearby[:1]
    return max(inside, key=lambda batch: (math.gcd(batch, accelerators), -abs(batch - samples)))


def _multiple(samples: float, share: int) -> int:
    """The multiple of a number that is nearest to `samples`."""
    return max(1, round(samples / share)) * share


def most_nodes(sample: Cost, profile: ClusterProfile, ask: Ask) -> int:
    """The most nodes that can be used: the user's limits (or the documented one), the profile's, its outermost tier's, the batch's.

    UserError where the power is limited and unknown.
    """
    per_node = profile.node.accelerators
    joined = profile.tiers[-1].accelerators if profile.tiers else None
    largest = MOST_ACCELERATORS // per_node if ask.max_nodes is None else ask.max_nodes
    limits = [largest, profile.nodes, None if joined is None else joined // per_node, _powered(profile, ask)]
    if ask.global_batch is not None:
        limits.append(max(tensor_degrees(sample, profile)) * max(pipeline_degrees(sample)) * ask.global_batch // per_node)
    return max(0, min(one for one in limits if one is not None))


def _powered(profile: ClusterProfile, ask: Ask) -> int | None:
    """How many nodes the site can supply; None where it can any. UserError where a node's power is unknown."""
    if ask.max_power_w is None:
        return None
    known = power_w(profile, 1)
    if known is None:
        raise missing(profile, "node.power_w", found="null")
    return int(ask.max_power_w / (known[0] * (ask.terms.pue or 1.0)))


def node_counts(sample: Cost, profile: ClusterProfile, *, global_batch: int | None, most: int, asked: int | None = None) -> tuple[int, ...]:
    """Node counts up to `most` that are looked at, ascending.

    With a fixed batch those for which some tp·pp·data has exactly that many ranks; with the default batch, which adapts, all up to 63 and
    then 32 of each doubling, and the one that was asked for.
    """
    if global_batch is None:
        fine = {odd << shift for shift in range(most.bit_length()) for odd in range(1, 64)}
        return tuple(sorted(count for count in fine | ({asked} if asked else set()) if count <= most))
    per_node = profile.node.accelerators
    model_ranks = {tp * pp for tp in tensor_degrees(sample, profile) for pp in pipeline_degrees(sample)}
    worlds = {ranks * data for ranks in model_ranks for data in divisors(global_batch)}
    return tuple(sorted(world // per_node for world in worlds if world % per_node == 0 and world // per_node <= most))


def checkpoint_bytes(sample: Cost) -> float:
    """What a checkpoint holds: weights in the dtype of training, and the optimizer's states."""
    weight = max(2.0, DTYPE_BYTES.get(sample.dtype, 2.0))
    return sample.parameters * (weight + max(0.0, sample.parameter_state_bytes - weight))


def fewest_nodes(question: Question) -> int:
    """A lower bound: weights and optimizer state lie somewhere, and no step is quicker than its FLOPs at the best rate there is."""
    per_node, sample, ask = question.profile.node.accelerators, question.sample, question.ask
    by_memory = sample.parameters * sample.parameter_state_bytes / (question.capacity_bytes * per_node)
    work = sample.flops / sample.items * ask.tokens
    by_time = work / (question.peak_flops_per_s * per_node * ask.deadline_s) if ask.deadline_s else 0.0
    return max(1, math.floor(max(by_memory, by_time)))


def train_time_s(question: Question, nodes: int) -> float:
    """Seconds to see all tokens, failures included where the user said how often; infinite where nothing fits."""
    best = question.look(nodes).best
    if best is None:
        return math.inf
    failures = question.failures
    share = 1.0 if failures is None else goodput(failures, nodes).fraction
    return steps(question.ask.tokens, best.prediction) * best.prediction.step_time_s / share if share > 0 else math.inf


def steps(tokens: float, prediction: Prediction) -> int:
    """Steps to see so many tokens; the last one begun counts."""
    return math.ceil(tokens / prediction.tokens_per_step)
