"""Progress despite failures: how often to write a checkpoint, and what share of the time is left for training.

A synchronous job stops when any node does, so its mean time between failures is that of a node over the number of nodes. Each interval
ends with a checkpoint; a failure loses, on average, half an interval and the restart.
"""

from __future__ import annotations

import math

from hwbench.core.errors import UserError
from hwbench.core.value import Value


class Failures(Value):
    """What fails and what it costs: the user's figures, for which there is no default."""

    node_mtbf_s: float
    """Mean time between failures of one node."""
    checkpoint_s: float
    """Time for which training stands still to write one checkpoint."""
    restart_s: float
    """From a failure to the first step after it: detection, replacement, reading the checkpoint."""


class Outages(Value):
    """What the user says of failures. A checkpoint's time is given, or follows from its size and the storage's bandwidth."""

    node_mtbf_s: float
    checkpoint_s: float | None = None
    restart_s: float | None = None
    """None counts only reading the checkpoint: not how long it takes to notice and to replace a node."""
    storage_bytes_per_s: float | None = None
    """Of the whole job's storage, reading or writing."""

    def of(self, checkpoint_bytes: float) -> Failures:
        """Failures of a job whose checkpoint has so many bytes. UserError where neither its time nor the storage is known."""
        if self.storage_bytes_per_s is not None and not 0 < self.storage_bytes_per_s < math.inf:
            raise UserError(f"storage_bytes_per_s={self.storage_bytes_per_s:g}: expected more than zero and finite")
        written = None if self.storage_bytes_per_s is None else checkpoint_bytes / self.storage_bytes_per_s
        checkpoint = self.checkpoint_s if self.checkpoint_s is not None else written
        restart = self.restart_s if self.restart_s is not None else written
        if checkpoint is None or restart is None:
            raise UserError(
                f"node_mtbf_s={self.node_mtbf_s:g} alone does not tell what a failure costs",
                hint="give --storage-bandwidth, or --checkpoint-time and --restart-time",
            )
        return Failures(node_mtbf_s=self.node_mtbf_s, checkpoint_s=checkpoint, restart_s=restart)


class Goodput(Value):
    """The steady state of a long run with failures."""

    fraction: float
    """Share of the time that makes progress, 0..1."""
    checkpoint_interval_s: float
    """Work between two checkpoints that costs least."""
    job_mtbf_s: float


def checkpoint_interval_s(checkpoint_s: float, mtbf_s: float) -> float:
    """Seconds of work between checkpoints: Daly 2006, "A higher order estimate of the optimum checkpoint interval", equation 37.

    With d = checkpoint/2·MTBF: √(2·checkpoint·MTBF)·(1 + √d/3 + d/9) - checkpoint for d < 1, else the MTBF. Young's √(2·c·M) of 1974 is its
    first term.
    """
    if checkpoint_s >= 2 * mtbf_s:
        return mtbf_s
    ratio = checkpoint_s / (2 * mtbf_s)
    return math.sqrt(2 * checkpoint_s * mtbf_s) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - checkpoint_s


def goodput(failures: Failures, nodes: int) -> Goodput:
    """Share of the time left for training on `nodes` nodes, failures exponentially distributed (the complete model of Daly 2006).

    T_wall / T_work = M/τ · e^(R/M) · (e^((τ+c)/M) - 1), with the MTBF M of the job, interval τ, checkpoint c and restart R.
    UserError for times that are not positive (checkpoint and restart may be 0).
    """
    _check(failures, nodes)
    mtbf = failures.node_mtbf_s / nodes
    interval = checkpoint_interval_s(failures.checkpoint_s, mtbf) if failures.checkpoint_s else mtbf * 1e-3
    exponent = (interval + failures.checkpoint_s) / mtbf
    stretch = math.inf if exponent > 700 else mtbf / interval * math.exp(min(failures.restart_s / mtbf, 700.0)) * math.expm1(exponent)
    return Goodput(fraction=min(1.0, 1 / stretch), checkpoint_interval_s=interval, job_mtbf_s=mtbf)


def _check(failures: Failures, nodes: int) -> None:
    if nodes < 1:
        raise UserError(f"nodes={nodes}: expected at least 1")
    if not 0 < failures.node_mtbf_s < math.inf:
        raise UserError(f"node_mtbf_s={failures.node_mtbf_s:g}: expected a positive, finite time")
    for name in ("checkpoint_s", "restart_s"):
        value = getattr(failures, name)
        if not 0 <= value < math.inf:
            raise UserError(f"{name}={value:g}: expected zero or a positive, finite time")
