"""Serving a decoder: how many replicas of how many accelerators answer so many users in time, and what keeps them from more.

A replica is a tp group within the scale-up domain (and pp stages where the weights need more). Reading a prompt is one forward pass,
limited by arithmetic; each further token streams the weights once for the whole batch, and every sequence's keys and values: limited by
memory bandwidth. Batching is continuous: prompts are read between tokens, so both phases share the replica's time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from hwbench.core.codec import to_builtins
from hwbench.core.errors import NoPlanError, UserError
from hwbench.core.prediction import Rejected, Serving, ServingAnswer
from hwbench.core.profile import ClusterProfile
from hwbench.core.units import format_bytes, format_count, format_seconds
from hwbench.core.value import Value
from hwbench.core.workload import DTYPE_BYTES

from .communication import BUS_FRACTION, HALF_BYTES, LATENCY_S
from .compute import MEMORY_FRACTION, matmul_fraction, memory_bandwidth_bytes_per_s, peak_flops_per_s
from .cost import power_w
from .explore import Model
from .machine import scale_up_domain
from .question import training_dtype
from .search import capacity_bytes

USABLE_FRACTION = 0.90
"""Share of an accelerator's memory that a server fills: the default of vLLM's gpu_memory_utilization."""
RUNTIME_BYTES = 2 * 2**30
"""Driver, graphs and communication buffers beside weights and cache."""
BLOCK_TOKENS = 16
"""Tokens of a page of the cache: half of one is wasted a sequence (PagedAttention, arXiv:2309.06180, section 4)."""
STEP_S = 4e-3
"""Assumed host time of one decoding step: scheduling, sampling, launches that no graph covers."""
MAX_STAGES = 16
"""Deepest pipeline of a replica: each stage lengthens every token by a hop."""
ALL_REDUCES = 2
"""A layer and pass, under tensor parallelism (arXiv:1909.08053)."""
LOW, HIGH = 0.75, 1.60
"""Assumed 90 % interval of both times, as factors: no measurement of serving was fitted, so it is wide, and the answer says so."""


class Load(Value):
    """What is asked of a serving cluster."""

    prompt_tokens: int
    output_tokens: int
    users: int
    """Requests in flight at a time."""
    ttft_s: float
    tpot_s: float
    dtype: str | None = None
    max_nodes: int | None = None
    pue: float | None = None


class _Decoder(NamedTuple):
    """What a decoder takes, by its shape; one token where not said otherwise."""

    parameters: float
    layers: int
    hidden: int
    flops: float
    """Products of one token, 2 a parameter (embedding look-up left out)."""
    attention_flops: float
    """Against one earlier token, all layers."""
    kv_bytes: float
    element_bytes: float


class _Replica(NamedTuple):
    """One way to hold the model, and what it does at a batch."""

    tp: int
    pp: int
    batch: int
    users: int
    ttft_s: float
    tpot_s: float
    weights_bytes: float
    kv_bytes: float
    limit: str


def serve(model: Model, load: Load, profiles: Sequence[ClusterProfile]) -> ServingAnswer:
    """Every cluster's answer, the fewest dollars (or accelerators) first. UserError for a load that makes no sense."""
    _check(model, load)
    alone = len(profiles) == 1
    answers = [_answer(model, load, profile, alone=alone) for profile in profiles]
    servings = [one for one in answers if isinstance(one, Serving)]
    priced = bool(servings) and all(one.cost_usd_per_hour is not None for one in servings)
    servings.sort(key=lambda one: one.cost_usd_per_hour or 0.0 if priced else float(one.accelerators))
    return ServingAnswer(
        question={"model": model.name, "clusters": [profile.name for profile in profiles]} | to_builtins(load),
        servings=tuple(servings),
        rejected=tuple(one for one in answers if isinstance(one, Rejected)),
        ranked_by="cost" if priced else "number of accelerators (prices are missing)",
    )


def no_serving(answer: ServingAnswer) -> NoPlanError:
    """The error for an answer that no cluster can give: every cluster's reason in one line."""
    reasons = "; ".join(f"{one.name}: {one.reason}" for one in answer.rejected)
    return NoPlanError(reasons, hint="allow longer times, serve fewer users, or ask for another cluster (`hwbench list clusters`)")


def kv_bytes_per_token(model: Model, element_bytes: float) -> float:
    """Keys and values of one token over all layers: 2 · layers · kv heads · head width · bytes an element."""
    shape = {name: float(model.shape[name]) for name in ("layers", "kv_heads", "heads", "hidden")}
    return 2 * shape["layers"] * shape["kv_heads"] * shape["hidden"] / shape["heads"] * element_bytes


