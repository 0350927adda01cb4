"""Measure workloads under parallel layouts, in worker processes of their own."""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import msgspec

from hwbench import store
from hwbench.core import codec
from hwbench.core.comparability import differences
from hwbench.core.errors import Interrupted, MeasurementError, UnavailableError, UserError
from hwbench.core.inventory import Inventory
from hwbench.core.record import Run, ScalingMode
from hwbench.core.registry import load_suite
from hwbench.core.suite import Suite, Tried
from hwbench.probe.inventory import take_inventory
from hwbench.run import cases, environment, largest, origin, schedule, trying
from hwbench.run.events import Recorded
from hwbench.run.execute import DEFAULT_TIME_LIMIT_S, Options
from hwbench.run.fitting import fitted
from hwbench.run.placement import SPARE, Place, place_of

from ._find_batch import with_largest_batch
from ._nodes import events, serve, slots
from ._nodes import usable_cpus as _cpus
from ._planning import Device, Duration
from ._progress import display

DEFAULT_SUITE = "quick"
INTERLEAVED = 3
"""Processes of a case where layouts are compared and nobody says how many."""


@click.command()
@click.argument("workloads", nargs=-1, metavar="[WORKLOAD]...")
@click.option("--workload", "more", multiple=True, metavar="NAME|FILE.py", help="The same as a WORKLOAD argument.")
@click.option("--suite", metavar="NAME|FILE.toml", help=f"Measure a suite; without any workload it is `{DEFAULT_SUITE}`.")
@click.option(
    "--layout", "layouts", multiple=True, metavar="LAYOUT", help="How to divide a step over ranks: single, dp=2 …, all; may be repeated."
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE[,VALUE]", help="A workload's setting; several values are all measured."
)
@click.option("--dtype", "dtypes", multiple=True, metavar="DTYPE", help="fp32, bf16, fp16, fp64 …; may be repeated.")
@click.option(
    "--compile", "compiled", metavar="none|all|both|NAME[,NAME]", help="torch.compile: for no case, all, all with and without, or NAMEs."
)
@click.option(
    "--device",
    type=Device(),
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda|xpu",
    help="Kind of device; auto takes an accelerator if any.",
)
@click.option("--processes", type=click.IntRange(min=1), help="Repeat every case in so many processes of its own; intervals need several.")
@click.option("--time-budget", type=Duration(), metavar="TIME", help="For the whole run, such as 3m; every case gets its share.")
@click.option("--case-time", type=Duration(), metavar="TIME", help="The most that a case may take.  [default: 10s without --time-budget]")
@click.option("--time-limit", type=Duration(), default=DEFAULT_TIME_LIMIT_S, help="A case that takes longer has failed.  [default: 10m]")
@click.option("--world-size", type=click.IntRange(min=2), help="Ranks of `--layout all`.  [default: as many as there is room for]")
@click.option(
    "--scaling",
    type=click.Choice(["weak", "strong"]),
    help="weak: micro_batch is that of a rank; strong: that of all ranks together.  [default: weak]",
)
@click.option("--results", type=click.Path(path_type=Path), default=Path("hwbench-results"), show_default=True, help="The results folder.")
@click.option("--nnodes", type=click.IntRange(min=1), help="Measure over so many machines: start hwbench on each of them.")
@click.option("--node-rank", type=click.IntRange(min=0), help="Which of them this is, from 0; node 0 decides what is measured.")
@click.option("--rdzv-endpoint", metavar="HOST:PORT", help="An address of node 0 that all of them reach, and a free port there.")
@click.option("--profile", is_flag=True, help="Write a profiler's trace of an extra repeat of each case, and its costliest operators.")
@click.option("--find-batch", is_flag=True, help="First find the largest batch of the case that fits into memory, and measure that.")
@click.option("--train-steps", type=click.IntRange(min=1), help="Make at least so many calls of each training step, within --time-limit.")
@click.option("--resume", is_flag=False, flag_value="", metavar="[RUN]", help="Complete a run (the newest): measure what is not done.")
def command(
    workloads: tuple[str, ...],
    more: tuple[str, ...],
    suite: str | None,
    layouts: tuple[str, ...],
    settings: tuple[str, ...],
    dtypes: tuple[str, ...],
    compiled: str | None,
    device: str,
    processes: int | None,
    time_budget: float | None,
    case_time: float | None,
    time_limit: float,
    world_size: int | None,
    scaling: ScalingMode | None,
    nnodes: int | None,
    node_rank: int | None,
    rdzv_endpoint: str | None,
    results: Path,
    resume: str | None,
    profile: bool,
    find_batch: bool,
    train_steps: int | None,
) -> None:
    """Measure WORKLOADs, or a suite, and write every sample to the results folder.

    A WORKLOAD is a name (`hwbench list workloads`), a model preset, or the path of a Python file of your own. Each case is warmed up to
    steady state and sampled in worker processes that torch's launcher starts, one compute thread a rank. Exit status 4 tells
    that a case failed; the others are kept. Several machines are joined by --nnodes, or by what Slurm's srun or torchrun set.

    \b
    hwbench run                                    the quick suite
    hwbench run gpt --layout single --layout dp=2
    hwbench run matmul --set m=512,1024 --dtype fp32 --dtype bf16
    hwbench run attention --set seq_len=128,512,2048 --set backend=all
    hwbench run llama --find-batch --profile --compile both
    hwbench run gpt --set distribution=text --train-steps 300    see it learn: hwbench report shows the loss
    hwbench run ./mine.py --time-budget 1m
    hwbench run --resume
    """
    began_s = time.monotonic()
    place = place_of(nnodes, node_rank, rdzv_endpoint, os.environ)
    if place == SPARE:
        return
    if place is not None and _measures_alone(suite):
        place = None
    if place is not None and place.node > 0:
        serve(place, results, time_limit)
        return
    names = (*workloads, *more)
    if resume is not None:
        told = (names, suite, layouts, settings, dtypes, compiled, processes, world_size, scaling, profile, find_batch, train_steps)
        folder = _begun(results, resume, bare=not any(told))
    else:
        store.check_writable(results)
        plan = planned(names, suite, layouts, settings, dtypes, processes, time_budget, compiled)
        interleaved = processes is None and _are_several(layouts)
        if train_steps and not any(cases.trains(entry) for entry in plan.entries):
            raise UserError("--train-steps: none of the workloads is a training step", hint="for example hwbench run gpt")
        plan = _over_layouts(plan, world_size, scaling, interleaved=interleaved)
        if interleaved and case_time is None and plan.time_budget_s is None:
            case_time = schedule.FREE_SHARE_S / INTERLEAVED
        options = {"time_budget_s": plan.time_budget_s, "case_time_s": case_time, "time_limit_s": time_limit, "scaling": plan.scaling}
        options |= ({"profile": True} if profile else {}) | ({"train_steps": train_steps} if train_steps else {})
        called, nodes = suite or ("" if names else DEFAULT_SUITE), place.nodes if place else 1
        folder = new_run(plan, called, device, results, options, explicit=bool(layouts), nodes=nodes, find_batch=find_batch)
    carry_out(folder, time_budget, began_s, place)


