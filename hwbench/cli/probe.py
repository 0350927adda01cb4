"""Inventory this machine, or a copy of another one's /sys and /proc: what is there, what you may use, what could not be seen."""

from pathlib import Path

import click

from hwbench.core import codec


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--sysroot", type=click.Path(path_type=Path), default=Path("/"), help="Read DIR/sys and DIR/proc instead of this machine's.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the JSON to FILE.")
def command(as_json: bool, sysroot: Path, output: Path | None) -> None:
    """Show what this machine is: CPUs, limits, memory, accelerators, network, storage, software, tuning, and what could not be seen."""
    from hwbench.probe.inventory import take_inventory

    inventory = take_inventory(sysroot)
    text = codec.to_json(inventory, pretty=True)
    if output is not None:
        codec.write_atomic(output, text)
    if as_json:
        click.echo(text, nl=False)
