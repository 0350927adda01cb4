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
from hwbench.core.workload import Cost

from .compute import missing, peak_flops_per_s
from .corrected import corrected
from .goodput import Failures, goodput
from .search import Found, Sends, capacity_bytes, pipeline_degrees, search, tensor_degrees

DTYPES = ("bf16", "fp16", "fp32")
"""Training dtypes in the order in which the default is looked for."""
BATCH_TOKENS: tuple[tuple[float, int], ...] = ((1e9, 2**19), (4e9, 2**20), (20e9, 2**21), (math.inf, 2**22))
"""Default global batch in tokens by parameters: 0.5 Mi to 1 B, 1 Mi to 4 B, 2 Mi to 20 B, 4 Mi above (Brown et al. 2020,
arXiv:2005.14165, table 2.1, in powers of two)."""


MOST_ACCELERATORS = 131_072
"""Largest cluster that is looked at unless the user says otherwise: what the largest single installations of 2025 have, rounded up."""


class Model(NamedTuple):
    """A model as the planner needs it: its name and the cost of one micro-batch of so many samples in a dtype."""

    name: str
    cost_of: Callable[[int, str], Cost]
    shape: dict[str, str]
    """A decoder Transformer's sizes in the columns of data/measurements.csv (layers, hidden, heads …); empty for anything else."""


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
    failures: Failures | None = None


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
    global_batch: int
    most_nodes: int
    counts: tuple[int, ...]
    look: Callable[[int], Found]


def pose(model: Model, ask: Ask, profile: ClusterProfile, sends: Sends) -> Question:
    """The question of one cluster. UserError where the profile lacks a number that any answer needs."""
    dtype = ask.dtype or training_dtype(profile)
    sample = model.cost_of(1, dtype)
    fixed = None if ask.nodes is None else ask.nodes * profile.node.accelerators
    global_batch = ask.global_batch or default_global_batch(sample, fixed)
    most = most_nodes(sample, profile, global_batch=global_batch, limit=ask.max_nodes)

    @functools.cache
    def look(nodes: int) -> Found:
        accelerators = nodes * profile.node.accelerators
        found = search(lambda size: model.cost_of(size, dtype), sends, profile, accelerators=accelerators, global_batch=global_batch)
        return corrected(found, model.shape, profile, dtype=dtype, framework=ask.framework)

    return Question(
        model=model.name,
        profile=profile,
        ask=ask,
        dtype=dtype,
        sample=sample,
        capacity_bytes=capacity_bytes(profile),
        peak_flops_per_s=peak_flops_per_s(profile, dtype),
        global_batch=global_batch,
        most_nodes=most,
        counts=node_counts(sample, profile, global_batch=global_batch, most=most),
        look=look,
    )


def check(ask: Ask) -> None:
    """UserError for a question that makes no sense, with the number in the message."""
    for name in ("tokens", "deadline_s"):
        value = getattr(ask, name)
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"{name}={value:g}: expected more than zero and finite")
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


def default_global_batch(sample: Cost, accelerators: int | None = None) -> int:
    """Samples a step for a model of this size: the documented default in tokens, to the nearest number that divides well.

    That is 15·2^n, which many numbers of data ranks divide, or (odd part)·2^n for a fixed number of accelerators, which those divide.
    """
    tokens = next(batch for limit, batch in BATCH_TOKENS if sample.parameters <= limit)
    samples = tokens * sample.micro_batch / sample.items
    odd = 15 if accelerators is None else accelerators // (accelerators & -accelerators)
    return odd << max(0, round(math.log2(samples / odd)))


def most_nodes(sample: Cost, profile: ClusterProfile, *, global_batch: int, limit: int | None) -> int:
    """The most nodes that can be used: the user's limit (or the documented one), the profile's, its outermost tier's, the batch's."""
    per_node = profile.node.accelerators
    widest = max(tensor_degrees(sample, profile)) * max(pipeline_degrees(sample)) * global_batch
    joined = profile.tiers[-1].accelerators if profile.tiers else None
    largest = MOST_ACCELERATORS // per_node if limit is None else limit
    limits = [largest, profile.nodes, None if joined is None else joined // per_node, widest // per_node]
    return max(1, min(one for one in limits if one is not None))


def node_counts(sample: Cost, profile: ClusterProfile, *, global_batch: int, most: int) -> tuple[int, ...]:
    """Node counts up to `most` for which some tp·pp·data has exactly that many ranks, ascending."""
    per_node = profile.node.accelerators
    model_ranks = {tp * pp for tp in tensor_degrees(sample, profile) for pp in pipeline_degrees(sample)}
    data_ranks = [ranks for ranks in range(1, global_batch + 1) if global_batch % ranks == 0]
    worlds = {ranks * data for ranks in model_ranks for data in data_ranks}
    return tuple(sorted(world // per_node for world in worlds if world % per_node == 0 and world // per_node <= most))


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
    failures = question.ask.failures
    share = 1.0 if failures is None else goodput(failures, nodes).fraction
    return steps(question.ask.tokens, best.prediction) * best.prediction.step_time_s / share if share > 0 else math.inf


def steps(tokens: float, prediction: Prediction) -> int:
    """Steps to see so many tokens; the last one begun counts."""
    return math.ceil(tokens / prediction.tokens_per_step)
