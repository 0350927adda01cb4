"""The accelerators whose steps can be predicted from a table row: one line each in data/accelerators.csv, with its source.

An accelerator that is not there is refused by name, and so is a rate that its line lacks: never another device's number.
"""

from __future__ import annotations

import csv
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

from hwbench.core.errors import UserError, unknown_name

from .names import Name, best, parse

DEFAULT_CEILING = 0.80
"""Share of the dense peak that a large product reaches where neither gemm.csv nor its MAMF table has the part; wider intervals follow."""
AMD_CEILING = 0.60
"""The same for AMD's parts: mean of the three in the MAMF table (0.51, 0.60, 0.68), whose library reaches less of its peak."""
HALVED_CEILING = 0.95
"""The same where products that accumulate in fp32 run at half the rate of the others (GeForce): neither power nor operands bind them."""
ASSUMED_NETWORK_BYTES_PER_S = 12.5e9
"""Network of an accelerator whose line has none: one 100 Gb/s port each, said in the notes of the prediction."""

HALVED = "geforce"
"""The generation of such parts, whatever their architecture."""

_BITS = {"fp32": 32, "tf32": 19, "bf16": 16, "fp16": 16, "fp8": 8, "mxfp8": 8, "fp4": 4, "nvfp4": 4, "mxfp4": 4}
_COLUMN = {"mxfp8": "fp8", "nvfp4": "fp4", "mxfp4": "fp4"}


class Part(NamedTuple):
    """One accelerator: dense rates in FLOP/s by dtype, and the bandwidths around it in B/s. None where no source has the number."""

    name: str
    generation: str
    launched: float
    peaks: dict[str, float]
    memory_bytes: float
    memory_bytes_per_s: float
    scale_up_bytes_per_s: float | None
    scale_up_domain: int
    network_bytes_per_s: float | None
    host_offload: bool
    power_fraction: float
    ceiling: float
    ceiling_low: float | None
    measured_ceiling: bool
    halved: bool = False
    """Products that accumulate in fp32, as training's do, run at half the rate of the data paths."""

    def peak(self, dtype: str) -> float:
        """Dense FLOP/s of products of `dtype`; UserError names what the part lacks."""
        if dtype not in _BITS:
            raise unknown_name("dtype", dtype, _BITS)
        value = self.peaks.get(_COLUMN.get(dtype, dtype))
        if value is None:
            known = ", ".join(sorted(self.peaks))
            raise UserError(f"accelerator {self.name}: no {dtype} rate is known", hint=f"known rates: {known or 'none'}")
        return value

    @property
    def half_peak(self) -> float:
        """Dense FLOP/s of 16-bit products, what attention and the head run at."""
        return self.peaks.get("bf16") or self.peak("fp16")


@lru_cache(maxsize=1)
def parts() -> dict[str, Part]:
    """Every known accelerator by its lower-case name."""
    text = files("hwbench.planner").joinpath("data/accelerators.csv").read_text(encoding="utf-8")
    return {row["name"].lower(): _part(row) for row in csv.DictReader(text.splitlines())}


@lru_cache(maxsize=1)
def _parsed() -> dict[str, Name]:
    """The listed names, taken apart."""
    return {key: parse(key) for key in parts()}


@lru_cache(maxsize=1024)
def find_part(name: str) -> Part:
    """The accelerator called `name` in any usual spelling (`names.py`); UserError with the nearest name otherwise."""
    found = parts().get(name.strip().lower())
    if found is None:
        key = best(parse(name), _parsed().items())
        if key is None:
            raise unknown_name("accelerator", name.strip(), [part.name for part in parts().values()])
        found = parts()[key]
    return found


def half_of(part: Part, node: float) -> Part:
    """The die of a board of two dies where a node has eight accelerators: boards come four to a node, so its dies are counted."""
    return parts().get(part.name.lower() + "-gcd", part) if node >= 8 else part


def is_low_precision(dtype: str) -> bool:
    """Whether products run at 8 bits or fewer, which costs a quantisation and leaves attention at 16 bits."""
    return _BITS.get(dtype, 16) <= 8


def is_four_bit(dtype: str) -> bool:
    """Whether products run at 4 bits."""
    return _BITS.get(dtype, 16) == 4


def _part(row: dict[str, str]) -> Part:
    peaks = {key.removesuffix("_tflops"): float(value) * 1e12 for key, value in row.items() if key.endswith("_tflops") and value}
    domain = _number(row["scaleup_domain"])
    power, reference = _number(row["tdp_w"]), _number(row["reference_tdp_w"])
    ceiling = _number(row["ceiling16"])
    return Part(
        name=row["name"],
        generation=row["generation"],
        launched=float(row["launched"]),
        peaks=peaks,
        memory_bytes=float(row["hbm_gb"]) * 1e9,
        memory_bytes_per_s=float(row["hbm_tb_s"]) * 1e12,
        scale_up_bytes_per_s=_scaled(row["scaleup_gb_s"]),
        scale_up_domain=int(domain) if domain else 8,
        network_bytes_per_s=_scaled(row["network_gb_s"]),
        host_offload=row["host_offload"] == "yes",
        power_fraction=min(1.0, power / reference) if power and reference else 1.0,
        ceiling=ceiling or _assumed_ceiling(row["generation"]),
        ceiling_low=_number(row["ceiling8"]),
        measured_ceiling=ceiling is not None,
        halved=row["generation"] == HALVED,
    )


def _assumed_ceiling(generation: str) -> float:
    if generation == HALVED:
        return HALVED_CEILING
    return AMD_CEILING if generation.startswith("cdna") else DEFAULT_CEILING


def _number(text: str) -> float | None:
    return float(text) if text else None


def _scaled(text: str) -> float | None:
    return float(text) * 1e9 if text else None
