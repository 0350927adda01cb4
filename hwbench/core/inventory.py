"""What one machine is: CPU, limits, memory, PCI, network, storage, machine, software, tuning, accelerators, and what could not be seen.

None means "not seen", and a Gap then says which file did not tell. An empty tuple means "there is none". CPUs and nodes are named in
the kernel's list form ("0-7,16-23"). `sources` maps a dotted fact to where its value came from.

Formats:
  1  2026-11  the first
"""

from typing import Literal

import msgspec

from hwbench.core.accelerators import Accelerators
from hwbench.core.value import Value

SCHEMA = 1
CacheKind = Literal["data", "instruction", "unified"]


class Gap(Value):
    """What could not be seen: `path` is the dotted fact ("cpu.caches"), `reason` names the file and what is wrong with it."""

    path: str
    reason: str


class Cache(Value):
    """One kind of cache: how large each is, how many there are, how many online CPUs share one."""

    level: int
    kind: CacheKind
    size_bytes: int
    instances: int
    cpus_per_instance: tuple[int, ...] = ()
    """Distinct numbers of online CPUs that share one, sorted."""
    line_bytes: int | None = None
    ways: int | None = None


class CoreKind(Value):
    """Cores of one kind: a hybrid CPU has two or more (performance and efficiency cores), others one."""

    name: str | None
    cpu_list: str
    physical_cores: int
    threads_per_core: tuple[int, ...]
    capacity: int | None = None
    """The scheduler's relative capacity, 1024 for the strongest core, where the kernel tells."""


class FrequencyGroup(Value):
    """CPUs whose frequency is governed alike. Limits are the hardware's (`cpuinfo_*`) and the policy's now (`scaling_*`)."""

    cpu_list: str
    driver: str | None = None
    governor: str | None = None
    hardware_min_hz: float | None = None
    hardware_max_hz: float | None = None
    base_hz: float | None = None
    policy_min_hz: float | None = None
    policy_max_hz: float | None = None
    energy_preference: str | None = None


class Cpu(Value):
    """The CPUs. Counts are among the online CPUs; a core is what the kernel calls one: the CPUs that share its SMT siblings mask."""

    architecture: str | None = None
    vendor: str | None = None
    model: str | None = None
    family: str | None = None
    model_number: str | None = None
    stepping: str | None = None
    microcode: str | None = None
    online_count: int | None = None
    online_list: str | None = None
    offline_list: str | None = None
    possible_list: str | None = None
    isolated_list: str | None = None
    nohz_full_list: str | None = None
    sockets: int | None = None
    dies: int | None = None
    clusters: int | None = None
    books: int | None = None
    drawers: int | None = None
    physical_cores: int | None = None
    threads_per_core: tuple[int, ...] | None = None
    """Distinct numbers of online threads a core has, sorted: two values on a hybrid CPU."""
    smt_active: bool | None = None
    kinds: tuple[CoreKind, ...] | None = None
    isa: tuple[str, ...] | None = None
    """Instruction-set flags as /proc/cpuinfo spells them, those that every CPU has (RISC-V: the text, its base, each extension)."""
    isa_highlights: tuple[str, ...] | None = None
    """The vector and matrix extensions among them, as people call them: AVX2, AVX-512F, AMX-BF16, SVE2 …"""
    caches: tuple[Cache, ...] | None = None
    frequency: tuple[FrequencyGroup, ...] | None = None
    mitigations: dict[str, str] | None = None


class CgroupLimit(Value):
    """One limit that a control group sets: at which level of the tree, and the file that says so."""

    resource: Literal["cpu", "memory", "swap", "pids"]
    value: float
    """CPUs' worth of time for cpu, bytes for memory and swap, processes for pids."""
    source: str


class Limits(Value):
    """What this process may use, beside what the host has. None in an `effective_*` field: not even the host's figure is known."""

    host_cpus: int | None = None
    host_memory_bytes: int | None = None
    affinity_list: str | None = None
    cpuset_list: str | None = None
    cpuset_mems: str | None = None
    cgroup_version: Literal["1", "2", "1+2"] | None = None
    cgroup_path: str | None = None
    cpu_quota: float | None = None
    """CPUs' worth of time allowed, the tightest on the way up; None where no quota is set (or `limits.cpu_quota` is a gap)."""
    memory_limit_bytes: int | None = None
    cgroup_limits: tuple[CgroupLimit, ...] | None = None
    """Every limit on the way up, so that a report can say which one binds."""
    effective_cpu_list: str | None = None
    effective_cpus: float | None = None
    effective_memory_bytes: int | None = None


