"""Which node of how many this process launches for: from the command line, from Slurm's step, or from torchrun's environment. Pure."""

import re
from collections.abc import Mapping
from typing import Final, Literal

from hwbench.core.errors import UserError
from hwbench.core.value import Value

_SLURM_FIRST_PORT: Final = 20000
_SLURM_PORTS: Final = 10000
_HOST: Final = re.compile(r"([^,\[\]]*)(?:\[([^\]]*)\])?([^,\[\]]*)")


class Place(Value):
    """One launcher's place in a run on several nodes; node 0 listens at `host`:`port`."""

    nodes: int
    node: int
    host: str
    port: int
    source: Literal["options", "slurm", "torchrun"] = "options"


Spare = Literal["spare"]
SPARE: Final[Spare] = "spare"
"""This process is one of several that were started on its node: the first of them launches the ranks, the others have nothing to do."""


def place_of(nnodes: int | None, node_rank: int | None, endpoint: str | None, environment: Mapping[str, str]) -> Place | Spare | None:
    """The place of this process; None on one machine alone. Options go before the environment. UserError names what is missing or wrong."""
    if nnodes is not None:
        return _of_options(nnodes, node_rank, endpoint)
    if node_rank is not None:
        raise UserError(
            "--node-rank without --nnodes", hint="say how many nodes there are: --nnodes 2 --node-rank 1 --rdzv-endpoint HOST:PORT"
        )
    if "SLURM_STEP_NUM_NODES" in environment and "SLURM_PROCID" in environment:
        return _of_slurm(endpoint, environment)
    if {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= environment.keys():
        return _of_torchrun(endpoint, environment)
    if endpoint is not None:
        raise UserError("--rdzv-endpoint without --nnodes", hint="give --nnodes and --node-rank too, or leave it away on one machine")
    return None


def _of_options(nnodes: int, node_rank: int | None, endpoint: str | None) -> Place | None:
    if nnodes == 1:
        return None
    if node_rank is None or endpoint is None:
        hint = "for example --nnodes 2 --node-rank 0 --rdzv-endpoint node0:29500, the same on each node but for --node-rank"
        raise UserError("--nnodes needs --node-rank and --rdzv-endpoint", hint=hint)
    if not 0 <= node_rank < nnodes:
        raise UserError(f"--node-rank {node_rank}: expected 0 to {nnodes - 1}, since --nnodes is {nnodes}")
    host, port = parse_endpoint(endpoint)
    return Place(nodes=nnodes, node=node_rank, host=host, port=port)


def _of_slurm(endpoint: str | None, environment: Mapping[str, str]) -> Place | Spare | None:
    """Inside `srun`: one task a node launches. In a batch script itself these variables are not set, and the run is one machine's."""
    if _number(environment, "SLURM_LOCALID"):
        return SPARE
    nodes = _number(environment, "SLURM_STEP_NUM_NODES")
    if nodes == 1:
        return None
    if endpoint is not None:
        host, port = parse_endpoint(endpoint)
    else:
        host = first_host(environment.get("SLURM_STEP_NODELIST", ""))
        port = _SLURM_FIRST_PORT + _number(environment, "SLURM_JOB_ID") % _SLURM_PORTS
    return Place(nodes=nodes, node=_number(environment, "SLURM_NODEID"), host=host, port=port, source="slurm")


def _of_torchrun(endpoint: str | None, environment: Mapping[str, str]) -> Place | Spare | None:
    """Inside torchrun: the first rank of each node launches. torchrun's own store has MASTER_PORT, so launchers meet at the next one."""
    if _number(environment, "LOCAL_RANK", 0):
        return SPARE
    local = _number(environment, "LOCAL_WORLD_SIZE", 1)
    nodes = _number(environment, "GROUP_WORLD_SIZE", _number(environment, "WORLD_SIZE") // local)
    if nodes == 1:
        return None
    node = _number(environment, "GROUP_RANK", _number(environment, "RANK") // local)
    host, port = parse_endpoint(endpoint) if endpoint else (environment["MASTER_ADDR"], _number(environment, "MASTER_PORT") + 1)
    return Place(nodes=nodes, node=node, host=host, port=port, source="torchrun")


def parse_endpoint(text: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[address]:port`. UserError for anything else."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise UserError(
            f"--rdzv-endpoint {text!r}: expected host:port", hint="for example node0:29500, an address of node 0 that all reach"
        )
    return host.removeprefix("[").removesuffix("]"), int(port)


def first_host(nodelist: str) -> str:
    """The first host of Slurm's list, such as node[003-005,9],gpu1. UserError for an empty one."""
    match = _HOST.match(nodelist.strip())
    prefix, numbers, suffix = match.groups() if match else ("", None, "")
    first = re.split(r"[,-]", numbers)[0] if numbers else ""
    if not prefix + first + suffix:
        raise UserError(f"SLURM_STEP_NODELIST {nodelist!r}: expected a list of hosts", hint="give --rdzv-endpoint HOST:PORT")
    return prefix + first + suffix


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name, "" if default is None else str(default))
    if not text.isascii() or not text.isdigit():
        raise UserError(
            f"environment variable {name}: expected a whole number, found {text!r}",
            hint="or give --nnodes, --node-rank and --rdzv-endpoint",
        )
    return int(text)
