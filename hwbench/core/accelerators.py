"""Accelerators (GPUs and others) and how they hang together: what one machine or one description of a machine shows.

Units are SI base units in the names (`_bytes _hz _w _bytes_per_s`; temperatures in degrees Celsius). None means "not seen": the
reader that left it None returned a gap (dotted fact, reason) beside the value. Nothing here depends on the rest of hwbench.
"""

from typing import TypeAlias

import msgspec

from hwbench.core.value import Value

GapPairs: TypeAlias = tuple[tuple[str, str], ...]
"""What could not be seen: (dotted fact, reason) pairs, the fact relative to the Accelerators value, as `devices.3.serial`."""


class PcieLink(Value, frozen=True):
    """A PCIe link as trained now and at most.

    `*_max` is what both ends together can do; `*_device_max` what the device alone could do in a better slot.
    """

    generation: int | None = None
    generation_max: int | None = None
    generation_device_max: int | None = None
    width: int | None = None
    width_max: int | None = None
    width_device_max: int | None = None

    @property
    def downtrained(self) -> bool | None:
        """True where the link has fewer lanes than it could; None where that is not known.

        Only the width counts as a fault: GPUs lower the generation when idle to save power and raise it under load.
        """
        if self.width is None or self.width_max is None:
            return None
        return self.width < self.width_max

    @property
    def slower_now(self) -> bool | None:
        """True where the generation is below the maximum now: usual on an idle GPU, a fault on a busy one."""
        if self.generation is None or self.generation_max is None:
            return None
        return self.generation < self.generation_max


class Clock(Value, frozen=True):
    """One clock domain: graphics, sm, memory, video."""

    domain: str
    now_hz: float | None = None
    max_hz: float | None = None


class Power(Value, frozen=True):
    """Power drawn and the limits around it."""

    draw_w: float | None = None
    limit_w: float | None = None
    limit_enforced_w: float | None = None
    limit_default_w: float | None = None
    limit_min_w: float | None = None
    limit_max_w: float | None = None


class Ecc(Value, frozen=True):
    """Error correction: mode now and after the next reset, errors since the driver was loaded (volatile) and ever (aggregate)."""

    enabled: bool | None = None
    enabled_pending: bool | None = None
    corrected_volatile: int | None = None
    uncorrected_volatile: int | None = None
    corrected_aggregate: int | None = None
    uncorrected_aggregate: int | None = None


class MigInstance(Value, frozen=True):
    """One slice of a partitioned GPU."""

    index: int
    name: str | None = None
    uuid: str | None = None
    gpu_instance: int | None = None
    compute_instance: int | None = None
    compute_units: int | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None


class Mig(Value, frozen=True):
    """Partitioning of one GPU (NVIDIA's multi-instance GPU)."""

    enabled: bool | None = None
    enabled_pending: bool | None = None
    instances: tuple[MigInstance, ...] = ()


class Link(Value, frozen=True):
    """One link that leaves an accelerator: an NVLink, an xGMI link or a PCIe path to a peer or a CPU.

    `kind` is nvlink, xgmi, pcie, c2c (NVLink-C2C) or the kernel's number as text; `remote` is what it leads to: gpu, switch, cpu or None;
    `count` is above 1 where the source only tells how many links of a kind lead to the same place.
    """

    kind: str
    index: int | None = None
    active: bool | None = None
    version: str | None = None
    remote: str | None = None
    remote_index: int | None = None
    remote_pci_address: str | None = None
    remote_pci_id: str | None = None
    count: int = 1
    bandwidth_bytes_per_s: float | None = None
    bandwidth_min_bytes_per_s: float | None = None
    weight: int | None = None


class AcceleratorCache(Value, frozen=True):
    """A kind of cache in an accelerator and how many of it there are."""

    level: int
    kind: str
    size_bytes: int
    instances: int


class MemoryBank(Value, frozen=True):
    """A memory of an accelerator as its driver lists it."""

    heap: str
    size_bytes: int | None = None
    width_bits: int | None = None
    clock_max_hz: float | None = None


