"""Say what of this machine's state disturbs a measurement, why, and which command changes it; change nothing."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwbench.core import codec
from hwbench.core.errors import UserError

from ._planning import Duration

if TYPE_CHECKING:
    from hwbench.probe.doctor import Finding

_WORDS = {
    "warning": ("warning", "warnings"),
    "advice": ("piece of advice", "pieces of advice"),
    "unknown": ("not seen",) * 2,
    "good": ("well",) * 2,
}
_STYLES = {"warning": "bold red", "advice": "yellow", "unknown": "dim", "good": "green"}


@click.command()
@click.argument("workloads", nargs=-1, metavar="[WORKLOAD]...")
@click.option("--aa", is_flag=True, help="Measure the same code against itself: false alarms and the smallest change seen, here and now.")
@click.option("--budget", type=Duration(), default=60.0, metavar="TIME", help="With --aa: the most that a kernel may take.  [default: 60s]")
@click.option("--priority", type=click.Choice(["raised", "normal"]), default="raised", help="With --aa: as for `hwbench ab`.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option("--all", "everything", is_flag=True, help="Show also what is well and what could not be seen.")
@click.option("--sysroot", type=click.Path(path_type=Path), default=Path("/"), metavar="DIR", help="Read DIR/sys and DIR/proc.")
def command(workloads: tuple[str, ...], aa: bool, budget: float, priority: str, as_json: bool, everything: bool, sysroot: Path) -> None:
    """Look at governor, huge pages, NUMA balancing, swap, load, steal, limits and links, and say what to do about them.

    \b
    hwbench doctor
    hwbench doctor --all
    hwbench doctor --aa
    hwbench doctor --aa attention lstm --budget 2m
    """
    if aa:
        from ._aa_view import self_check

        self_check(workloads, budget, raised=priority == "raised", as_json=as_json)
        return
    if workloads:
        raise UserError(f"doctor looks at the machine, found WORKLOAD {workloads[0]!r}", hint="--aa measures workloads against themselves")
    from hwbench.probe.doctor import examine
    from hwbench.probe.inventory import take_inventory

    findings = examine(take_inventory(sysroot))
    if as_json:
        click.echo(codec.to_json(findings, pretty=True), nl=False)
    else:
        _show(findings, everything)


def _show(findings: "tuple[Finding, ...]", everything: bool) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False)
    shown = [finding for finding in findings if everything or finding.state in ("warning", "advice")]
    for finding in shown:
        console.print(Text.assemble((f"{finding.state:8}", _STYLES[finding.state]), (f"{finding.check}: ", "bold"), finding.found))
        console.print(Padding(Text(finding.matters, style="dim"), (0, 0, 0, 8)))
        if finding.command:
            console.print(Padding(Text(f"$ {finding.command}", style="cyan"), (0, 0, 0, 8)))
    counts = ", ".join(_counted(sum(one.state == state for one in findings), state) for state in _STYLES)
    console.print(Text(f"{counts}. Nothing was changed.{'' if everything else ' --all shows the rest.'}"))


def _counted(count: int, state: str) -> str:
    """'2 warnings', '1 piece of advice', '3 not seen'."""
    one, many = _WORDS[state]
    return f"{count} {one if count == 1 else many}"
