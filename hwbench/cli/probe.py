"""Inventory this machine, or a copy of another one's /sys and /proc: what is there, what you may use, what could not be seen."""

from pathlib import Path

import click

from hwbench.core import codec
from hwbench.core.errors import UserError
from hwbench.core.inventory import Inventory


_FROM = "Read accelerators from FILE: nvidia-smi -q, -q -x or topo -m, rocm-smi --showtopo or --json, NCCL topology XML."


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--sysroot", type=click.Path(path_type=Path), default=Path("/"), help="Read DIR/sys and DIR/proc instead of this machine's.")
@click.option("--from", "described", metavar="FILE", type=click.Path(path_type=Path), help=_FROM)
@click.option("--redact", is_flag=True, help="Replace host names, serials, UUIDs, MAC and IP addresses by pseudonyms.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the JSON to FILE.")
def command(as_json: bool, sysroot: Path, described: Path | None, redact: bool, output: Path | None) -> None:
    """Show what this machine is: CPUs, limits, memory, accelerators, network, storage, software, tuning, and what could not be seen."""
    inventory = _inventory(sysroot, described)
    if redact:
        inventory = _redacted(inventory)
    text = codec.to_json(inventory, pretty=True)
    if output is not None:
        codec.write_atomic(output, text)
    if as_json:
        click.echo(text, nl=False)


def _inventory(sysroot: Path, described: Path | None) -> Inventory:
    from hwbench.probe.description import inventory_from
    from hwbench.probe.inventory import take_inventory

    if described is None:
        return take_inventory(sysroot)
    if sysroot != Path("/"):
        raise UserError("--from and --sysroot together: one describes the machine, not both", hint="leave one of them out")
    return inventory_from(described)


def _redacted(inventory: Inventory) -> Inventory:
    from hwbench.core.redact import redact

    return codec.convert(redact(codec.to_builtins(inventory)), Inventory, source="the redacted inventory")
