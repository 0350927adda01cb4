"""Measured ceilings made by hand, as a small server might give them: every kind of curve, one noisy stretch, one gap."""

from hwbench.core.ceilings import Ceilings, Disk, Exchange, Latency, Product, Stream, Transfer
from hwbench.core.inventory import Gap

SIZES = tuple(1 << power for power in range(14, 31))
LEVELS = ((48 << 10, "L1", 200e9, 1.2e-9), (2 << 20, "L2", 110e9, 4.1e-9), (36 << 20, "L3", 42e9, 18e-9), (1 << 60, "memory", 13e9, 105e-9))


def level(size: int) -> tuple[int, str, float, float]:
    """Largest size, name, bytes a second and seconds a load of the level that holds a working set."""
    return next(one for one in LEVELS if size <= one[0])


def stream(kernel: str, size: int, *, pace: float = 1.0, threads: int = 1, cpus: str = "", pages: str = "system") -> Stream:
    """One stream; with `cpus` it is bound to them and to node 0."""
    rate = pace * level(size)[2] * (1.0 if kernel == "read" else 0.8) * threads**0.7
    return Stream(
        kernel=kernel, dtype="fp64", working_set_bytes=size, level=level(size)[1], threads=threads, cpus=cpus, node=0 if cpus else None,
        pages=pages, bytes_per_s=0.93 * rate, best_bytes_per_s=rate, noisy=size == 1 << 22,
    )  # fmt: skip


def product(dtype: str, shape: tuple[int, int, int], layout: str, pace: float) -> Product:
    """One matrix product; small ones are far from the type's best."""
    m, n, k = shape
    share = min(1.0, (m * n * k) ** (1 / 3) / 2048) ** 0.5
    top = pace * {"fp64": 70e9, "fp32": 150e9, "bf16": 1.2e12}[dtype] * (1.9 if layout != "single" else 1.0)
    return Product(
        dtype=dtype, device="cpu", layout=layout, ranks=1 if layout == "single" else 2, m=m, n=n, k=k, flops_per_s=0.9 * share * top,
        best_flops_per_s=share * top, efficiency_fraction=share,
    )  # fmt: skip


def exchange(name: str, size: int, ranks: int) -> Exchange:
    """One collective over `ranks` ranks: a latency of 60 µs and 3 GB/s."""
    time_s, factor = 60e-6 + size / 3e9, 2 * (ranks - 1) / ranks if name == "all_reduce" else (ranks - 1) / ranks
    return Exchange(
        collective=name, device="cpu", layout=f"dp={ranks}", ranks=ranks, message_bytes=size, time_s=time_s, best_time_s=0.9 * time_s,
        algbw_bytes_per_s=size / time_s, busbw_bytes_per_s=factor * size / time_s,
    )  # fmt: skip


def ceilings(run: str = "20261120-093000", *, pace: float = 1.0) -> Ceilings:
    """All kinds; `pace` makes the machine quicker."""
    squares = [(side, side, side) for side in (128, 256, 512, 1024, 2048, 4096)]
    return Ceilings(
        run=run,
        streams=(
            *(stream(kernel, size, pace=pace) for kernel in ("read", "triad") for size in SIZES),
            *(
                stream(kernel, 3 << 28, pace=pace, threads=threads, cpus="0-15", pages=pages)
                for kernel in ("triad", "copy")
                for threads in (1, 2, 4, 8, 16)
                for pages in ("system", "huge")
            ),
        ),
        latencies=tuple(
            Latency(
                working_set_bytes=size, level=level(size)[1], pages=pages, latency_s=1.1 * time_s, best_latency_s=time_s,
                noisy=size == 1 << 27,
            )
            for pages, more in (("system", 1.3), ("huge", 1.0))
            for size in SIZES
            for time_s in (more * level(size)[3] / pace,)
        ),
        products=tuple(
            product(dtype, shape, layout, pace)
            for layout in ("single", "dp=2")
            for dtype in ("fp64", "fp32", "bf16")
            for shape in (*squares, (512, 50304, 768))
        ),
        exchanges=tuple(
            exchange(name, 1 << power, ranks)
            for ranks in (2, 4)
            for name in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "send_recv")
            for power in range(10, 27, 2)
        ),
        transfers=tuple(
            Transfer(
                direction=direction, device="cuda", pinned=pinned, message_bytes=1 << power, bytes_per_s=0.9 * rate, best_bytes_per_s=rate
            )
            for direction in ("host_to_device", "device_to_host")
            for pinned in (True, False)
            for power in (20, 24, 28)
            for rate in ((25e9 if pinned else 9e9) * power / 28,)
        ),
        disks=tuple(
            Disk(direction=direction, file_bytes=1 << 30, folder="", bytes_per_s=1e9, best_bytes_per_s=rate)
            for direction, rate in (("read", 2.1e9), ("write", 1.3e9))
        ),
        gaps=(Gap(path="ceilings.latency", reason="numba is not installed, and torch can't express this kernel (18 cases)"),),
    )  # fmt: skip
