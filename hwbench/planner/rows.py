"""A table of training steps as columns of numbers, ready for the vectorised step model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwbench.core.errors import UserError

from .reading import RECOMPUTES, Setup

if TYPE_CHECKING:
    from numpy.typing import NDArray

FITTED_GENERATIONS = ("volta", "ampere", "hopper", "blackwell", "tpu")
"""Generations that the shipped measurements hold rows of."""
WIDE_ARRAYS = ("tpuv6e", "tpu7x")
"""TPUs whose matrix units are 256 wide, the earlier ones' are 128 (jax-ml/scaling-book@54e2c4397:tpus.md): heads of 128 fill half."""
UNFUSED = ("pascal", "volta", "gcn", "cdna1")
"""Generations for which no fused attention was written."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Columns of a table, every array of shape (rows,). Bytes, FLOP/s, B/s; degrees and shapes as plain numbers."""

    setups: tuple[Setup, ...]
    numbers: dict[str, NDArray[np.float64]]
    flags: dict[str, NDArray[np.bool_]]

    def __getattr__(self, name: str) -> Any:
        """A column by its name."""
        if name in ("numbers", "flags", "setups"):
            raise AttributeError(name)
        for columns in (self.flags, self.numbers):
            if name in columns:
                return columns[name]
        raise AttributeError(name)

    def __len__(self) -> int:
        return len(self.numbers["gpus"]) if self.numbers else 0


def columns(setups: Sequence[Setup]) -> Rows:
    """Columns of the rows that could be read."""
    keys = list(setups[0].numbers) if setups else []
    numbers = {key: np.array([setup.numbers[key] for setup in setups]) for key in keys}
    flags = {
        "sharded": np.array([setup.zero in ("3", "fsdp", "hsdp") for setup in setups]),
        "sharded_in_node": np.array([setup.zero == "hsdp" for setup in setups]),
        "four_bit": np.array([bool(setup.numbers["four_bit"]) for setup in setups]),
        "odd_activation": np.array([setup.numbers["window"] > 0 and setup.software.kind == "megatron" for setup in setups]),
        "low": np.array([bool(setup.numbers["low_precision"]) for setup in setups]),
        "moe": np.array([setup.numbers["experts"] > 1 for setup in setups]),
        "latent": np.array([bool(setup.numbers["latent_attention"]) for setup in setups]),
        "sequence_parallel": np.array([bool(setup.numbers["sequence_parallel"]) for setup in setups]),
    }
    for stage in ("0", "1", "2"):
        flags[f"zero{stage}"] = np.array([setup.zero == stage for setup in setups])
    for name in ("fused_attention", "second_flash", "vendor_flash", "old", "deepspeed", "compiled", "fused_kernels", "main_gradients"):
        flags[name] = np.array([bool(getattr(setup.software, name)) for setup in setups])
    # FlashAttention needs Turing or newer, and 16 bits
    flags["fused_attention"] &= np.array([setup.part.generation not in UNFUSED for setup in setups])
    flags["fused_attention"] &= np.array([setup.numbers["element_bytes"] < 4 for setup in setups])
    for kind in ("megatron", "fsdp", "xla"):
        flags[f"is_{kind}"] = np.array([setup.software.kind == kind for setup in setups])
    for name in RECOMPUTES:
        flags["recompute_" + name.replace("-", "_")] = np.array([setup.recompute == name for setup in setups])
    for generation in ("volta", "ampere", "hopper", "blackwell", "tpu"):
        flags[f"is_{generation}"] = np.array([setup.part.generation == generation for setup in setups])
    flags["is_cdna"] = np.array([setup.part.generation.startswith("cdna") for setup in setups])
    flags["wide_arrays"] = np.array([setup.part.name.lower() in WIDE_ARRAYS for setup in setups])
    flags["halved"] = np.array([setup.part.halved for setup in setups])
    flags["measured"] = np.array([setup.part.measured_ceiling for setup in setups])
    flags["known_framework"] = np.array([setup.software.known for setup in setups])
    flags["fitted_generation"] = np.array([setup.part.generation in FITTED_GENERATIONS for setup in setups])
    flags |= {"loss_parallel": np.ones(len(setups), dtype=bool), "all_in_flight": np.zeros(len(setups), dtype=bool)}
    flags["offload"] = np.array([setup.part.host_offload for setup in setups])
    return Rows(setups=tuple(setups), numbers=numbers, flags=flags)


def take(rows: Rows, mask: NDArray[np.bool_]) -> Rows:
    """Some of the rows."""
    return Rows(
        setups=tuple(rows.setups[place] for place in np.flatnonzero(mask).tolist()),
        numbers={name: values[mask] for name, values in rows.numbers.items()},
        flags={name: values[mask] for name, values in rows.flags.items()},
    )


def spread(setup: Setup, changes: Mapping[str, NDArray[np.float64]]) -> Rows:
    """One setup many times, with the columns in `changes` (all of one length) instead of its own: the layouts of a search.

    Columns that follow from others (micro_batches, replicas) are the caller's to give.
    """
    base = columns([setup])
    count = len(next(iter(changes.values())))
    unknown = [name for name in changes if name not in base.numbers]
    if unknown:
        raise UserError(f"unknown column {', '.join(unknown)}", hint=f"known: {', '.join(sorted(base.numbers))}")
    numbers = {name: np.broadcast_to(values, (count,)) for name, values in (base.numbers | dict(changes)).items()}
    return Rows(setups=(setup,), numbers=numbers, flags={name: np.broadcast_to(values, (count,)) for name, values in base.flags.items()})
