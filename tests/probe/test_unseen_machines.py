"""Machines of kinds that kernels describe in their own way: what the inventory must and must not make of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hwbench.core.codec import to_builtins
from hwbench.core.inventory import Inventory
from hwbench.probe.inventory import take_inventory
from tests.probe.conftest import (
    CPU,
    NODE,
    Core,
    Files,
    Kept,
    Machine,
    caches,
    cpus_of,
    listed,
    lists,
    mask,
    meminfo,
    nodes,
    topology,
    write,
    x86_cpuinfo,
)  # fmt: skip


def at(plain: Any, path: str) -> Any:
    for part in path.split("."):
        if plain is None:
            return None
        plain = plain[int(part)] if isinstance(plain, list | tuple) else plain.get(part)
    return list(plain) if isinstance(plain, tuple) else plain


def cut_masks(cores: tuple[Core, ...]) -> Files:
    """Topology of a kernel before 3.18: a package's mask ends at its die, where the dies are NUMA nodes."""
    files = topology(cores, new=False)
    for core in cores:
        die = cpus_of(other for other in cores if (other.package, other.die) == (core.package, core.die))
        files |= {f"{CPU}/cpu{cpu}/topology/core_siblings": mask(die) for cpu in core.threads}
    return files


def cluster_on_die() -> Machine:
    """Two packages of two NUMA nodes; core ids go on through the package."""
    cores = tuple(Core((cpu, cpu + 8), package=cpu // 4, die=cpu // 2 % 2, id=cpu % 4 + 4 * (cpu % 4 // 2)) for cpu in range(8))
    own = tuple(core.threads for core in cores)
    halves = tuple(cpus_of(core for core in cores if (core.package, core.die) == half) for half in ((0, 0), (0, 1), (1, 0), (1, 1)))
    files = cut_masks(cores) | lists(range(16)) | nodes(dict(enumerate(halves)), dict.fromkeys(range(4), 1024))
    files |= caches((Kept(0, 1, "Data", "32K", own), Kept(3, 3, "Unified", "17920K", halves)))
    files["proc/cpuinfo"] = x86_cpuinfo(range(16), "Intel(R) Xeon(R) CPU E5-2650L v3 @ 1.80GHz")
    truth = {"cpu.sockets": 2, "cpu.physical_cores": 8, "cpu.threads_per_core": [2], "cpu.caches.1.instances": 4}
    return Machine(files, truth)


def repeated_core_ids() -> Machine:
    """The same masks, but core ids begin anew in each: nothing says that equal package ids mean the same package."""
    cores = tuple(Core((cpu,), package=cpu // 4, die=cpu // 2 % 2, id=cpu % 2) for cpu in range(8))
    files = cut_masks(cores) | lists(range(8)) | {"proc/cpuinfo": x86_cpuinfo(range(8), "Xeon")}
    return Machine(files, {"cpu.sockets": 4, "cpu.physical_cores": 8})


def itanium() -> Machine:
    """Packages of one core with ids that repeat, by a kernel without topology folders: "siblings" is what counts."""
    block = "processor  : {cpu}\nvendor     : GenuineIntel\narch       : IA-64\nfamily     : 31\nmodel      : 2\n"
    block += "model name : Madison up to 9M cache\nfeatures   : branchlong\ncpu number : 0\nsiblings   : 1\nphysical id: {package}\n\n"
    files: Files = {"proc/cpuinfo": "".join(block.format(cpu=cpu, package=cpu // 2) for cpu in range(4))}
    truth = {"cpu.sockets": 4, "cpu.physical_cores": 4, "cpu.threads_per_core": [1], "cpu.model": "Madison up to 9M cache"}
    return Machine(files, truth)


def repeated_packages() -> Machine:
    """Ids of packages that repeat, with more CPUs to each than the kernel counts."""
    block = "processor  : {cpu}\narch       : IA-64\nsiblings   : 2\nphysical id: 0\ncore id    : {core}\nthread id  : 0\n\n"
    files: Files = {"proc/cpuinfo": "".join(block.format(cpu=cpu, core=cpu % 2) for cpu in range(4))}
    return Machine(files, {"cpu.online_list": "0-3", "cpu.sockets": None})


def mainframe_of_two_books() -> Machine:
    """s390 by /proc/cpuinfo alone, as it is since Linux 4.19: packages are counted within a book."""
    head = "vendor_id       : IBM/S390\n# processors    : 8\nfeatures\t: esan3 zarch vx\n"
    head += "processor 0: version = FF,  identification = 1,  machine = 8561\n\n"
    block = "cpu number      : {cpu}\nphysical id     : {package}\ncore id         : {core}\nbook id         : {book}\n"
    block += "drawer id       : 0\ndedicated       : 0\naddress         : {cpu}\nsiblings        : 2\ncpu cores       : 1\n\n"
    text = "".join(block.format(cpu=cpu, core=cpu // 2, package=cpu // 2 % 2, book=cpu // 4) for cpu in range(8))
    truth = {"cpu.model": "8561", "cpu.online_list": "0-7", "cpu.sockets": 4, "cpu.physical_cores": 4, "cpu.threads_per_core": [2]}
    return Machine({"proc/cpuinfo": head + text}, truth)


def ids_alone() -> Machine:
    """A copy without masks. Core ids begin anew in each die, and package ids are the same in both books of a machine."""
    files: Files = {}
    for cpu in range(8):
        ids = {"physical_package_id": 0, "die_id": cpu // 4, "core_id": cpu // 2 % 2}
        files |= {f"{CPU}/cpu{cpu}/topology/{name}": str(value) for name, value in ids.items()}
    return Machine(files | lists(range(8)), {"cpu.sockets": 1, "cpu.physical_cores": 4, "cpu.threads_per_core": [2]})


def ids_of_clusters() -> Machine:
    """RISC-V: core ids begin anew in each cluster."""
    files: Files = {}
    for cpu in range(8):
        ids = {"physical_package_id": 0, "cluster_id": cpu // 4, "core_id": cpu % 4}
        files |= {f"{CPU}/cpu{cpu}/topology/{name}": str(value) for name, value in ids.items()}
    return Machine(files | lists(range(8)), {"cpu.sockets": 1, "cpu.physical_cores": 8, "cpu.threads_per_core": [1]})


def lost_topology() -> Machine:
    """No list of what is online, and one CPU's topology was not copied: /proc/cpuinfo shows that it is no offline CPU, as CPU 3 is."""
    files = topology((Core((0,)), Core((2,), id=2)), new=False) | {f"{CPU}/cpu{cpu}/crash_notes": "0" for cpu in (1, 3)}
    files["proc/cpuinfo"] = x86_cpuinfo((0, 1, 2), "Xeon")
    return Machine(files, {"cpu.online_list": "0-2", "cpu.physical_cores": None, "cpu.sockets": None})


def ids_that_repeat() -> Machine:
    """The same without die ids: /proc/cpuinfo counts four cores where the ids show two."""
    files: Files = {}
    for cpu in range(4):
        ids = {"physical_package_id": 0, "core_id": cpu % 2}
        files |= {f"{CPU}/cpu{cpu}/topology/{name}": str(value) for name, value in ids.items()}
    block = "processor: {cpu}\nvendor_id: AuthenticAMD\nphysical id: 0\ncore id: {core}\ncpu cores: 4\nsiblings: 4\nflags: lm\n\n"
    files["proc/cpuinfo"] = "".join(block.format(cpu=cpu, core=cpu % 2) for cpu in range(4))
    return Machine(files | lists(range(4)), {"cpu.sockets": 1, "cpu.physical_cores": None, "cpu.threads_per_core": None})


def arm_cpuinfo(parts: tuple[str, ...], implementer: str = "0x41") -> str:
    block = "processor\t: {cpu}\nFeatures\t: fp asimd aes\nCPU implementer\t: {implementer}\nCPU architecture: 8\nCPU part\t: {part}\n\n"
    return "".join(block.format(cpu=cpu, part=part, implementer=implementer) for cpu, part in enumerate(parts))


def eight_equal_cores() -> Machine:
    """Two clusters of one design and two strengths, which this kernel calls packages: one chip."""
    cores = tuple(Core((cpu,), package=cpu // 4, id=cpu % 4) for cpu in range(8))
    files = topology(cores, new=False) | lists(range(8)) | {"proc/cpuinfo": arm_cpuinfo(("0xd03",) * 8)}
    files |= {f"{CPU}/cpu{cpu}/cpu_capacity": "640" if cpu < 4 else "1024" for cpu in range(8)}
    truth = {"cpu.sockets": 1, "cpu.clusters": 2, "cpu.physical_cores": 8, "cpu.model": "Cortex-A53", "cpu.kinds.0.capacity": 640}
    return Machine(files, truth)


def two_arm_sockets() -> Machine:
    """Two packages of one design and one strength with memory of their own are sockets."""
    cores = tuple(Core((cpu,), package=cpu // 2, id=cpu) for cpu in range(4))
    files = topology(cores) | lists(range(4)) | nodes({0: (0, 1), 1: (2, 3)}, {0: 1024, 1: 1024})
    files |= {"proc/cpuinfo": arm_cpuinfo(("0xd02",) * 4, "0x48"), **{f"{CPU}/cpu{cpu}/cpu_capacity": "1024" for cpu in range(4)}}
    return Machine(files, {"cpu.sockets": 2, "cpu.clusters": None, "cpu.vendor": "HiSilicon", "cpu.model": "TaiShan-v120"})


def second_level_without_size() -> Machine:
    """A device tree with the sizes of first-level caches only: the kernel hides size and geometry of the second."""
    cores = tuple(Core((cpu,), id=cpu) for cpu in range(4))
    own = tuple((cpu,) for cpu in range(4))
    files = topology(cores) | lists(range(4)) | {"proc/cpuinfo": arm_cpuinfo(("0xd08",) * 4)}
    files |= caches(
        (Kept(0, 1, "Data", "32K", own), Kept(1, 1, "Instruction", "48K", own), Kept(2, 2, "Unified", "0K", (tuple(range(4)),)))
    )
    hidden = ("size", "coherency_line_size", "ways_of_associativity")
    files = {path: text for path, text in files.items() if not ("index2" in path and path.endswith(hidden))}
    truth = {"cpu.caches.#": 2, "cpu.caches.0.kind": "data", "cpu.caches.0.instances": 4, "cpu.caches.1.size_bytes": 48 << 10}
    return Machine(files, truth)


def no_sizes_at_all() -> Machine:
    """Nothing told is not "there are no caches"."""
    files = topology((Core((0,)), Core((1,), id=1))) | lists(range(2)) | caches((Kept(0, 1, "Data", "0K", ((0,), (1,))),))
    return Machine(files, {"cpu.caches": None, "cpu.physical_cores": 2})


def harts_that_differ() -> Machine:
    """Two kinds of harts: what both have, not nothing, although no text is the same."""
    block = "processor\t: {cpu}\nhart\t\t: {cpu}\nisa\t\t: {isa}\nuarch\t\t: spacemit,x60\nmvendorid\t: 0x710\n\n"
    texts = ("rv64imafdcv_zicsr_zba_zbb", "rv64imafdc_zicsr_zba")
    files: Files = {"proc/cpuinfo": "".join(block.format(cpu=cpu, isa=isa) for cpu, isa in enumerate(texts))}
    truth: dict[str, object] = {
        "cpu.isa": ["rv64", "i", "m", "a", "f", "d", "c", "zicsr", "zba"],
        "cpu.isa_highlights": [],
        "cpu.architecture": "riscv64",
    }
    return Machine(files, truth)


def parisc() -> Machine:
    """The line "model name" is the machine's."""
    text = "processor\t: 0\ncpu family\t: PA-RISC 2.0\ncpu\t\t: PA8700 (PCX-W2)\nmodel\t\t: 9000/785/J6750\nmodel name\t: Duet W2\n"
    return Machine({"proc/cpuinfo": text}, {"cpu.model": "PA8700 (PCX-W2)", "cpu.architecture": "parisc"})


def sparc() -> Machine:
    """Sizes without a word on who shares the caches: as many as there are threads would be a guess."""
    cores = tuple(Core(tuple(range(4 * core, 4 * core + 4)), id=core) for core in range(2))
    text = "cpu\t\t: UltraSparc T2 (Niagara2)\ntype\t\t: sun4v\nncpus active\t: 8\n" + "".join(f"CPU{cpu}:\t\tonline\n" for cpu in range(8))
    files = topology(cores, new=False) | lists(range(8)) | {"proc/cpuinfo": text}
    files |= {f"{CPU}/cpu{cpu}/l1_{kind}cache_size": "8192" for cpu in range(8) for kind in "di"}
    truth = {"cpu.physical_cores": 2, "cpu.threads_per_core": [4], "cpu.sockets": 1, "cpu.caches": None, "cpu.architecture": "sparc64"}
    return Machine(files, truth)


def boot_cpu_offline() -> Machine:
    """CPU 0 and its whole node are offline; possible CPUs are many more than present; CPU numbers have holes."""
    cores = (Core((4, 12), id=0), Core((6,), id=2))
    files = topology(cores) | lists((4, 6, 12), (0, 2, 8, 10, 14)) | nodes({1: (4, 6, 12)}, {1: 4096})
    files |= {f"{CPU}/possible": "0-239", f"{CPU}/cpu0/online": "0", "proc/cpuinfo": x86_cpuinfo((4, 6, 12), "Xeon")}
    files |= caches((Kept(0, 1, "Data", "32K", ((4, 12), (6,))), Kept(3, 3, "Unified", "8192K", ((4, 6, 12, 14),))))
    truth = {
        "cpu.online_list": "4,6,12", "cpu.online_count": 3, "cpu.physical_cores": 2, "cpu.threads_per_core": [1, 2], "cpu.sockets": 1,
        "cpu.possible_list": "0-239", "cpu.caches.1.instances": 1, "cpu.caches.1.cpus_per_instance": [3],
        "memory.numa_nodes.#": 1, "memory.numa_nodes.0.id": 1, "memory.numa_nodes.0.distances": [10],
    }  # fmt: skip
    return Machine(files, truth)


def thousands_of_cpus() -> Machine:
    """Numbers beyond 1024, in masks of many groups; memory-less nodes and nodes without CPUs between the others."""
    cores = tuple(Core((cpu, cpu + 1024), package=cpu // 512, die=cpu // 512, id=cpu % 512) for cpu in range(0, 1024, 128))
    members: dict[int, tuple[int, ...]] = {0: cpus_of(cores[:4]), 2: (), 4: cpus_of(cores[4:]), 255: ()}
    online = cpus_of(cores)
    files = topology(cores, new=False) | lists(online) | nodes(members, {0: 2048, 2: 1024, 4: 0, 255: 512})
    files |= {"proc/cpuinfo": x86_cpuinfo(online, "Xeon"), "proc/meminfo": meminfo(3584)}
    truth = {
        "cpu.online_count": 16, "cpu.sockets": 2, "cpu.physical_cores": 8, "memory.numa_nodes.#": 4, "memory.numa_nodes.1.kind": "memory",
        "memory.numa_nodes.2.kind": "cpu", "memory.numa_nodes.2.memory_bytes": 0, "memory.numa_nodes.3.id": 255,
        "memory.numa_nodes.3.distances": [21, 21, 21, 10], "memory.numa_nodes.2.cpu_list": listed(members[4]),
    }  # fmt: skip
    return Machine(files, truth)


def node_without_folder() -> Machine:
    """The kernel lists two nodes; the folder of one was not copied: it is there, and nothing is known of it."""
    files = nodes({0: (0, 1), 1: (2, 3)}, {0: 1024, 1: 2048}) | lists(range(4))
    files = {path: text for path, text in files.items() if "/node1/" not in path}
    truth = {
        "memory.numa_nodes.#": 2, "memory.numa_nodes.0.cpu_list": "0-1", "memory.numa_nodes.0.distances": [10, 21],
        "memory.numa_nodes.1.id": 1, "memory.numa_nodes.1.memory_bytes": None, "memory.numa_nodes.1.cpu_list": None,
    }  # fmt: skip
    return Machine(files, truth)


UNSEEN: dict[str, Callable[[], Machine]] = {
    made.__name__: made
    for made in (
        cluster_on_die, repeated_core_ids, itanium, repeated_packages, mainframe_of_two_books, ids_alone, ids_of_clusters, ids_that_repeat,
        lost_topology,
        eight_equal_cores, two_arm_sockets, second_level_without_size, no_sizes_at_all, harts_that_differ, parisc, sparc,
        boot_cpu_offline, thousands_of_cpus, node_without_folder,
    )
}  # fmt: skip


def facts(inventory: Inventory, paths: dict[str, object]) -> dict[str, object]:
    """Facts by dotted path; "#" at the end is how many there are."""
    plain = to_builtins(inventory)
    return {path: len(at(plain, path[:-2]) or ()) if path.endswith(".#") else at(plain, path) for path in paths}


@pytest.mark.parametrize("name", UNSEEN)
def test_facts(name: str, tmp_path: Path) -> None:
    machine = UNSEEN[name]()
    inventory = take_inventory(write(machine, tmp_path))
    assert facts(inventory, machine.truth) == machine.truth
    gaps = {gap.path for gap in inventory.gaps}
    assert {path for path, value in machine.truth.items() if value is None and path.count(".") == 1 and path != "cpu.clusters"} <= gaps


@pytest.mark.parametrize("name", ["cluster_on_die", "eight_equal_cores", "two_arm_sockets", "ids_alone", "mainframe_of_two_books"])
def test_a_missing_file_makes_no_fact_wrong(name: str, tmp_path: Path) -> None:
    machine = UNSEEN[name]()
    tree = write(machine, tmp_path)
    for path in machine.files:
        content = (tree / path).read_bytes()
        (tree / path).unlink()
        found = facts(take_inventory(tree), machine.truth)
        (tree / path).write_bytes(content)
        assert {fact: value for fact, value in found.items() if value not in (None, 0) and value != machine.truth[fact]} == {}, path


def test_why_a_level_is_left_out(tmp_path: Path) -> None:
    reasons = {gap.path: gap.reason for gap in take_inventory(write(second_level_without_size(), tmp_path)).gaps}
    assert reasons["cpu.caches.size_bytes"].endswith("/cache/index2: the kernel knows no size of level 2 (unified)")


def test_a_lost_size_is_no_unknown_size(tmp_path: Path) -> None:
    """With the geometry there, the kernel knew the size: the copy lost it, and the list as a whole is unknown."""
    files = topology((Core((0,)),)) | lists((0,)) | caches((Kept(0, 1, "Data", "32K", ((0,),)), Kept(2, 2, "Unified", "1M", ((0,),))))
    del files[f"{CPU}/cpu0/cache/index2/size"]
    inventory = take_inventory(write(Machine(files, {}), tmp_path))
    assert inventory.cpu.caches is None
    assert any("index2/size: missing" in gap.reason for gap in inventory.gaps if gap.path == "cpu.caches")


@pytest.mark.parametrize("text", ["0-65535", "junk", "", "0-1,5000"])
def test_an_absurd_list_of_nodes(tmp_path: Path, text: str) -> None:
    files = nodes({0: (0,), 1: (1,)}, {0: 1024, 1: 1024}) | {f"{NODE}/online": text}
    found = take_inventory(write(Machine(files, {}), tmp_path)).memory.numa_nodes
    assert [node.id for node in found or ()] == [0, 1]


def test_nodes_that_were_not_copied_are_no_single_node(tmp_path: Path) -> None:
    files = lists(range(2)) | topology((Core((0,)), Core((1,), id=1))) | {"proc/meminfo": meminfo(4096)}
    tree = write(Machine(files, {}, {f"{CPU}/cpu0/node0": "../../node/node0", f"{CPU}/cpu1/node1": "../../node/node1"}), tmp_path)
    assert take_inventory(tree).memory.numa_nodes is None
    (tree / CPU / "cpu1/node1").unlink()
    assert [node.memory_bytes for node in take_inventory(tree).memory.numa_nodes or ()] == [4096 << 10]
