"""The many spellings of an accelerator's name: 'NVIDIA H100 80GB HBM3', 'A100-SXM4-40GB', 'TPU v5e-256', '8x MI250X (GCD)'.

A name is taken apart into chip, form, memory, kind of memory and watts. Two names mean the same part where the chip is the same and nothing
else that both of them say contradicts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

SAME_MEMORY = 0.07
"""Relative difference of two sizes that name one part: 180 and 192 GB of a B200, 141 and 144 GB of an H200, GB for GiB."""

_COUNT = re.compile(r"^\s*\d+\s*(?:x|\*|×)\s*(?=\D)")
_BRACKET = re.compile(r"\(([^)]*)\)")
_MEMORY = re.compile(r"(?<![a-z\d.])(\d+)\s*g(?:i?b)?(?![a-z\d])")
_WATTS = re.compile(r"(?<![a-z\d.])(\d+)\s*w(?![a-z\d])")
_KIND = re.compile(r"(?<![a-z\d])((?:hbm|gddr)\d\w*)")
_FORM = re.compile(r"(?<![a-z\d])(sxm\d?|pcie?|nvl\d*|hgx|dgx)(?![a-z\d])")
_TPU = re.compile(r"(?:tpu)?v?(\d)(litepod|lite|e|p|x|i)?")
_TPU_NAMES = {"trillium": "tpuv6e", "ironwood": "tpu7x", "viperfish": "tpuv5p"}
_IDLE = re.compile(
    r"nvidia|amd|google|intel|aws|amazon|habana|geforce|tesla|quadro|instinct|radeon|cloud|data|cent(?:er|re)|gpus?|tensor|core|superchip"
    r"|accelerators?|graphics|card|generation|blackwell|hopper|ampere|volta|lovelace|grace|workstation|server|edition|oam|nvlink|node"
    r"|chips?|pod|slice|ls"
)
"""Words that tell no part from another."""
_ALIASES = {"pontevecchio": "max1550", "pvc": "max1550", "trn1": "trainium1", "trn2": "trainium2", "trainium": "trainium1"}


class Name(NamedTuple):
    """What a name says; empty or None where it says nothing."""

    chip: str
    form: str
    detail: str
    """The form as it is written: sxm4, nvl72."""
    memory_gb: float | None
    kind: str
    watts: float | None

    def contradicts(self, other: Name) -> bool:
        """Whether the two can't be the same part."""
        if self.chip != other.chip or (self.form and other.form and self.form != other.form):
            return True
        if self.form == "sxm" and _socket(self.detail) and _socket(other.detail) and self.detail != other.detail:
            return True
        if self.memory_gb is None or other.memory_gb is None:
            return False
        return abs(self.memory_gb - other.memory_gb) > SAME_MEMORY * other.memory_gb

    def agreement(self, other: Name) -> int:
        """How many things both say alike."""
        pairs = ((self.form, other.form), (self.detail, other.detail), (self.kind, other.kind), (self.watts, other.watts))
        return sum(bool(mine) and mine == theirs for mine, theirs in pairs)


def parse(text: str) -> Name:
    """Take a name apart."""
    plain = _COUNT.sub("", text.lower())
    inside = " ".join(_BRACKET.findall(plain))
    plain = re.sub(r"[_/,\s-]+", " ", _BRACKET.sub(" ", plain))
    memory, watts, kind, form = (pattern.search(plain) or pattern.search(inside) for pattern in (_MEMORY, _WATTS, _KIND, _FORM))
    for pattern in (_MEMORY, _WATTS, _KIND, _FORM):
        plain = pattern.sub(" ", plain)
    chip = _chip([word for word in plain.split() if not _IDLE.fullmatch(word)])
    if re.search(r"\bgcds?\b", inside) and not chip.endswith("gcd"):
        chip += "gcd"
    detail = form[1] if form else ""
    if chip in ("b200", "b300") and _form(detail) == "nvl":  # the rack of them is of superchips
        chip = "g" + chip
    return Name(
        chip=_ALIASES.get(chip, chip),
        form=_form(detail),
        detail=detail,
        memory_gb=float(memory[1]) if memory else None,
        kind=kind[1] if kind else "",
        watts=float(watts[1]) if watts else None,
    )


def best(wanted: Name, listed: Iterable[tuple[str, Name]]) -> str | None:
    """The listed name that is meant: the most in common, then the default of a chip: its first form, with the most memory."""
    fits = [(key, name) for key, name in listed if not wanted.contradicts(name)]
    if not fits:
        return None
    most = max(wanted.agreement(name) for _, name in fits)
    fits = [(key, name) for key, name in fits if wanted.agreement(name) == most]
    if wanted.memory_gb is not None:
        return min(fits, key=lambda one: abs((one[1].memory_gb or wanted.memory_gb or 0.0) - (wanted.memory_gb or 0.0)))[0]
    first = fits[0][1].detail
    return max((one for one in fits if one[1].detail == first), key=lambda one: one[1].memory_gb or 0.0)[0]


def _socket(detail: str) -> bool:
    """Whether the generation of an SXM socket is named."""
    return detail.startswith("sxm") and detail != "sxm"


def _form(detail: str) -> str:
    letters = detail.rstrip("0123456789")
    return {"hgx": "sxm", "dgx": "sxm", "pci": "pcie"}.get(letters, letters)


def _chip(words: list[str]) -> str:
    """The words that are left as one: 'rtx 6000 ada' is rtx6000ada, 'a6000' is rtxa6000, '4090' is rtx4090, 'v5 lite 256' is tpuv5e."""
    words = [re.sub(r"^gcds$", "gcd", word) for word in words]
    joined = "".join(words)
    for name, chip in _TPU_NAMES.items():
        if name in joined:
            return chip
    if words and (words[0].startswith("tpu") or re.fullmatch(r"v\d(?:e|p|x|litepod)", words[0])):
        return _tpu(words)
    if re.fullmatch(r"a\d000|a4500|a5500|\d0[5-9]0(?:ti|super|tisuper|d)?|6000ada|[2456]\d00ada|pro\d000", joined):
        return "rtx" + joined
    return joined


def _tpu(words: list[str]) -> str:
    """'tpu v5e', 'tpuv5litepod', 'v5p': a trailing number is the size of the slice."""
    if len(words) > 1 and re.fullmatch(r"\d+", words[-1]) and re.search(r"\d", "".join(words[:-1])):
        words = words[:-1]
    match = _TPU.fullmatch("".join(words))
    if match is None:
        return "".join(words)
    digit, letter = match[1], (match[2] or "")
    if digit == "7":
        return "tpu7x"
    if letter.startswith("lite") or (digit == "6" and not letter):
        letter = "e"
    return f"tpuv{digit}{letter}"
