"""Loops that torch can't express, compiled by numba: streams that make no temporary, and a chase along pointers.

Each function is compiled for the element type it is first called with; all of them let go of the interpreter's lock, so that Python
threads run them side by side. `repeats` passes are made inside, because one pass over a cache-sized array takes less than a clock tick.
"""

# ruff: noqa: ARG001  the four streams have one signature, so that the caller needs no cases

import os
import platform
from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwbench.core.errors import UnavailableError

Floats = NDArray[np.floating[Any]]

_BLOCK: Final = 1 << 20
"""Elements summed in the array's own dtype before the sum goes into a double: fp32 counts ones exactly up to 2^24."""


class Streams(NamedTuple):
    """The four compiled streams: (a, b, c, scale, repeats) -> a number that depends on what was read."""

    triad: Callable[[Floats, Floats, Floats, float, int], float]
    copy: Callable[[Floats, Floats, Floats, float, int], float]
    write: Callable[[Floats, Floats, Floats, float, int], float]
    read: Callable[[Floats, Floats, Floats, float, int], float]


def _numba() -> Any:
    """numba, told to use the widest vectors that the CPU has before it compiles anything; UnavailableError where it isn't installed."""
    try:
        from llvmlite import binding  # type: ignore[import-untyped]

        if platform.machine() in ("x86_64", "AMD64"):
            # LLVM keeps to 256 bits on many CPUs that have 512: good for mixed code, but half of what the nearest cache can deliver.
            os.environ.setdefault("NUMBA_CPU_FEATURES", f"{binding.get_host_cpu_features().flatten()},-prefer-256-bit")
        import numba
    except ImportError as error:
        raise UnavailableError(
            "numba is not installed, and torch can't express this kernel", hint="pip install 'hwbench[numba]'"
        ) from error
    return numba


@cache
def streams() -> Streams:
    """The streams, compiled at their first call; UnavailableError without numba.

    `fastmath` only lets the compiler keep several partial sums in `read`; without it one chain of additions would be timed.
    Each pass adds `r·0` where the compiler could otherwise see that all passes do the same and keep one.
    """
    jit = _numba().njit(nogil=True, fastmath={"reassoc", "nsz", "contract"}, error_model="numpy")

    def triad(a: Floats, b: Floats, c: Floats, scale: float, repeats: int) -> float:
        for r in range(repeats):
            s = a.dtype.type(scale + r)
            for i in range(a.size):
                a[i] = b[i] + s * c[i]
        return float(a[0])

    def copy(a: Floats, b: Floats, c: Floats, scale: float, repeats: int) -> float:
        for r in range(repeats):
            b[r % b.size] = scale
            for i in range(a.size):
                a[i] = b[i]
        return float(a[0])

    def write(a: Floats, b: Floats, c: Floats, scale: float, repeats: int) -> float:
        for r in range(repeats):
            s = a.dtype.type(scale + r)
            for i in range(a.size):
                a[i] = s
        return float(a[0])

    def read(a: Floats, b: Floats, c: Floats, scale: float, repeats: int) -> float:
        total = 0.0
        for r in range(repeats):
            for first in range(0, a.size, _BLOCK):
                block, part = a[first : first + _BLOCK], a.dtype.type(r)
                for i in range(block.size):  # from 0: a loop from `first` is not made into vectors
                    part += block[i]
                total += float(part)
        return total

    return Streams(triad=jit(triad), copy=jit(copy), write=jit(write), read=jit(read))


@cache
def ramp() -> Callable[[Floats, float, float], None]:
    """ramp(a, first, last): fills `a` with evenly spaced values, in one pass and without a second array."""
    jit = _numba().njit(nogil=True)

    def fill(a: Floats, first: float, last: float) -> None:
        for i in range(a.size):
            a[i] = first + (last - first) * i / a.size

    return jit(fill)  # type: ignore[no-any-return]


@cache
def pointer_chase() -> tuple[Callable[[NDArray[np.int64], int, int, int], None], Callable[[NDArray[np.int64], int, int], int]]:
    """(link, chase): `link(cells, lines, step, seed)` makes one random cycle through `lines` cells that lie `step` apart; `chase(cells,
    start, hops)` follows it and returns where it ends. Every load's address is the value of the one before.
    """
    jit = _numba().njit(nogil=True)

    def link(cells: NDArray[np.int64], lines: int, step: int, seed: int) -> None:
        np.random.seed(seed)
        order = np.arange(lines)
        for i in range(lines - 1, 0, -1):  # Sattolo's algorithm: a permutation that is one single cycle
            j = np.random.randint(0, i)
            order[i], order[j] = order[j], order[i]
        for i in range(lines):
            cells[order[i - 1] * step] = order[i] * step

    def chase(cells: NDArray[np.int64], start: int, hops: int) -> int:
        here = start
        for _ in range(hops):
            here = cells[here]
        return here

    return jit(link), jit(chase)
