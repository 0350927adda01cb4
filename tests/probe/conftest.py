"""Machines as trees of /sys and /proc, written by the project itself after the kernel's documentation of these files."""

import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

Files = dict[str, str | bytes]
CPU = "sys/devices/system/cpu"
NODE = "sys/devices/system/node"


class Core(NamedTuple):
    """One core: its threads, and what it belongs to."""

    threads: tuple[int, ...]
    package: int = 0
    die: int = 0
    id: int = 0


class Kept(NamedTuple):
    """One cache of one kind in the hierarchy: its folder's number, level, type, size text and the sets of CPUs that share one."""

    number: int
    level: int
    type: str
    size: str
    sets: tuple[tuple[int, ...], ...]


class Machine(NamedTuple):
    """Files (and links) of a tree, and the facts that hold of it by dotted name."""

    files: Files
    truth: dict[str, object]
    links: dict[str, str] = {}  # never written to


def mask(cpus: Iterable[int]) -> str:
    digits = f"{sum(1 << cpu for cpu in cpus):x}"
    padded = digits.zfill(-(-len(digits) // 8) * 8)
    return ",".join(padded[at : at + 8] for at in range(0, len(padded), 8))


def listed(cpus: Iterable[int]) -> str:
    return ",".join(str(cpu) for cpu in sorted(cpus))


def cpus_of(cores: Iterable[Core]) -> tuple[int, ...]:
    return tuple(sorted(cpu for core in cores for cpu in core.threads))


def topology(cores: tuple[Core, ...], *, new: bool = True, ids: bool = True) -> Files:
    """Topology folders: with the names since 5.2 and lists (`new`), or with the masks alone that older kernels have."""
    files: Files = {}
    for core in cores:
        package = cpus_of(other for other in cores if other.package == core.package)
        die = cpus_of(other for other in cores if (other.package, other.die) == (core.package, core.die))
        sets = {"thread_siblings": core.threads, "core_siblings": package}
        if new:
            sets |= {"core_cpus": core.threads, "package_cpus": package, "die_cpus": die}
        for cpu in core.threads:
            at = f"{CPU}/cpu{cpu}/topology"
            files |= {f"{at}/{name}": mask(members) for name, members in sets.items()}
            files |= {f"{at}/{name}_list": listed(members) for name, members in sets.items() if new}
            files |= {f"{at}/core_id": str(core.id if ids else -1), f"{at}/physical_package_id": str(core.package if ids else -1)}
            if new:
                files[f"{at}/die_id"] = str(core.die)
    return files


def caches(kept: tuple[Kept, ...], *, lists: bool = True) -> Files:
    files: Files = {}
    for cache in kept:
        for members in cache.sets:
            for cpu in members:
                at = f"{CPU}/cpu{cpu}/cache/index{cache.number}"
                files |= {f"{at}/level": str(cache.level), f"{at}/type": cache.type, f"{at}/size": cache.size}
                files |= {f"{at}/shared_cpu_map": mask(members), f"{at}/coherency_line_size": "64", f"{at}/ways_of_associativity": "8"}
                if lists:
                    files[f"{at}/shared_cpu_list"] = listed(members)
    return files


def nodes(members: dict[int, tuple[int, ...]], memory_kib: dict[int, int]) -> Files:
    files: Files = {f"{NODE}/online": listed(members), f"{NODE}/possible": listed(members)}
    for number, cpus in members.items():
        at = f"{NODE}/node{number}"
        files |= {
            f"{at}/cpumap": mask(cpus),
            f"{at}/cpulist": listed(cpus),
            f"{at}/meminfo": f"Node {number} MemTotal:       {memory_kib[number]} kB\nNode {number} MemFree:        1024 kB\n",
            f"{at}/distance": " ".join("10" if other == number else "21" for other in members),
        }
    return files


def lists(online: Iterable[int], offline: Iterable[int] = ()) -> Files:
    possible = (*online, *offline)
    return {
        f"{CPU}/online": listed(online),
        f"{CPU}/offline": listed(offline),
        f"{CPU}/possible": listed(possible),
        f"{CPU}/isolated": "",
        f"{CPU}/nohz_full": "",
    }


def frequencies(khz: dict[int, int], governor: str = "performance") -> Files:
    files: Files = {}
    for cpu, highest in khz.items():
        at = f"{CPU}/cpu{cpu}/cpufreq"
        files |= {f"{at}/cpuinfo_min_freq": "800000", f"{at}/cpuinfo_max_freq": str(highest), f"{at}/scaling_governor": governor}
        files |= {f"{at}/scaling_min_freq": "800000", f"{at}/scaling_max_freq": str(highest), f"{at}/scaling_driver": "intel_pstate"}
    return files


def x86_cpuinfo(cpus: Iterable[int], model: str, vendor: str = "GenuineIntel", flags: str = "fpu sse4_2 ht lm avx avx2 fma avx512f") -> str:
    block = "processor\t: {cpu}\nvendor_id\t: {vendor}\ncpu family\t: 6\nmodel\t\t: 106\nmodel name\t: {model}\nstepping\t: 6\n"
    block += "microcode\t: 0xd0003f5\nflags\t\t: {flags}\nbogomips\t: 4000.00\npower management:\n\n"
    return "".join(block.format(cpu=cpu, vendor=vendor, model=model, flags=flags) for cpu in cpus)


def meminfo(kib: int) -> str:
    return f"MemTotal:       {kib} kB\nMemFree:        1024 kB\nSwapTotal:      2048 kB\nSwapFree:       2048 kB\n"


def x86_two_sockets() -> Machine:
    """Two sockets of one core with two threads, everything else a server has, in a version 2 control group without limits."""
    cores = (Core((0, 2), 0, 0, 0), Core((1, 3), 1, 0, 0))
    own = ((0, 2), (1, 3))
    pci = "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0"
    disk = "sys/devices/pci0000:00/0000:00:02.0"
    files = topology(cores) | lists(range(4)) | nodes({0: (0, 2), 1: (1, 3)}, {0: 8388608, 1: 8388608})
    files |= caches(
        (
            Kept(0, 1, "Data", "48K", own),
            Kept(1, 1, "Instruction", "32K", own),
            Kept(2, 2, "Unified", "1280K", own),
            Kept(3, 3, "Unified", "43008K", own),
        )
    )
    files |= frequencies(dict.fromkeys(range(4), 3100000)) | _system() | _pci(pci, disk)
    files |= {
        "proc/cpuinfo": x86_cpuinfo(range(4), "Intel(R) Xeon(R) Gold 6330 CPU @ 2.00GHz"),
        "proc/meminfo": meminfo(16777216),
        f"{CPU}/smt/active": "1",
        f"{CPU}/vulnerabilities/meltdown": "Not affected",
        f"{CPU}/vulnerabilities/spectre_v2": "Mitigation: Enhanced IBRS",
        "proc/self/status": "Name:\tx\nCpus_allowed_list:\t0-3\n",
        "proc/self/cgroup": "0::/user.slice\n",
        "proc/self/mountinfo": "30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n",
        **cgroup2("user.slice", "max 100000", "max"),
    }
    truth = {
        "cpu.vendor": "GenuineIntel",
        "cpu.model": "Intel(R) Xeon(R) Gold 6330 CPU @ 2.00GHz",
        "cpu.online_list": "0-3",
        "cpu.sockets": 2,
        "cpu.dies": 2,
        "cpu.physical_cores": 2,
        "cpu.threads_per_core": [2],
        "cpu.smt_active": True,
        "cpu.caches.0.size_bytes": 48 << 10,
        "cpu.caches.3.instances": 2,
        "cpu.frequency.0.hardware_max_hz": 3.1e9,
        "memory.total_bytes": 16 << 30,
        "memory.numa_nodes.1.cpu_list": "1,3",
        "memory.numa_nodes.0.distances": [10, 21],
        "network.interfaces.0.bandwidth_bytes_per_s": 25e9 / 8,
        "network.infiniband.0.ports.0.bandwidth_bytes_per_s": 400e9 / 8,
        "storage.nvme.0.model": "Samsung SSD 970 PRO",
        "machine.product_name": "PowerEdge R750",
        "machine.virtualization": "none",
        "tuning.governors.performance": 4,
        "limits.effective_cpus": 4.0,
        "limits.cpu_quota": None,
        "pci.devices.2.parent": "0000:00:01.0",
        "pci.devices.2.downtrained": True,
    }
    links = {
        "sys/class/net/eth0": f"../../devices/{pci.removeprefix('sys/devices/')}/net/eth0",
        f"{pci}/net/eth0/device": "../../../0000:01:00.0",
        f"{pci}/infiniband/mlx5_0/device": "../../../0000:01:00.0",
        "sys/class/infiniband/mlx5_0": f"../../devices/{pci.removeprefix('sys/devices/')}/infiniband/mlx5_0",
        "sys/class/nvme/nvme0": f"../../devices/{disk.removeprefix('sys/devices/')}/nvme/nvme0",
        f"{disk}/nvme/nvme0/device": "../../../0000:00:02.0",
        "sys/bus/pci/devices/0000:00:01.0": "../../../devices/pci0000:00/0000:00:01.0",
        "sys/bus/pci/devices/0000:01:00.0": "../../../devices/pci0000:00/0000:00:01.0/0000:01:00.0",
        "sys/bus/pci/devices/0000:00:02.0": "../../../devices/pci0000:00/0000:00:02.0",
    }
    return Machine(files, truth, links)


def _system() -> Files:
    """Names, versions and knobs."""
    return {
        "sys/class/dmi/id/sys_vendor": "Dell Inc.",
        "sys/class/dmi/id/product_name": "PowerEdge R750",
        "sys/class/dmi/id/bios_version": "1.15.2",
        "proc/version": "Linux version 6.6.1 (x@y) #1 SMP",
        "proc/sys/kernel/osrelease": "6.6.1",
        "proc/cmdline": "ro quiet",
        "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12"\n',
        "proc/loadavg": "0.50 0.40 0.30 1/200 4242",
        "proc/stat": "cpu  100 0 100 700 0 0 0 100 0 0\ncpu0 25 0 25 175 0 0 0 25 0 0\n",
        "proc/sys/vm/swappiness": "60",
        "proc/sys/kernel/randomize_va_space": "2",
        "proc/sys/kernel/numa_balancing": "1",
        "sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never",
        "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "8",
        "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "8",
        "proc/pressure/cpu": "some avg10=12.00 avg60=0.00 avg300=0.00 total=1\n",
        "proc/1/cgroup": "0::/init.scope\n",
    }


def _pci(card: str, disk: str) -> Files:
    files: Files = {}
    bridge = card.rpartition("/")[0]
    for at, code, width in ((bridge, "0x060400", "16"), (card, "0x020700", "8"), (disk, "0x010802", "4")):
        files |= {
            f"{at}/class": code,
            f"{at}/vendor": "0x15b3",
            f"{at}/device": "0x1021",
            f"{at}/numa_node": "0",
            f"{at}/local_cpulist": "0,2",
        }
        files |= {f"{at}/current_link_speed": "16.0 GT/s PCIe", f"{at}/current_link_width": width}
        files |= {f"{at}/max_link_speed": "16.0 GT/s PCIe", f"{at}/max_link_width": "4" if at == disk else "16"}
    port = f"{card}/infiniband/mlx5_0/ports/1"
    files |= {f"{port}/state": "4: ACTIVE", f"{port}/phys_state": "5: LinkUp", f"{port}/rate": "400 Gb/sec (4X NDR)"}
    files |= {f"{port}/link_layer": "InfiniBand", f"{card}/infiniband/mlx5_0/fw_ver": "28.41.1000"}
    net = f"{card}/net/eth0"
    files |= {
        f"{net}/speed": "25000",
        f"{net}/operstate": "up",
        f"{net}/type": "1",
        f"{net}/mtu": "9000",
        f"{net}/address": "02:00:00:00:00:01",
    }
    files |= {
        f"{disk}/nvme/nvme0/model": "Samsung SSD 970 PRO   ",
        f"{disk}/nvme/nvme0/transport": "pcie",
        f"{disk}/nvme/nvme0/state": "live",
    }
    return files | {f"{disk}/nvme/nvme0/nvme0n1/size": "2048"}


def cgroup2(path: str, cpu_max: str, memory_max: str) -> Files:
    """A version 2 hierarchy: the root, which has no limits, and one group."""
    at = f"sys/fs/cgroup/{path}"
    return {
        "sys/fs/cgroup/cgroup.controllers": "cpuset cpu memory pids",
        f"{at}/cgroup.controllers": "cpuset cpu memory pids",
        f"{at}/cgroup.events": "populated 1\nfrozen 0\n",
        f"{at}/cgroup.type": "domain",
        f"{at}/cpu.max": cpu_max,
        f"{at}/memory.max": memory_max,
        f"{at}/pids.max": "max",
        f"{at}/cpuset.cpus.effective": "0-3",
    }


def container_v2() -> Machine:
    """One and a half CPUs of four, and 2 GiB that the parent group sets; the container sees its own group as the root."""
    host = x86_two_sockets()
    files = {path: text for path, text in host.files.items() if not path.startswith("sys/fs/cgroup")}
    top = cgroup2("unused", "150000 100000", str(4 << 30))
    files |= {path.replace("/unused", ""): text for path, text in top.items() if "/unused" in path}
    files |= cgroup2("work", "max 100000", str(2 << 30)) | {"sys/fs/cgroup/cgroup.controllers": "cpuset cpu memory pids"}
    files |= {"proc/self/cgroup": "0::/work\n", "proc/1/cgroup": "0::/kubepods/pod1/work\n"}
    truth = {
        "limits.host_cpus": 4,
        "limits.cpu_quota": 1.5,
        "limits.effective_cpus": 1.5,
        "limits.host_memory_bytes": 16 << 30,
        "limits.memory_limit_bytes": 2 << 30,
        "limits.effective_memory_bytes": 2 << 30,
        "limits.cgroup_version": "2",
        "machine.container": "kubernetes",
    }
    return Machine(files, truth, host.links)


def container_v1() -> Machine:
    """Docker without a control group namespace: the group's path lies outside of what is mounted, the mount's root is the group."""
    host = x86_two_sockets()
    files = {path: text for path, text in host.files.items() if not path.startswith("sys/fs/cgroup")}
    files |= {
        "proc/self/cgroup": "4:cpu,cpuacct:/docker/ab\n3:memory:/docker/ab\n2:cpuset:/docker/ab\n",
        "proc/self/mountinfo": (
            "30 20 0:26 /docker/ab /sys/fs/cgroup/cpu\\040set rw - cgroup cgroup rw,cpu,cpuacct\n"
            "31 20 0:27 /docker/ab /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
            "32 20 0:28 /docker/ab /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
        ),
        "proc/self/status": "Name:\tx\nCpus_allowed_list:\t0-1\n",
        "sys/fs/cgroup/cpu set/cpu.cfs_quota_us": "50000",
        "sys/fs/cgroup/cpu set/cpu.cfs_period_us": "100000",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": str(1 << 30),
        "sys/fs/cgroup/memory/memory.stat": f"cache 4096\nrss 8192\nhierarchical_memory_limit {1 << 30}\ntotal_cache 4096\n",
        "sys/fs/cgroup/cpuset/cpuset.effective_cpus": "0-1",
        "proc/1/cgroup": "4:cpu,cpuacct:/docker/ab\n",
    }
    truth = {
        "limits.cpu_quota": 0.5,
        "limits.effective_cpus": 0.5,
        "limits.effective_cpu_list": "0-1",
        "limits.cpuset_list": "0-1",
        "limits.effective_memory_bytes": 1 << 30,
        "limits.cgroup_version": "1",
        "machine.container": "docker",
    }
    return Machine(files, truth, host.links)


def hybrid() -> Machine:
    """Two performance cores with two threads and four efficiency cores that share an L2."""
    cores = (Core((0, 1), id=0), Core((2, 3), id=4), *(Core((cpu,), id=4 + cpu) for cpu in range(4, 8)))
    fast, slow = ((0, 1), (2, 3)), tuple((cpu,) for cpu in range(4, 8))
    files = topology(cores) | lists(range(8)) | frequencies({cpu: 5000000 if cpu < 4 else 3900000 for cpu in range(8)}, "powersave")
    files |= caches(
        (
            Kept(0, 1, "Data", "48K", fast),
            Kept(0, 1, "Data", "32K", slow),
            Kept(2, 2, "Unified", "2048K", fast),
            Kept(2, 2, "Unified", "4096K", (tuple(range(4, 8)),)),
            Kept(3, 3, "Unified", "24576K", (tuple(range(8)),)),
        )
    )
    files |= {"proc/cpuinfo": x86_cpuinfo(range(8), "13th Gen Intel(R) Core(TM)"), "proc/meminfo": meminfo(1 << 20)}
    files |= {"sys/devices/cpu_core/cpus": "0-3", "sys/devices/cpu_atom/cpus": "4-7"}
    truth = {
        "cpu.physical_cores": 6,
        "cpu.threads_per_core": [1, 2],
        "cpu.kinds.0.name": "performance",
        "cpu.kinds.0.physical_cores": 2,
        "cpu.kinds.1.name": "efficiency",
        "cpu.kinds.1.physical_cores": 4,
        "cpu.caches.3.instances": 1,
        "cpu.caches.3.cpus_per_instance": [4],
        "memory.numa_nodes.0.memory_bytes": 1 << 30,
    }
    return Machine(files, truth)


def amd_complexes() -> Machine:
    """One package, two dies, an L3 for every two cores: four of them, not one."""
    cores = tuple(Core((cpu,), die=cpu // 4, id=cpu) for cpu in range(8))
    single, pairs = tuple((cpu,) for cpu in range(8)), tuple((cpu, cpu + 1) for cpu in range(0, 8, 2))
    files = topology(cores) | lists(range(8)) | nodes({0: (0, 1, 2, 3), 1: (4, 5, 6, 7)}, {0: 1024, 1: 1024})
    files |= caches((Kept(0, 1, "Data", "32K", single), Kept(2, 2, "Unified", "512K", single), Kept(3, 3, "Unified", "8192K", pairs)))
    files |= {"proc/cpuinfo": x86_cpuinfo(range(8), "AMD EPYC 7451", "AuthenticAMD"), "proc/meminfo": meminfo(2048)}
    truth: dict[str, object] = {
        "cpu.sockets": 1,
        "cpu.dies": 2,
        "cpu.physical_cores": 8,
        "cpu.caches.2.instances": 4,
        "cpu.caches.2.size_bytes": 8 << 20,
    }
    return Machine(files, truth)


def big_little() -> Machine:
    """A phone's chip under a kernel before 5.19, which calls the two clusters packages; core ids repeat in each."""
    cores = tuple(Core((cpu,), package=cpu // 4, id=cpu % 4) for cpu in range(6))
    files = topology(cores, new=False) | lists(range(6))
    block = "processor\t: {cpu}\nFeatures\t: fp asimd aes\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: {part}\n\n"
    files["proc/cpuinfo"] = "".join(block.format(cpu=cpu, part="0xd03" if cpu < 4 else "0xd08") for cpu in range(6))
    files |= {f"{CPU}/cpu{cpu}/cpu_capacity": "485" if cpu < 4 else "1024" for cpu in range(6)}
    truth = {
        "cpu.vendor": "ARM",
        "cpu.model": "Cortex-A72 + Cortex-A53",
        "cpu.sockets": 1,
        "cpu.clusters": 2,
        "cpu.physical_cores": 6,
        "cpu.kinds.0.name": "Cortex-A53",
        "cpu.kinds.1.capacity": 1024,
        "cpu.isa_highlights": ["NEON"],
    }
    return Machine(files, truth)


def power_offline_threads() -> Machine:
    """Two POWER cores of eight threads, of which two each are online; ids are -1, masks hold the online threads only."""
    cores = (Core((0, 1), package=0), Core((8, 9), package=1))
    offline = [cpu for cpu in range(16) if cpu not in (0, 1, 8, 9)]
    files = topology(cores, new=False, ids=False) | lists((0, 1, 8, 9), offline)
    files |= caches((Kept(0, 1, "Data", "32K", ((0, 1), (8, 9))),), lists=False)
    files |= {f"{CPU}/cpu{cpu}/online": "0" if cpu in offline else "1" for cpu in range(16)}
    block = "processor\t: {cpu}\ncpu\t\t: POWER9 (architected), altivec supported\nclock\t\t: 2500.0MHz\nrevision\t: 2.2\n\n"
    files["proc/cpuinfo"] = "".join(block.format(cpu=cpu) for cpu in (0, 1, 8, 9)) + "timebase\t: 512000000\nplatform\t: pSeries\n"
    truth = {
        "cpu.online_list": "0-1,8-9",
        "cpu.offline_list": "2-7,10-15",
        "cpu.physical_cores": 2,
        "cpu.sockets": 2,
        "cpu.threads_per_core": [2],
        "cpu.caches.0.instances": 2,
        "cpu.isa_highlights": ["AltiVec"],
        "cpu.architecture": "ppc64",
    }
    return Machine(files, truth)


def mainframe() -> Machine:
    """s390 with books and drawers."""
    cores = tuple(Core((2 * core, 2 * core + 1), package=core // 2, id=core) for core in range(4))
    files = topology(cores, new=False) | lists(range(8))
    for cpu in range(8):
        at = f"{CPU}/cpu{cpu}/topology"
        files |= {f"{at}/book_siblings": mask(range(4) if cpu < 4 else range(4, 8)), f"{at}/drawer_siblings": mask(range(8))}
        files |= {f"{at}/book_siblings_list": "0-3" if cpu < 4 else "4-7", f"{at}/drawer_siblings_list": "0-7"}
    head = "vendor_id       : IBM/S390\n# processors    : 8\nmax thread id   : 1\nfeatures\t: esan3 zarch vx vxe \n"
    lines = "".join(f"processor {cpu}: version = 00,  identification = 178B58,  machine = 3931\n" for cpu in range(8))
    files |= {"proc/cpuinfo": head + lines, "proc/sysinfo": "Type:                 3931\nVM00 Control Program: KVM/Linux\n"}
    truth = {
        "cpu.vendor": "IBM/S390",
        "cpu.model": "3931",
        "cpu.architecture": "s390x",
        "cpu.sockets": 2,
        "cpu.books": 2,
        "cpu.drawers": 1,
        "cpu.physical_cores": 4,
        "cpu.isa": ["esan3", "zarch", "vx", "vxe"],
        "machine.virtualization": "kvm",
        "machine.product_name": "3931",
    }
    return Machine(files, truth)


def riscv() -> Machine:
    cores = tuple(Core((cpu,), id=cpu) for cpu in range(4))
    block = (
        "processor\t: {cpu}\nhart\t\t: {cpu}\nisa\t\t: rv64imafdcv_zba_zbb\nmmu\t\t: sv39\nuarch\t\t: sifive,u74-mc\nmvendorid\t: 0x489\n\n"
    )
    files = topology(cores) | lists(range(4)) | {"proc/cpuinfo": "".join(block.format(cpu=cpu) for cpu in range(4))}
    truth = {
        "cpu.model": "sifive,u74-mc",
        "cpu.vendor": "0x489",
        "cpu.architecture": "riscv64",
        "cpu.isa": ["rv64imafdcv_zba_zbb", "rv64imafdcv", "rv64", *"imafdcv", "zba", "zbb"],
        "cpu.isa_highlights": ["RVV"],
        "cpu.physical_cores": 4,
    }
    return Machine(files, truth)


def offline_cpu() -> Machine:
    """A kernel without the `online` list: CPU 3 says that it is offline and has lost its topology; its sibling runs alone."""
    cores = (Core((0, 2), id=0), Core((1,), id=1))
    files = topology(cores, new=False) | {f"{CPU}/cpu{cpu}/online": "1" for cpu in (1, 2)} | {f"{CPU}/cpu3/online": "0"}
    files |= caches((Kept(0, 1, "Data", "32K", ((0, 2), (1,))),), lists=False)
    files["proc/cpuinfo"] = x86_cpuinfo((0, 1, 2), "Xeon")
    truth = {
        "cpu.online_list": "0-2",
        "cpu.physical_cores": 2,
        "cpu.threads_per_core": [1, 2],
        "cpu.sockets": 1,
        "cpu.caches.0.instances": 2,
    }
    return Machine(files, truth)


def memory_only_node() -> Machine:
    cores = tuple(Core((cpu,), id=cpu) for cpu in range(2))
    files = topology(cores) | lists(range(2)) | nodes({0: (0, 1), 2: ()}, {0: 1024, 2: 4096})
    at = f"{NODE}/node2"
    files |= {f"{at}/access0/initiators/read_bandwidth": "20000", f"{at}/access0/initiators/read_latency": "130"}
    files |= {f"{NODE}/node0/memory_side_cache/index1/size": "98304K", "proc/cpuinfo": x86_cpuinfo(range(2), "Xeon")}
    truth = {
        "memory.numa_nodes.1.id": 2,
        "memory.numa_nodes.1.kind": "memory",
        "memory.numa_nodes.1.cpu_list": "",
        "memory.numa_nodes.1.read_bandwidth_bytes_per_s": 20e9,
        "memory.numa_nodes.0.side_caches.0.size_bytes": 96 << 20,
    }
    return Machine(files, truth)


def cpuinfo_only() -> Machine:
    """Nothing but /proc/cpuinfo: two packages of two cores with two threads."""
    block = "processor\t: {cpu}\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon\nphysical id\t: {package}\nsiblings\t: 4\n"
    block += "core id\t\t: {core}\ncpu cores\t: 2\nflags\t\t: lm avx\n\n"
    text = "".join(block.format(cpu=cpu, package=cpu // 4, core=cpu // 2 % 2) for cpu in range(8))
    truth = {"cpu.online_list": "0-7", "cpu.sockets": 2, "cpu.physical_cores": 4, "cpu.threads_per_core": [2], "cpu.caches": None}
    return Machine({"proc/cpuinfo": text}, truth)


def device_tree() -> Machine:
    """POWER without topology and caches in sysfs: cores and caches come from the device tree."""
    at = "proc/device-tree/cpus"
    files: Files = {
        "proc/cpuinfo": "".join(f"processor\t: {cpu}\ncpu\t\t: POWER7\nrevision\t: 2\n\n" for cpu in range(8)) + "timebase : 5\n"
    }
    for core, threads in enumerate((range(4), range(4, 8))):
        node = f"{at}/PowerPC,POWER7@{core * 4:x}"
        files |= {f"{node}/device_type": "cpu\0", f"{node}/ibm,ppc-interrupt-server#s": struct.pack(">4I", *threads)}
        files |= {f"{node}/d-cache-size": struct.pack(">I", 32768), f"{node}/i-cache-size": struct.pack(">I", 32768)}
        files |= {f"{node}/l2-cache": struct.pack(">I", 0x2000 + core)}
        cache = f"{at}/l2-cache@{core}"
        files |= {
            f"{cache}/device_type": "cache\0",
            f"{cache}/ibm,phandle": struct.pack(">I", 0x2000 + core),
            f"{cache}/cache-unified": b"",
        }
        files |= {f"{cache}/d-cache-size": struct.pack(">I", 262144), f"{cache}/i-cache-size": struct.pack(">I", 262144)}
    truth = {
        "cpu.physical_cores": 2,
        "cpu.threads_per_core": [4],
        "cpu.caches.0.instances": 2,
        "cpu.caches.2.size_bytes": 262144,
        "cpu.caches.2.level": 2,
        "cpu.sockets": None,
    }
    return Machine(files, truth)


MACHINES: dict[str, Callable[[], Machine]] = {
    made.__name__: made
    for made in (
        x86_two_sockets, container_v1, container_v2, hybrid, amd_complexes, big_little, power_offline_threads, mainframe, riscv,
        offline_cpu, memory_only_node, cpuinfo_only, device_tree,
    )
}  # fmt: skip


def write(machine: Machine, root: Path) -> Path:
    """The tree on disk; gives the root back."""
    for name, content in machine.files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode() + b"\n")
    for name, target in machine.links.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    return root


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest) -> Machine:
    """Each of the machines in turn."""
    return MACHINES[request.param]()


@pytest.fixture
def tree(machine: Machine, tmp_path: Path) -> Path:
    """The same machine on disk."""
    return write(machine, tmp_path)


@pytest.fixture(scope="session")
def written() -> Callable[[str, Path], Path]:
    """Writes a machine by name into a folder."""
    return lambda name, root: write(MACHINES[name](), root)
