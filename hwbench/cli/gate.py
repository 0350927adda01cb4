"""Decide by rules whether a run may pass: slowdowns against a baseline, smallest throughputs; exit status 1 where not."""

import sys
from pathlib import Path

import click

from hwbench.core import codec
from hwbench.core.errors import GateFailed, UserError
from hwbench.core.gate import GateResult, Rules

from ._gate_formats import FORMATS, conclusion


@click.command()
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--rules", "rules_file", required=True, type=click.Path(path_type=Path), metavar="FILE.toml", help="The rules; see below.")
@click.option("--baseline", metavar="RUN", help="What slowdowns are counted from; best measured in the same session.")
@click.option("--format", "formats", multiple=True, type=click.Choice(tuple(FORMATS)), help="May be repeated.  [default: text]")
@click.option("--output", "outputs", multiple=True, metavar="FILE", help="Where the format goes, one for each, - for the terminal.")
@click.option("--results", type=click.Path(path_type=Path), default=Path("hwbench-results"), show_default=True, help="The results folder.")
def command(
    run: str | None, rules_file: Path, baseline: str | None, formats: tuple[str, ...], outputs: tuple[str, ...], results: Path
) -> None:
    """Judge RUN (the newest by default) by the rules of a file. Exit status 1 where a check fails, 2 where the rules make no sense.

    \b
    [[rules]]
    workload = "attention*"          # * ? [] as in a shell
    largest_slowdown = "5%"          # needs --baseline
    [[rules]]
    workload = "gpt"
    dtype = "fp32"
    smallest_throughput = 900        # items/s, or in the unit of the metric
    metric = "items_per_s"           # step_time_s, floor_s, flops_per_s, bytes_per_s
    machines = ["AMD EPYC 7763*"]    # or comparison keys
    cant_tell = "fail"               # default: reported, and passes

    A slowdown against a baseline of another machine can't be told; against one of another session it can't either, unless the
    rule says older_baseline = "trust". A rule that is about no case is an error, so that a renamed workload can't pass unseen.

    \b
    hwbench gate --rules rules.toml
    hwbench gate --rules rules.toml --baseline 20261120-0930
    hwbench gate --rules rules.toml --baseline base --format markdown --output gate.md --format junit --output gate.xml
    """
    from hwbench import store
    from hwbench.analyse.gate import checked_rules, gate

    wanted = _paired(formats, outputs)
    rules = checked_rules(codec.read_toml(rules_file, Rules, what="rules"), str(rules_file), has_baseline=baseline is not None)
    base = store.read_run(store.find_run(results, baseline)) if baseline is not None else None
    candidate = store.read_run(store.find_run(results, run))
    if base and base.header.id == candidate.header.id:
        raise UserError(f"run {candidate.header.id} is both the baseline and the candidate", hint="name the candidate: hwbench gate RUN …")
    for problem in (*candidate.problems, *(base.problems if base else ())):
        click.echo(f"hwbench: {problem}", err=True)
    result = gate(rules, candidate, base)
    _write(result, wanted)
    if result.failed:
        raise GateFailed(f"gate: {conclusion(result)}", hint=f"the first: {result.failed[0].case}, {result.failed[0].check}")


def _paired(formats: tuple[str, ...], outputs: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each format with the place it goes to; text for people goes to the terminal where nothing else does."""
    named = formats or (("text",) if outputs else ())
    if len(outputs) > len(named):
        raise UserError(f"--output is given {len(outputs)} times, --format {len(formats)} times", hint="give a --format for each --output")
    pairs = [*zip(named, outputs, strict=False), *((format_, "-") for format_ in named[len(outputs) :])]
    return pairs if any(place == "-" for _, place in pairs) else [("text", "-"), *pairs]


def _write(result: GateResult, wanted: list[tuple[str, str]]) -> None:
    for format_, place in wanted:
        made = FORMATS[format_](result)
        if place == "-":
            click.echo(made, nl=False)
        else:
            codec.write_atomic(Path(place), made.encode())
    sys.stdout.flush()
