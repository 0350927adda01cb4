"""Every legal way to split a training step over so many accelerators, as columns of numbers, and what was cut with its reason.

Degrees (tp, pp, cp, ep and the data ranks that are left) are walked one by one, and each that doesn't divide is cut with its numbers. What
remains is crossed with micro-batch, interleaving, sharding, sequence parallelism, recomputation and schedule into arrays of one length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hwbench.core.layout import Layout, Schedule
from hwbench.core.prediction import Misfit

from .memory import Recompute

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Column = NDArray[np.int64]

SHARDINGS = ("0", "1", "2", "fsdp", "hsdp")
"""Who holds weights, gradients and optimizer state: the codes of the `sharding` column, named as zero_stage in data/measurements.csv."""
RECOMPUTES: tuple[Recompute, ...] = ("none", "selective", "full")
SCHEDULES: tuple[Schedule, ...] = ("1f1b", "interleaved", "zb")
MAX_TP = 64
"""Widest tensor parallelism tried: beyond it a product is a sliver."""
MAX_MICRO_BATCH = 64
"""Largest micro-batch tried: products of language models are past the knee of every efficiency curve long before."""
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
    """Leave out what hardly ever wins: odd micro-batches, tp beyond the fast links, no sequence parallelism, ZeRO 2."""


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

    def __len__(self) -> int:
        return len(self.tp)

    def take(self, places: NDArray[np.int64] | NDArray[np.bool_]) -> Candidates:
        """Some of them, by index or mask."""
        return Candidates(*(column[places] for column in self))

    def layout(self, place: int, domain: int) -> Layout:
        """One of them as a layout."""
        tp, pp, cp, ep, data, _, count, vpp, sharding, sp, _, schedule = (int(column[place]) for column in self)
        kind = SHARDINGS[sharding]
        near = domain // (tp * cp) if kind == "hsdp" else data if kind == "fsdp" else 1
        return Layout(
            dp=data // near,
            fsdp=near,
            tp=tp,
            pp=pp,
            cp=cp,
            ep=ep,
            zero=int(kind) if kind.isdigit() else 0,
            sp=bool(sp),
            loss="parallel" if tp > 1 else "full",
            schedule=SCHEDULES[schedule],
            vpp=vpp,
            microbatches=count,
        )


def candidate(layout: Layout, micro_batch: int, recompute: Recompute) -> Candidates:
    """One layout as columns of one row."""
    kind = ("hsdp" if layout.dp > 1 else "fsdp") if layout.fsdp > 1 else str(layout.zero)
    row = (
        *(layout.tp, layout.pp, layout.cp, layout.ep, layout.data_ranks, micro_batch, layout.microbatches, layout.vpp),
        *(SHARDINGS.index(kind), int(layout.sp), RECOMPUTES.index(recompute), SCHEDULES.index(_schedule(layout))),
    )
    return Candidates(*(np.array([value], dtype=np.int64) for value in row))


def _schedule(layout: Layout) -> Schedule:
    """GPipe takes 1F1B's time."""
    return "1f1b" if layout.schedule == "gpipe" else layout.schedule


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
    """Every candidate of a space; what is cut is counted in `cuts`. Empty columns where nothing divides."""
    bases = np.array([base for degrees in _degrees(space, cuts) for base in _bases(space, degrees, cuts)], dtype=np.int64).reshape(-1, 8)
    options = np.array(
        [
            (sharding, sp, recompute, schedule)
            for sharding in range(len(SHARDINGS))
            for sp in (0, 1)
            for recompute in range(len(RECOMPUTES))
            for schedule in (SCHEDULES.index(name) for name in space.schedules)
        ],
        dtype=np.int64,
    )
    columns = [np.repeat(bases[:, i], len(options)) for i in range(8)] + [np.tile(options[:, i], len(bases)) for i in range(4)]
    crossed = Candidates(*columns)
    return crossed.take(_legal(space, crossed))


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
    if not shares_out(space.layers, pp):
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
        if micro > MAX_MICRO_BATCH or (space.quick and micro & (micro - 1)):
            continue
        count = share // micro
        for chunks in _chunks(space, pp, count, micro, cuts):
            yield _Base(*degrees, micro, count, chunks)


def _chunks(space: Space, pp: int, count: int, micro: int, cuts: Cuts) -> list[int]:
    """Model chunks a stage: 1, and more where they share out its layers and the stages share out the micro-batches (arXiv:2104.04473)."""
    stage = -(-space.layers // pp)
    if pp == 1 or "interleaved" not in space.schedules:
        return [1]
    more = [n for n in divisors(stage) if n > 1 and space.layers >= pp * n and not (space.quick and n > QUICK_CHUNKS)]
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
    near = space.domain // np.maximum(1, c.tp * c.cp)
    hybrid = (near > 1) & (near < c.data) & (c.data % np.maximum(1, near) == 0)
    sharding = np.where(kinds == "0", True, c.data * c.cp > 1) & np.where(kinds == "hsdp", hybrid, True)
    # a stage adds up the gradients of all its micro-batches, so they can't be scattered before the last
    sharding &= np.where(kinds == "2", c.pp == 1, True)
    sharding &= np.where(kinds == "fsdp", c.data > 1, True)
    sequence = np.where(c.sp == 1, (c.tp > 1) & (space.sequence // c.cp % c.tp == 0), True)
    names = np.array(SCHEDULES)[c.schedule]
    schedule = np.where(c.vpp > 1, names == "interleaved", np.where(names == "zb", c.pp > 1, names == "1f1b"))
    legal = sharding & sequence & schedule
    if space.quick:
        legal &= (kinds != "2") & ((c.sp == 1) | (c.tp == 1) | (space.sequence // c.cp % c.tp != 0))
    return np.asarray(legal)