class Fabric(Value, frozen=True):
    """Membership in an NVLink fabric that may span machines: GPUs with the same cluster and clique reach each other."""

    state: str | None = None
    cluster_uuid: str | None = None
    clique: int | None = None


class Accelerator(Value, frozen=True):
    """One accelerator; `label` (GPU0, ACC1 …) is its name in the matrices, `source` says who told."""

    label: str
    source: str
    index: int | None = None
    kind: str = "gpu"
    vendor: str | None = None
    name: str | None = None
    name_source: str | None = None
    uuid: str | None = None
    serial: str | None = None
    pci_address: str | None = None
    pci_id: str | None = None
    driver: str | None = None
    compute_capability: str | None = None
    target: str | None = None
    compute_units: int | None = None
    simd_count: int | None = None
    core_count: int | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    memory_reserved_bytes: int | None = None
    memory_bus_width_bits: int | None = None
    memory_numa_node: int | None = None
    memory_banks: tuple[MemoryBank, ...] = ()
    caches: tuple[AcceleratorCache, ...] = ()
    clocks: tuple[Clock, ...] = ()
    power: Power | None = None
    temperature_c: float | None = None
    throttle_reasons: tuple[str, ...] | None = None
    performance_state: str | None = None
    persistence: bool | None = None
    ecc: Ecc | None = None
    mig: Mig | None = None
    pcie: PcieLink | None = None
    links: tuple[Link, ...] = ()
    numa_node: int | None = None
    cpu_list: str | None = None
    fabric: Fabric | None = None


class Nic(Value, frozen=True):
    """A network adapter as far as pairing needs it; `label` (NIC0 …) is its name in the matrices."""

    label: str
    name: str | None = None
    pci_address: str | None = None
    numa_node: int | None = None
    rdma: bool | None = None


class Matrix(Value, frozen=True):
    """A square table over labels, cells as text; None where the source leaves a cell out. `meaning` says what a cell is."""

    meaning: str
    source: str
    labels: tuple[str, ...]
    cells: tuple[tuple[str | None, ...], ...]

    def cell(self, row: str, column: str) -> str | None:
        """The cell of two labels; None where either is not in the matrix or the source left the cell out."""
        if row not in self.labels or column not in self.labels:
            return None
        return self.cells[self.labels.index(row)][self.labels.index(column)]


class Pairing(Value, frozen=True):
    """The network adapters nearest to one accelerator, and how near they are (PIX, PXB, PHB, NODE, SYS)."""

    accelerator: str
    nics: tuple[str, ...]
    relation: str | None = None


class GpuDirect(Value, frozen=True):
    """What GPU-to-network transfers without a copy in host memory need: kernel modules loaded now.

    `peermem` is nvidia_peermem (or nv_peer_mem); `dmabuf` is the kernel's dma-buf path, which needs the open NVIDIA modules or amdgpu.
    None is "not seen".
    """

    peermem: bool | None = None
    dmabuf: bool | None = None
    storage: bool | None = None
    ready: bool | None = None
    reason: str = ""


class AcceleratorSoftware(Value, frozen=True):
    """Versions of what drives the accelerators."""

    driver_version: str | None = None
    management_version: str | None = None
    cuda_driver_version: str | None = None
    amdgpu_version: str | None = None


class Accelerators(Value, frozen=True):
    """All accelerators of one machine, their links, their pairing with network adapters and NUMA nodes."""

    software: AcceleratorSoftware = AcceleratorSoftware()
    devices: tuple[Accelerator, ...] = ()
    nics: tuple[Nic, ...] = ()
    topology: Matrix | None = None
    matrices: dict[str, Matrix] = msgspec.field(default_factory=dict)
    pairings: tuple[Pairing, ...] = ()
    link_domains: tuple[tuple[str, ...], ...] = ()
    gpudirect: GpuDirect | None = None


Reading: TypeAlias = tuple[Accelerators, GapPairs]
"""What every reader of accelerators returns: what it saw, and what it could not see."""
