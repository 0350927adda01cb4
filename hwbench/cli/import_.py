"""Bring results of pytest-benchmark, Google Benchmark, asv, nccl-tests or a training run into the results folder."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hwbench.store.importing import Source


@click.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--commit", metavar="COMMIT", help="Of which commit all files are, where they don't say; several are then processes of it.")
@click.option("--results", type=click.Path(path_type=Path), default=Path("hwbench-results"), show_default=True, help="The results folder.")
def command(files: tuple[Path, ...], commit: str | None, results: Path) -> None:
    """Read FILEs of other tools, known by their content, into runs that report, compare, history, gate and export take.

    One file is one process. Files of one commit, kind and machine become one run of several processes, any other file a run of
    its own; files are never pooled. What a format doesn't tell stays unknown, with the reason. The file is kept byte for byte.

    Read are pytest-benchmark, Google Benchmark and asv (JSON), nccl-tests (its output), Hugging Face's trainer_state.json and
    step metrics as torchtitan names them (JSON or JSON Lines).

    \b
    hwbench import .benchmarks/*/0001_base.json
    hwbench import run1.json run2.json run3.json --commit 4f2c81d
    hwbench import all_reduce_perf.txt
    """
    import hwbench
    from hwbench import store
    from hwbench.store import importing

    store.check_writable(results)
    sources = [importing.read_source(path) for path in files]
    for group in importing.grouped(sources, commit):
        folder = importing.store_group(group, results, hwbench_version=hwbench.__version__, commit=commit)
        click.echo(_said(group, folder))
    for warning in _apart(sources, commit):
        click.echo(f"hwbench: {warning}", err=True)


def _said(group: "tuple[Source, ...]", folder: Path) -> str:
    done = sum(record.outcome == "done" for record in group[0].told.records)
    left = len(group[0].told.records) - done
    processes = f", {len(group)} processes" if len(group) > 1 else ""
    names = ", ".join(source.path for source in group)
    return f"{folder}: {done} cases{f', {left} without figures' if left else ''}{processes} from {names} ({group[0].told.kind})"


def _apart(sources: "list[Source]", commit: str | None) -> list[str]:
    """Why several files did not become processes of one run."""
    if commit or len(sources) < 2:
        return []
    nameless = [source.path for source in sources if source.told.commit is None]
    dirty = [source.path for source in sources if source.told.commit and source.told.dirty]
    hint = "each is a run of its own; --commit says that they are of the same code"
    said = [f"{', '.join(nameless)}: no commit is named, so {hint}"] if len(nameless) > 1 else []
    return said + ([f"{', '.join(dirty)}: the checkout differed from the commit, so {hint}"] if len(dirty) > 1 else [])
