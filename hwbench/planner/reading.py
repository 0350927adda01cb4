"""One line of a table of training steps, read and checked: what it names, and its numbers.

The columns are those of data/measurements.csv; docs/planner.md maps each to what the model makes of it. What was measured (metric, notes,
source, id …) is never read here.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from hwbench.core.codec import read_text
from hwbench.core.errors import UserError

from .accelerators import ASSUMED_NETWORK_BYTES_PER_S, Part, find_part, half_of, is_four_bit, is_low_precision
from .software import Software, classify
from .spellings import network_bytes_per_s, number, precision, recompute, zero_stage

Row = Mapping[str, str]
DEFAULT_VOCABULARY = 50304
USUAL_HEAD = 128.0
"""Size of a head where a row gives neither heads nor head_dim."""
FOUR_BIT = 0.65
"""What 4-bit training recipes get of the 4-bit rate: Hadamard transforms, stochastic rounding, layers left in 16 bits."""
READ = (
    "year",
    "hardware",
    "gpus",
    "gpus_per_node",
    "interconnect",
    "model",
    "params_b",
    "layers",
    "hidden",
    "heads",
    "kv_heads",
    "head_dim",
    "ffn_hidden",
    "gated_ffn",
    "vocab",
    "seq_len",
    "experts",
    "topk",
    "dtype",
    "framework",
    "tp",
    "pp",
    "vpp",
    "cp",
    "ep",
    "dp",
    "zero_stage",
    "seq_parallel",
    "micro_batch",
    "global_batch",
    "recompute",
)
"""The only columns a prediction reads."""
NEEDED = ("hardware", "gpus", "layers", "hidden", "heads", "seq_len", "dtype", "framework", "global_batch")
WIDEST_NODE = 16
"""More accelerators than this on one scale-up fabric are a rack or a pod, and gpus_per_node counts its trays."""
RECOMPUTES = ("none", "selective", "selective-op", "selective-layer", "full", "unknown")


class Setup(NamedTuple):
    """One row, read and checked: what it names, and its numbers."""

    part: Part
    software: Software
    numbers: dict[str, float]
    recompute: str
    zero: str


def read_table(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV as dicts; UserError names the file and the columns it lacks."""
    lines = list(csv.DictReader(read_text(path, what="table").splitlines()))
    if not lines:
        raise UserError(f"{path}: no rows", hint="the first line names the columns, each further line is a training step")
    lacking = [name for name in NEEDED if name not in lines[0]]
    if lacking:
        raise UserError(f"{path}: column {', '.join(lacking)} is missing", hint=f"needed: {', '.join(NEEDED)}")
    return lines


def read_setup(row: Row) -> Setup:
    """One line of a table, checked. UserError names the column, what was expected and what was found."""
    part = half_of(find_part(_text(row, "hardware")), _number(row, "gpus_per_node", 0.0))
    zero = _zero(row)
    numbers = _shape(row) | _degrees(row)
    _check(numbers)
    numbers |= _work(numbers)
    year = _number(row, "year", 0.0) or 2024.0
    split = numbers["tensor"] * numbers["stages"] > 1
    software = classify((row.get("framework") or "").strip(), year, sharded=zero in ("3", "fsdp", "hsdp"), model_parallel=split)
    if part.generation == "tpu" and software.kind != "xla":  # nothing else runs there
        software = software._replace(kind="xla", vendor_flash=True, fused_kernels=False, deepspeed=False, old=False)
    numbers |= _machine(row, part, numbers) | _rates(row, part, software)
    return Setup(part, software, numbers, _recompute(row), zero)


