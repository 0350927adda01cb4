"""The environment a rank runs in: what makes one measurement comparable with the next. Recorded in the header of every run.

A training step frees what it needed and asks for it again in the next one. glibc's malloc gives large blocks back to the system in between,
and every 4 KiB of them then cost a page fault and a page of zeros: a tenth to a third of a small language model's step on a CPU.
Ranks ask for huge pages, as preloaded allocators do where people train on CPUs: a fault then brings 2 MiB. Keeping freed memory
instead saves a little more, but fragments the heap and raises the peak by up to a third; docs/measuring.md has the figures.
"""

import os
import socket
from pathlib import Path
from typing import Final

import hwbench

_ONE_THREAD: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_INTERFACES: Final = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
_TUNABLES: Final = "GLIBC_TUNABLES"
SETTINGS: Final = dict.fromkeys(_ONE_THREAD, "1") | {_TUNABLES: "glibc.malloc.hugetlb=1"}
"""What hwbench sets and figures depend on. The tunable is glibc 2.35's (madvise(2) for huge pages); without it, nothing changes."""


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
