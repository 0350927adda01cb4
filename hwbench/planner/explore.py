"""The quickest way to do a step on so many accelerators: by the table model where it applies, by the roofline search elsewhere.

Both answer alike. The table model knows decoder Transformers on accelerators and has an interval of its own; the roofline knows any
workload on anything, and what software adds to it is taken from this machine's own steps, or from all published runs (see `general`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hwbench.core.errors import UserError
from hwbench.core.layout import Layout, Schedule
from hwbench.core.prediction import Prediction
from hwbench.core.profile import ClusterProfile
from hwbench.core.workload import Cost

from .candidates import Candidates, Cuts, Space, candidate, enumerate_candidates, how_recomputed
from .described import memory, prediction
from .general import longer, with_software
from .machine import is_known, scale_up_domain
from .memory import Recompute
from .ranked import Evaluated, RowsOf, detail, evaluate_all, table_rows
from .search import Choice, Closest, Found, Sends, capacity_bytes, memory_misfit, predict, search, tensor_divides

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_SCHEDULES: tuple[Schedule, ...] = ("1f1b", "interleaved")
"""What the assumed software offers; zero-bubble schedules are forks of it."""


class Model(NamedTuple):
    """A model as the planner needs it: its name and the cost of one micro-batch of so many samples in a dtype."""

    name: str
    cost_of: Callable[[int, str], Cost]
    shape: dict[str, str]
    """A decoder Transformer's sizes in the columns of data/measurements.csv (layers, hidden, heads …); empty for anything else."""


class Wanted(NamedTuple):
    """A step that is asked for."""

    accelerators: int
    global_batch: int
    dtype: str
    framework: str | None = None
    schedules: tuple[Schedule, ...] = DEFAULT_SCHEDULES
    quick: bool = True
    """Leave out what hardly ever wins; False tries everything."""
    top: int = 1
    """How many combinations of degrees are described."""


def explore(model: Model, sends: Sends, profile: ClusterProfile, wanted: Wanted) -> Found:
    """The quickest layouts, how many were tried, and why the others can't. UserError names a number that the profile lacks."""
    if by_table(model, profile):
        return _ranked(model, profile, wanted)
    found = search(
        lambda size: model.cost_of(size, wanted.dtype),
        sends,
        profile,
        accelerators=wanted.accelerators,
        global_batch=wanted.global_batch,
        framework=wanted.framework,
    )
    return with_software(found, profile, why=_why_general(model, profile))


def predict_layout(
    model: Model,
    sends: Sends,
    profile: ClusterProfile,
    layout: Layout,
    *,
    micro_batch: int,
    recompute: Recompute,
    dtype: str,
    framework: str | None = None,
    recompute_layers: int | None = None,
) -> Prediction:
    """One layout as a plan would list it; `recompute_layers` are those of each model chunk that full recomputation repeats, all by default.

    UserError names a number that the profile lacks, or says that only the table model counts recomputed layers.
    """
    cost = model.cost_of(micro_batch, dtype)
    _check_divides(model, cost, layout)
    if not by_table(model, profile):
        if recompute_layers is not None:
            raise UserError(f"recomputation of {recompute_layers} layers: only that of all is known where {_why_general(model, profile)}")
        return longer(predict(cost, layout, profile, sends, recompute, framework=framework), profile, why=_why_general(model, profile))
    global_batch = micro_batch * layout.microbatches * layout.data_ranks
    space = space_of(model, profile, Wanted(layout.world_size, global_batch, dtype, framework))
    one = candidate(layout, micro_batch, recompute, layers=space.layers, again=recompute_layers)
    rows_of = table_rows(model.shape, profile, space, dtype=dtype, framework=framework)
    return prediction(detail(one, rows_of), 0, layout, cost, profile, how_recomputed(one, 0, space.layers))


def _check_divides(model: Model, cost: Cost, layout: Layout) -> None:
    """UserError where a layout does not divide the model, with every number."""
    if not model.shape:
        if not tensor_divides(cost, layout.tp):
            raise UserError(f"layout {layout.text}: tp={layout.tp} does not divide all heads and matrices of {model.name}")
        return
    for name, size in divided(model.shape).items():
        if size % layout.tp:
            raise UserError(f"layout {layout.text}: tp={layout.tp} does not divide the {name}, {size}: {_rest(size, layout.tp)}")
    length, experts = int(model.shape["seq_len"]), int(model.shape.get("experts", "1") or 1)
    if layout.cp > 1 and length % (2 * layout.cp):
        both = f"2·cp = {2 * layout.cp} does not divide the sequence of {length}: {_rest(length, 2 * layout.cp)}"
        raise UserError(f"layout {layout.text}: {both}", hint="each rank has an early and a late slice of a sequence")
    if experts % layout.ep:
        raise UserError(f"layout {layout.text}: ep={layout.ep} does not divide the experts, {experts}")
    if layout.pp * layout.vpp > int(model.shape["layers"]):
        chunks = f"pp·vpp = {layout.pp}·{layout.vpp} = {layout.pp * layout.vpp}"
        raise UserError(f"layout {layout.text}: {chunks} model chunks, the model has {model.shape['layers']} layers")


