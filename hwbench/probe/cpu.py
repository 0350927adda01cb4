"""CPUs: identity, topology, kinds of cores, caches, frequencies and mitigations."""

import platform

from hwbench.core.inventory import CoreKind, Cpu

from ._caches import Instance, read_instances, summary
from ._cpuinfo import PATH as CPUINFO
from ._cpuinfo import CpuInfo, read_cpuinfo
from ._frequency import probe_frequency
from ._identity import arm_part, identify
from ._notes import Notes, some
from ._parse import as_list, cpu_list, cpu_mask, each, integer, members
from ._sysroot import Sysroot
from ._topology import BOOK, CLUSTER, CPUS, DIE, DRAWER, Groups, cores_and_packages, level, online_cpus
from .memory import NODES

_PMU_NAMES = {"cpu_core": "performance", "cpu_atom": "efficiency", "cpu_lowpower": "low power"}
# In the order in which Linux began to report them (Documentation/ABI/testing/sysfs-devices-system-cpu).
_VULNERABILITIES = (
    "meltdown", "spectre_v1", "spectre_v2", "spec_store_bypass", "l1tf", "mds", "tsx_async_abort", "itlb_multihit", "srbds",
    "mmio_stale_data", "retbleed", "gather_data_sampling", "spec_rstack_overflow", "reg_file_data_sampling", "ghostwrite",
    "indirect_target_selection", "tsa", "vmscape",
)  # fmt: skip


def probe_cpu(root: Sysroot, notes: Notes) -> Cpu:
    """Everything the kernel's files tell of the CPUs."""
    info = read_cpuinfo(root)
    named = identify(info, notes, root.why(CPUINFO))
    architecture = platform.machine() if root.live else named.architecture
    base = Cpu(
        architecture=architecture,
        vendor=named.vendor,
        model=named.model,
        family=named.family,
        model_number=named.model_number,
        stepping=named.stepping,
        microcode=named.microcode or root.text(f"{CPUS}/cpu0/microcode/version"),
        isa=named.isa,
        isa_highlights=named.isa_highlights,
        mitigations=_mitigations(root, notes),
    )
    found = online_cpus(root, info)
    if found.masks is None:
        for fact in ("online_count", "online_list", "physical_cores", "sockets", "threads_per_core", "caches", "frequency"):
            notes.gap(f"cpu.{fact}", found.why)
        return base
    notes.source("cpu.online_list", found.source)
    return _with_topology(root, base, found.masks[0], info, notes)


def _with_topology(root: Sysroot, base: Cpu, online: int, info: CpuInfo | None, notes: Notes) -> Cpu:
    cores, packages = cores_and_packages(root, online, info)
    instances = read_instances(root, online, cores, notes)
    sockets, clusters = _sockets(root, packages, instances, info, online)
    threads = tuple(sorted({core.bit_count() for core in cores.masks})) if cores.masks is not None else None
    for fact, groups in (("physical_cores", cores), ("threads_per_core", cores), ("sockets", sockets)):
        _tell(notes, fact, groups)
    dies, books, drawers = (level(root, online, which) for which in (DIE, BOOK, DRAWER))
    _tell(notes, "dies", dies)
    return _replace(
        base,
        online_count=online.bit_count(),
        online_list=as_list(online),
        offline_list=_listed(root, "offline", notes),
        possible_list=_listed(root, "possible", notes),
        isolated_list=_listed(root, "isolated", notes),
        nohz_full_list=_listed(root, "nohz_full", notes),
        sockets=_count(sockets),
        dies=_count(dies),
        clusters=_count(clusters) or _count(level(root, online, CLUSTER)),
        books=_count(books),
        drawers=_count(drawers),
        physical_cores=_count(cores),
        threads_per_core=threads,
        smt_active=_smt(root, threads),
        kinds=_kinds(root, online, cores, instances, info, notes),
        caches=None if instances is None else summary(root, instances, notes),
        frequency=probe_frequency(root, online, notes),
    )


def _replace(cpu: Cpu, **changes: object) -> Cpu:
    return Cpu(**({name: getattr(cpu, name) for name in cpu.__struct_fields__} | changes))


def _count(groups: Groups) -> int | None:
    return None if groups.masks is None else len(groups.masks)


def _tell(notes: Notes, fact: str, groups: Groups) -> None:
    if groups.masks is None:
        notes.gap(f"cpu.{fact}", groups.why)
    else:
        notes.source(f"cpu.{fact}", groups.source)


def _sockets(
    root: Sysroot, packages: Groups, instances: tuple[Instance, ...] | None, info: CpuInfo | None, online: int
) -> tuple[Groups, Groups]:
    """Packages as sockets, and clusters where they are that.

    Kernels before 5.19 gave each cluster of an ARM device tree a package of its own (commit "arch_topology: Don't set cluster identifier
    as physical package identifier"). That it is one chip shows where packages share a cache, or where their cores differ in design or
    strength: nobody builds a board with two different ARM processors that run one kernel. Without /proc/cpuinfo only `cpu_capacity`
    hints at ARM.
    """
    unknown = Groups(None)
    if packages.masks is None or len(packages.masks) < 2:
        return packages, unknown
    if info is None and root.exists(f"{CPUS}/cpu{next(each(online))}/cpu_capacity") and not _memory_apart(root, packages.masks):
        return Groups(None, why=f"{root.why(CPUINFO)}; {packages.source} may be clusters of one chip"), unknown
    if info is None or arm_part(info, next(each(online))) is None:
        return packages, unknown
    designs = {frozenset(arm_part(info, cpu) for cpu in each(mask)) for mask in packages.masks}
    strengths = {cpu: _capacity(root, cpu) for cpu in each(online)}
    levels = {frozenset(strengths[cpu] for cpu in each(mask)) for mask in packages.masks}
    spanned = any(sum(1 for mask in packages.masks if mask & cache.cpus) > 1 for cache in instances or ())
    if len(designs) > 1 or spanned or (len(levels) > 1 and None not in strengths.values()):
        return Groups((online,), f"{packages.source}: clusters of one ARM chip (they share a cache or differ in core design)"), packages
    lost = [root.why(f"{CPUS}/cpu{cpu}/cpu_capacity") for cpu, strength in strengths.items() if strength is None]
    if lost and len(lost) < len(strengths):
        return Groups(None, why=f"{packages.source} may be clusters of one chip; {some(lost)}"), unknown
    return packages, unknown


