"""Sequential reading and writing of a file: what loading data and writing checkpoints can get from this file system.

A write counts until fsync returned. Before each read the file's pages are dropped from the page cache (posix_fadvise), which needs
them clean; a file system without a disk behind it (tmpfs) still answers from memory, and the record says which file system it was asked on.
"""

import os
import tempfile
import weakref
from pathlib import Path
from typing import Final, Literal

from hwbench.core.errors import UnavailableError
from hwbench.core.value import Value
from hwbench.core.workload import Block, Check, Context, Cost, Kernel, Operator, Workload

from ._count import need_positive


class Config(Value):
    """One file, read or written from beginning to end."""

    direction: Literal["read", "write"] = "read"
    """write includes the fsync."""
    file_bytes: int = 1 << 27
    """Size of the file."""
    block_bytes: int = 1 << 22
    """Size of one read or write call."""
    folder: str = ""
    """Where the file is put; empty: the system's temporary folder."""


def cost(config: Config, dtype: str) -> Cost:
    """The file's bytes once."""
    need_positive(config, "file_bytes", "block_bytes")
    pass_over = Operator(name=config.direction, kind="memory", flops=0.0, bytes=float(config.file_bytes))
    block = Block(name=config.direction, parameters=0, operators=(pass_over,))
    return Cost(blocks=(block,), dtype=dtype, items=config.file_bytes, item_unit="byte")


def build(config: Config, context: Context) -> Kernel:
    """A file without a name in the folder: it is gone when the worker ends, however that ends."""
    cost(config, context.dtype)
    folder = Path(config.folder or tempfile.gettempdir())
    try:
        file, name = tempfile.mkstemp(dir=folder)
    except OSError as error:
        raise UnavailableError(f"disk: can't write in {folder}: {error.strerror}") from error
    Path(name).unlink()
    block = os.urandom(min(config.block_bytes, config.file_bytes))
    sizes = [min(len(block), config.file_bytes - at) for at in range(0, config.file_bytes, len(block))]

    def write() -> None:
        os.lseek(file, 0, os.SEEK_SET)
        for size in sizes:
            os.write(file, memoryview(block)[:size])
        os.fsync(file)

    def read() -> None:
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.lseek(file, 0, os.SEEK_SET)
        for size in sizes:
            os.readv(file, [memoryview(space)[:size]])

    def check() -> Check:
        """Every block of the file is the block that was written."""
        os.lseek(file, 0, os.SEEK_SET)
        wrong = sum(os.read(file, size) != block[:size] for size in sizes)
        return Check(name="blocks that differ", error=float(wrong), tolerance=0.0, reference="what was written")

    space = bytearray(len(block))
    weakref.finalize(check, os.close, file)  # a Kernel holds its check for as long as it lives
    try:
        write()
    except OSError as error:
        raise UnavailableError(f"disk: can't write {config.file_bytes} bytes in {folder}: {error.strerror}") from error

    return Kernel(run=read if config.direction == "read" else write, check=check)


WORKLOAD: Final = Workload(kind="ceiling", config=Config, cost=cost, build=build)