def _rest(size: int, divisor: int) -> str:
    return f"{size} = {size // divisor}·{divisor} + {size % divisor}"


def divided(shape: Mapping[str, str]) -> dict[str, int]:
    """What tensor parallelism divides of a decoder Transformer: name -> size."""
    return {"heads": int(shape["heads"]), "kv heads": int(shape["kv_heads"]), "MLP width": int(shape["ffn_hidden"])}


def by_table(model: Model, profile: ClusterProfile) -> bool:
    """Whether the table model applies: a decoder Transformer on an accelerator, not on a machine calibrated from its own steps."""
    return bool(model.shape) and is_known(profile) and profile.efficiency.step_factor is None


def space_of(model: Model, profile: ClusterProfile, wanted: Wanted) -> Space:
    """What a split of the model over the cluster must divide."""
    shape = model.shape
    return Space(
        accelerators=wanted.accelerators,
        global_batch=wanted.global_batch,
        layers=int(shape["layers"]),
        divided=divided(shape),
        sequence=int(shape["seq_len"]),
        experts=int(shape.get("experts", "1") or 1),
        domain=scale_up_domain(profile),
        schedules=wanted.schedules,
        quick=wanted.quick,
    )


def _why_general(model: Model, profile: ClusterProfile) -> str:
    if not model.shape:
        return "published runs are known of decoder Transformers only"
    return f"no published training runs on {profile.accelerator.name} or its like are known"


def _ranked(model: Model, profile: ClusterProfile, wanted: Wanted) -> Found:
    capacity, cuts = capacity_bytes(profile), Cuts()
    space = space_of(model, profile, wanted)
    candidates = enumerate_candidates(space, cuts)
    if not len(candidates):
        return Found(None, 0, 0, None, cuts.misfits())
    rows_of = table_rows(model.shape, profile, space, dtype=wanted.dtype, framework=wanted.framework)
    seen = evaluate_all(candidates, rows_of, capacity)
    fitting = np.flatnonzero(~np.isnan(seen.step_s))
    nearest = _nearest(candidates, seen, rows_of, space)
    misfits = cuts.misfits()
    if nearest is not None:
        misfits = (memory_misfit(nearest, len(candidates) - len(fitting), capacity), *misfits)
    places = _best_of_each(candidates, seen, fitting, wanted.top)
    choices = _choices(candidates.take(places), rows_of, model, profile, space, wanted.dtype) if len(places) else ()
    best = choices[0] if choices else None
    return Found(best, len(candidates), len(fitting), nearest, misfits, choices)


def _best_of_each(candidates: Candidates, seen: Evaluated, fitting: NDArray[np.int64], top: int) -> NDArray[np.int64]:
    """Places of the quickest candidate of each combination of degrees and sharding, the best `top` of them in order."""
    order = fitting[np.argsort(seen.step_s[fitting], kind="stable")]
    some = candidates.take(order)
    degrees = np.stack([some.tp, some.pp, some.cp, some.ep, some.sharding], axis=1)
    if not len(degrees):
        return order
    _, first = np.unique(degrees, axis=0, return_index=True)
    return np.asarray(order[np.sort(first)[:top]])


def _choices(
    candidates: Candidates, rows_of: RowsOf, model: Model, profile: ClusterProfile, space: Space, dtype: str
) -> tuple[Choice, ...]:
    found, made = detail(candidates, rows_of), []
    for place in range(len(candidates)):
        layout, micro = candidates.layout(place), int(candidates.micro_batch[place])
        recompute = how_recomputed(candidates, place, space.layers)
        said = prediction(found, place, layout, model.cost_of(micro, dtype), profile, recompute)
        made.append(Choice(layout, micro, recompute, said, found.softwares[place]))
    return tuple(made)


def _nearest(candidates: Candidates, seen: Evaluated, rows_of: RowsOf, space: Space) -> Closest | None:
    """The candidate that needs least memory of those that don't fit."""
    large = np.flatnonzero(np.isnan(seen.step_s))
    if not len(large):
        return None
    one = candidates.take(large[[int(np.argmin(seen.memory_bytes[large]))]])
    recompute = how_recomputed(one, 0, space.layers)
    return Closest(one.layout(0), int(one.micro_batch[0]), memory(detail(one, rows_of), 0), recompute)
