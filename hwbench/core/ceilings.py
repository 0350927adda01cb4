"""What a machine was measured to give at best, as `hwbench probe --ceilings` and reports show it: figures made from a run's records.

Rates come twice: `best_` from the fastest sample, which is how STREAM and rooflines mean a ceiling, and the typical one, total work over
total time. `noisy`: the typical one is known to no better than 10 %.

Formats:
  1  2026-11  the first
"""

from hwbench.core.inventory import Gap
from hwbench.core.value import Value

SCHEMA = 1
MEMORY = "memory"
"""The level of a working set that no cache holds."""


class Stream(Value):
    """Bandwidth of one stream at one working set. Bytes are counted as STREAM counts them: triad 3 arrays, copy 2, read and write 1."""

    kernel: str
    dtype: str
    working_set_bytes: int
    """All arrays of all threads together."""
    level: str
    """The nearest cache that can hold it: L1, L2 …; else 'memory'. A virtual machine may be told of more cache than it gets."""
    threads: int
    cpus: str
    """CPUs the threads were bound to; empty where they were not."""
    node: int | None
    """The NUMA node of these CPUs; None where they belong to several, or to no known one."""
    pages: str
    bytes_per_s: float
    best_bytes_per_s: float
    noisy: bool = False
    warnings: tuple[str, ...] = ()


class Latency(Value):
    """Time of one load that waits for the one before, at one working set."""

    working_set_bytes: int
    level: str
    pages: str
    latency_s: float
    best_latency_s: float
    noisy: bool = False


class Product(Value):
    """Rate of one matrix product of (m, k) by (k, n), of all ranks together."""

    dtype: str
    device: str
    layout: str
    ranks: int
    m: int
    n: int
    k: int
    flops_per_s: float
    best_flops_per_s: float
    efficiency_fraction: float
    """Of the best rate that this dtype reached at any size, on this device under this layout."""
    noisy: bool = False


class Exchange(Value):
    """One collective at one message size. algbw and busbw are those of nccl-tests, over the typical time."""

    collective: str
    device: str
    layout: str
    ranks: int
    message_bytes: int
    time_s: float
    best_time_s: float
    algbw_bytes_per_s: float
    busbw_bytes_per_s: float
    noisy: bool = False


class Transfer(Value):
    """A copy between host and accelerator, or within one."""

    direction: str
    device: str
    pinned: bool
    message_bytes: int
    bytes_per_s: float
    best_bytes_per_s: float
    noisy: bool = False


class Disk(Value):
    """A file read or written from beginning to end; writing includes the fsync."""

    direction: str
    file_bytes: int
    folder: str
    """Empty: the system's temporary folder."""
    bytes_per_s: float
    best_bytes_per_s: float
    noisy: bool = False


class Ceilings(Value):
    """All measured ceilings of one run, and what it could not measure."""

    schema: int = SCHEMA
    run: str
    streams: tuple[Stream, ...] = ()
    latencies: tuple[Latency, ...] = ()
    products: tuple[Product, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    disks: tuple[Disk, ...] = ()
    gaps: tuple[Gap, ...] = ()
    """By workload: what failed, was skipped or was never reached, equal reasons once."""
    warnings: tuple[str, ...] = ()
    """What speaks against single figures, each sentence once."""