def _memory_apart(root: Sysroot, packages: tuple[int, ...]) -> bool:
    """Whether packages have NUMA nodes of their own, as sockets have: clusters of one chip share its memory."""
    names = [name for name in root.entries(NODES) or () if name.startswith("node")]
    local = [mask for name in names if (mask := cpu_mask(root.text(f"{NODES}/{name}/cpumap")))]
    return len(local) > 1 and all(sum(1 for package in packages if package & mask) == 1 for mask in local)


def _listed(root: Sysroot, name: str, notes: Notes) -> str | None:
    """One of the kernel's own lists of CPUs, in its canonical form."""
    cpus = cpu_list(root.text(f"{CPUS}/{name}"))
    if cpus is None:
        notes.gap(f"cpu.{name}_list", root.why(f"{CPUS}/{name}"))
        return None
    return as_list(cpus)


def _smt(root: Sysroot, threads: tuple[int, ...] | None) -> bool | None:
    told = root.text(f"{CPUS}/smt/active")
    if told in ("0", "1"):
        return told == "1"
    return None if threads is None else max(threads) > 1


def _mitigations(root: Sysroot, notes: Notes) -> dict[str, str] | None:
    folder = f"{CPUS}/vulnerabilities"
    names = root.entries(folder)
    if not names:
        notes.gap("cpu.mitigations", root.why(folder))
        return None
    found = {name: text for name in names if (text := root.text(f"{folder}/{name}", 4096))}
    silent = [name for name in dict.fromkeys((*_VULNERABILITIES, *names)) if name not in found]
    if silent:
        notes.gap("cpu.mitigations", f"{folder}: this kernel does not tell {', '.join(silent)}")
    notes.source("cpu.mitigations", f"{folder}/*")
    return found


def _kinds(
    root: Sysroot, online: int, cores: Groups, instances: tuple[Instance, ...] | None, info: CpuInfo | None, notes: Notes
) -> tuple[CoreKind, ...] | None:
    """Cores by kind: by ARM part and capacity, by Intel's PMU of each kind, else by the size of their own caches."""
    if cores.masks is None:
        notes.gap("cpu.kinds", cores.why)
        return None
    groups: dict[tuple[str | None, int | None, tuple[tuple[int, str, int], ...]], int] = {}
    pmus = _pmus(root)
    uncovered = online & ~members(cpu for mask in pmus.values() for cpu in each(mask)) if pmus else 0
    if uncovered:
        silent = "; ".join(root.why(f"/sys/devices/{name}/cpus") for name, label in _PMU_NAMES.items() if label not in pmus)
        notes.gap("cpu.kinds", f"CPUs {as_list(uncovered)} have no performance monitoring unit: {silent}")
        return None
    for cpu in each(online):
        part = arm_part(info, cpu) if info else None
        name = part or next((name for name, mask in pmus.items() if mask >> cpu & 1), None)
        strength = None if pmus else _capacity(root, cpu)
        own = () if part or pmus or strength is not None else _own_caches(instances, cpu)
        groups[name, strength, own] = groups.get((name, strength, own), 0) | 1 << cpu
    if instances is None and set(groups) == {(None, None, ())}:
        notes.gap("cpu.kinds", "no caches, capacities or part numbers to tell kinds of cores apart by; see cpu.caches")
        return None
    if len({capacity is None for _, capacity, _ in groups}) > 1:
        lost = [root.why(f"{CPUS}/cpu{cpu}/cpu_capacity") for cpu in each(online) if _capacity(root, cpu) is None]
        notes.gap("cpu.kinds", some(lost))
        return None
    return tuple(_kind(name, capacity, mask, cores.masks) for (name, capacity, _), mask in groups.items())


def _capacity(root: Sysroot, cpu: int) -> int | None:
    return integer(root.text(f"{CPUS}/cpu{cpu}/cpu_capacity"), 1, 1024)


def _kind(name: str | None, capacity: int | None, cpus: int, cores: tuple[int, ...]) -> CoreKind:
    mine = [core for core in cores if core & cpus]
    threads = tuple(sorted({(core & cpus).bit_count() for core in mine}))
    return CoreKind(name=name, cpu_list=as_list(cpus), physical_cores=len(mine), threads_per_core=threads, capacity=capacity)


def _pmus(root: Sysroot) -> dict[str, int]:
    """CPUs by kind as the performance monitoring units of a hybrid Intel CPU list them."""
    found = {label: cpu_list(root.text(f"/sys/devices/{name}/cpus")) for name, label in _PMU_NAMES.items()}
    return {label: mask for label, mask in found.items() if mask}


def _own_caches(instances: tuple[Instance, ...] | None, cpu: int) -> tuple[tuple[int, str, int], ...]:
    return tuple(sorted((one.level, one.kind, one.size_bytes) for one in instances or () if one.level <= 2 and one.cpus >> cpu & 1))