def _begun(results: Path, run: str, *, bare: bool) -> Path:
    """The folder of the run to complete; '' is the newest. `bare`: nothing was said that only a new run could heed."""
    if not bare:
        raise UserError("--resume completes a run as it was started", hint="leave workloads and their options away, or start a new run")
    folder = store.find_run(results, run or None)
    _say_what_differs(folder)
    return folder


def _measures_alone(suite: str | None) -> bool:
    """Whether every node measures a suite by itself, so that nothing has to be agreed on."""
    return suite is not None and load_suite(suite).each_node


def _are_several(layouts: tuple[str, ...]) -> bool:
    return len(layouts) > 1 or cases.ALL in layouts


def _over_layouts(plan: Suite, world_size: int | None, scaling: ScalingMode | None, *, interleaved: bool) -> Suite:
    """The plan for a comparison of layouts.

    `interleaved`: every layout in at least INTERLEAVED processes, each time in another order, so that no drift of the machine decides
    which of them comes out best.
    """
    return msgspec.structs.replace(
        plan,
        world_size=world_size or plan.world_size,
        scaling=scaling or plan.scaling,
        processes=max(plan.processes, INTERLEAVED) if interleaved else plan.processes,
    )


def planned(
    workloads: Sequence[str],
    suite: str | None,
    layouts: tuple[str, ...] = (),
    settings: Sequence[str] = (),
    dtypes: tuple[str, ...] = (),
    processes: int | None = None,
    time_budget_s: float | None = None,
    compiled: str | None = None,
) -> Suite:
    """The suite that the command line's words make: a named one or one of the given workloads, with what was said otherwise."""
    if workloads and suite:
        raise UserError("give workloads or --suite, not both")
    if workloads:
        base = Suite(description="", entries=tuple(cases.entry_of(name) for name in workloads))
    else:
        base = load_suite(suite or DEFAULT_SUITE)
    entries = cases.with_settings(base.entries, settings)
    if compiled:
        entries = cases.with_compile(entries, compiled)
    return msgspec.structs.replace(
        base,
        entries=tuple(msgspec.structs.replace(entry, layouts=layouts or entry.layouts, dtypes=dtypes or entry.dtypes) for entry in entries),
        layouts=layouts or base.layouts,
        dtypes=dtypes or base.dtypes,
        processes=processes or base.processes,
        time_budget_s=time_budget_s or base.time_budget_s,
    )


