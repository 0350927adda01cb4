"""Vendor, model and instruction set of the CPUs from /proc/cpuinfo, whatever the architecture calls them."""

from typing import NamedTuple

from ._cpuinfo import PATH, CpuInfo
from ._notes import Notes
from .arm_parts import implementer_name, part_name

_MODEL_KEYS = ("model name", "cpu model", "uarch", "cpu", "processor")
_ISA_KEYS = ("flags", "features", "isa", "ases implemented")
_HIGHLIGHTS = {
    "sse4_2": "SSE4.2", "avx": "AVX", "fma": "FMA", "f16c": "F16C", "avx2": "AVX2", "avx_vnni": "AVX-VNNI", "avx512f": "AVX-512F",
    "avx512dq": "AVX-512DQ", "avx512bw": "AVX-512BW", "avx512vl": "AVX-512VL", "avx512_vnni": "AVX-512-VNNI", "avx512_bf16": "AVX-512-BF16",
    "avx512_fp16": "AVX-512-FP16", "amx_tile": "AMX", "amx_int8": "AMX-INT8", "amx_bf16": "AMX-BF16", "amx_fp16": "AMX-FP16",
    "neon": "NEON", "asimd": "NEON", "asimdhp": "NEON-FP16", "asimddp": "NEON-DOT", "bf16": "BF16", "i8mm": "I8MM",
    "sve": "SVE", "sve2": "SVE2", "svebf16": "SVE-BF16", "svei8mm": "SVE-I8MM", "sme": "SME", "sme2": "SME2",
    "vx": "VX", "vxe": "VXE", "vxe2": "VXE2", "nnpa": "NNPA", "lsx": "LSX", "lasx": "LASX", "msa": "MSA",
}  # fmt: skip


class Identity(NamedTuple):
    """What /proc/cpuinfo calls the CPUs."""

    architecture: str | None
    vendor: str | None
    model: str | None
    family: str | None
    model_number: str | None
    stepping: str | None
    microcode: str | None
    isa: tuple[str, ...] | None
    isa_highlights: tuple[str, ...] | None


def identify(info: CpuInfo | None, notes: Notes, why: str) -> Identity:
    """The names; what is missing becomes a gap (`why` says why the whole file is)."""
    if info is None:
        for fact in ("architecture", "vendor", "model", "isa"):
            notes.gap(f"cpu.{fact}", why)
        return Identity(None, None, None, None, None, None, None, None, None)
    isa = _isa(info, notes)
    found = Identity(
        architecture=_architecture(info),
        vendor=_vendor(info),
        model=_model(info),
        family=info.first("cpu family", "family", "cpu variant"),
        model_number=info.first("model") if info.first("vendor_id", "vendor", "arch") else info.first("cpu part", "mimpid"),
        stepping=info.first("stepping", "cpu revision", "revision"),
        microcode=info.first("microcode"),
        isa=isa,
        isa_highlights=_highlights(info, isa),
    )
    for fact in ("architecture", "vendor", "model"):
        if getattr(found, fact) is None:
            notes.gap(f"cpu.{fact}", f"{PATH}: {_TOLD[fact]}")
        else:
            notes.source(f"cpu.{fact}", PATH)
    return found


_TOLD = {
    "architecture": "no line that tells the architecture",
    "vendor": "names no vendor",
    "model": "names no model",
}


def _vendor(info: CpuInfo) -> str | None:
    """x86, s390 and ia64 name the vendor, ARM has an implementer code, RISC-V a JEDEC number."""
    code = info.first("cpu implementer")
    if code is not None:
        number = _hexadecimal(code)
        return (implementer_name(number) if number is not None else None) or code
    return info.first("vendor_id", "vendor", "mvendorid")


