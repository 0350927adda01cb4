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

_XLA = re.compile(r"maxtext|pax|jax|xla|t5x|easylm|levanter|saxml")
_MEGATRON = re.compile(r"megatron|nemo|intern|colossal|nanotron|gpt-neox|bridge|mindspeed|primus|optimum-habana")
_FSDP = re.compile(r"fsdp|composer|foundry|titan|lit-?gpt|lightning|accelerate|transformers|automodel|torchtune|axolotl|zero-?3|deepspeed")
_FITTED = re.compile(r"megatron|nemo|composer|foundry|maxtext|pax|deepspeed")
_VERSION = re.compile(r"(?<!\d)(2\d)\.(0[1-9]|1[0-2])(?!\d)")

FLASH_YEAR = 2022.5
"""FlashAttention was published in May 2022 (arXiv:2205.14135); FSDP-like frameworks took it within the year."""
FLASH_MEGATRON_YEAR = 2023.75
"""Megatron-LM and NeMo use fused attention by default since late 2023 (NeMo 23.08, Transformer Engine)."""
FLASH2_YEAR = 2023.75
"""FlashAttention 2 (July 2023, arXiv:2307.08691) in releases from the autumn of 2023 on."""


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
    known: bool
    """Whether the shipped measurements hold rows of it; others are predicted by their kind."""


@lru_cache(maxsize=4096)
def classify(name: str, year: float, *, sharded: bool, model_parallel: bool) -> Software:
    """What a framework's name and year tell; `sharded` is ZeRO-3/FSDP, `model_parallel` is tp·pp > 1 (kinds of unknown names)."""
    text = name.lower()
    kind = _kind(text, sharded=sharded, model_parallel=model_parallel)
    version = _VERSION.search(text)
    date = 2000 + int(version[1]) + (int(version[2]) - 0.5) / 12 if version else year + 0.5
    deepspeed = "deepspeed" in text
    old = (deepspeed and kind == "megatron") or date < 2021
    since = FLASH_MEGATRON_YEAR if kind == "megatron" else FLASH_YEAR
    return Software(
        name=name,
        kind=kind,
        date=date,
        fused_attention=date >= since and not (old or deepspeed or "pax" in text),
        second_flash=date >= FLASH2_YEAR,
        vendor_flash=kind != "fsdp",
        old=old or deepspeed,
        deepspeed=deepspeed,
        compiled="compile" in text,
        known=bool(_FITTED.search(text)),
    )


def _kind(text: str, *, sharded: bool, model_parallel: bool) -> Kind:
    if _XLA.search(text):
        return "xla"
    if _MEGATRON.search(text):
        return "megatron"
    if _FSDP.search(text):
        return "fsdp"
    return "fsdp" if sharded or not model_parallel else "megatron"