class HugePages(Value):
    """A pool of huge pages of one size; `node` is None for the machine's total."""

    size_bytes: int
    total: int | None
    free: int | None
    node: int | None = None


class MemorySideCache(Value):
    """Memory that caches slower memory of the same node (`memory_side_cache/indexN`)."""

    level: int
    size_bytes: int | None


class NumaNode(Value):
    """One NUMA node. `distances` are in the order of the nodes as listed; `kind` cpu, memory (no CPU), gpu (a GPU's memory) or empty."""

    id: int
    kind: Literal["cpu", "memory", "gpu", "empty"] | None = None
    memory_bytes: int | None = None
    cpu_list: str | None = None
    distances: tuple[int, ...] | None = None
    read_bandwidth_bytes_per_s: float | None = None
    """As the firmware claims (ACPI HMAT, `access0/initiators`), not measured."""
    read_latency_s: float | None = None
    side_caches: tuple[MemorySideCache, ...] = ()


class Dimm(Value):
    """One memory slot as SMBIOS describes it (structure type 17). `size_bytes` 0 is an empty slot."""

    locator: str | None
    bank: str | None = None
    size_bytes: int | None = None
    type: str | None = None
    form_factor: str | None = None
    transfers_per_s: float | None = None
    """Configured rate where the firmware tells, else the rated one."""
    rated_transfers_per_s: float | None = None
    data_width_bits: int | None = None
    ranks: int | None = None
    manufacturer: str | None = None
    part_number: str | None = None
    serial: str | None = None


class Memory(Value):
    """Main memory. `theoretical_bandwidth_bytes_per_s` is channels x width x rate, known only where the firmware names the channels."""

    total_bytes: int | None = None
    swap_total_bytes: int | None = None
    page_bytes: int | None = None
    numa_nodes: tuple[NumaNode, ...] | None = None
    huge_pages: tuple[HugePages, ...] | None = None
    dimms: tuple[Dimm, ...] | None = None
    channels: int | None = None
    theoretical_bandwidth_bytes_per_s: float | None = None


class PciDevice(Value):
    """One PCI function. Rates are per lane, as the PCIe specification names them (16 GT/s is 16e9)."""

    address: str
    class_code: str | None = None
    class_name: str | None = None
    vendor_id: str | None = None
    vendor: str | None = None
    device_id: str | None = None
    subsystem_vendor_id: str | None = None
    subsystem_device_id: str | None = None
    driver: str | None = None
    parent: str | None = None
    """Address of the bridge above, None at the root."""
    numa_node: int | None = None
    local_cpu_list: str | None = None
    link_transfers_per_s: float | None = None
    link_transfers_per_s_max: float | None = None
    link_width: int | None = None
    link_width_max: int | None = None
    downtrained: bool | None = None
    """The link runs below what both of its ends can do."""


class Pci(Value):
    """The PCI tree."""

    devices: tuple[PciDevice, ...] | None = None


class InfinibandPort(Value):
    """One port of an RDMA adapter; `link_layer` tells InfiniBand from RoCE (Ethernet)."""

    number: int
    state: str | None = None
    physical_state: str | None = None
    bandwidth_bytes_per_s: float | None = None
    rate_text: str | None = None
    link_layer: str | None = None


class InfinibandDevice(Value):
    """One RDMA adapter."""

    name: str
    numa_node: int | None = None
    pci_address: str | None = None
    type: str | None = None
    firmware: str | None = None
    board: str | None = None
    node_guid: str | None = None
    interfaces: tuple[str, ...] = ()
    ports: tuple[InfinibandPort, ...] = ()


class NetworkInterface(Value):
    """One network interface. `bandwidth_bytes_per_s` is one direction's line rate, None while the link is down or virtual."""

    name: str
    kind: str | None = None
    bandwidth_bytes_per_s: float | None = None
    numa_node: int | None = None
    operational_state: str | None = None
    duplex: str | None = None
    mtu_bytes: int | None = None
    mac: str | None = None
    driver: str | None = None
    pci_address: str | None = None