def _shape(row: Row) -> dict[str, float]:
    hidden = _number(row, "hidden")
    heads = _number(row, "heads", hidden / (_number(row, "head_dim", 0.0) or USUAL_HEAD))
    model = (row.get("model") or "").lower()
    head = _number(row, "head_dim", 0.0) or hidden / max(1.0, heads)
    experts = max(1.0, _number(row, "experts", 1.0))
    ffn = _number(row, "ffn_hidden", 4 * hidden)
    latent = ("deepseek" in model and "v2-lite" not in model and "llm" not in model) or "kimi" in model
    values = {
        "layers": _number(row, "layers"),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": _number(row, "kv_heads", heads),
        "head": head,
        "ffn": ffn,
        "gated": _number(row, "gated_ffn", 0.0),
        "vocabulary": _number(row, "vocab", DEFAULT_VOCABULARY),
        "sequence": _number(row, "seq_len"),
        "experts": experts,
        "topk": _number(row, "topk", 1.0),
        "shared_ffn": ffn if latent and experts > 1 else 0.0,
        "window": 128.0 if "gpt-oss" in model else 0.0,
        "latent_attention": float(latent),
    }
    return values | {"parameters": 1e9 * _number(row, "params_b", 0.0) or _parameters(values)}


def _parameters(v: Mapping[str, float]) -> float:
    layer = 2 * v["hidden"] * v["head"] * (v["heads"] + v["kv_heads"]) + (2 + v["gated"]) * v["hidden"] * v["ffn"] * v["experts"]
    return v["layers"] * layer + v["vocabulary"] * v["hidden"]


def _degrees(row: Row) -> dict[str, float]:
    gpus = _number(row, "gpus")
    values = {
        "gpus": gpus,
        "tensor": _number(row, "tp", 1.0),
        "stages": _number(row, "pp", 1.0),
        "chunks": _number(row, "vpp", 1.0),
        "context": _number(row, "cp", 1.0),
        "expert_ranks": _number(row, "ep", 1.0),
        "global_batch": _number(row, "global_batch", 0.0),
        "sequence_parallel": _number(row, "seq_parallel", 0.0),
    }
    values["stated_replicas"] = _number(row, "dp", 0.0)
    values |= {"shards": 0.0, "again_share": 1.0}  # of a search: data ranks of a sharding group (0: those of one domain), layers recomputed
    values["micro_batch"] = _number(row, "micro_batch", 0.0) or 1.0
    if not values["global_batch"] and _number(row, "micro_batch", 0.0):  # one micro-batch a replica, and as many as stages to fill them
        inner = max(1.0, values["tensor"] * values["stages"] * values["context"])
        values["global_batch"] = values["micro_batch"] * max(1.0, gpus / inner) * max(1.0, values["stages"])
    return values


def _work(v: Mapping[str, float]) -> dict[str, float]:
    """Replicas and micro-batches. Some tables count context-parallel ranks among dp: then what is left of the accelerators decides."""
    inner = v["tensor"] * v["stages"] * v["context"]
    stated = v["stated_replicas"]
    replicas = stated if stated * inner == v["gpus"] else max(1.0, v["gpus"] / inner)
    micro = min(v["micro_batch"], v["global_batch"] / replicas)
    return {"replicas": replicas, "micro_batch": micro, "micro_batches": v["global_batch"] / (replicas * micro)}


def _check(v: Mapping[str, float]) -> None:
    """Nonsense is refused with its numbers."""
    for name in ("gpus", "layers", "hidden", "heads", "sequence", "global_batch", "tensor", "stages", "chunks", "context", "expert_ranks"):
        if not v[name] >= 1:
            raise UserError(f"{name} = {v[name]:g}: expected at least 1")
    if v["tensor"] * v["stages"] * v["context"] > v["gpus"]:
        raise UserError(f"tp·pp·cp = {v['tensor']:g}·{v['stages']:g}·{v['context']:g} is more than {v['gpus']:g} accelerators")
    if v["stages"] > v["layers"]:
        raise UserError(f"pp = {v['stages']:g} is more than {v['layers']:g} layers")
    if v["experts"] > 1 and v["expert_ranks"] > v["experts"]:
        raise UserError(f"ep = {v['expert_ranks']:g} is more than {v['experts']:g} experts")


