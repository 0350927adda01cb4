"""Make a report of one or more runs: an HTML page, Markdown, CSV or JSON."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

import hwbench
from hwbench import store
from hwbench.core import codec, registry
from hwbench.core.errors import UserError
from hwbench.core.prediction import SizingAnswer
from hwbench.core.profile import ClusterProfile
from hwbench.core.record import Run
from hwbench.core.summary import Report, Summary
from hwbench.core.workload import Workload

from ._newest import name_broken, newest_measured
from ._verification import verified

SIZING_FILE = "sizing.json"
"""A run's folder may hold a sizing beside its records; the report then shows it."""


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--format", "format_", default="html", show_default=True, metavar="html|markdown|csv|json", help="What to make of it.")
@click.option(
    "--output", metavar="FILE", help="Where to write it, - for the terminal.  [default: report.html in the results folder, else -]"
)
@click.option("--results", type=click.Path(path_type=Path), default=Path("hwbench-results"), show_default=True, help="The results folder.")
@click.option("--sizing", "sizing_file", type=click.Path(path_type=Path), help="A sizing (JSON) to show, instead of the run's own.")
@click.option(
    "--cluster",
    "clusters",
    multiple=True,
    metavar="[RUN=]PROFILE",
    help="What a RUN (all of them) was measured on, for prices: a cluster profile with a price of its nodes.",
)
@click.option("--redact", is_flag=True, help="Replace host names, serial numbers, addresses and home folders by pseudonyms.")
def command(
    runs: tuple[str, ...],
    format_: str,
    output: str | None,
    results: Path,
    sizing_file: Path | None,
    clusters: tuple[str, ...],
    redact: bool,
) -> None:
    """Show what RUNs measured, several side by side; by default the newest run that holds a measurement.

    A RUN is an id, the beginning of one, or the path of a run's folder.

    \b
    hwbench report
    hwbench report --format markdown --redact
    hwbench report 20261120 20261121 --output both.html
    hwbench report 20261120 20261121 --cluster 20261120=./ours.toml --cluster 20261121=./offered.toml
    """
    report = registry.load("reports", format_, Report)
    folders = [store.find_run(results, wanted) for wanted in runs] or [newest_measured(results)]
    name_broken(results)
    read = [store.read_run(folder) for folder in dict.fromkeys(folders)]
    sizing = codec.read_json(sizing_file, SizingAnswer, what="sizing") if sizing_file else sizing_beside(folders)
    profiles = _profiles(clusters, read, results)
    summary = summary_of([_redacted(run) for run in read] if redact else read, sizing, profiles)
    target = output or (str(results / "report.html") if format_ == "html" else "-")
    if target == "-":
        click.echo(report.render(summary), nl=False)
    else:
        write_report(summary, Path(target), report)
        click.echo(f"report: {target}")


def _profiles(clusters: Sequence[str], read: Sequence[Run], results: Path) -> dict[str, ClusterProfile]:
    """By a run's id, the profile that --cluster gives it; without a run it is meant for all."""
    found: dict[str, ClusterProfile] = {}
    for word in clusters:
        wanted, equals, name = word.partition("=")
        profile = registry.load_cluster(name if equals else word)
        ids = [store.read_header(store.find_run(results, wanted)).id] if equals else [run.header.id for run in read]
        unread = [one for one in ids if one not in {run.header.id for run in read}]
        if unread:
            raise UserError(f"--cluster {word}: run {unread[0]} is not among those of the report", hint="name one of its RUNs")
        found |= dict.fromkeys(ids, profile)
    return found


def summary_of(runs: Sequence[Run], sizing: SizingAnswer | None = None, profiles: Mapping[str, ClusterProfile] | None = None) -> Summary:
    """The figures of these runs, as of now, with what the installed workloads say of their kinds and defaults.

    `profiles`: by a run's id, the cluster profile that its prices are from.
    """
    from hwbench.analyse.summarise import summarise

    workloads = installed_workloads(runs)
    return summarise(
        runs,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        hwbench_version=hwbench.__version__,
        workloads=workloads,
        sizing=sizing,
        verified=verified(runs, workloads),
        profiles=profiles,
    )


def installed_workloads(runs: Sequence[Run]) -> dict[str, Workload]:
    """Those of the runs' workloads that are installed here, by name. A path in a record is never followed: records are only read."""
    known = registry.names("workloads")
    named = {case.workload for run in runs for case in (*run.header.cases, *(record.case for record in run.records))}
    return {name: registry.load("workloads", name, Workload) for name in sorted(named) if name in known}


def sizing_beside(folders: Sequence[Path]) -> SizingAnswer | None:
    """The sizing that lies in the first of these runs' folders that has one."""
    files = (folder / SIZING_FILE for folder in folders)
    found = next((file for file in files if file.is_file()), None)
    return codec.read_json(found, SizingAnswer, what="sizing") if found else None


def write_report(summary: Summary, path: Path, report: Report | None = None) -> None:
    """Write one report whole, or nothing; HTML without a `report`. UserError where the file can't be written."""
    made = report or registry.load("reports", "html", Report)
    codec.write_atomic(path, made.render(summary).encode())


def _redacted(run: Run) -> Run:
    from hwbench.core.redact import redact

    return msgspec.convert(redact(msgspec.to_builtins(run)), Run)
