"""Compare two versions live: interleaved rounds in random order, a verdict a kernel, as soon as it is known."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hwbench.core.comparison import Comparison
from hwbench.core.errors import GateFailed, Interrupted, UserError, unknown_name

from ._planning import Device, Duration

if TYPE_CHECKING:
    from hwbench.run.duel_refs import Ref

    from ._ab_session import Plan

DEFAULT_BUDGET_S: Final = 60.0
SHORTEST_BUDGET_S: Final = 5.0
DEFAULT_TIME_LIMIT_S: Final = 60.0
_RULE: Final = re.compile(r"(slower|faster):(\d+(?:\.\d+)?)%?\Z")
_CODE_OF_OWN: Final = ("git", "tree", "venv", "python", "wheel")
"""Versions that may bring workloads this interpreter does not know."""
_PRIORITIES: Final = ("raised", "normal")


class Rule(click.ParamType[tuple[str, float]]):
    """`slower:3%` as ("slower", 0.03)."""

    name = "rule"

    def convert(self, value: str | tuple[str, float], param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:  # noqa: ARG002
        """The rule; UserError for text that is none."""
        if not isinstance(value, str):
            return value
        found = _RULE.match(value)
        if found is None or float(found[2]) >= 1000:
            raise UserError(f"--fail {value!r}: expected a verdict and a size", hint="for example --fail slower:3%")
        return found[1], float(found[2]) / 100


@click.command()
@click.argument("workloads", nargs=-1, required=True, metavar="WORKLOAD...")
@click.option("--base", required=True, metavar="REF", help="The version to compare with.")
@click.option("--candidate", required=True, metavar="REF", help="The version in question.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A workload's setting, for both versions.")
@click.option("--dtype", default="fp32", show_default=True, metavar="DTYPE", help="fp32, bf16, fp16, fp64 …")
@click.option(
    "--device", type=Device(), default="auto", show_default=True, metavar="auto|cpu|cuda|xpu", help="auto takes an accelerator if any."
)
@click.option(
    "--budget",
    type=Duration(),
    default=DEFAULT_BUDGET_S,
    metavar="TIME",
    help="The most that a kernel may take, starting included.  [default: 60s]",
)
@click.option(
    "--threshold", default=2.0, show_default=True, type=click.FloatRange(0, 100, min_open=True), help="Smallest change that matters, in %."
)
@click.option("--clock", type=click.Choice(["cpu", "wall"]), help="Which time is compared.  [default: cpu; wall on an accelerator]")
@click.option("--session", type=click.Path(dir_okay=False), default="", metavar="FILE.csv.gz", help="Keep every sample, round by round.")
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.html", help="Write a page with the block pairs plotted."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--fail", "rule", type=Rule(), metavar="slower:3%", help="Exit with 1 where a kernel is slower by more, confirmed in fresh processes."
)
@click.option(
    "--priority", type=click.Choice(_PRIORITIES), default="raised", show_default=True, help="raised: above other programs, where allowed."
)
@click.option(
    "--time-limit",
    type=Duration(),
    default=DEFAULT_TIME_LIMIT_S,
    metavar="TIME",
    help="A build or block that takes longer hangs.  [default: 60s]",
)
def command(
    workloads: tuple[str, ...],
    base: str,
    candidate: str,
    settings: tuple[str, ...],
    dtype: str,
    device: str,
    budget: float,
    threshold: float,
    clock: str | None,
    session: str,
    plot: Path | None,
    as_json: bool,
    rule: tuple[str, float] | None,
    priority: str,
    time_limit: float,
) -> None:
    """Say whether CANDIDATE is slower than BASE on WORKLOADs: by name, model preset or the path of a Python file.

    REF is a commit of your project, a folder (`.` is the working tree), a virtual environment, a Python interpreter, a wheel,
    env:NAME=VALUE, set:KEY=VALUE, or same. Four verdicts: slower, faster, same, can't tell. Exit status 1 only with --fail.

    \b
    hwbench ab --base HEAD~1 --candidate . bench/mine.py --fail slower:3%
    hwbench ab --base set:backend=flash --candidate set:backend=math attention
    hwbench ab --base ./venv-2.12 --candidate ./venv-2.13 gpt lstm --budget 2m
    hwbench ab --base same --candidate env:OMP_PROC_BIND=true matmul
    """
    from hwbench.run.duel_refs import parse_ref

    refs = parse_ref(base), parse_ref(candidate)
    if budget < SHORTEST_BUDGET_S:
        raise UserError(
            f"--budget {budget:g}s: starting two versions takes some seconds", hint=f"give at least {SHORTEST_BUDGET_S:g}s a kernel"
        )
    if all(ref.kind not in _CODE_OF_OWN for ref in refs):
        check_names(workloads)
    plan = planned(
        refs, workloads, settings, dtype, device, budget, threshold / 100, clock, session, time_limit, raised=priority == "raised"
    )
    _warn_of_uncommitted(refs)
    carry_out(plan, rule, plot, as_json=as_json)


def check_names(workloads: tuple[str, ...]) -> None:
    """UserError, before anything is started, for a workload that is neither known nor a file."""
    from hwbench.core import registry

    for name in workloads:
        if name.endswith((".py", ".toml")):
            if not Path(name).is_file():
                raise UserError(f"{name}: no such file", hint="a workload of your own is a Python file that exports WORKLOAD")
        elif name not in (known := [*registry.names("workloads"), *registry.names("models")]):
            raise unknown_name("workload", name, known)


def planned(
    refs: "tuple[Ref, Ref]",
    workloads: tuple[str, ...],
    settings: tuple[str, ...] = (),
    dtype: str = "fp32",
    device: str = "auto",
    budget_s: float = DEFAULT_BUDGET_S,
    threshold_fraction: float = 0.02,
    clock: str | None = None,
    session: str = "",
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
    *,
    raised: bool = True,
) -> "Plan":
    """The comparison that the command line's words make."""
    from hwbench.probe.inventory import take_inventory
    from hwbench.run.duel_contest import Job
    from hwbench.run.origin import device_of

    from ._ab_session import Plan

    where = device if device == "cpu" else device_of(device, take_inventory())
    return Plan(
        base=refs[0],
        candidate=refs[1],
        job=Job(workloads=workloads, settings=settings, dtype=dtype, device=where),
        budget_s=budget_s,
        threshold_fraction=threshold_fraction,
        clock="wall" if clock == "wall" or (clock is None and where != "cpu") else "cpu",
        session=session,
        time_limit_s=time_limit_s,
        raised=raised,
    )


