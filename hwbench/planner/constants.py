"""The planner's fitted constants: each with its physical prior, how far the fit may move it, and what it means.

The shipped values are in data/constants.json, written by `python -m hwbench.planner.fit`, which names the rows they were fitted on.
A fit starts from the priors and is held to them (a Gaussian in the logarithm with the spread below), so that a constant on which
no row bears keeps the value that a microbenchmark, a datasheet or a paper gave it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, cast

import numpy as np

from hwbench.core.codec import from_json
from hwbench.core.value import Value

if TYPE_CHECKING:
    from numpy.typing import NDArray


def constant(prior: float, spread: float, why: str) -> float:
    """A field of `Constants`: prior value, standard deviation of its logarithm, and what it means with the prior's source."""
    return field(default=prior, metadata={"spread": spread, "why": why})


@dataclass(frozen=True, kw_only=True)
class Constants:
    """Every constant of the step model. All are positive; fractions are of a datasheet or microbenchmark figure."""

    sustained_volta: float = constant(0.85, 0.1, "matrix rate under a training load over gemm.csv's; clocks sink under power")
    sustained_ampere: float = constant(0.95, 0.05, "as above; 400 W parts hardly throttle")
    sustained_hopper: float = constant(0.82, 0.08, "as above; 700 W parts throttle under dense products")
    sustained_blackwell: float = constant(0.85, 0.1, "as above")
    sustained_tpu: float = constant(1.0, 0.08, "as above; a fixed clock does not sink")
    sustained_cdna: float = constant(0.80, 0.1, "as above, AMD's parts; their library's tuning differs by shape")
    sustained_other: float = constant(0.85, 0.1, "as above, accelerators without a class of their own")
    flash1_ampere: float = constant(0.32, 0.1, "FlashAttention 1 and Triton, forward and backward, over peak: arXiv:2307.08691 figure 4")
    flash2_ampere: float = constant(0.55, 0.1, "FlashAttention 2 on A100: arXiv:2307.08691 figures 4-5")
    flash1_hopper: float = constant(0.17, 0.15, "FlashAttention 1: A100's rate times clock and SM ratio, over H100's peak")
    flash2_hopper: float = constant(0.35, 0.1, "FlashAttention 2 on H100, 335 TFLOP/s: arXiv:2307.08691 figure 7")
    flash3_hopper: float = constant(0.50, 0.1, "cuDNN and FlashAttention 3, forward and backward: arXiv:2407.08608 figure 6")
    flash_blackwell: float = constant(0.45, 0.15, "cuDNN on Blackwell; peak doubled, exponentials did not")
    flash_other: float = constant(0.40, 0.2, "fused attention elsewhere")
    eager_ring: float = constant(
        0.6, 0.3, "growth of attention by PyTorch's ring of cp ranks, times 1 - 1/cp: a call a step, merged in fp32"
    )
    narrow_heads: float = constant(0.80, 0.1, "heads of 64 and less against 128: arXiv:2307.08691 figure 4")
    unfused_attention: float = constant(1.0, 0.25, "multiple of 16 B forward, 20 B backward per score of unfused softmax, mask and dropout")
    elementwise_megatron: float = constant(1.0, 0.25, "multiple of the least traffic of norms, residuals, activations; fused kernels")
    elementwise_eager: float = constant(1.6, 0.25, "as above, eager PyTorch under autocast")
    eager_gated: float = constant(
        1.7, 0.25, "times that for unfused RMSNorm in fp32, complex rotary embedding and SwiGLU: 152 B a unit for 54"
    )
    elementwise_compiled: float = constant(1.25, 0.25, "as above, frameworks whose name says that they compile")
    elementwise_xla: float = constant(1.0, 0.25, "as above, XLA")
    logits: float = constant(1.0, 0.25, "multiple of 22 B per logit: write, cast to fp32, softmax, loss and their gradients")
    again: float = constant(0.95, 0.06, "recomputed forward over the first: nothing is saved, the last output is not needed")
    host_s: float = constant(1.2e-3, 0.3, "host time of a dense layer, forward and backward; about 80 launches of 10-15 us")
    host_moe_s: float = constant(2.5e-3, 0.3, "as above, a layer of experts: routing, permutation, synchronisation")
    host_expert_s: float = constant(0.3e-3, 0.4, "what each local expert adds: six products and their casts, 30 launches")
    host_old_s: float = constant(4e-3, 0.3, "as above, Megatron-DeepSpeed and Megatron before 2021 with full recomputation, unfused")
    grouped: float = constant(0.85, 0.08, "grouped products of experts over one product of the same size, which they nearly are")
    expert_activation: float = constant(2.5, 0.3, "multiple of the least traffic of an expert's activation: router weights and casts")
    odd_activation: float = constant(10.0, 0.5, "as above, gpt-oss' clamped SwiGLU with biases, which no fused kernel covers")
    moe_traffic: float = constant(2.0, 0.4, "multiple of 16 B per token, expert and hidden unit for permuting, and 60 us")
    moe_trend: float = constant(0.25, 0.4, "yearly improvement of what experts add to a layer, about autumn 2025")
    moe_graphs: float = constant(0.75, 0.3, "what whole-step CUDA graphs (Megatron, mid 2026) leave of experts' time")
    all_to_all: float = constant(0.6, 0.25, "share of scale-up bandwidth that dispatch reaches; 0.7 at best in collectives.csv")
    all_to_all_remote: float = constant(0.6, 0.3, "exposed share of dispatch between nodes; one copy per token and node")
    scale_up: float = constant(0.78, 0.1, "share of scale-up bandwidth a ring reaches: 0.76 A100, 0.78 H100, 0.81 B200 in collectives.csv")
    network: float = constant(0.80, 0.15, "share of network bandwidth a ring reaches: 0.85-0.98 in collectives.csv, less on busy fabrics")
    tp_exposed: float = constant(0.90, 0.1, "exposed share of tensor-parallel collectives without overlap")
    tp_exposed_overlap: float = constant(0.50, 0.25, "as above since 2024 with sequence parallelism and its overlaps")
    dp_exposed: float = constant(0.30, 0.4, "exposed share of gradient reduction where it overlaps (since 2023)")
    pp_exposed: float = constant(1.0, 0.3, "exposed share of pipeline send/receive")
    fsdp_contention: float = constant(0.15, 0.4, "slowdown of compute by gathers it runs beside, as a share of the shorter of the two")
    zero3_old: float = constant(0.15, 0.4, "share of ring bandwidth of DeepSpeed ZeRO-3 of 2021: many small gathers")
    cast: float = constant(1.0, 0.3, "multiple of 6 B per activation for quantising to 8 bits, both layouts, forward and backward")
    immature: float = constant(0.10, 0.5, "loss of matrix rate with software as old as the accelerator; falls by e in 1.5 years")
    straggling: float = constant(0.006, 0.5, "growth of a step per doubling of accelerators beyond 8")
    fixed_s: float = constant(0.01, 0.5, "time of a step that no operator explains: data, logging, clipping")
    kind_megatron: float = constant(1.0, 0.07, "what a Megatron-like framework's step takes beyond all of the above")
    kind_fsdp: float = constant(1.0, 0.07, "as above, FSDP-like")
    kind_xla: float = constant(1.0, 0.07, "as above, XLA")