def new_run(
    plan: Suite,
    suite: str,
    device: str,
    results: Path,
    options: dict[str, Any],
    *,
    explicit: bool = False,
    nodes: int = 1,
    find_batch: bool = False,
) -> Path:
    """Take the inventory and write down what is to be measured; returns the run's folder.

    `options` go into the header's settings, where `carry_out` reads time_budget_s, case_time_s and time_limit_s. `explicit`: the
    layouts were asked for by name, so that one with more ranks than CPUs is an error and not a skipped case. `nodes`: over how many
    machines ranks will be spread. `find_batch`: with the largest batch that fits, which is looked for first.
    """
    inventory = take_inventory()
    run_id = store.new_run_id()
    kind = origin.device_of(device, inventory)
    plan = msgspec.structs.replace(plan, world_size=plan.world_size or max(2, nodes * slots(inventory, kind)))
    devices = _devices(plan, kind)
    fits = {kind: fitted(plan, inventory, kind) for kind in devices}
    rates = {kind: tried for kind, fit in fits.items() if (tried := _tried(fit, kind, inventory))}
    wanted = schedule.shuffled([case for kind, fit in fits.items() for case in cases.expand(fit, kind, rates.get(kind))], run_id)
    if explicit:
        cases.check_cpus(wanted, _cpus(inventory), nodes)
    if find_batch:
        wanted, found = with_largest_batch(wanted, cpus=_cpus(inventory), inventory=inventory, time_limit_s=options["time_limit_s"])
        options = {**options, "found_batch": largest.as_settings(found)}
    settings = {**options, "order": f"random within a launch, seed {run_id}", "environment": environment.SETTINGS}
    settings |= {"tried": codec.to_builtins(rates)} if rates else {}
    header = origin.header(run_id, wanted, inventory, ("hwbench", *sys.argv[1:]), suite or None, settings)
    return store.create_run(results, header)


def _devices(plan: Suite, device: str) -> tuple[str, ...]:
    """The kinds of device that are measured: the host's before the accelerator's where the plan says so."""
    return tuple(dict.fromkeys(("cpu", device) if plan.host else (device,)))


