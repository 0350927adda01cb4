"""Candidates by the table model: which fit in memory, how long each takes, and the quickest of them as predictions.

Whole columns at once: a million ways to do a step take a few seconds. Software is Megatron-LM where weights and gradients stay whole,
torchtitan where they are sharded, MaxText on TPUs, or what the user names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hwbench.core.profile import ClusterProfile

from .candidates import RECOMPUTES, SCHEDULES, SHARDINGS, Candidates, Space
from .conformal import doubt, interval
from .constants import fitted, shipped
from .exchange import weights
from .machine import is_sharded, setup, software_of
from .model import Steps, evaluate
from .pipeline import ZERO_BUBBLE_LEFT
from .residency import USABLE, residency
from .rows import Rows, columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Places = NDArray[np.int64]

CHUNK = 16_384
"""Candidates predicted at a time: their columns stay in a core's cache, and memory stays bounded."""
FRAMEWORK_RECOMPUTE = {True: "selective_op", False: "selective"}
"""What 'selective' means, by whether the software is FSDP-like: torchtitan repeats whole operators, Megatron attention's inner part."""


class Evaluated(NamedTuple):
    """Columns of shape (candidates,): bytes of the fullest rank with the allocator's slack, and seconds of a step (NaN: not fitting)."""

    memory_bytes: Array
    step_s: Array


class Detail(NamedTuple):
    """Everything about a few candidates, in their order."""

    steps: Steps
    rows: Rows
    low_s: Array
    high_s: Array
    softwares: tuple[str, ...]


RowsOf = Callable[[Candidates], Iterator[tuple["Places", Rows, str]]]
"""Rows of the table model for candidates, one group of equal software at a time, with their places."""


def table_rows(shape: Mapping[str, str], profile: ClusterProfile, space: Space, *, dtype: str, framework: str | None) -> RowsOf:
    """How candidates become rows. UserError names a number that the profile lacks."""
    made: dict[tuple[bool, bool], tuple[Rows, str]] = {}
    for sharded in (False, True):
        software = framework or software_of(profile, sharded=sharded)
        for split in (False, True):  # an unknown name is taken for Megatron's kind where the model is split, for FSDP's where not
            one = setup(
                shape, profile, dtype=dtype, framework=software, accelerators=space.accelerators, global_batch=space.global_batch,
                sharding="fsdp" if sharded else "0", model_parallel=split,
            )  # fmt: skip
            made[sharded, split] = (columns([one]), software)
    moving = np.array([is_sharded(kind) for kind in SHARDINGS])

    def rows_of(candidates: Candidates) -> Iterator[tuple[Places, Rows, str]]:
        sharded = moving[candidates.sharding]
        split = candidates.tp * candidates.pp > 1
        for key, (base, software) in made.items():
            places = np.flatnonzero((sharded == key[0]) & (split == key[1]))
            if len(places):
                yield places, _rows(candidates.take(places), base), software

    return rows_of


def evaluate_all(candidates: Candidates, rows_of: RowsOf, capacity_bytes: float) -> Evaluated:
    """Memory of every candidate, and the step time of those that fit in `capacity_bytes`."""
    memory, step = np.empty(len(candidates)), np.full(len(candidates), np.nan)
    for start in range(0, len(candidates), CHUNK):
        part = np.arange(start, min(start + CHUNK, len(candidates)))
        for places, rows, _ in rows_of(candidates.take(part)):
            there = part[places]
            memory[there] = residency(rows, weights(rows)).total_bytes / USABLE
            fits = memory[there] <= capacity_bytes
            if fits.any():
                some = _subset(rows, np.flatnonzero(fits))
                step[there[fits]] = _scheduled(evaluate(some, fitted()), candidates.take(there[fits])).step_s
    return Evaluated(memory, step)


def detail(candidates: Candidates, rows_of: RowsOf) -> Detail:
    """Parts, memory and interval of a few candidates."""
    places, groups, softwares = [], [], [""] * len(candidates)
    for where, rows, software in rows_of(candidates):
        places.append(where)
        groups.append(rows)
        for place in where.tolist():
            softwares[place] = software
    order = np.argsort(np.concatenate(places))
    joined = _joined(groups, order)
    steps = _scheduled(evaluate(joined, fitted()), candidates)
    low, high = interval(steps.step_s, shipped().width * doubt(joined))
    return Detail(steps, joined, low, high, tuple(softwares))


def _rows(c: Candidates, base: Rows) -> Rows:
    """The candidates of one software as rows: everything of `base`, with their own degrees and flags."""
    count = len(c)
    shape = (count,)
    numbers = {name: np.broadcast_to(values, shape) for name, values in base.numbers.items()}
    own = {
        "tensor": c.tp, "stages": c.pp, "chunks": c.vpp, "context": c.cp, "expert_ranks": c.ep, "replicas": c.data,
        "micro_batch": c.micro_batch, "micro_batches": c.micro_batches, "sequence_parallel": c.sp, "shards": c.shards,
    }  # fmt: skip
    numbers |= {name: values.astype(np.float64) for name, values in own.items()}
    chunk = np.ceil(numbers["layers"] / (numbers["stages"] * numbers["chunks"]))
    numbers["again_share"] = c.again / chunk
    flags = {name: np.broadcast_to(values, shape) for name, values in base.flags.items()}
    kinds = np.array(SHARDINGS)[c.sharding]
    flags |= {f"zero{stage}": kinds == stage for stage in ("0", "1", "2")}
    flags |= {"sharded": (kinds == "fsdp") | (kinds == "hsdp"), "sharded_in_node": kinds == "hsdp", "sequence_parallel": c.sp == 1}
    flags |= {"loss_parallel": (c.loss == 1) | (c.tp == 1), "all_in_flight": np.array(SCHEDULES)[c.schedule] == "gpipe"}
    again = np.array(RECOMPUTES)[c.recompute]
    flags |= {name: np.zeros(shape, dtype=bool) for name in flags if name.startswith("recompute_")}
    selective = FRAMEWORK_RECOMPUTE[bool(base.is_fsdp[0])]
    flags |= {"recompute_none": again == "none", f"recompute_{selective}": again == "selective", "recompute_full": again == "full"}
    return Rows(setups=base.setups, numbers=numbers, flags=flags)


def _subset(rows: Rows, places: Places) -> Rows:
    return Rows(
        setups=rows.setups,
        numbers={name: values[places] for name, values in rows.numbers.items()},
        flags={name: values[places] for name, values in rows.flags.items()},
    )


def _joined(groups: list[Rows], order: Places) -> Rows:
    """Groups one behind the other, then in the order of their places."""
    return Rows(
        setups=tuple(setup for group in groups for setup in group.setups),
        numbers={name: np.concatenate([group.numbers[name] for group in groups])[order] for name in groups[0].numbers},
        flags={name: np.concatenate([group.flags[name] for group in groups])[order] for name in groups[0].flags},
    )


def _scheduled(steps: Steps, candidates: Candidates) -> Steps:
    """Steps with a zero-bubble schedule's shorter bubble; stragglers stay the same share of the rest."""
    left = np.where(np.array(SCHEDULES)[candidates.schedule] == "zb", ZERO_BUBBLE_LEFT, 1.0)
    if (left == 1).all():
        return steps
    parts = dict(steps.parts)
    rest = steps.step_s - parts["stragglers"]
    parts["bubble"] = parts["bubble"] * left
    shorter = (rest - steps.parts["bubble"] + parts["bubble"]) / rest
    parts["stragglers"] = parts["stragglers"] * shorter
    return Steps(steps.step_s * shorter, parts, steps.memory)
