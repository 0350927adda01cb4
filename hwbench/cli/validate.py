"""Predict published measurements by constants that saw nothing of their source, and print the accuracy card."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwbench.core.codec import to_json
from hwbench.core.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from hwbench.planner.card import Card, Score


WIDE = 72
"""Columns that all scores of a group take."""


@click.command()
@click.option(
    "--table", type=click.Path(path_type=Path, dir_okay=False), metavar="ROWS.csv", help="Measured rows.  [default: the shipped ones]"
)
@click.option("--leave-out", default="source_family", show_default=True, metavar="COLUMN", help="Rows that share it are left out together.")
@click.option("--anchor", type=click.IntRange(0, 100), default=0, metavar="N", help="Rows of a group that set its framework's constant.")
@click.option("--output", type=click.Path(path_type=Path), metavar="PREDICTIONS.csv", help="Write every row's prediction there.")
@click.option("--results", type=click.Path(path_type=Path), default=Path("hwbench-results"), show_default=True, help="Runs recorded here.")
@click.option("--json", "as_json", is_flag=True, help="Print the card as JSON.")
def command(table: Path | None, leave_out: str, anchor: int, output: Path | None, results: Path, as_json: bool) -> None:
    """Predict measured training steps, each group of rows (a source family) by constants fitted without it, and score them.

    With --anchor N up to N rows of each group set one constant of their framework; they are not predicted and not scored. Without --table,
    training steps that runs measured on this machine are shown beside what their own calibration predicts of them.

    \b
    hwbench validate
    hwbench validate --anchor 3
    hwbench validate --table rows.csv --leave-out source_family --output predictions.csv
    """
    from hwbench.planner.card import score
    from hwbench.planner.fit import shipped_table
    from hwbench.planner.leave_out import validate
    from hwbench.planner.reading import read_table
    from hwbench.planner.table import ids_of, write_predictions

    rows = read_table(table) if table is not None else shipped_table()
    lines = validate(rows, leave_out, anchors=anchor)
    if output is not None:
        write_predictions(output, ids_of(rows), lines)
    protocol = f"each {leave_out} left out in turn" + (f", up to {anchor} of its rows anchor its framework" if anchor else ", blind")
    card = score(rows, lines, leave_out, protocol)
    if card is None:
        raise UserError(
            f"{table}: no row has a measured_step_time_s and can be expressed", hint="predict them with `hwbench predict --table`"
        )
    if as_json:
        click.echo(to_json(card, pretty=True), nl=False)
        return
    _print(card)
    if table is None:
        _print_peaks()
        _print_here(results)


def _print_peaks() -> None:
    """Published peaks of memory beside their prediction."""
    import statistics

    from hwbench.planner.card import memory_ratios
    from hwbench.planner.constants import fitted, shipped
    from hwbench.planner.fit import peaks_path
    from hwbench.planner.reading import read_table
    from hwbench.planner.table import predict_table

    rows = read_table(peaks_path())
    ratios = memory_ratios(rows, predict_table(rows, fitted(), shipped().width))
    errors = [abs(ratio - 1) for ratio in ratios]
    shown = f"mean error {_percent(statistics.mean(errors))}, largest {_percent(max(errors))}"
    click.echo(f"peak memory of {len(ratios)} published steps: predicted over reported {statistics.median(ratios):.2f} (median), {shown}")


def _print_here(results: Path) -> None:
    """Training steps measured on this machine beside their prediction; nothing where none were recorded."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from hwbench.store.find import list_runs
    from hwbench.store.read import read_run

    from ._verification import verified
    from .report import installed_workloads

    runs = tuple(read_run(folder) for folder in list_runs(results))
    found = verified(runs, installed_workloads(runs))
    if not found:
        return
    table = Table(box=box.SIMPLE, title="Measured here, predicted from the same run's ceilings", title_justify="left")
    for heading in ("run", "step", "layout", "measured", "predicted", "error"):
        table.add_column(heading, justify="left" if heading in ("run", "step", "layout") else "right")
    for one in found:
        error = f"{100 * one.error_fraction:+.0f} %" + (" (calibrated on it)" if one.fitted else "")
        table.add_row(one.run, one.label, one.layout, f"{one.measured_s:.4g} s", f"{one.predicted_s:.4g} s", error)
    Console(file=sys.stdout, highlight=False).print(table)


def _print(card: "Card") -> None:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    console.print(f"Accuracy: {card.protocol}", style="bold", soft_wrap=True)
    console.print(_scores(card, wide=console.width >= WIDE))
    console.print(
        f"predicted {card.predicted} of {card.rows} rows; mean over groups {_percent(card.mean_over_groups_fraction)}", soft_wrap=True
    )
    if card.mean_regret_fraction is not None and card.mean_rank_correlation is not None:
        regret = f"mean regret {_percent(card.mean_regret_fraction)}, rank correlation {card.mean_rank_correlation:.2f}"
        console.print(f"layout choice in {card.layout_groups} sets of four or more layouts: {regret}", soft_wrap=True)
    if card.memory_error_fraction is not None:
        console.print(f"peak memory: mean error {_percent(card.memory_error_fraction)}", soft_wrap=True)


def _scores(card: "Card", *, wide: bool) -> "Table":
    """The scores of each group; a narrow terminal gets fewer columns, whole."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE if wide else None, pad_edge=wide)
    table.add_column("group", overflow="fold")
    headings = ("rows", "error", "median", "p90", "covered", "width")
    shown = [place for place, heading in enumerate(headings, start=1) if wide or heading in ("rows", "median", "covered")]
    for place in shown:
        table.add_column(headings[place - 1], justify="right", no_wrap=True)
    for one in (*card.groups, card.total):
        cells = _cells(one)
        if one is card.total:
            table.add_section()
        table.add_row(cells[0], *(cells[place] for place in shown), style="bold" if one is card.total else "")
    return table


def _cells(one: "Score") -> tuple[str, ...]:
    errors = (one.mape_fraction, one.median_fraction, one.p90_fraction, one.coverage_fraction, one.width_fraction)
    return (one.group, str(one.rows), *("" if value is None else _percent(value) for value in errors))


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
