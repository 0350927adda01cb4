"""The environment a rank runs in: what makes one measurement comparable with the next. Recorded in the header of every run.

A training step frees what it needed and asks for it again in the next one. glibc's malloc gives large blocks back to the system in between,
and every 4 KiB of them then cost a page fault and a page of zeros: a tenth to a third of a small language model's step on a CPU.
Ranks ask for huge pages, as preloaded allocators do where people train on CPUs: a fault then brings 2 MiB. Keeping freed memory
instead saves a little more, but fragments the heap and raises the peak by up to a third. malloc begins to keep it by itself: its
threshold for giving a block back grows to the largest one that was freed (32 MiB at most), and a rank that gathers weights for FSDP then
holds up to a third more than it uses. So the threshold is fixed; docs/measuring.md has the figures.
"""

import os
import socket
from pathlib import Path
from typing import Final

import hwbench

_ONE_THREAD: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_INTERFACES: Final = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
_TUNABLES: Final = "GLIBC_TUNABLES"
_MALLOC: Final = {"hugetlb": 1, "mmap_threshold": 4 << 20, "trim_threshold": 16 << 20}
SETTINGS: Final = dict.fromkeys(_ONE_THREAD, "1") | {_TUNABLES: ":".join(f"glibc.malloc.{name}={value}" for name, value in _MALLOC.items())}
"""What hwbench sets and figures depend on. `hugetlb` is glibc 2.35's (madvise(2) for huge pages); without glibc nothing changes."""


def rank_environment(interface: str | None = None) -> dict[str, str]:
    """What a rank finds: our own environment, huge pages, one network interface, and where hwbench is when it runs from a checkout.

    `interface` is the one that reaches the other nodes; None is loopback: ranks of one machine listen nowhere else. What the user has
    set for several nodes (GLOO_SOCKET_IFNAME, NCCL_SOCKET_IFNAME) goes before it.
    """
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), "lo")
    names = dict.fromkeys(_INTERFACES, interface or loopback)
    if interface is not None:
        names |= {name: os.environ[name] for name in _INTERFACES if os.environ.get(name)}
    ours = {
        **SETTINGS,
        _TUNABLES: ":".join(filter(None, (os.environ.get(_TUNABLES), SETTINGS[_TUNABLES]))),
        **names,
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "PYTHONSAFEPATH": "1",
    }
    root = Path(hwbench.__file__).resolve().parent.parent
    if (root / "pyproject.toml").is_file():
        ours["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    return os.environ | ours
