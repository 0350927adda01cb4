"""Print a Slurm batch script that measures over several nodes."""

import re
import shlex
from collections.abc import Sequence

import click

from hwbench.core.errors import UserError
from hwbench.core.units import parse_duration_s

_WORD = re.compile(r"[A-Za-z0-9_.,:@/%+=-]+")
_FIXED = ("--nnodes", "--node-rank", "--rdzv-endpoint")
"""Options of `hwbench run` that srun's own variables stand for."""


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--nodes", type=click.IntRange(min=1), required=True, help="How many nodes.")
@click.option("--gpus-per-node", type=click.IntRange(min=1), help="Accelerators to ask for on each of them.")
@click.option("--time", "limit", default="30m", show_default=True, metavar="TIME", help="The job's time limit, such as 45m or 2h.")
@click.option("--partition", metavar="NAME", help="Slurm partition.")
@click.option("--account", metavar="NAME", help="Account to charge.")
@click.option("--job-name", default="hwbench", show_default=True, metavar="NAME", help="The job's name.")
@click.option(
    "--setup", multiple=True, metavar="COMMAND", help="A line of shell before the run, such as `source venv/bin/activate`; repeatable."
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- RUN-OPTIONS...]")
def command(
    nodes: int,
    gpus_per_node: int | None,
    limit: str,
    partition: str | None,
    account: str | None,
    job_name: str,
    setup: tuple[str, ...],
    words: tuple[str, ...],
) -> None:
    """Print a batch script for sbatch that runs `hwbench run` with RUN-OPTIONS over whole nodes, one launcher a node.

    The launchers find each other by what srun sets, and each starts as many ranks as the layouts need. Results go to the folder in which
    the job was submitted.

    \b
    hwbench slurm --nodes 4 --gpus-per-node 8 -- gpt --layout fsdp=32 > job.sh && sbatch job.sh
    hwbench slurm --nodes 64 --setup 'module load cuda' -- --suite fleet-check --results fleet
    """
    for word in words:
        if word.partition("=")[0] in _FIXED:
            raise UserError(f"{word.partition('=')[0]} is what srun tells each node", hint="leave it away; --nodes says how many there are")
    minutes = -(-int(parse_duration_s(limit)) // 60)
    directives = {
        "job-name": job_name,
        "nodes": str(nodes),
        "ntasks-per-node": "1",
        "exclusive": None,
        "time": f"{minutes // 60:02d}:{minutes % 60:02d}:00",
        "output": "hwbench-%j.log",
        "partition": partition,
        "account": account,
        "gpus-per-node": None if gpus_per_node is None else str(gpus_per_node),
    }
    click.echo(script(directives, setup, words), nl=False)


def script(directives: dict[str, str | None], setup: Sequence[str], words: Sequence[str]) -> str:
    """The batch script. `directives` are sbatch options: None leaves one away, but for `exclusive`, which has no value.

    UserError for a value that an #SBATCH line can't hold: there is no quoting in them.
    """
    lines = ["#!/bin/bash"]
    for name, value in directives.items():
        if name == "exclusive":
            lines.append("#SBATCH --exclusive")
        elif value is not None:
            if not _WORD.fullmatch(value):
                raise UserError(f"--{name} {value!r}: expected letters, digits and punctuation without spaces")
            lines.append(f"#SBATCH --{name}={value}")
    return "\n".join(
        [
            *lines,
            "",
            "set -euo pipefail",
            'cd -- "${SLURM_SUBMIT_DIR:?submit this with sbatch}"',
            *setup,
            "",
            "# One launcher a node with all of its CPUs, unbound: it starts the ranks itself. A node that fails is told of in the records.",
            'srun --ntasks-per-node=1 --cpus-per-task="${SLURM_CPUS_ON_NODE}" --cpu-bind=none --kill-on-bad-exit=0 \\',
            f"  {shlex.join(['hwbench', 'run', *words])}",
            "",
        ]
    )
