"""Caches of machines whose kernel shows none in sysfs, from the device tree, in the forms that firmware gives it."""

import struct
from pathlib import Path

from hwbench.core.inventory import Cpu
from hwbench.probe._notes import Notes
from hwbench.probe._sysroot import Sysroot
from hwbench.probe.cpu import probe_cpu
from tests.probe.conftest import Core, Files, Machine, lists, topology, write

TREE = "proc/device-tree/cpus"


def cells(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def node(name: str, kind: str, **properties: bytes) -> Files:
    files: Files = {f"{TREE}/{name}/{key.replace('_', '-')}": value for key, value in properties.items()}
    return files | {f"{TREE}/{name}/device_type": f"{kind}\0".encode()}


def first_level(name: str, *reg: int, after: int | None = None) -> Files:
    files = node(name, "cpu", reg=cells(*reg), d_cache_size=cells(32768), i_cache_size=cells(65536))
    return files if after is None else files | node(name, "cpu", l2_cache=cells(after))


def second_level(name: str, handle: int, size: int = 524288, key: str = "d_cache_size") -> Files:
    return node(name, "cache", phandle=cells(handle), cache_unified=b"", **{key: cells(size)})


def probed(root: Path, files: Files, links: dict[str, str] | None = None) -> tuple[Cpu, list[str]]:
    notes = Notes()
    cpu = probe_cpu(Sysroot(write(Machine(files, {}, links or {}), root)), notes)
    return cpu, [gap.reason for gap in notes.gaps if gap.path == "cpu.caches"]


def rows(cpu: Cpu) -> list[tuple[int, str, int, int, tuple[int, ...]]]:
    return [(one.level, one.kind, one.size_bytes, one.instances, one.cpus_per_instance) for one in cpu.caches or ()]


def test_caches_inside_of_the_processors(tmp_path: Path) -> None:
    """Two PowerPC 970 as a Macintosh has them: the second level is a node inside of each processor's (of equal name as a property)."""
    files: Files = lists(range(2)) | topology((Core((0,)), Core((1,), id=1)), new=False)
    for number in range(2):
        name = f"PowerPC,970@{number}"
        files |= first_level(name, number, after=0x100 + number) | second_level(f"{name}/l2-cache#1", 0x100 + number)
    cpu, _ = probed(tmp_path, files)
    assert rows(cpu) == [(1, "data", 32768, 2, (1,)), (1, "instruction", 65536, 2, (1,)), (2, "unified", 524288, 2, (1,))]


def test_sysfs_says_which_node_is_whose(tmp_path: Path) -> None:
    """An ARM chip: registers of two cells, logical numbers in another order than the hardware's, one size for data and code."""
    files: Files = lists(range(4)) | topology(tuple(Core((cpu,), id=cpu) for cpu in range(4)))
    for number in range(4):
        files |= first_level(f"cpu@{number % 2 + 0x100 * (number // 2):x}", 0, number % 2 + 0x100 * (number // 2), after=7 + number // 2)
    files |= second_level("l2-cache0", 7, 1 << 20, "cache_size") | second_level("l2-cache1", 8, 2 << 20, "cache_size")
    names = ["cpu@100", "cpu@101", "cpu@0", "cpu@1"]
    links = {
        f"sys/devices/system/cpu/cpu{cpu}/of_node": f"../../../../firmware/devicetree/base/cpus/{name}" for cpu, name in enumerate(names)
    }
    cpu, _ = probed(tmp_path / "linked", files, links)
    assert rows(cpu)[2:] == [(2, "unified", 1 << 20, 1, (2,)), (2, "unified", 2 << 20, 1, (2,))]
    unlinked, reasons = probed(tmp_path / "unlinked", files)
    assert (unlinked.caches, reasons) == (None, ["/proc/device-tree/cpus: not every CPU has a node"])


def test_one_number_speaks_of_the_whole_core(tmp_path: Path) -> None:
    files: Files = lists(range(8)) | topology((Core(tuple(range(4))), Core(tuple(range(4, 8)), id=1)), new=False)
    files |= first_level("PowerPC,POWER5@0", 0) | first_level("PowerPC,POWER5@4", 4)
    cpu, _ = probed(tmp_path, files)
    assert rows(cpu) == [(1, "data", 32768, 2, (4,)), (1, "instruction", 65536, 2, (4,))]


def test_a_next_level_that_is_not_there_is_a_loss(tmp_path: Path) -> None:
    cpu, reasons = probed(tmp_path, lists((0,)) | first_level("PowerPC,POWER8@0", 0, after=0x2000))
    assert cpu.caches is None
    assert reasons == ["/proc/device-tree/cpus/PowerPC,POWER8@0: no node has the phandle 0x2000 of its next cache"]
