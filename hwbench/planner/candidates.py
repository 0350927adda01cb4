"""Every legal way to split a training step over so many accelerators, as columns of numbers, and what was cut with its reason.

Degrees (tp, pp, cp, ep and the data ranks that are left) are walked one by one, and each that doesn't divide is cut with its numbers. What
remains is crossed with micro-batch, interleaving, sharding and the size of its groups, sequence and loss parallelism, schedule and the
number of layers that are recomputed, into arrays of one length.

Choices that the model can't tell apart are one candidate: FSDP that keeps its weights gathered (`reshard=no`) is ZeRO 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hwbench.core.errors import UserError
from hwbench.core.layout import Layout, Schedule
from hwbench.core.prediction import Misfit

from .memory import Recompute

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Column = NDArray[np.int64]

SHARDINGS = ("0", "1", "2", "fsdp", "hsdp")
"""Who holds weights, gradients and optimizer state: the codes of the `sharding` column, named as zero_stage in data/measurements.csv."""
RECOMPUTES: tuple[Recompute, ...] = ("none", "selective", "full")
SCHEDULES: tuple[Schedule, ...] = ("1f1b", "interleaved", "zb", "gpipe")
MAX_TP = 64
"""Widest tensor parallelism tried: beyond it a product is a sliver."""
MAX_MICRO_BATCH = 64
"""Largest micro-batch of a quick search: products of language models are past the knee of every efficiency curve long before."""
CROSSED = 4096
"""Combinations of degrees and micro-batch that are crossed with the options at a time: memory stays bounded."""
LEAST_SLICE = 4096
"""Tokens of a sequence that context parallelism leaves a rank at least: no published run of data/measurements.csv has shorter slices, and
what its ring costs on shorter ones is not known."""
QUICK_CHUNKS = 8
"""Most model chunks a stage in a quick search."""
QUICK_CONTEXT = 16_384
"""Longest sequence for which a quick search leaves context parallelism out: it serves activations of long sequences."""


class Space(NamedTuple):
    """What a split must divide, and which kinds of it are tried."""

    accelerators: int
    global_batch: int
    layers: int
    divided: Mapping[str, int]
    """What tensor parallelism divides: name -> size, such as heads."""
    sequence: int
    experts: int
    domain: int
    """Accelerators on the fast links."""
    schedules: tuple[Schedule, ...] = ("1f1b", "interleaved")
    quick: bool = False
    """Leave out what hardly ever wins: odd and huge micro-batches, uneven stages, tp beyond the fast links, no sequence parallelism, loss
    over gathered logits, ZeRO 2, sharding over other groups than the fast links, recomputation of some layers."""


class Candidates(NamedTuple):
    """Columns of shape (candidates,): degrees, sizes, and codes into SHARDINGS, RECOMPUTES and SCHEDULES."""

    tp: Column
    pp: Column
    cp: Column
    ep: Column
    data: Column
    """dp·fsdp."""
    micro_batch: Column
    micro_batches: Column
    vpp: Column
    sharding: Column
    sp: Column
    recompute: Column
    schedule: Column
    loss: Column
    """1 where each tp rank has its part of the loss, 0 where the logits are gathered for it."""
    shards: Column
    """Data ranks that share one copy of the weights; 1 without fsdp."""
    again: Column
    """Layers of each model chunk whose forward pass is done again; 0 but for full recomputation."""

    def __len__(self) -> int:
        return len(self.tp)

    def take(self, places: NDArray[np.int64] | NDArray[np.bool_]) -> Candidates:
        """Some of them, by index or mask."""
        return Candidates(*(column[places] for column in self))

    def changed(self, **columns: Column) -> Candidates:
        """The same with other columns."""
        return Candidates(**(dict(zip(self._fields, self, strict=True)) | columns))

    def layout(self, place: int) -> Layout:
        """One of them as a layout."""
        tp, pp, cp, ep, data, _, count, vpp, sharding, sp, _, schedule, loss, shards, _ = (int(column[place]) for column in self)
        kind = SHARDINGS[sharding]
        return Layout(
            dp=data // shards,
            fsdp=shards,
            tp=tp,
            pp=pp,
            cp=cp,
            ep=ep,
            zero=int(kind) if kind.isdigit() else 0,
            sp=bool(sp),
            loss="parallel" if loss else "full",
            schedule=SCHEDULES[schedule],
            vpp=vpp,
            microbatches=count,
        )


def candidate(layout: Layout, micro_batch: int, recompute: Recompute, *, layers: int, again: int | None = None) -> Candidates:
    """One layout of a model of so many layers as columns of one row; `again` layers of each model chunk are recomputed, all by default.

    FSDP that keeps its weights gathered is ZeRO 2 but in a pipeline, which keeps them anyway. UserError where a chunk has fewer layers.
    """
    kind = ("hsdp" if layout.dp > 1 else "fsdp") if layout.fsdp > 1 else str(layout.zero)
    if kind == "fsdp" and not layout.reshard and layout.pp == 1:
        kind = "2"
    row = (
        *(layout.tp, layout.pp, layout.cp, layout.ep, layout.data_ranks, micro_batch, layout.microbatches, layout.vpp),
        *(SHARDINGS.index(kind), int(layout.sp), RECOMPUTES.index(recompute), SCHEDULES.index(layout.schedule)),
        *(int(layout.tp > 1 and layout.loss == "parallel"), layout.fsdp, _again(layout, recompute, layers, again)),
    )
    return Candidates(*(np.array([value], dtype=np.int64) for value in row))


def _again(layout: Layout, recompute: Recompute, layers: int, again: int | None) -> int:
    chunk = -(-layers // (layout.pp * layout.vpp))
    if again is not None and not (recompute == "full" and 1 <= again <= chunk):
        raise UserError(
            f"recompute {recompute} of {again} layers: {layout.text} has {chunk} of {layers} layers in a model chunk",
            hint=f"a number of layers goes with full recomputation; give 1 to {chunk}",
        )
    return (again or chunk) if recompute == "full" else 0


def how_recomputed(c: Candidates, place: int, layers: int) -> str:
    """A candidate's recomputation in words: none, selective, full, or 'full 3/12' for 3 of the 12 layers of each model chunk."""
    kind, again = RECOMPUTES[int(c.recompute[place])], int(c.again[place])
    chunk = -(-layers // int(c.pp[place] * c.vpp[place]))
    return kind if again in (0, chunk) else f"{kind} {again}/{chunk}"


class Cuts:
    """What was left out before anything was predicted: counts by reason, and the nearest miss of each."""

    def __init__(self) -> None:
        self._count: dict[str, int] = {}
        self._nearest: dict[str, tuple[float, str]] = {}

    def add(self, reason: str, nearest: str, distance: float, count: int = 1) -> None:
        """Count a cut; `distance` says how far it was from being legal, the smallest is quoted."""
        self._count[reason] = self._count.get(reason, 0) + count
        if reason not in self._nearest or distance < self._nearest[reason][0]:
            self._nearest[reason] = (distance, nearest)

    def misfits(self) -> tuple[Misfit, ...]:
        """All reasons, the most frequent first."""
        ordered = sorted(self._count, key=lambda reason: -self._count[reason])
        return tuple(Misfit(reason=reason, count=self._count[reason], nearest=self._nearest[reason][1]) for reason in ordered)


class _Base(NamedTuple):
    """One combination of degrees with a micro-batch and an interleaving."""

    tp: int
    pp: int
    cp: int
    ep: int
    data: int
    micro_batch: int
    micro_batches: int
    vpp: int


def enumerate_candidates(space: Space, cuts: Cuts) -> Candidates:
    """Every candidate of a space, none twice; what is cut is counted in `cuts`. Empty columns where nothing divides."""
    bases = np.array([base for degrees in _degrees(space, cuts) for base in _bases(space, degrees, cuts)], dtype=np.int64).reshape(-1, 8)
    options = np.array(
        [
            (sharding, sp, recompute, schedule, loss, 1, 0)
            for sharding in range(len(SHARDINGS))
            for sp in (0, 1)
            for recompute in range(len(RECOMPUTES))
            for schedule in (SCHEDULES.index(name) for name in space.schedules)
            for loss in (0, 1)
        ],
        dtype=np.int64,
    )
    found = Candidates(*bases[:0].T, *options[:0].T)
    parts = [found]
    for start in range(0, len(bases), CROSSED):
        some = bases[start : start + CROSSED]
        columns = [np.repeat(some[:, i], len(options)) for i in range(8)] + [np.tile(column, len(some)) for column in options.T]
        crossed = Candidates(*columns)
        parts.append(_counted(space, _grouped(space, crossed.take(_legal(space, crossed)))))
    return Candidates(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _grouped(space: Space, c: Candidates) -> Candidates:
    """With the number of data ranks that share a copy of the weights: all, or every divisor of them for hybrid sharding."""
    kinds = np.array(SHARDINGS)[c.sharding]
    c = c.changed(shards=np.where(kinds == "fsdp", c.data, 1))
    hybrid = np.flatnonzero(kinds == "hsdp")
    near = space.domain // np.maximum(1, c.tp * c.cp)
    parts = [c.take(kinds != "hsdp")]
    for data in np.unique(c.data[hybrid]).tolist():
        places = hybrid[c.data[hybrid] == data]
        for shards in divisors(data)[1:-1]:
            some = c.take(places[near[places] == shards] if space.quick else places)
            parts.append(some.changed(shards=np.full(len(some), shards)))
    return Candidates(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _counted(space: Space, c: Candidates) -> Candidates:
    """With the number of layers of each model chunk that full recomputation does again: 1 to all of them, only all in a quick search."""
    chunk = -(-space.layers // (c.pp * c.vpp))
    full = np.array(RECOMPUTES)[c.recompute] == "full"
    if space.quick:
        return c.changed(again=np.where(full, chunk, 0))
    times = np.where(full, chunk, 1)
    many = c.take(np.repeat(np.arange(len(c)), times))
    nth = np.arange(len(many)) - np.repeat(np.cumsum(times) - times, times)
    return many.changed(again=np.where(np.repeat(full, times), nth + 1, 0))


def divisors(number: int) -> list[int]:
    """All divisors of a positive number, ascending."""
    small = [n for n in range(1, int(number**0.5) + 1) if number % n == 0]
    return small + [number // n for n in reversed(small) if n * n != number]


def shares_out(layers: int, pp: int) -> bool:
    """Whether a pipeline shares the layers out: evenly, or by a power of two with embedding and head counted as layers, as Llama 3 did
    (arXiv:2407.21783, section 3.3.2).
    """
    return layers % pp == 0 or ((layers + 2) % pp == 0 and pp & (pp - 1) == 0)


def _degrees(space: Space, cuts: Cuts) -> Iterator[tuple[int, int, int, int, int]]:
    """tp, pp, cp, ep and data ranks whose product is the number of accelerators and that divide the model and the batch."""
    widest = min(MAX_TP, space.domain) if space.quick else MAX_TP
    for tp in (n for n in divisors(space.accelerators) if n <= widest):
        if not _tensor_fits(space, tp, cuts):
            continue
        for pp in divisors(space.accelerators // tp):
            if not _pipeline_fits(space, pp, cuts):
                continue
            for cp in divisors(space.accelerators // (tp * pp)):
                data = space.accelerators // (tp * pp * cp)
                if _context_fits(space, cp, cuts) and _batch_fits(space, data, cuts):
                    yield from ((tp, pp, cp, ep, data) for ep in _expert_degrees(space, data))


def _tensor_fits(space: Space, tp: int, cuts: Cuts) -> bool:
    if tp == 1:
        return True
    for name, size in space.divided.items():
        if size % tp:
            cuts.add(f"tp must divide the {name}, {size}", f"tp={tp}: {size} / {tp} = {size / tp:.4g}", tp)
            return False
    if max(tp, space.domain) % min(tp, space.domain):
        cuts.add(f"a tp group straddles scale-up domains of {space.domain}", f"tp={tp}", tp)
        return False
    return True


def _pipeline_fits(space: Space, pp: int, cuts: Cuts) -> bool:
    if pp > space.layers:
        cuts.add(f"more pipeline stages than the {space.layers} layers", f"pp={pp}: {pp - space.layers} too many", pp)
        return False
    if space.quick and not shares_out(space.layers, pp):
        left = space.layers % pp
        cuts.add(f"pp does not share out {space.layers} layers evenly", f"pp={pp}: {left} layers left over", min(left, pp - left))
        return False
    return True


def _context_fits(space: Space, cp: int, cuts: Cuts) -> bool:
    if cp == 1:
        return True
    if space.quick and space.sequence < QUICK_CONTEXT:
        return False
    if space.sequence < LEAST_SLICE * cp:
        cuts.add(
            f"cp leaves a rank fewer than {LEAST_SLICE} tokens of the sequence of {space.sequence}, of which no published run is known",
            f"cp={cp}: {space.sequence / cp:.5g} tokens",
            cp,
        )
        return False
    if space.sequence % (2 * cp):
        cuts.add(
            f"2·cp must divide the sequence of {space.sequence} (each rank has an early and a late slice)",
            f"cp={cp}: {space.sequence} / {2 * cp} = {space.sequence / (2 * cp):.4g}",
            cp,
        )
        return False
    return True


def _batch_fits(space: Space, data: int, cuts: Cuts) -> bool:
    if space.global_batch % data == 0:
        return True
    near = space.global_batch // data * data or data
    cuts.add(
        f"data ranks must divide the global batch of {space.global_batch}",
        f"{data} data ranks would need a batch of {near} or {near + data}",
        abs(near - space.global_batch) / space.global_batch,
    )
    return False


def _expert_degrees(space: Space, data: int) -> list[int]:
    """Expert parallelism lives inside the data ranks, and every rank has as many experts."""
    if space.experts <= 1:
        return [1]
    return [ep for ep in divisors(data) if space.experts % ep == 0]


def _bases(space: Space, degrees: tuple[int, int, int, int, int], cuts: Cuts) -> Iterator[_Base]:
    pp, share = degrees[1], space.global_batch // degrees[4]
    for micro in divisors(share):
        if space.quick and (micro > MAX_MICRO_BATCH or micro & (micro - 1)):
            continue
        count = share // micro
        for chunks in _chunks(space, pp, count, micro, cuts):
            yield _Base(*degrees, micro, count, chunks)


def _chunks(space: Space, pp: int, count: int, micro: int, cuts: Cuts) -> list[int]:
    """Model chunks a stage: 1, and more where every chunk has a layer and the stages share out the micro-batches (arXiv:2104.04473)."""
    if pp == 1 or "interleaved" not in space.schedules:
        return [1]
    stage = -(-space.layers // pp)
    more = [n for n in range(2, space.layers // pp + 1) if not space.quick or (n <= QUICK_CHUNKS and stage % n == 0)]
    if more and count % pp:
        cuts.add(
            "interleaving needs micro-batches in multiples of the stages",
            f"pp={pp}, micro-batch {micro}: {count} micro-batches",
            count % pp / pp,
            len(more),
        )
        return [1]
    return [1, *more]


def _legal(space: Space, c: Candidates) -> NDArray[np.bool_]:
    """Which of the crossed options make sense, shape (candidates,): what can't be on is off, nothing is there twice."""
    kinds = np.array(SHARDINGS)[c.sharding]
    sharding = np.where(kinds == "0", True, c.data * c.cp > 1)
    # a stage adds up the gradients of all its micro-batches, so they can't be scattered before the last
    sharding &= np.where(kinds == "2", c.pp == 1, True)
    sharding &= np.where((kinds == "fsdp") | (kinds == "hsdp"), c.data > 1, True)
    sequence = np.where(c.sp == 1, (c.tp > 1) & (space.sequence // c.cp % c.tp == 0), True)
    names = np.array(SCHEDULES)[c.schedule]
    schedule = np.where(c.vpp > 1, names == "interleaved", np.where(c.pp > 1, names != "interleaved", names == "1f1b"))
    schedule &= (names != "gpipe") | (c.micro_batches > c.pp)  # it holds all micro-batches; of so few, 1F1B holds as many
    legal = sharding & sequence & schedule & np.where(c.loss == 1, c.tp > 1, True)
    if space.quick:
        legal &= (kinds != "2") & ((c.sp == 1) | (c.tp == 1) | (space.sequence // c.cp % c.tp != 0)) & ((c.loss == 1) | (c.tp == 1))
    return np.asarray(legal)
