"""Predict training steps: a whole table of them, or one model under one layout on one cluster."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwbench.core.codec import to_json
from hwbench.core.errors import UserError
from hwbench.core.units import format_seconds

if TYPE_CHECKING:
    from rich.table import Table

    from hwbench.core.prediction import Prediction

WIDE = 60
"""Columns from which on the parts of a step are told with their reasons."""
ONE = ("model", "clusters", "gpus", "layout", "global_batch")


@click.command()
@click.option("--table", type=click.Path(path_type=Path, dir_okay=False), metavar="ROWS.csv", help="Rows to predict, one step each.")
@click.option("--output", type=click.Path(path_type=Path), metavar="PREDICTIONS.csv", help="Where the table's predictions go.")
@click.option("--model", metavar="PRESET|FILE.toml", help="What is trained (`hwbench list models`).")
@click.option("--cluster", "clusters", metavar="NAME|FILE.toml", help="Where (`hwbench list clusters`).")
@click.option("--gpus", type=int, metavar="N", help="Accelerators; must be what the layout takes.")
@click.option("--layout", metavar="LAYOUT", help="How it is split: dp=8,tp=4 …")
@click.option("--micro-batch", type=int, default=1, show_default=True, metavar="N", help="Samples of one pass of one data rank.")
@click.option("--global-batch", type=int, metavar="N", help="Samples of one step.  [default: one micro-batch a data rank]")
@click.option(
    "--recompute", type=click.Choice(("none", "selective", "full")), default="none", show_default=True, help="Activations done again."
)
@click.option("--recompute-layers", type=int, metavar="N", help="Layers of each model chunk done again.  [default with full: all]")
@click.option("--dtype", default="bf16", show_default=True, metavar="DTYPE", help="bf16, fp16, fp8 …")
@click.option("--framework", metavar="NAME", help="Software.  [default: the usual one for the layout]")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a figure: accelerator.memory_bandwidth_bytes_per_s=3e12 …"
)
@click.option("--json", "as_json", is_flag=True, help="Print the prediction as JSON.")
def command(table: Path | None, output: Path | None, as_json: bool, **options: Any) -> None:
    """Predict how long a training step takes, and how much memory a rank needs, from a model, a layout and a cluster.

    With --table, every row of a CSV gets a line: step time, its 90 % interval and peak memory, or the reason why it can't be expressed.
    The columns are those of the shipped measurements (docs/planner.md); what was measured is never read.

    \b
    hwbench predict --model gpt3-175b --cluster dgx-a100-80gb --layout dp=8,tp=8,pp=8 --global-batch 512 --recompute full
    hwbench predict --table rows.csv --output predictions.csv
    """
    if table is not None:
        _table(table, output)
        return
    prediction = _one(options)
    if as_json:
        click.echo(to_json(prediction, pretty=True), nl=False)
    else:
        _print(prediction)


def _table(table: Path, output: Path | None) -> None:
    from hwbench.planner.constants import fitted, shipped
    from hwbench.planner.reading import read_table
    from hwbench.planner.table import ids_of, predict_table, write_predictions

    if output is None:
        raise UserError("--table needs --output PREDICTIONS.csv", hint="for example --output predictions.csv")
    rows = read_table(table)
    lines = predict_table(rows, fitted(), shipped().width)
    write_predictions(output, ids_of(rows), lines)
    expressed = sum(line.step_s is not None for line in lines)
    click.echo(f"{output}: {expressed} of {len(lines)} rows predicted")
    for reason in dict.fromkeys(line.reason for line in lines if line.reason):
        click.echo(f"not predicted: {sum(line.reason == reason for line in lines)} rows: {reason}", err=True)


def _one(options: dict[str, Any]) -> "Prediction":
    from msgspec.structs import replace

    from hwbench.core.layout import parse_layout
    from hwbench.planner.explore import predict_layout

    from ._planning import load_clusters, load_model, parse_settings, sends

    for name, option in (("model", "--model"), ("clusters", "--cluster"), ("layout", "--layout")):
        if not options[name]:
            raise UserError(f"{option} is missing", hint="give --model, --cluster and --layout, or --table and --output")
    settings = parse_settings(options["settings"])
    layout = parse_layout(options["layout"])
    if options["gpus"] is not None and options["gpus"] != layout.world_size:
        raise UserError(f"--gpus {options['gpus']}: layout {layout.text} takes {layout.world_size}")
    micro, recompute, dtype = options["micro_batch"], options["recompute"], options["dtype"]
    count = _micro_batches(options["global_batch"], micro, layout.data_ranks)
    layout = replace(layout, microbatches=count)
    model = load_model(options["model"], settings["model"])
    profile = load_clusters([options["clusters"]], settings=settings["cluster"], here=None)[0]
    return predict_layout(
        model, sends, profile, layout, micro_batch=micro, recompute=recompute, dtype=dtype, framework=options["framework"],
        recompute_layers=options["recompute_layers"],
    )  # fmt: skip


def _micro_batches(global_batch: int | None, micro_batch: int, ranks: int) -> int:
    """Micro-batches of a data rank. UserError where the numbers don't divide."""
    if micro_batch < 1:
        raise UserError(f"--micro-batch {micro_batch}: expected at least 1")
    if global_batch is None:
        return 1
    if global_batch < 1 or global_batch % (ranks * micro_batch):
        raise UserError(f"--global-batch {global_batch} is not a multiple of {ranks} data ranks times micro-batches of {micro_batch}")
    return global_batch // (ranks * micro_batch)


def _print(prediction: "Prediction") -> None:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    low, high = prediction.low_s, prediction.high_s
    sure = "" if low is None or high is None else f"  (90 % interval {low:.3g} … {high:.3g} s)"
    console.print(f"step {prediction.step_time_s:.4g} s{sure}", style="bold", soft_wrap=True)
    mfu = "" if prediction.mfu_fraction is None else f", MFU {100 * prediction.mfu_fraction:.1f} %"
    console.print(f"{prediction.tokens_per_step / prediction.step_time_s:,.0f} tokens/s{mfu}; {prediction.bottleneck}", soft_wrap=True)
    console.print(_parts(prediction, wide=console.width >= WIDE))
    console.print(_memory(prediction), soft_wrap=True)
    console.print(f"basis: {prediction.basis}; {'; '.join(prediction.assumptions)}", soft_wrap=True)


def _memory(prediction: "Prediction") -> str:
    """Peak memory against what there is, and what is short."""
    need, capacity = prediction.memory.total_bytes, prediction.memory_capacity_bytes
    text = f"peak memory {need / 2**30:.1f} GiB a rank"
    if capacity is None:
        return f"{text}; the profile does not say how much there is"
    short = f": does not fit, {(need - capacity) / 2**30:.1f} GiB short" if need > capacity else ""
    return f"{text} of {capacity / 2**30:.1f} GiB{short}"


def _parts(prediction: "Prediction", *, wide: bool) -> "Table":
    """The parts of the step; a narrow terminal gets them without the reasons."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE if wide else None, pad_edge=wide)
    table.add_column("part", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    if wide:
        table.add_column("why", overflow="fold")
    for name in dict.fromkeys(part.name for part in prediction.parts):
        mine = [part for part in prediction.parts if part.name == name]
        seconds = sum(part.time_s for part in mine)
        largest = max(mine, key=lambda part: part.time_s).why
        more = f" (and {len(mine) - 1} more)" if len(mine) > 1 else ""
        why = (largest + more,) if wide else ()
        table.add_row(name, format_seconds(seconds), f"{100 * seconds / prediction.step_time_s:.1f} %", *why)
    return table
