"""Inventory this machine, or a copy of another one's /sys and /proc: what is there, what you may use, what could not be seen."""

import sys
from pathlib import Path

import click

from hwbench.core import codec
from hwbench.core.errors import UserError
from hwbench.core.inventory import Inventory


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the inventory as JSON.")
@click.option(
    "--sysroot", type=click.Path(path_type=Path), default=Path("/"), metavar="DIR", help="Read DIR/sys and DIR/proc instead of /."
)
@click.option("--from", "described", type=click.Path(path_type=Path), metavar="FILE", help="Read a description of accelerators.")
@click.option("--redact", is_flag=True, help="Replace host names, serials, UUIDs, MAC and IP addresses by pseudonyms.")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the inventory to FILE as JSON.")
def command(as_json: bool, sysroot: Path, described: Path | None, redact: bool, output: Path | None) -> None:
    """Show what a machine is. Files are read, nothing is measured, changed or sent anywhere.

    What could not be seen is listed at the end with the reason; it is never guessed, and never zero.

    \b
    hwbench probe
    hwbench probe --json --output this-machine.json
    hwbench probe --sysroot ./a-copy-of-another-machine
    hwbench probe --from topo.txt

    --from reads the text of `nvidia-smi -q` or `topo -m`, `rocm-smi --showtopo` or `amd-smi topology`, the XML of
    `nvidia-smi -q -x` or NCCL, the JSON of `rocm-smi -a`: for a machine that somebody else describes to you.
    """
    inventory = _inventory(sysroot, described)
    if redact:
        inventory = _redacted(inventory)
    if output is not None:
        codec.write_atomic(output, codec.to_json(inventory, pretty=True))
    if as_json:
        click.echo(codec.to_json(inventory, pretty=True), nl=False)
    elif output is None:
        _show(inventory, described is not None)
    else:
        click.echo(f"{output}: inventory with {len(inventory.gaps)} gaps")


def _inventory(sysroot: Path, described: Path | None) -> Inventory:
    from hwbench.probe.description import inventory_from
    from hwbench.probe.inventory import take_inventory

    if described is None:
        return take_inventory(sysroot)
    if sysroot != Path("/"):
        raise UserError("--from and --sysroot: both describe the machine", hint="leave one of them out")
    return inventory_from(described)


def _redacted(inventory: Inventory) -> Inventory:
    from hwbench.core.redact import redact

    return codec.convert(redact(codec.to_builtins(inventory)), Inventory, source="the redacted inventory")


def _show(inventory: Inventory, accelerators_only: bool) -> None:
    from rich.console import Console

    from hwbench.cli._accelerator_view import description_view
    from hwbench.cli._inventory_view import inventory_view

    console = Console(file=sys.stdout, highlight=False)
    if accelerators_only and inventory.accelerators is not None:
        console.print(description_view(inventory.accelerators, inventory.gaps, console.width))
    else:
        console.print(inventory_view(inventory, console.width))
