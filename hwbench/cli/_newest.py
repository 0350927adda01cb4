"""The run that a report shows where none is named: the newest that holds a measurement; and what lies broken beside it."""

from pathlib import Path

import click

from hwbench import store
from hwbench.core.errors import UserError


def newest_measured(results: Path) -> Path:
    """The folder of the newest run that holds a measurement; without any, the newest. Newer ones that hold none are named on stderr.

    UserError where there is no run that can be read.
    """
    without: list[str] = []
    newest = store.find_run(results)
    for folder in reversed(store.list_runs(results)):
        try:
            run = store.read_run(folder)
        except UserError as error:
            _say(f"left out: {error.message}")
            continue
        if any(record.outcome == "done" for record in run.records):
            if without:
                _say(f"{_listed(without)} no measurement; the newest that does is {folder.name}")
            return folder
        without.append(folder.name)
    return newest


def name_broken(results: Path) -> None:
    """Say on stderr which folders of a results folder hold records without a header, so that no report can show them."""
    for folder in store.list_headless(results):
        _say(f"left out: {folder}: records without a run.json, so nobody knows what was measured")


def _listed(names: list[str]) -> str:
    return f"run {names[0]} holds" if len(names) == 1 else f"{len(names)} newer runs, such as {names[0]}, hold"


def _say(text: str) -> None:
    click.echo(f"hwbench: {text}", err=True)