def _answer(model: Model, load: Load, profile: ClusterProfile, *, alone: bool) -> Serving | Rejected:
    try:
        return _serving(model, load, profile)
    except UserError as error:
        if alone:
            raise
        return Rejected(name=profile.name, reason=f"{error.message} ({error.hint})" if error.hint else error.message)


def _serving(model: Model, load: Load, profile: ClusterProfile) -> Serving | Rejected:
    dtype = load.dtype or training_dtype(profile)
    decoder = _decoder(model, dtype)
    ways = [(tp, pp) for tp, pp in _splits(model, load, profile) if _cache_bytes(decoder, profile, tp, pp) > 0]
    if not ways:
        return Rejected(name=profile.name, reason=_too_large(model, decoder, load, profile))
    replicas = [_replica(decoder, load, profile, dtype, tp, pp) for tp, pp in ways]
    able = [one for one in replicas if one.users > 0]
    if not able:
        return Rejected(name=profile.name, reason=_too_slow(load, replicas))
    best = min(able, key=lambda one: (math.ceil(load.users / one.users) * one.tp * one.pp, one.tpot_s))
    return _described(model, decoder, load, profile, dtype, best)


def _decoder(model: Model, dtype: str) -> _Decoder:
    cost, shape = model.cost_of(1, "bf16" if dtype not in ("fp32", "tf32", "fp16") else dtype), model.shape
    element = DTYPE_BYTES.get(dtype, 2.0)
    hidden, layers = int(shape["hidden"]), int(shape["layers"])
    table = hidden * int(shape["vocab"])
    untied = (
        cost.parameters - table if any(block.name == "head" and block.parameters > table / 2 for block in cost.blocks) else cost.parameters
    )
    return _Decoder(
        parameters=float(cost.parameters),
        layers=layers,
        hidden=hidden,
        flops=2.0 * (cost.parameters - (table if untied else 0)),
        attention_flops=4.0 * layers * hidden,
        kv_bytes=kv_bytes_per_token(model, max(1.0, element)),
        element_bytes=element,
    )


def _most_nodes(load: Load, profile: ClusterProfile) -> int | None:
    """How many nodes can be had; None for any number."""
    return min((limit for limit in (load.max_nodes, profile.nodes) if limit is not None), default=None)


