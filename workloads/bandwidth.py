"""Memory and cache bandwidth: triad, read, write and copy, by working-set size, threads and CPUs.

Bytes are counted as STREAM counts them (McCalpin 1995), an array read or written once each: triad 3, copy 2, read 1, write 1 of them.
The read that a write to a cache line first costs (write-allocate) is not counted. The loops are STREAM's plain C loops, compiled by
numba with ordinary stores; docs/ceilings.md compares them with STREAM and likwid-bench.
"""

from typing import TYPE_CHECKING, Any, Final, Literal

from hwbench.core.cpulist import parse_cpu_list
from hwbench.core.errors import UnavailableError, UserError
from hwbench.core.units import format_bytes
from hwbench.core.value import Value
from hwbench.core.workload import Block, Check, Context, Cost, Kernel, Operator, Workload

from ._count import element_bytes, need_positive
from ._memory import Pages, empty
from ._team import team, together

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from ._native import Floats

_ARRAYS: Final = {"triad": 3, "copy": 2, "read": 1, "write": 1}
_LEAST_BYTES_A_CALL: Final = 1 << 28
"""A call repeats the pass until each thread moved this much, 1 ms in the nearest cache and some 15 ms in memory: long beside the 15 µs
or so that it takes to wake a thread up."""
_PASSES_TOGETHER: Final = 4
"""The fewest passes of a call of several threads: waking the others up and being woken by them takes 0.3 ms on a virtual machine, which is
2 to 4 % of one pass over memory. STREAM's threads wait for each other in loops instead."""
_STREAM_RULE: Final = 4
"""Each of STREAM's arrays is to be at least four times the last-level cache (its run rules, 2013)."""
_CHECKED_AT_ONCE: Final = 1 << 20
"""Elements that the check holds in float64 beside the arrays."""
SCALE: Final = 3.0
"""STREAM's own scalar; exact in every dtype."""


class Config(Value):
    """One stream."""

    kernel: Literal["triad", "read", "write", "copy"] = "triad"
    """triad a = b + s·c, read sum(a), write a = s, copy a = b."""
    working_set_bytes: int = 3 << 28
    """All arrays of all threads together; well beyond the last-level cache it is memory that is measured, below it that cache."""
    threads: int = 1
    """Threads that share the arrays, each with a contiguous part that it wrote first, so that it lies on the thread's own NUMA node."""
    cpus: str = ""
    """CPUs to run on in the kernel's list form ("0-3,8"), thread i on the i-th; empty: one thread runs wherever the system puts it, several
    on the first CPUs that this process may use, since the system may well start two of them on one."""
    pages: Pages = "system"
    """system: what malloc gets, as STREAM and torch do; huge: transparent huge pages."""
    last_level_cache_bytes: int = 0
    """Where memory is to be measured, the last-level cache that these CPUs reach: smaller arrays than STREAM's rule wants are warned of.
    0 where it is a cache that is to be measured, or nobody knows."""


def cost(config: Config, dtype: str) -> Cost:
    """The bytes of every pass of a call. The two FLOPs an element of triad count, as in STREAM."""
    need_positive(config, "working_set_bytes", "threads")
    e = element_bytes(dtype)
    elements = _elements(config, e) * config.threads
    flops = 2.0 * elements if config.kernel == "triad" else 0.0
    repeats = _repeats(config)
    stream = Operator(name=config.kernel, kind="memory", flops=repeats * flops, bytes=repeats * _ARRAYS[config.kernel] * e * elements)
    block = Block(name=config.kernel, parameters=0, operators=(stream,))
    return Cost(blocks=(block,), dtype=dtype, items=repeats * elements, item_unit="element")


