"""`hwbench doctor --aa`: the same code against itself, here and now: false alarms, the smallest change seen, what disturbs."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from hwbench.core import codec
from hwbench.core.ab import AbResult
from hwbench.core.comparison import Comparison

if TYPE_CHECKING:
    from hwbench.run.duel_rows import Block

    from ._ab_session import Plan

KERNELS: Final = ("matmul", "attention", "embedding", "lstm")
SETTINGS: Final = ("m=512", "n=512", "k=512", "batch=8", "seq_len=64", "passes=forward", "tokens=2048", "vocabulary=8192")
"""They make the default kernels short enough for many calls a block; each goes to the workloads that have it."""


def self_check(workloads: Sequence[str], budget_s: float, *, raised: bool, as_json: bool) -> None:
    """Measure, judge with labels swapped, and show. Raises what `hwbench ab` raises."""
    from hwbench.run.duel_refs import parse_ref

    from ._ab_session import compare
    from ._ab_view import progress
    from .ab import check_names, planned

    check_names(tuple(workloads))
    same = parse_ref("same")
    plan = planned((same, same), tuple(workloads) or KERNELS, () if workloads else SETTINGS, budget_s=budget_s, raised=raised)
    with progress() as (say, tick):
        result, blocks = compare(plan, say, tick)
    facts = _facts(result, _replayed(blocks, plan))
    if as_json:
        click.echo(codec.to_json(facts, pretty=True), nl=False)
    else:
        _show(result, facts)


def _replayed(blocks: "Sequence[Block]", plan: "Plan") -> dict[str, list[Comparison]]:
    """Judgements with labels swapped, by kernel."""
    from hwbench.analyse.aa import swapped_verdicts

    from ._ab_session import session_of

    session = session_of(blocks)
    return {
        name: swapped_verdicts(session, kernel, clock=plan.clock, threshold_fraction=plan.threshold_fraction)
        for kernel, name in enumerate(session.kernel_names)
    }


def _facts(result: AbResult, replayed: dict[str, list[Comparison]]) -> dict[str, Any]:
    from hwbench.analyse.aa import false_alarms

    kernels = []
    for kernel in result.kernels:
        judged = replayed[kernel.comparison.kernel]
        kernels.append(
            {
                "kernel": kernel.comparison.kernel,
                "verdict": kernel.comparison.verdict,
                "ratio": kernel.comparison.ratio,
                "minimum_detectable_effect": kernel.comparison.minimum_detectable_effect,
                "replays": len(judged),
                "false_alarms": false_alarms(judged),
                "rounds": kernel.rounds,
                "processes": kernel.processes,
                "involuntary_switches_per_call": kernel.involuntary_switches_per_call,
                "note": kernel.comparison.note,
            }
        )
    replays = sum(len(judged) for judged in replayed.values())
    alarms = sum(false_alarms(judged) for judged in replayed.values())
    return {
        "false_alarms": alarms,
        "replays": replays,
        "false_alarm_fraction": alarms / replays if replays else None,
        "kernels": kernels,
        "state": codec.to_builtins(result.state),
        "warnings": result.warnings,
        "duration_s": result.duration_s,
    }


def _show(result: AbResult, facts: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(file=sys.stdout, highlight=False)
    table = Table(box=SIMPLE_HEAD, title="the same code against itself", title_justify="left")
    table.add_column("kernel", overflow="fold")
    for name in ("verdict", "detectable", "false alarms", "rounds", "switches a call"):
        table.add_column(name, no_wrap=name == "verdict")
    for kernel in facts["kernels"]:
        table.add_row(
            escape(kernel["kernel"]),
            escape(kernel["verdict"]),
            "–" if kernel["minimum_detectable_effect"] is None else f"{100 * kernel['minimum_detectable_effect']:.1f} %",
            f"{kernel['false_alarms']} of {kernel['replays']}",
            f"{kernel['rounds']} in {kernel['processes']}",
            f"{kernel['involuntary_switches_per_call']:.2f}",
        )
    console.print(table)
    for kernel in facts["kernels"]:
        if kernel["note"]:
            console.print(f"{kernel['kernel']}: {kernel['note']}", markup=False)
    console.print(_alarms(facts), markup=False)
    console.print(_disturbance(result), markup=False)
    for warning in result.warnings:
        console.print(f"! {warning}", markup=False, style="yellow")


def _alarms(facts: dict[str, Any]) -> str:
    from hwbench.analyse.ab import ALPHA

    if not facts["replays"]:
        return "No kernel could be judged: no false-alarm rate."
    share = 100 * facts["false_alarm_fraction"]
    return (
        f"False alarms: {share:.2g} % ({facts['false_alarms']} of {facts['replays']} analyses with labels swapped by process; "
        f"a single look may have {100 * ALPHA:g} %)."
    )


def _disturbance(result: AbResult) -> str:
    state = result.state
    parts = [
        f"load {state.load_1min:.1f}" if state.load_1min is not None else "load unknown",
        _share("CPU pressure", state.cpu_pressure_fraction),
        _share("steal", state.steal_fraction),
    ]
    return f"Meanwhile: {', '.join(parts)}."


def _share(name: str, fraction: float | None) -> str:
    return f"{name} unknown" if fraction is None else f"{name} {100 * fraction:.1f} %"
