"""Turn a run's measurements into a cluster profile of this machine."""

import sys
from pathlib import Path

import click

from hwbench.core.codec import to_json, to_toml, write_atomic
from hwbench.core.profile import ClusterProfile
from hwbench.core.units import format_bytes, format_rate, format_seconds

from ._planning import calibrated


@click.command()
@click.argument("run", required=False)
@click.option("--results", type=click.Path(path_type=Path), default=Path("hwbench-results"), show_default=True, help="The results folder.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE.toml",
    help="Write the profile there, for `hwbench size --cluster FILE.toml`.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the profile as JSON.")
def command(run: str | None, results: Path, output: Path | None, as_json: bool) -> None:
    """Make a cluster profile of this machine from RUN, the newest by default.

    One accelerator of the profile is what one rank had. What the run did not measure is absent, and a note says so: no number
    comes from a datasheet. The suite `calibrate` takes a minute and measures what whole training steps are predicted from.

    \b
    hwbench run --suite calibrate && hwbench calibrate --output here.toml
    hwbench size --model gpt2 --tokens 1B --cluster here.toml
    """
    profile = calibrated(results, run)
    if output is not None:
        write_atomic(output, to_toml(profile).encode())
    if as_json:
        click.echo(to_json(profile, pretty=True), nl=False)
    elif output is None:
        click.echo(to_toml(profile), nl=False)
    else:
        _print_summary(profile, output)


def _print_summary(profile: ClusterProfile, output: Path) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    device = profile.accelerator
    console.print(profile.description, style="bold", markup=False)
    peaks = ", ".join(f"{dtype} {format_rate(rate, 'FLOP/s')}" for dtype, rate in device.peak_flops_per_s.items())
    console.print(f"  a rank has    {peaks}", markup=False)
    console.print(
        f"                {format_rate(device.memory_bandwidth_bytes_per_s, 'B/s')}, {format_bytes(device.memory_bytes)}", markup=False
    )
    operators = [(dtype, len(found), sum(map(len, found.values()))) for dtype, found in profile.efficiency.operators.items()]
    for dtype, functions, sizes in operators:
        console.print(f"  operators     {functions} in {dtype}, at {sizes} sizes", markup=False)
    if profile.efficiency.step_factor is not None:
        console.print(f"  whole steps   {profile.efficiency.step_factor:.2f} times their prediction", markup=False)
    for tier in profile.tiers:
        console.print(f"  {tier.name:<13} {format_rate(tier.bandwidth_bytes_per_s, 'B/s')} effective", markup=False)
    if own := profile.efficiency.message_s:
        each = ", ".join(f"{axis} {format_seconds(seconds)}" for axis, seconds in own.items())
        console.print(f"  layouts       {each} of their own for each message", markup=False)
    for note in profile.notes:
        console.print(f"  note: {note}", markup=False)
    console.print(f"Wrote {output}", markup=False, soft_wrap=True)