def _warn_of_uncommitted(refs: "tuple[Ref, Ref]") -> None:
    from hwbench.run.duel_places import uncommitted

    kinds = [ref.kind for ref in refs]
    if "git" in kinds and "tree" not in kinds and uncommitted(Path.cwd()):
        click.echo("hwbench: uncommitted changes are in neither version; `.` as a version means the working tree", err=True)


def carry_out(plan: "Plan", rule: tuple[str, float] | None, plot: Path | None, *, as_json: bool) -> None:
    """Compare, show, and raise GateFailed where the rule is broken."""
    from hwbench.core import codec

    from ._ab_session import compare
    from ._ab_view import progress, show, to_plain

    fails = _breaks(rule) if rule else None
    try:
        with progress() as (say, tick):
            result, _ = compare(plan, say, tick)
    except Interrupted as error:
        kept = f"; the rounds so far are in {plan.session}" if plan.session and Path(plan.session).exists() else ""
        raise Interrupted(f"{error.message}{kept}", hint=error.hint, exit_code=error.exit_code) from error
    if plot:
        from hwbench.reports._ab_page import page

        codec.write_atomic(plot, page(result).encode())
    if as_json:
        click.echo(codec.to_json(to_plain(result), pretty=True), nl=False)
    else:
        from rich.console import Console

        show(Console(file=sys.stdout, highlight=False), result)
    broken = [kernel.comparison for kernel in result.kernels if fails and fails(kernel.comparison)]
    if broken and rule:
        found = ", ".join(f"{of.kernel} {of.ratio:.3f} ×" for of in broken)
        raise GateFailed(f"{len(broken)} of {len(result.kernels)} kernels {rule[0]} by more than {100 * rule[1]:g} %: {found}")


def _breaks(rule: tuple[str, float]) -> Callable[[Comparison], bool]:
    """Whether a comparison breaks the rule: its verdict is the rule's, and its ratio beyond the rule's size."""
    verdict, size = rule
    return lambda of: (
        of.verdict == verdict and of.ratio is not None and (of.ratio > 1 + size if verdict == "slower" else of.ratio < 1 / (1 + size))
    )
