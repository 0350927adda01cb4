"""/proc/cpuinfo of many architectures, in the form that the kernel's sources print (arch/*/kernel: show_cpuinfo)."""

from pathlib import Path

import pytest

from hwbench.core.inventory import Cpu
from hwbench.probe._notes import Notes
from hwbench.probe._sysroot import Sysroot
from hwbench.probe.arm_parts import implementer_name, part_name
from hwbench.probe.cpu import probe_cpu

SPARC = """cpu\t\t: UltraSparc T1 (Niagara)
fpu\t\t: UltraSparc T1 integrated FPU
type\t\t: sun4v
ncpus probed\t: 4
ncpus active\t: 4
MMU Type\t: Hypervisor (sun4v)
State:
CPU0:\t\tonline
CPU1:\t\tonline
CPU3:\t\tonline
"""
ALPHA = "cpu\t\t\t: Alpha\ncpu model\t\t: EV67\nsystem type\t\t: Tsunami\ncpus detected\t\t: 2\ncpus active\t\t: 2\n"
ITANIUM = """processor  : 0
vendor     : GenuineIntel
arch       : IA-64
family     : Itanium 2
features   : branchlong, 16-byte atomic ops
cpu number : 0
physical id: 0
core id    : 1

processor  : 1
vendor     : GenuineIntel
arch       : IA-64
family     : Itanium 2
features   : branchlong, 16-byte atomic ops
cpu number : 0
physical id: 0
core id    : 1
"""
MIPS = "system type\t\t: octeon\nprocessor\t\t: 0\ncpu model\t\t: Cavium Octeon II V0.9\nASEs implemented\t: msa vz\n"
LOONGARCH = """system type\t\t: generic-loongson-machine

processor\t\t: 0
package\t\t\t: 0
core\t\t\t: 0
CPU Family\t\t: Loongson-64bit
Model Name\t\t: Loongson-3A5000
ISA\t\t\t: loongarch32s loongarch64
Features\t\t: cpucfg lam ual fpu lsx lasx
"""
OLD_ARM = """Processor\t: ARMv7 Processor rev 1 (v7l)
processor\t: 0
BogoMIPS\t: 1595.80

processor\t: 1
BogoMIPS\t: 1595.80

Features\t: swp half neon
CPU implementer\t: 0x41
CPU architecture: 7
CPU part\t: 0xc09

Hardware\t: ST-Ericsson
"""
UNKNOWN_ARM = "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x99\nCPU architecture: 8\nCPU part\t: 0xfff\n"
PARISC = "processor\t: 0\ncpu family\t: PA-RISC 2.0\ncpu\t\t: PA8500 (PCX-W)\n"
M68K = "CPU:\t\t68040\nMMU:\t\t68040\nFPU:\t\t68040\n"


@pytest.mark.parametrize(
    ("text", "architecture", "vendor", "model", "online"),
    [
        (SPARC, "sparc64", None, "UltraSparc T1 (Niagara)", "0-1,3"),
        (ALPHA, "alpha", None, "EV67", None),
        (ITANIUM, "ia64", "GenuineIntel", "Itanium 2", "0-1"),
        (MIPS, "mips", None, "Cavium Octeon II V0.9", "0"),
        (LOONGARCH, "loongarch64", None, "Loongson-3A5000", "0"),
        (OLD_ARM, "arm", "ARM", "Cortex-A9", "0-1"),
        (UNKNOWN_ARM, "aarch64", "0x99", "0x99 0xfff", "0"),
        (PARISC, "parisc", None, "PA8500 (PCX-W)", "0"),
        (M68K, None, None, "68040", None),
        ("", None, None, None, None),
    ],
)
def test_names(tmp_path: Path, text: str, architecture: str | None, vendor: str | None, model: str | None, online: str | None) -> None:
    cpu, notes = probed(tmp_path, text)
    assert (cpu.architecture, cpu.vendor, cpu.model, cpu.online_list) == (architecture, vendor, model, online)
    gaps = {gap.path for gap in notes.gaps}
    assert {f"cpu.{fact}" for fact in ("vendor", "model") if getattr(cpu, fact) is None} <= gaps


def probed(tmp_path: Path, text: str) -> tuple[Cpu, Notes]:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(text)
    notes = Notes()
    return probe_cpu(Sysroot(tmp_path), notes), notes


def test_phrases_are_no_flags(tmp_path: Path) -> None:
    cpu, notes = probed(tmp_path, ITANIUM)
    assert cpu.isa is None
    assert any("branchlong, 16-byte atomic ops" in gap.reason for gap in notes.gaps if gap.path == "cpu.isa")


def test_only_flags_that_every_cpu_has(tmp_path: Path) -> None:
    cpu, _ = probed(tmp_path, "processor: 0\nflags: lm avx avx2\n\nprocessor: 1\nflags: lm avx\n")
    assert cpu.isa == ("lm", "avx")


def test_repeated_core_ids_of_two_nodes_are_not_threads(tmp_path: Path) -> None:
    """AMD's two-node packages: four cores, ids 0 and 1 twice. "cpu cores" shows that the ids do not tell them apart."""
    block = "processor: {cpu}\nphysical id: 0\ncore id: {id}\ncpu cores: 4\nsiblings: 4\n\n"
    cpu, notes = probed(tmp_path, "".join(block.format(cpu=cpu, id=cpu % 2) for cpu in range(4)))
    assert (cpu.physical_cores, cpu.sockets) == (None, 1)
    assert any("contradicts" in gap.reason for gap in notes.gaps if gap.path == "cpu.physical_cores")


def test_part_numbers_nobody_knows_have_no_name() -> None:
    assert part_name(0x41, 0xD0C) == "Neoverse-N1"
    assert part_name(0x41, 0x123) is None
    assert implementer_name(0x01) is None
