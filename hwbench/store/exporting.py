"""A run in other tools' formats."""

from pathlib import Path

from hwbench.core import codec
from hwbench.core.errors import UserError, unknown_name
from hwbench.core.record import Run

from .formats._figures import Figures
from .importing import writers


def export(run: Run, format_: str, figures: Figures) -> tuple[bytes, ...]:
    """The run as one file's bytes, or one a process where the format knows no more. UserError for an unknown format or an empty run.

    `figures` are what analyse makes of its records.
    """
    known = writers()
    if format_ not in known:
        raise unknown_name("format", format_, known)
    try:
        made = known[format_].write(run, figures)
    except OSError as error:
        raise UserError(f"{error.filename}: can't read it: {error.strerror}", hint="the run's folder is not complete") from error
    if not made or not run.records:
        raise UserError(f"{run.path}: the run has no records to export")
    return made


def write_files(made: tuple[bytes, ...], output: Path) -> tuple[Path, ...]:
    """Write what `export` made: to `output`, or for several processes to OUTPUT-1, OUTPUT-2 … before its ending. Returns the paths."""
    if len(made) == 1:
        paths: tuple[Path, ...] = (output,)
    else:
        paths = tuple(output.with_name(f"{output.stem}-{number}{output.suffix}") for number in range(1, len(made) + 1))
    for path, data in zip(paths, made, strict=True):
        codec.write_atomic(path, data)
    return paths