def arm_part(info: CpuInfo, cpu: int) -> str | None:
    """The name (or the code, where nobody here knows it) of an ARM core; None for other architectures."""
    record = info.records.get(cpu, {})
    implementer = record.get("cpu implementer") or info.shared.get("cpu implementer")
    part = record.get("cpu part") or info.shared.get("cpu part")
    if implementer is None or part is None:
        return None
    maker, number = _hexadecimal(implementer), _hexadecimal(part)
    known = part_name(maker, number) if maker is not None and number is not None else None
    return known or f"{implementer} {part}"


def _model(info: CpuInfo) -> str | None:
    parts = dict.fromkeys(part for cpu in [*info.records, -1] if (part := arm_part(info, cpu)))
    if parts:
        return " + ".join(reversed(parts))  # the kernel numbers the strongest cores last
    if _architecture(info) == "parisc":  # its "model name" is the machine's
        return info.first("cpu")
    named = info.first(*_MODEL_KEYS)
    if named is None and info.first("arch") == "IA-64":
        return info.first("family")  # kernels before 2.6.18 have the name ("Itanium 2") there
    return named or info.first("machine") if info.first("vendor_id") == "IBM/S390" else named


def _isa(info: CpuInfo, notes: Notes) -> tuple[str, ...] | None:
    """Flags that every processor has, in the order of the first one's."""
    for key in _ISA_KEYS:
        texts = info.every(key)
        if not texts:
            continue
        if "," in texts[0]:  # ia64: "branchlong, 16-byte atomic ops"
            notes.gap("cpu.isa", f"{PATH}: '{key}' holds phrases, not flags: {texts[0]!r}")
            return None
        split = _riscv_flags if texts[0].startswith("rv") else str.split
        each = [split(text) for text in texts]
        common = set(each[0]).intersection(*each[1:])
        notes.source("cpu.isa", f"{PATH}: {key}")
        return tuple(dict.fromkeys(flag for flag in each[0] if flag in common))
    notes.gap("cpu.isa", f"{PATH}: no flags, features or isa line")
    return None


def _riscv_flags(text: str) -> list[str]:
    """The text as it stands, its base ("rv64imafdc") and each extension: harts of one machine may differ in the text and share most of it.

    Documentation/arch/riscv/uabi.rst: single letters in canonical order, then names of several letters, with "_" between them.
    """
    base, *names = text.split("_")
    return [text, base, base[:4], *base[4:], *names]


def _highlights(info: CpuInfo, isa: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if isa is None:
        return ("AltiVec",) if "altivec" in (info.first("cpu") or "") else None
    found = [_HIGHLIGHTS[flag] for flag in isa if flag in _HIGHLIGHTS]
    if isa and isa[0].startswith("rv") and "v" in isa:
        found.append("RVV")
    return tuple(dict.fromkeys(found))


def _architecture(info: CpuInfo) -> str | None:
    """The kernel's name of the architecture, told from lines that only it writes."""
    if info.first("cpu implementer"):
        return "aarch64" if info.first("cpu architecture") in ("8", "AArch64") else "arm"
    if info.first("flags"):
        return "x86_64" if "lm" in (info.first("flags") or "").split() else "i386"
    isa = info.first("isa") or ""
    signs = {
        "s390x": info.first("vendor_id") == "IBM/S390",
        "ia64": info.first("arch") == "IA-64",
        "riscv64": isa.startswith("rv64"),
        "riscv32": isa.startswith("rv32"),
        "loongarch64": "loongarch64" in isa,
        "ppc64": "timebase" in info.shared and bool(info.first("revision")) and "POWER" in (info.first("cpu") or "").upper(),
        "ppc": "timebase" in info.shared or info.first("timebase") is not None,
        "sparc64": (info.first("type") or "").startswith("sun4"),
        "alpha": info.first("cpu") == "Alpha",
        "parisc": (info.first("cpu family") or "").startswith("PA-RISC"),
        "mips": info.first("ases implemented", "asid bits") is not None or "mips" in isa,
    }
    return next((name for name, sign in signs.items() if sign), None)


def _hexadecimal(text: str) -> int | None:
    try:
        return int(text, 16)
    except ValueError:
        return None