def _tried(plan: Suite, device: str, inventory: Inventory) -> Tried | None:
    """The rates that sizes are chosen by; None where no entry meant for this kind of device has sizes to choose from."""
    kind = "cpu" if device == "cpu" else "accelerator"
    entries = [entry for entry in plan.entries if entry.sizes and kind in entry.devices]
    if not entries:
        return None
    click.echo(f"trying how fast products and memory are on {device}, to choose sizes", err=True)
    dtypes = [dtype for entry in entries for dtype in (entry.dtypes or plan.dtypes)]
    with tempfile.TemporaryDirectory(prefix="hwbench-tried-") as logs:
        return trying.tried(device, dtypes, _cpus(inventory), Path(logs))


def carry_out(folder: Path, time_budget_s: float | None = None, began_s: float | None = None, place: Place | None = None) -> None:
    """Measure what of a run is not done yet, and write each record down as it comes.

    `time_budget_s` None takes that of the header; `began_s` is the time.monotonic() from which it counts; `place` is this node's among
    several. Raises MeasurementError where cases failed, and Interrupted, both after everything is written down and shown.
    """
    began_s = time.monotonic() if began_s is None else began_s
    try:
        with store.writing(folder) as file:
            run = store.read_run(folder)
            todo = schedule.missing(run.header.cases, ((r.case.key, r.case.process) for r in run.records if r.outcome == "done"))
            options = _options(run, time_budget_s, time.monotonic() - began_s)
            with display(len(todo)) as show, closing(events(todo, options, folder, run.header, place)) as happening:
                for event in happening:
                    if isinstance(event, Recorded):
                        store.append(file, event.record)
                    show(event)
    except Interrupted as error:
        raise Interrupted(f"{error.message}; {_kept(folder)}", hint=_again(folder), exit_code=error.exit_code) from error
    _conclude(folder)


def _say_what_differs(folder: Path) -> None:
    """Warn where a run is completed on what is not the machine it was started on."""
    found = differences(store.read_header(folder).inventory, take_inventory())
    if found:
        facts = ", ".join(f"{one.path} was {one.before}, is {one.after}" for one in found[:3])
        click.echo(f"hwbench: this is not quite the machine that the run was started on: {facts}", err=True)


def _options(run: Run, time_budget_s: float | None, spent_s: float) -> Options:
    settings = run.header.settings
    return Options(
        time_budget_s=time_budget_s or settings.get("time_budget_s"),
        case_time_s=settings.get("case_time_s"),
        time_limit_s=settings.get("time_limit_s", DEFAULT_TIME_LIMIT_S),
        spent_s=spent_s,
        traces=str(Path(run.path, "traces")) if settings.get("profile") else "",
        train_steps=settings.get("train_steps", 0),
        cpus=_cpus(run.header.inventory),
    )


def _conclude(folder: Path) -> None:
    """Say where the results are; MeasurementError where a case failed, UnavailableError where nothing at all could be measured here."""
    run = store.read_run(folder)
    for problem in run.problems:
        click.echo(f"hwbench: left out {problem}", err=True)
    failed = sum(record.outcome == "failed" for record in run.records)
    if failed:
        raise MeasurementError(f"{failed} of {len(run.header.cases)} cases failed; {_kept(folder)}", hint=_again(folder))
    if run.records and all(record.outcome == "skipped" for record in run.records):
        raise UnavailableError(f"{_kept(folder)}: {run.records[0].reason}", hint=_again(folder))
    click.echo(_kept(folder))


def _kept(folder: Path) -> str:
    run = store.read_run(folder)
    done = sum(record.outcome == "done" for record in run.records)
    return f"{done} of {len(run.header.cases)} cases measured, in {folder}"


def _again(folder: Path) -> str:
    return f"`hwbench run --resume {folder}` measures what is not done"
