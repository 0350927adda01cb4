"""Inventory this machine, or a copy of another one's /sys and /proc: what is there, what you may use, what could not be seen."""

import contextlib
import sys
import time
from pathlib import Path
from typing import TypeVar

import click

from hwbench.core import codec
from hwbench.core.ceilings import Ceilings
from hwbench.core.errors import HwbenchError, MeasurementError, UserError
from hwbench.core.inventory import Inventory

from ._planning import Duration
from ._writing import TERMINAL, write_or_show

CEILINGS = "ceilings"
"""The suite that --ceilings measures."""
Shown = TypeVar("Shown", Inventory, Ceilings)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the inventory as JSON.")
@click.option(
    "--sysroot", type=click.Path(path_type=Path), default=Path("/"), metavar="DIR", help="Read DIR/sys and DIR/proc instead of /."
)
@click.option("--from", "described", type=click.Path(path_type=Path), metavar="FILE", help="Read a description of accelerators.")
@click.option("--redact", is_flag=True, help="Replace host names, serials, UUIDs, MAC and IP addresses by pseudonyms.")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the inventory to FILE as JSON; - is the terminal.")
@click.option("--ceilings", is_flag=True, help="Measure what memory, caches, arithmetic, copies, collectives and the disk give at best.")
@click.option("--suite", default=CEILINGS, show_default=True, metavar="NAME|FILE.toml", help="What --ceilings measures.")
@click.option("--time-budget", type=Duration(), metavar="TIME", help="For --ceilings, such as 3m.  [default: the suite's]")
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("hwbench-results"), show_default=True, help="Where --ceilings keeps its run."
)
def command(
    as_json: bool,
    sysroot: Path,
    described: Path | None,
    redact: bool,
    output: Path | None,
    ceilings: bool,
    suite: str,
    time_budget: float | None,
    results: Path,
) -> None:
    """Show what a machine is. Files are read, nothing is changed or sent anywhere; nothing is measured without --ceilings.

    What could not be seen is listed at the end with the reason; it is never guessed, and never zero. With --ceilings the JSON has two
    keys, inventory and ceilings, and the exit status is 4 where a measurement failed; the others are shown, and kept as a run.

    \b
    hwbench probe
    hwbench probe --json --output this-machine.json
    hwbench probe --sysroot ./a-copy-of-another-machine
    hwbench probe --from topo.txt
    hwbench probe --ceilings --time-budget 2m

    --from reads the text of `nvidia-smi -q` or `topo -m`, `rocm-smi --showtopo` or `amd-smi topology`, the XML of
    `nvidia-smi -q -x` or NCCL, the JSON of `rocm-smi -a`: for a machine that somebody else describes to you.
    """
    if ceilings and (described is not None or sysroot != Path("/")):
        raise UserError("--ceilings measures this machine; --from and --sysroot describe another one", hint="leave one of them out")
    found, failure = _measured(suite, time_budget, results) if ceilings else (None, None)
    inventory = _inventory(sysroot, described) if found is None else found[0]
    measured = None if found is None else found[1]
    if redact:
        inventory = _redacted(inventory, Inventory)
        measured = None if measured is None else _redacted(measured, Ceilings)
    data = codec.to_json(inventory if measured is None else {"inventory": inventory, "ceilings": measured}, pretty=True)
    written = output is not None and write_or_show(output, data)
    if as_json and output != TERMINAL:
        click.echo(data, nl=False)
    elif output is None:
        _show(inventory, measured, described is not None)
    elif written:
        click.echo(f"{output}: inventory with {len(inventory.gaps)} gaps")
    if failure is not None:
        raise failure


def _measured(suite: str, time_budget_s: float | None, results: Path) -> tuple[tuple[Inventory, Ceilings], HwbenchError | None]:
    """Run the suite and keep it; (the inventory it began with and its ceilings, what failed). All that is said meanwhile goes to stderr."""
    from hwbench import store
    from hwbench.analyse.ceilings import ceilings

    from .run import carry_out, new_run, planned

    began_s = time.monotonic()
    store.check_writable(results)
    plan = planned((), suite, time_budget_s=time_budget_s)
    folder = new_run(plan, suite, "auto", results, {"time_budget_s": plan.time_budget_s, "scaling": "weak"})
    failure = None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            carry_out(folder, began_s=began_s)
    except MeasurementError as error:
        failure = error
    run = store.read_run(folder)
    return (run.header.inventory, ceilings(run)), failure


def _inventory(sysroot: Path, described: Path | None) -> Inventory:
    from hwbench.probe.description import inventory_from
    from hwbench.probe.inventory import take_inventory

    if described is None:
        return take_inventory(sysroot)
    if sysroot != Path("/"):
        raise UserError("--from and --sysroot: both describe the machine", hint="leave one of them out")
    return inventory_from(described)


def _redacted(value: Shown, kind: type[Shown]) -> Shown:
    from hwbench.core.redact import redact

    return codec.convert(redact(codec.to_builtins(value)), kind, source="what was redacted")


def _show(inventory: Inventory, measured: Ceilings | None, accelerators_only: bool) -> None:
    from rich.console import Console

    from hwbench.cli._accelerator_view import description_view
    from hwbench.cli._ceilings_view import ceilings_view
    from hwbench.cli._inventory_view import inventory_view

    console = Console(file=sys.stdout, highlight=False)
    if accelerators_only and inventory.accelerators is not None:
        console.print(description_view(inventory.accelerators, inventory.gaps, console.width))
    else:
        console.print(inventory_view(inventory, console.width))
    if measured is not None:
        console.print(ceilings_view(measured))