class FittedFile(Value):
    """data/constants.json: the values, and the rows they were fitted on."""

    schema: int = 1
    fitted_on: dict[str, int]
    """Source family -> rows."""
    command: str
    values: dict[str, float]
    width: float
    """The conformal quantile: half an interval in the logarithm, per unit of doubt."""


def names() -> tuple[str, ...]:
    """The constants in the order of a fit's vector."""
    return tuple(one.name for one in fields(Constants))


def priors() -> NDArray[np.float64]:
    """Natural logarithms of the priors, shape (constants,)."""
    return np.log([cast("float", one.default) for one in fields(Constants)])


def spreads() -> NDArray[np.float64]:
    """Standard deviations of the logarithms, shape (constants,)."""
    return np.array([_metadata(one)["spread"] for one in fields(Constants)])


def from_vector(logarithms: NDArray[np.float64]) -> Constants:
    """Constants from a fit's vector of logarithms."""
    return Constants(**dict(zip(names(), np.exp(logarithms).tolist(), strict=True)))


@lru_cache(maxsize=1)
def shipped() -> FittedFile:
    """The shipped fit, as a value with its rows."""
    path = files("hwbench.planner").joinpath("data/constants.json")
    return from_json(path.read_bytes(), FittedFile, source="hwbench.planner/data/constants.json")


@lru_cache(maxsize=1)
def fitted() -> Constants:
    """The shipped constants."""
    return Constants(**shipped().values)


def markdown() -> str:
    """Every constant as a line of a Markdown table: shipped value, prior, spread of the prior's logarithm, what it means."""
    lines = ["| constant | fitted | prior | spread | what it is |", "|---|---|---|---|---|"]
    for one in fields(Constants):
        why = cast("str", one.metadata["why"])
        lines.append(f"| `{one.name}` | {getattr(fitted(), one.name):.3g} | {one.default:.3g} | {_metadata(one)['spread']:.2g} | {why} |")
    return "\n".join(lines)


def _metadata(one: Field[float]) -> Mapping[str, float]:
    return one.metadata