def _machine(row: Row, part: Part, v: Mapping[str, float]) -> dict[str, float]:
    domain = _number(row, "gpus_per_node", 0.0) or part.scale_up_domain
    if part.scale_up_domain > WIDEST_NODE:  # a rack or pod on one fabric, whatever its trays hold
        domain = float(part.scale_up_domain)
    scale_up = part.scale_up_bytes_per_s
    if scale_up is None:
        if v["gpus"] > 1:
            raise UserError(f"accelerator {part.name}: no scale-up bandwidth is known, and {v['gpus']:g} of them communicate")
        scale_up = 1.0
    port = network_bytes_per_s(row.get("interconnect") or "", domain)
    return {
        "domain": domain,
        "scale_up": scale_up,
        "network": port or part.network_bytes_per_s or ASSUMED_NETWORK_BYTES_PER_S,
        "network_known": float(port is not None or part.network_bytes_per_s is not None),
        "memory_bytes": part.memory_bytes,
        "memory_rate": part.memory_bytes_per_s,
    }


def _rates(row: Row, part: Part, software: Software) -> dict[str, float]:
    dtype = precision(row.get("dtype") or "") or ("bf16" if "bf16" in part.peaks else "fp16")
    if dtype == "fp32" and software.kind == "megatron" and "tf32" in part.peaks:
        dtype = "tf32"  # NVIDIA's containers, in which Megatron-like software runs, allow TF32 for fp32 (NGC release notes)
    low = is_low_precision(dtype)
    half = part.half_peak if low else part.peak(dtype)
    power = part.power_fraction ** (1 / 3)
    return {
        "low_precision": float(low),
        "brain": float(dtype == "bf16"),
        "four_bit": float(is_four_bit(dtype)),
        "half_rate": half,
        "half_ceiling": half * part.ceiling * power,
        "dtype_rate": part.peak(dtype),
        "product_ceiling": part.peak(dtype) * _ceiling(part, dtype) * power,
        "power": power,
        "element_bytes": 4.0 if dtype in ("fp32", "tf32") else 2.0,
        "product_bytes": 1.0 if low else 4.0 if dtype in ("fp32", "tf32") else 2.0,
        "date": software.date,
        "age": min(6.0, max(0.0, software.date - 0.5 - part.launched)),
    }


def _ceiling(part: Part, dtype: str) -> float:
    """Share of a dtype's peak that large products reach; 4-bit recipes keep some layers in 16 bits and transform the rest."""
    low = (part.ceiling_low if is_low_precision(dtype) else None) or part.ceiling
    return low * (FOUR_BIT if is_four_bit(dtype) else 1.0)


def _zero(row: Row) -> str:
    text = zero_stage(row.get("zero_stage") or "")
    if text not in ("0", "1", "2", "3", "fsdp", "hsdp"):
        raise UserError(f"zero_stage: expected 0, 1, 2, 3, fsdp or hsdp, found {text!r}")
    return text


def _recompute(row: Row) -> str:
    text = recompute(row.get("recompute") or "")
    if text not in RECOMPUTES:
        raise UserError(f"recompute: expected one of {', '.join(RECOMPUTES)}, found {text!r}")
    return text


def _text(row: Row, name: str) -> str:
    value = (row.get(name) or "").strip()
    if not value:
        raise UserError(f"{name} is empty")
    return value


def _number(row: Row, name: str, default: float | None = None) -> float:
    text = number(row.get(name) or "")
    if not text:
        if default is None:
            raise UserError(f"{name} is empty")
        return default
    try:
        value = float(text)
    except ValueError as error:
        raise UserError(f"{name}: expected a number, found {text!r}") from error
    if not math.isfinite(value) or value < 0:
        raise UserError(f"{name}: expected a finite number of at least 0, found {text!r}")
    return value
