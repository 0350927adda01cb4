"""Where a command's output goes: a file, or the terminal for `-`."""

from pathlib import Path

import click

from hwbench.core.codec import write_atomic

TERMINAL = Path("-")


def write_or_show(path: Path, data: bytes) -> bool:
    """Write a file whole or not at all, or print it for `-`; whether a file was written. UserError where it can't be."""
    if path == TERMINAL:
        click.echo(data, nl=not data.endswith(b"\n"))
        return False
    write_atomic(path, data)
    return True
