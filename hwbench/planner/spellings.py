"""How the columns of a table of training steps are spelt, beside the plain words: numbers, dtypes, sharding, recomputation, networks."""

from __future__ import annotations

import re

_EMPTY = ("nan", "none", "null", "n/a", "-", "?")
_WORDS = {"true": "1", "yes": "1", "false": "0", "no": "0"}
_ZEROS = {
    **{"no": "0", "none": "0", "ddp": "0", "distributedoptimizer": "1", "shardgradop": "2"},
    **{"fsdp1": "fsdp", "fsdp2": "fsdp", "fullshard": "fsdp", "hybridshard": "hsdp"},
}
_RECOMPUTES = {
    **{"no": "none", "false": "none", "0": "none", "yes": "full", "true": "full", "1": "full", "all": "full"},
    **{"attention": "selective", "core_attn": "selective", "partial": "unknown", "?": "unknown"},
}
_DTYPES = {
    **{"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "float8": "fp8", "fp8mx": "mxfp8"},
    **{f"fp8{recipe}": "fp8" for recipe in ("cs", "ds", "sc", "e4m3")},
}
_LINK = r"(?P<each>\d+(?:\.\d+)?)\s*(?P<unit>[GT])b(?:ps|/s|its?/s)?\s*(?:/|per )\s*(?:node|host|server)"
_NETWORK = (
    re.compile(r"(?P<count>\d+)\s*[x×]\s*(?:[a-z][\w+-]*\s+){0,4}" + _LINK, re.IGNORECASE),
    re.compile(_LINK, re.IGNORECASE),
)
_PER_ACCELERATOR = re.compile(r"(?P<each>\d+(?:\.\d+)?)\s*Gb(?:ps|/s|its?/s)?\s*(?:/|per )\s*(?:gpu|chip|accelerator|gcd)", re.IGNORECASE)
_ONE_LINK = re.compile(r"omni-?path|\bOPA", re.IGNORECASE)
"""NCCL gets what one of a node's Omni-Path links carries: a bus bandwidth of 108 Gb/s over 16 nodes with four links of 100 Gb/s each
(bigscience-workshop/bigscience@19ba128:experiments/bandwidth/README.md, algorithm 55 Gb/s)."""


def number(text: str) -> str:
    """A number without its thousands' commas, yes and no as 1 and 0; empty where the text says that there is none."""
    plain = text.strip().lower()
    return "" if plain in _EMPTY else re.sub(r"(?<=\d),(?=\d{3})", "", _WORDS.get(plain, text.strip()))


def precision(text: str) -> str:
    """The dtype of products: 'BF16-mixed' is bf16, 'FP8-CS' fp8."""
    plain = re.sub(r"\(.*\)|[\s_-]|mixed|amp|hybrid", "", text.lower())
    return _DTYPES.get(plain, plain)


def zero_stage(text: str) -> str:
    """How states are sharded: 'ZeRO-3' is 3, 'FULL_SHARD' fsdp, nothing 0."""
    plain = text.strip().lower().removesuffix(".0") or "0"
    short = re.sub(r"^zero|[\s_-]", "", plain)
    return _ZEROS.get(short, short if short in ("1", "2", "3") else plain)


def recompute(text: str) -> str:
    """What is recomputed: 'yes' is full, nothing unknown."""
    plain = text.strip().lower() or "unknown"
    return _RECOMPUTES.get(plain, plain)


def network_bytes_per_s(text: str, node: float) -> float | None:
    """One accelerator's share of a node's network from the interconnect column ('8x HDR IB 200Gb/node'), None where it says no rate."""
    for pattern in _NETWORK:
        if match := pattern.search(text):
            count = 1.0 if _ONE_LINK.search(text) else float(match.groupdict().get("count") or 1)
            return count * float(match["each"]) * (1000 if match["unit"] in "Tt" else 1) / 8 * 1e9 / max(1.0, min(node, 8.0))
    if match := _PER_ACCELERATOR.search(text):
        return float(match["each"]) / 8 * 1e9
    return None
