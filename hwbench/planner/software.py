"""Frameworks by kind and date: what a name and a year tell about kernels, overlap and host time.

Software differs by 1.2-2.5 times on the same hardware. What is used of a framework is its kind (Megatron-like, FSDP-like, XLA), its date
(a NVIDIA container's yy.mm in the name, else the middle of the row's year) and a few dated facts, each with its source below.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

Kind = Literal["megatron", "fsdp", "xla"]
KINDS: tuple[Kind, ...] = ("megatron", "fsdp", "xla")

_XLA = re.compile(r"maxtext|pax|jax|xla|t5x|easylm|levanter|saxml|tensorflow|neuron")
_MEGATRON = re.compile(r"megatron|nemo|intern|colossal|nanotron|gpt-neox|bridge|mindspeed|primus|optimum-habana|flagscale|paddle|veomni")
_FSDP = re.compile(r"fsdp|composer|foundry|titan|lit-?gpt|lightning|accelerate|transformers|torchtune|axolotl|zero-?3|deepspeed|olmo")
_SHARDED_FIRST = re.compile(r"auto-?model")
"""Names that hold another kind's: NeMo AutoModel is PyTorch's FSDP."""
_OWN_MEGATRON = re.compile(r"megatron|nemo|bridge|paddle")
_LIBRARY_MODELS = re.compile(r"deepspeed|transformers|accelerate|axolotl|hugging|trl|llama-?factory")
_VENDOR_KERNELS = re.compile(r"auto-?model|transformer[ -]?engine|\bte\b|cudnn")
_FUSED_KERNELS = re.compile(r"fused|apex|liger|unsloth|llm\.c")
_COMPILED = re.compile(r"compile|nano-?gpt|nanochat")
"""Names that say it, and trainers that compile unasked."""
_FITTED = re.compile(r"megatron|nemo|composer|foundry|maxtext|pax|deepspeed")
_VERSION = re.compile(r"(?<!\d)(2\d)\.(0[1-9]|1[0-2])(?!\d)")

FLASH_YEAR = 2022.5
"""FlashAttention was published in May 2022 (arXiv:2205.14135); FSDP-like frameworks took it within the year, and so did those that split
models like Megatron without being it (Colossal-AI, InternEvo)."""
FLASH_MEGATRON_YEAR = 2023.75
"""Megatron-LM and NeMo use fused attention by default since late 2023 (NeMo 23.08, Transformer Engine)."""
FLASH_LIBRARY_YEAR = 2023.95
"""Models of Hugging Face's transformers, which DeepSpeed mostly trains, fuse attention by default since 4.36 (December 2023)."""
FLASH_XLA_YEAR = 2023.75
"""MaxText's configuration of April 2023 has no fused attention; that of late 2023 takes a Pallas kernel by default."""
FLASH2_YEAR = 2023.75
"""FlashAttention 2 (July 2023, arXiv:2307.08691) in releases from the autumn of 2023 on."""
VENDOR_FLASH_YEAR = 2024.52
"""Transformer Engine prefers cuDNN's attention on Hopper since 1.7 (mid 2024), before that FlashAttention 2 (NeMo pull request 9188)."""
OLD_ZERO3_YEAR = 2022.5
"""DeepSpeed's ZeRO-3 gathers many small tensors one by one in releases before about then, and hides hardly anything."""


class Software(NamedTuple):
    """What is known of one framework at one date."""

    name: str
    kind: Kind
    date: float
    fused_attention: bool
    second_flash: bool
    vendor_flash: bool
    """Attention through cuDNN or Transformer Engine rather than PyTorch's FlashAttention 2."""
    old: bool
    """Megatron-DeepSpeed, or Megatron before 2021: many small kernels, nothing overlapped."""
    deepspeed: bool
    compiled: bool
    fused_kernels: bool
    """Fused norms, activations and rotary embedding (Transformer Engine, Apex, Liger) in an FSDP-like framework."""
    main_gradients: bool
    """Megatron-LM itself sums gradients in an fp32 buffer beside 16-bit weights; NeMo's and Bridge's recipes need not."""
    known: bool
    """Whether the shipped measurements hold rows of it; others are predicted by their kind."""


@lru_cache(maxsize=4096)
def classify(name: str, year: float, *, sharded: bool, model_parallel: bool) -> Software:
    """What a framework's name and year tell; `sharded` is ZeRO-3/FSDP, `model_parallel` is tp·pp > 1 (kinds of unknown names)."""
    text = name.lower()
    kind = _kind(text, sharded=sharded, model_parallel=model_parallel)
    version = _VERSION.search(text)
    date = 2000 + int(version[1]) + (int(version[2]) - 0.5) / 12 if version else year + 0.5
    deepspeed = "deepspeed" in text and (kind == "megatron" or date < OLD_ZERO3_YEAR)
    old = deepspeed or date < 2021
    vendor = bool(_VENDOR_KERNELS.search(text))
    return Software(
        name=name,
        kind=kind,
        date=date,
        fused_attention="flash" in text or (date >= _flash_year(text, kind) and not (old or "pax" in text)),
        second_flash=date >= FLASH2_YEAR or "flash attention 2" in text,
        vendor_flash=kind == "xla" or vendor or (kind == "megatron" and date >= VENDOR_FLASH_YEAR),
        old=old,
        deepspeed=deepspeed,
        compiled=bool(_COMPILED.search(text)),
        fused_kernels=kind == "fsdp" and (vendor or bool(_FUSED_KERNELS.search(text))),
        main_gradients=kind == "megatron" and (date < 2024 or ("megatron" in text and not re.search("nemo|bridge", text))),
        known=bool(_FITTED.search(text)),
    )


def _flash_year(text: str, kind: Kind) -> float:
    """When a framework began to fuse attention unasked."""
    if kind == "xla":
        return FLASH_XLA_YEAR
    if _LIBRARY_MODELS.search(text):
        return FLASH_LIBRARY_YEAR
    return FLASH_MEGATRON_YEAR if kind == "megatron" and _OWN_MEGATRON.search(text) else FLASH_YEAR


def _kind(text: str, *, sharded: bool, model_parallel: bool) -> Kind:
    if _SHARDED_FIRST.search(text):
        return "fsdp"
    if _XLA.search(text):
        return "xla"
    if _MEGATRON.search(text):
        return "megatron"
    if _FSDP.search(text):
        return "fsdp"
    return "fsdp" if sharded or not model_parallel else "megatron"