def _splits(model: Model, load: Load, profile: ClusterProfile) -> Iterator[tuple[int, int]]:
    """tp within the scale-up domain and over the heads; pipeline stages only beyond the widest tp, and no more than can be had."""
    domain, heads, kv_heads, layers = (scale_up_domain(profile), *(int(model.shape[key]) for key in ("heads", "kv_heads", "layers")))
    tensors = [tp for tp in range(1, domain + 1) if domain % tp == 0 and heads % tp == 0 and (kv_heads % tp == 0 or tp % kv_heads == 0)]
    yield from ((tp, 1) for tp in tensors)
    nodes = _most_nodes(load, profile)
    deepest = MAX_STAGES if nodes is None else min(MAX_STAGES, nodes * profile.node.accelerators // tensors[-1])
    yield from ((tensors[-1], pp) for pp in range(2, deepest + 1) if layers % pp == 0)


def _cache_bytes(decoder: _Decoder, profile: ClusterProfile, tp: int, pp: int) -> float:
    """Memory of one accelerator that is left for keys and values; negative where the weights don't fit."""
    return capacity_bytes(profile) * USABLE_FRACTION - RUNTIME_BYTES - decoder.parameters * decoder.element_bytes / (tp * pp)


def _replica(decoder: _Decoder, load: Load, profile: ClusterProfile, dtype: str, tp: int, pp: int) -> _Replica:
    """The largest batch within memory and both limits."""
    length = load.prompt_tokens + load.output_tokens + BLOCK_TOKENS / 2
    room = _cache_bytes(decoder, profile, tp, pp)
    fitting = int(room * tp * pp / (decoder.kv_bytes * length))
    prefill = _prefill_s(decoder, load, profile, dtype, tp, pp)
    ttft = 2 * prefill  # the prompt, and the one that is being read when it arrives
    most = min(fitting, load.users)
    batch = _largest(most, lambda size: _token_s(decoder, load, profile, dtype, tp, pp, size, prefill) <= load.tpot_s)
    if fitting == 0:
        limit = f"memory: one sequence takes {format_bytes(decoder.kv_bytes * length)} of cache, {format_bytes(room * tp * pp)} are left"
    elif ttft > load.ttft_s:
        batch, limit = 0, f"time to the first token: {format_seconds(ttft)} for {load.prompt_tokens} tokens"
    elif batch == 0:
        alone = _token_s(decoder, load, profile, dtype, tp, pp, 1, prefill)
        limit = f"time of a token: {format_seconds(alone)} for one sequence"
    elif batch == load.users:
        limit = "the number of users: it could serve more"
    elif batch == fitting:
        limit = f"memory for keys and values: {format_bytes(room * tp * pp)} hold {batch} sequences"
    else:
        limit = f"time of a token: {batch + 1} sequences take longer than {format_seconds(load.tpot_s)}"
    return _Replica(
        tp=tp,
        pp=pp,
        batch=batch,
        users=batch,
        ttft_s=ttft,
        tpot_s=_token_s(decoder, load, profile, dtype, tp, pp, max(1, batch), prefill),
        weights_bytes=decoder.parameters * decoder.element_bytes / (tp * pp),
        kv_bytes=batch * decoder.kv_bytes * length / (tp * pp),
        limit=limit,
    )


def _prefill_s(decoder: _Decoder, load: Load, profile: ClusterProfile, dtype: str, tp: int, pp: int) -> float:
    """One prompt through all layers: its products and causal attention at the matrix rate, two all-reduces a layer."""
    tokens = load.prompt_tokens
    flops = tokens * decoder.flops + decoder.attention_flops * tokens * tokens / 2
    peak = peak_flops_per_s(profile, dtype)
    rate = peak * matmul_fraction(profile, dtype, 2.0 * tokens * decoder.hidden**2 / tp, peak)
    compute = max(flops / (rate * tp), _weights_s(decoder, profile, tp))
    return compute + _exchange_s(decoder, profile, tp, pp, tokens)


def _token_s(decoder: _Decoder, load: Load, profile: ClusterProfile, dtype: str, tp: int, pp: int, batch: int, prefill_s: float) -> float:
    """One token of every sequence of a batch, and the share of prompts that are read in between.

    Each sequence brings one prompt every `output_tokens` tokens, so a step of the batch waits for batch / output_tokens prompts.
    """
    length = load.prompt_tokens + load.output_tokens / 2
    bandwidth = memory_bandwidth_bytes_per_s(profile) * MEMORY_FRACTION
    read = _weights_s(decoder, profile, tp) + batch * decoder.kv_bytes * length / (tp * bandwidth)
    flops = batch * (decoder.flops + decoder.attention_flops * length)
    peak = peak_flops_per_s(profile, dtype)
    compute = flops / (peak * matmul_fraction(profile, dtype, 2.0 * batch * decoder.hidden**2 / tp, peak) * tp)
    step = max(read, compute) + STEP_S + _exchange_s(decoder, profile, tp, pp, batch)
    return step + batch / load.output_tokens * prefill_s


def _weights_s(decoder: _Decoder, profile: ClusterProfile, tp: int) -> float:
    """Streaming all weights once; stages do it one behind the other."""
    return decoder.parameters * decoder.element_bytes / (tp * memory_bandwidth_bytes_per_s(profile) * MEMORY_FRACTION)


def _exchange_s(decoder: _Decoder, profile: ClusterProfile, tp: int, pp: int, tokens: int) -> float:
    """All-reduces of a tp group over all layers, and a hop between stages."""
    if tp == 1 and pp == 1:
        return 0.0
    message = tokens * decoder.hidden * 2.0
    inner, outer = profile.tiers[0], profile.tiers[-1]
    latency = LATENCY_S if inner.latency_s is None else inner.latency_s
    share = BUS_FRACTION * message / (message + HALF_BYTES)
    depth = max(1, (tp - 1).bit_length())
    each = 2 * depth * latency + 2 * (tp - 1) / tp * message / (inner.bandwidth_bytes_per_s * share)
    reduces = ALL_REDUCES * decoder.layers * each if tp > 1 else 0.0
    return reduces + (pp - 1) * (message / (outer.bandwidth_bytes_per_s * BUS_FRACTION) + LATENCY_S)


def _described(model: Model, decoder: _Decoder, load: Load, profile: ClusterProfile, dtype: str, best: _Replica) -> Serving | Rejected:
    replicas = math.ceil(load.users / best.users)
    batch = math.ceil(load.users / replicas)
    prefill = _prefill_s(decoder, load, profile, dtype, best.tp, best.pp)
    token = _token_s(decoder, load, profile, dtype, best.tp, best.pp, batch, prefill)
    nodes = math.ceil(replicas * best.tp * best.pp / profile.node.accelerators)
    most = _most_nodes(load, profile)
    if most is not None and nodes > most:
        reason = f"{nodes} nodes are needed for {load.users} users, {nodes - most} more than the {most} that can be had ({best.limit})"
        return Rejected(name=profile.name, reason=reason)
    price, drawn = profile.node.price_usd_per_hour, power_w(profile, nodes)
    rate, hourly = load.users / token, None if price is None else price * nodes
    gaps = () if price is not None else ("cost: no price; give --price-usd-per-hour CLUSTER=USD (node.price_usd_per_hour)",)
    return Serving(
        cluster=profile.name,
        model=model.name,
        nodes=nodes,
        accelerators=replicas * best.tp * best.pp,
        dtype=dtype,
        tp=best.tp,
        pp=best.pp,
        replicas=replicas,
        batch=batch,
        users=replicas * best.users,
        ttft_s=best.ttft_s,
        tpot_s=token,
        tokens_per_s=rate,
        weights_bytes=best.weights_bytes,
        kv_bytes=best.kv_bytes * batch / best.batch,
        memory_capacity_bytes=capacity_bytes(profile),
        kv_bytes_per_token=decoder.kv_bytes,
        limit=best.limit,
        cost_usd_per_hour=hourly,
        usd_per_million_tokens=None if hourly is None else hourly / (rate * 3600) * 1e6,
        power_w=None if drawn is None else drawn[0] * (load.pue or 1.0),
        low_fraction=LOW,
        high_fraction=HIGH,
        why=_why(decoder, load, profile, best, batch, prefill),
        gaps=(*gaps, "serving was not fitted to measurements: a roofline with documented shares; measure before you buy"),
    )


def _why(decoder: _Decoder, load: Load, profile: ClusterProfile, best: _Replica, batch: int, prefill: float) -> tuple[str, ...]:
    length = load.prompt_tokens + load.output_tokens
    stream = _weights_s(decoder, profile, best.tp)
    return (
        f"weights take {format_bytes(decoder.parameters * decoder.element_bytes)}, keys and values "
        f"{format_bytes(decoder.kv_bytes)} a token: {format_bytes(decoder.kv_bytes * length)} a sequence of {format_count(length)} tokens",
        f"a prompt takes {format_seconds(prefill)} of arithmetic; a token streams the weights in {format_seconds(stream)}",
        f"a replica of {best.tp * best.pp} could hold {best.batch} sequences, here it has {batch}; it is limited by {best.limit}",
    )


def _too_large(model: Model, decoder: _Decoder, load: Load, profile: ClusterProfile) -> str:
    tp, pp = max(_splits(model, load, profile), key=lambda split: split[0] * split[1])
    need = decoder.parameters * decoder.element_bytes / (tp * pp) + RUNTIME_BYTES
    has = capacity_bytes(profile) * USABLE_FRACTION
    return (
        f"does not fit: {format_bytes(need)} of weights an accelerator over {tp * pp} of them, it has {format_bytes(has)} to use: "
        f"{format_bytes(need - has)} short"
    )


def _too_slow(load: Load, replicas: Sequence[_Replica]) -> str:
    """What the nearest way misses, and by how much."""

    def missed(one: _Replica) -> float:
        return max(one.ttft_s / load.ttft_s, one.tpot_s / load.tpot_s)

    one = min(replicas, key=missed)
    said = []
    if one.ttft_s > load.ttft_s:
        over = format_seconds(one.ttft_s - load.ttft_s)
        said.append(f"first token after {format_seconds(one.ttft_s)}, {over} more than the {format_seconds(load.ttft_s)} asked for")
    if one.tpot_s > load.tpot_s:
        over = format_seconds(one.tpot_s - load.tpot_s)
        said.append(f"a token takes {format_seconds(one.tpot_s)}, {over} more than the {format_seconds(load.tpot_s)} asked for")
    return f"too slow with tp={one.tp}: {'; '.join(said) or one.limit}"


def _largest(most: int, possible: Callable[[int], bool]) -> int:
    """The largest size up to `most` that is possible, by bisection: what is possible for one is for all smaller ones."""
    low, high = 0, max(0, most)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if possible(middle) else (low, middle - 1)
    return low


def _check(model: Model, load: Load) -> None:
    if not model.shape:
        raise UserError(f"model {model.name}: serving is planned for decoder Transformers only", hint="use a gpt or llama preset")
    for name in ("prompt_tokens", "output_tokens", "users", "max_nodes"):
        value = getattr(load, name)
        if value is not None and value < 1:
            raise UserError(f"{name}={value}: expected a whole number of at least 1")
    for name in ("ttft_s", "tpot_s"):
        if not 0 < getattr(load, name) < math.inf:
            raise UserError(f"{name}={getattr(load, name):g}: expected more than zero and finite")
    if load.pue is not None and not 1 <= load.pue < 10:
        raise UserError(f"pue={load.pue:g}: expected at least 1 and less than 10")
