"""One kernel of an A/B session: its two processes, the size of its blocks, and rounds of blocks in random order."""

import os
import random
import time
from dataclasses import dataclass, field
from typing import Any, Final

from hwbench.core.value import Value

from . import duel, duel_plan
from .duel_places import Place
from .duel_rows import Block

WARM_LIMIT_S: Final = 0.5
"""A process that has not come to a steady state by then is measured all the same: its blocks' first calls are dropped anyway."""


class Job(Value):
    """What is compared: workloads as the user named them, settings that both versions get, and where."""

    workloads: tuple[str, ...]
    settings: tuple[str, ...] = ()
    dtype: str = "fp32"
    device: str = "cpu"


@dataclass(kw_only=True)
class Contest:
    """One kernel while it is measured."""

    name: str
    orders: tuple[dict[str, Any], dict[str, Any]]
    """What builds it, by side."""
    allowance_s: float
    """Wall time that it may take."""
    sizes: duel_plan.Sizes
    cpus: tuple[int, ...] = ()
    """CPUs on which rounds may be; none where the system is to choose."""
    rounds_per_process: int = duel_plan.MOST_ROUNDS_PER_PROCESS
    workers: list[duel.Worker] = field(default_factory=list)
    process: int = 0
    rounds_of_process: int = 0
    rounds: int = 0
    spent_s: float = 0.0
    """Wall time on this kernel so far."""
    round_s: float = 0.0
    respawn_s: float = 0.0
    unsteady: int = 0
    """Processes that did not come to a steady state."""


def begin(of: duel.Duel, job: Job, places: tuple[Place, Place], index: int, allowance_s: float, process: int = 0) -> Contest:
    """The first two processes of a kernel: built, checked against the workload's reference, warmed up; their calls give the block's size.

    `process` is the number of these processes, where others of the kernel came before. Sizes are of undisturbed time; where others crowd
    the machine, rounds take longer than that, and are made smaller for it.
    """
    began_s = time.monotonic()
    orders = (_order(job, places[0], index), _order(job, places[1], index))
    name = os.path.basename(job.workloads[index])  # noqa: PTH119  # a name, of which a path is a special case
    workers, told = [], []
    for side, order in enumerate(orders):
        workers.append(duel.fork(of, side))
        told.append(duel.ask(of, workers[side], order, f"building {name}")["built"])
        duel.ask(of, workers[side], {"do": "check"}, f"checking {name}")
    made_s = time.monotonic() - began_s
    warmed = [duel.ask(of, worker, _WARM, f"warming up {name}") for worker in workers]
    for worker in workers:
        duel.share_imports(of, worker)
    crowd = max(1.0, *(one["wall_s"] / one["call_s"] for one in warmed))
    spent_s = time.monotonic() - began_s
    return Contest(
        name=label(name, told[0], told[1], job.dtype),
        orders=orders,
        allowance_s=allowance_s,
        sizes=duel_plan.sizes(max(one["call_s"] for one in warmed), (allowance_s - spent_s) / crowd),
        cpus=tuple(sorted(os.sched_getaffinity(0))) if job.device == "cpu" and hasattr(os, "sched_getaffinity") else (),
        workers=workers,
        process=process,
        respawn_s=made_s,
        unsteady=sum(not one["steady"] for one in warmed),
        spent_s=spent_s,
    )


_WARM: Final = {"do": "warm", "limit_s": WARM_LIMIT_S}


def _order(job: Job, place: Place, index: int) -> dict[str, Any]:
    workloads = [place.workload(name) for name in job.workloads]
    settings = [*job.settings, *place.settings]
    return {"do": "build", "workloads": workloads, "settings": settings, "index": index, "dtype": job.dtype, "device": job.device}


def label(name: str, base: dict[str, str], candidate: dict[str, str], dtype: str) -> str:
    """What a kernel is called: the workload, the settings that both sides changed alike, and a dtype that is not fp32."""
    common = ",".join(f"{key}={value}" for key, value in base.items() if candidate.get(key) == value)
    return f"{name}({common})" * bool(common) + name * (not common) + f" {dtype}" * (dtype != "fp32")


def play(of: duel.Duel, contest: Contest, number: int, dice: random.Random) -> list[Block]:
    """One round: block pairs, the sides of each in random order; both processes are replaced first where it is time.

    Both are, together: a pair of processes is then one replicate, which the analysis may leave out or swap as a whole. Both sides of
    a round run on the same CPU, drawn anew for each: left alone, the scheduler may give each version a CPU of its own.
    """
    began_s = time.monotonic()
    if contest.rounds_of_process >= contest.rounds_per_process:
        _respawn(of, contest)
    round_began_s = time.monotonic()
    cpu = dice.choice(contest.cpus) if contest.cpus else None
    order = {"do": "block", "samples": contest.sizes.samples, "repeat": contest.sizes.repeat, "cpu": cpu}
    blocks = []
    for pair, side in duel_plan.block_order(contest.sizes.pairs, dice):
        found = duel.ask(of, contest.workers[side], order, f"measuring {contest.name}")
        blocks.append(_block(contest, number, side, pair, found))
    now_s = time.monotonic()
    contest.round_s = now_s - round_began_s
    contest.spent_s += now_s - began_s
    contest.rounds += 1
    contest.rounds_of_process += 1
    left_s = contest.allowance_s - contest.spent_s
    contest.sizes = duel_plan.fitted(
        contest.sizes, contest.rounds, contest.round_s + contest.respawn_s / contest.rounds_per_process, left_s
    )
    contest.rounds_per_process = duel_plan.rounds_per_process(contest.round_s, contest.respawn_s, contest.allowance_s)
    return blocks


def end(of: duel.Duel, contest: Contest) -> None:
    """Let the kernel's processes go."""
    for worker in contest.workers:
        duel.dismiss(of, worker)
    contest.workers.clear()


def is_out_of_time(contest: Contest) -> bool:
    """Whether one more round, and the processes it may need, would take longer than the kernel may."""
    respawn_s = contest.respawn_s if contest.rounds_of_process >= contest.rounds_per_process else 0.0
    return contest.spent_s + contest.round_s + respawn_s > contest.allowance_s


def _respawn(of: duel.Duel, contest: Contest) -> None:
    """Both processes anew; the sides take turns in being built first."""
    began_s = time.monotonic()
    end(of, contest)
    contest.workers = [duel.fork(of, side) for side in (0, 1)]
    for worker in contest.workers if contest.process % 2 else contest.workers[::-1]:
        duel.ask(of, worker, contest.orders[worker.nursery.side], f"building {contest.name}")
        contest.unsteady += not duel.ask(of, worker, _WARM, f"warming up {contest.name}")["steady"]
    contest.process += 1
    contest.rounds_of_process = 0
    contest.respawn_s = time.monotonic() - began_s


def _block(contest: Contest, number: int, side: int, pair: int, found: dict[str, Any]) -> Block:
    return Block(
        round=number,
        process=contest.process,
        kernel=contest.name,
        side=side,
        pair=pair,
        wall_ns=tuple(found["wall_ns"]),
        cpu_ns=tuple(found["cpu_ns"]),
        switches=tuple(found["switches"]),
        faults=tuple(found["faults"]),
        load_1min=os.getloadavg()[0],
    )