class Network(Value):
    """Network interfaces and RDMA adapters."""

    interfaces: tuple[NetworkInterface, ...] | None = None
    infiniband: tuple[InfinibandDevice, ...] | None = None


class NvmeDevice(Value):
    """One NVMe controller and the bytes of its namespaces."""

    name: str
    model: str | None = None
    numa_node: int | None = None
    transport: str | None = None
    firmware: str | None = None
    serial: str | None = None
    state: str | None = None
    pci_address: str | None = None
    size_bytes: int | None = None


class BlockDevice(Value):
    """One disk (no partition, loop or RAM disk)."""

    name: str
    model: str | None = None
    size_bytes: int | None = None
    rotational: bool | None = None
    scheduler: str | None = None
    transport: str | None = None
    numa_node: int | None = None


class Storage(Value):
    """Disks."""

    nvme: tuple[NvmeDevice, ...] | None = None
    block: tuple[BlockDevice, ...] | None = None


class Machine(Value):
    """The box: firmware's names for it, and what it runs inside."""

    host_name: str | None = None
    vendor: str | None = None
    product_name: str | None = None
    product_serial: str | None = None
    product_uuid: str | None = None
    board_vendor: str | None = None
    board_name: str | None = None
    bios_vendor: str | None = None
    bios_version: str | None = None
    bios_date: str | None = None
    chassis: str | None = None
    virtualization: str | None = None
    """The hypervisor (kvm, vmware, microsoft, xen, zvm, powervm …), "none" on bare metal."""
    container: str | None = None
    cloud: str | None = None
    instance_type: str | None = None


class Software(Value):
    """Versions, read from files and package metadata without importing the packages."""

    kernel_release: str | None = None
    kernel_version: str | None = None
    kernel_command_line: str | None = None
    os: str | None = None
    python: str | None = None
    libc: str | None = None
    nvidia_driver: str | None = None
    amdgpu_driver: str | None = None
    cuda: str | None = None
    cudnn: str | None = None
    nccl: str | None = None
    rocm: str | None = None
    torch: str | None = None
    torch_build: dict[str, str] = msgspec.field(default_factory=dict)
    """What torch's own version file says it was built for: cuda, hip, debug."""
    blas: str | None = None
    packages: dict[str, str] | None = None


class Pressure(Value):
    """Share of the last ten seconds in which tasks waited for a resource (PSI), 0..1."""

    cpu_some_fraction: float | None = None
    memory_some_fraction: float | None = None
    memory_full_fraction: float | None = None
    io_some_fraction: float | None = None
    io_full_fraction: float | None = None


class Tuning(Value):
    """How the machine is tuned, and (below `load_average`) what it was doing at that moment."""

    governors: dict[str, int] | None = None
    """CPUs under each frequency governor."""
    turbo: bool | None = None
    transparent_huge_pages: str | None = None
    transparent_huge_pages_defrag: str | None = None
    numa_balancing: bool | None = None
    zone_reclaim: int | None = None
    swappiness: int | None = None
    overcommit: int | None = None
    autogroup: bool | None = None
    address_randomisation: int | None = None
    perf_event_paranoid: int | None = None
    kernel_samepage_merging: bool | None = None
    clocksource: str | None = None
    ulimits: dict[str, str] | None = None
    """Soft limits of this process as /proc/self/limits words them."""
    thread_variables: dict[str, str] | None = None
    """Environment variables that set thread counts and pinning (OMP_NUM_THREADS …), those that are set."""
    load_average: tuple[float, float, float] | None = None
    load_per_cpu: float | None = None
    """One-minute load over the CPUs this process may use; above 1 the machine is oversubscribed."""
    swap_used_bytes: int | None = None
    steal_fraction: float | None = None
    """Share of CPU time since boot that the hypervisor gave to others."""
    pressure: Pressure | None = None


class Inventory(Value):
    """Everything known of one machine at one moment."""

    schema: int = SCHEMA
    cpu: Cpu = Cpu()
    limits: Limits = Limits()
    memory: Memory = Memory()
    pci: Pci = Pci()
    network: Network = Network()
    storage: Storage = Storage()
    machine: Machine = Machine()
    software: Software = Software()
    tuning: Tuning = Tuning()
    accelerators: Accelerators | None = None
    gaps: tuple[Gap, ...] = ()
    sources: dict[str, str] = msgspec.field(default_factory=dict)
