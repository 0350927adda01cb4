"""Write a run for another tool: JSON Lines, CSV, Parquet, OpenMetrics or pytest-benchmark."""

import sys
from pathlib import Path

import click

from hwbench.core.errors import UserError

from .report import installed_workloads

FORMATS = ("pytest-benchmark", "csv", "parquet", "jsonl", "openmetrics")


@click.command()
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--format", "format_", required=True, type=click.Choice(FORMATS), help="What to write.")
@click.option("--output", required=True, metavar="FILE", help="Where to, - for standard output.")
@click.option("--results", type=click.Path(path_type=Path), default=Path("hwbench-results"), show_default=True, help="The results folder.")
def command(run: str | None, format_: str, output: str, results: Path) -> None:
    """Write all samples of RUN (the newest by default) to FILE.

    CSV and Parquet have a row a sample, JSON Lines a record a line. All have the record's rates, shares of roofs (MFU, HFU), energy,
    memory, losses and metrics beside it, and why one is unknown (docs/store.md). A pytest-benchmark file holds one process: a run of
    several makes FILE-1, FILE-2 …, and a run that was imported from pytest-benchmark comes back byte for byte.

    \b
    hwbench export --format parquet --output samples.parquet
    hwbench export 20261120 --format pytest-benchmark --output base.json
    hwbench export --format jsonl --output - | jq .figures.mfu_fraction
    hwbench export --format openmetrics --output /var/lib/node_exporter/hwbench.prom
    """
    from hwbench import store
    from hwbench.analyse.figures import figures
    from hwbench.store import exporting

    read = store.read_run(store.find_run(results, run))
    made = exporting.export(read, format_, figures(read, installed_workloads([read])))
    if output == "-":
        if len(made) > 1:
            raise UserError(f"{len(made)} processes make {len(made)} files, standard output is one", hint="give a file to --output")
        sys.stdout.buffer.write(made[0])
        return
    for path in exporting.write_files(made, Path(output)):
        click.echo(path)
    for problem in read.problems:
        click.echo(f"hwbench: {problem}", err=True)