def build(config: Config, context: Context) -> Kernel:
    """The arrays, a part for each thread, and the threads that wait for a call."""
    import numpy as np

    from . import _native

    if context.device.type != "cpu":
        raise UnavailableError(f"bandwidth: this stream runs on CPUs, not on {context.device.type}", hint="triad measures an accelerator")
    if context.dtype not in ("fp32", "fp64"):
        raise UnavailableError(f"bandwidth: dtype {context.dtype}: numba compiles fp32 and fp64 streams")
    cost(config, context.dtype)
    element: type[np.floating[Any]] = np.float32 if context.dtype == "fp32" else np.float64
    size, repeats = _elements(config, np.dtype(element).itemsize), _repeats(config)
    stream = getattr(_native.streams(), config.kernel)
    members = team(config.threads, _cpus(config))
    parts = together(members, [lambda: _first_touch(size, element, config)] * config.threads)

    def passes(count: int) -> "list[Callable[[], float]]":
        return [lambda part=part: stream(*part, SCALE, count) for part in parts]  # type: ignore[misc]

    stream(*(array[:1] for array in parts[0]), SCALE, 1)  # compiles
    calls = passes(repeats)

    def check() -> Check:
        """The last pass's result, element by element: exact but for triad's two roundings, each half a unit in the last place."""
        together(members, passes(1))
        error = max(_error(config.kernel, part, stream) for part in parts)
        tolerance = 2 * float(np.finfo(element).eps) if config.kernel == "triad" else 0.0
        return Check(name=config.kernel, error=error, tolerance=tolerance, reference="float64 on the CPU")

    return Kernel(run=lambda: together(members, calls), check=check, warnings=_warnings(config))


def _warnings(config: Config) -> tuple[str, ...]:
    array_bytes, cache_bytes = config.working_set_bytes // _ARRAYS[config.kernel], config.last_level_cache_bytes
    if array_bytes >= _STREAM_RULE * cache_bytes:
        return ()
    sizes = f"arrays of {format_bytes(array_bytes)} are less than {_STREAM_RULE} times the last-level cache of {format_bytes(cache_bytes)}"
    return (f"{sizes} (STREAM's rule): a part may have come from that cache",)


def _elements(config: Config, element: float) -> int:
    """Elements of one thread's part of one array."""
    elements = int(config.working_set_bytes // (config.threads * _ARRAYS[config.kernel] * element))
    if elements < 1:
        raise UserError(f"working_set_bytes={config.working_set_bytes}: less than one element for each of {config.threads} threads")
    return elements


def _repeats(config: Config) -> int:
    return max(1 if config.threads == 1 else _PASSES_TOGETHER, _LEAST_BYTES_A_CALL * config.threads // config.working_set_bytes)


def _cpus(config: Config) -> list[int]:
    """The CPU of each thread; none for a thread that may run anywhere."""
    import os

    mine = sorted(os.sched_getaffinity(0))
    cpus = sorted(parse_cpu_list(config.cpus)) or (mine if config.threads > 1 else [])
    if cpus and len(cpus) < config.threads:
        which = f"of cpus={config.cpus!r}" if config.cpus else "that this process may use"
        raise UserError(f"threads={config.threads}: more than the {len(cpus)} CPUs {which}")
    if missing := set(cpus[: config.threads]) - set(mine):
        raise UnavailableError(f"bandwidth: this process may not run on CPU {min(missing)} of cpus={config.cpus!r}")
    return cpus[: config.threads]


def _first_touch(size: int, element: "type[np.floating[Any]]", config: Config) -> "tuple[Floats, Floats, Floats]":
    """Three arrays as every stream takes them, written by the thread that will use them; one that the stream has no use for is short."""
    from . import _native

    ends = ((1.0, 1.0), (1.0, 2.0), (2.0, 1.0))
    a, b, c = (empty(size if i < _ARRAYS[config.kernel] else 1, element, config.pages) for i in range(3))
    for array, (first, last) in zip((a, b, c), ends, strict=True):
        _native.ramp()(array, first, last)
    return a, b, c


def _error(kernel: str, part: "tuple[Floats, Floats, Floats]", stream: "Callable[..., float]") -> float:
    """Largest relative error of an array after one pass of its stream."""
    a = part[0]
    if kernel == "read":
        return abs(stream(*part, SCALE, 1) - float(a.size)) / a.size  # a holds ones
    return max(_block_error(kernel, part, first) for first in range(0, a.size, _CHECKED_AT_ONCE))


def _block_error(kernel: str, part: "tuple[Floats, Floats, Floats]", first: int) -> float:
    import numpy as np

    a, b, c = (array[first : first + _CHECKED_AT_ONCE].astype(np.float64) for array in part)
    expected = {"triad": lambda: b + SCALE * c, "copy": lambda: b, "write": lambda: np.full_like(a, SCALE)}[kernel]()
    return float(np.max(np.abs(a - expected) / expected))


WORKLOAD: Final = Workload(kind="ceiling", config=Config, cost=cost, build=build)
