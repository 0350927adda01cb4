"""Memory straight from the system, in pages of a chosen size, so that a figure says which pages it holds for.

numpy asks for huge pages for its own large arrays (madvise, since 1.22 on Linux); C programs, STREAM and torch's tensors don't, and where
the system's mode is `madvise` they get small ones. A stream differs by 15 to 20 % between the two, so it can't be left to numpy.
"""

import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from hwbench.core.errors import UnavailableError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Pages: TypeAlias = Literal["system", "huge"]
"""system: what any program gets that asks for memory; huge: transparent huge pages are asked for (madvise)."""

_MODE: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def empty(elements: int, dtype: "type[np.generic]", pages: Pages) -> "NDArray[Any]":
    """A vector of so many elements, zero, none of its pages touched yet: each will lie on the NUMA node of the thread that writes it first.

    UnavailableError for huge pages where the system has none, or not so much memory.
    """
    import numpy as np

    size = elements * np.dtype(dtype).itemsize
    try:
        region = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise UnavailableError(f"no {size} bytes of memory: {error.strerror}") from error
    if pages == "huge":
        _ask_for_huge_pages(region)
    return np.frombuffer(region, dtype=dtype, count=elements)


def _ask_for_huge_pages(region: mmap.mmap) -> None:
    """Before the first touch, which is when the kernel chooses the size of a page."""
    try:
        mode = _MODE.read_text(encoding="ascii")
    except OSError as error:
        raise UnavailableError(f"pages=huge: this system has no transparent huge pages ({_MODE}: {error.strerror})") from error
    if "[never]" in mode:
        raise UnavailableError(f"pages=huge: transparent huge pages are turned off ({_MODE} says never)")
    region.madvise(mmap.MADV_HUGEPAGE)
