"""Hosts on one machine: network namespaces on a bridge, with names, addresses and link rates of their own. Needs root and Linux's iproute2.

Nothing of it touches the machine's own network: bridge and cables lie in namespaces too, and everything goes with them.
"""

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SUBNET: Final = "10.203.77"
_BURST_S: Final = 1 / 250
"""A token bucket is filled once a tick of the kernel's clock (250 Hz): with a smaller burst it never reaches the rate (tc-tbf(8))."""
_SMALLEST_BURST_BYTES: Final = 1 << 17
"""A veth hands over up to 64 KiB at once; a bucket that can't hold that drops it."""


_LABS: Final = itertools.count()


@dataclass(frozen=True)
class Host:
    """One host of the lab."""

    number: int
    namespace: str
    name: str
    address: str
    cpus: tuple[int, ...]
    """CPUs its processes are bound to; empty for all."""

    def command(self, words: Sequence[str]) -> list[str]:
        """What runs `words` on this host, under its name and on its CPUs."""
        bound = ["taskset", "-c", ",".join(map(str, self.cpus))] if self.cpus else []
        named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.name]
        return ["ip", "netns", "exec", self.namespace, *named, *bound, *words]


@dataclass(frozen=True)
class Lab:
    """Hosts that reach each other, and nobody else."""

    prefix: str
    hosts: tuple[Host, ...]

    def start(self, number: int, words: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start a command on a host."""
        return subprocess.Popen(self.hosts[number].command(words), text=True, **options)

    def limit(self, bits_per_s: float | None) -> None:
        """Give every host's link this rate each way (tc-tbf(8)); None takes the limit away."""
        for host in self.hosts:
            for namespace, device in ((host.namespace, "eth0"), (f"{self.prefix}net", f"port{host.number}")):
                subprocess.run(["tc", "-n", namespace, "qdisc", "del", "dev", device, "root"], capture_output=True, check=False)
                if bits_per_s is not None:
                    burst = max(_SMALLEST_BURST_BYTES, int(bits_per_s / 8 * _BURST_S))
                    shape = ["tbf", "rate", f"{bits_per_s:.0f}bit", "burst", str(burst), "latency", "200ms"]
                    _do("tc", "-n", namespace, "qdisc", "add", "dev", device, "root", *shape)

    def cut(self, number: int) -> None:
        """Pull a host's cable."""
        _do("ip", "-n", f"{self.prefix}net", "link", "set", f"port{number}", "down")


def missing() -> str:
    """Why there can be no lab here; '' where there can."""
    if os.geteuid():
        return "the network lab needs root"
    tools = [tool for tool in ("ip", "tc", "unshare", "taskset") if shutil.which(tool) is None]
    if tools:
        return f"the network lab needs {', '.join(tools)}"
    prefix = f"hwb{os.getpid()}try"
    tried = subprocess.run(["ip", "netns", "add", prefix], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", prefix], capture_output=True, check=False)
    return f"network namespaces can't be made here: {tried.stderr.strip()}" if tried.returncode else ""


@contextmanager
def lab(count: int, *, bound: bool = True) -> Iterator[Lab]:
    """So many hosts, `bound` to a CPU each where there are enough; all is removed when the context is left."""
    prefix = f"hwb{os.getpid()}x{next(_LABS)}"
    available = sorted(os.sched_getaffinity(0))
    share = bound and len(available) >= count
    hosts = tuple(
        Host(
            number=number,
            namespace=f"{prefix}h{number}",
            name=f"lab{number}",
            address=f"{SUBNET}.{number + 1}",
            cpus=(available[number],) if share else (),
        )
        for number in range(count)
    )
    made = Lab(prefix=prefix, hosts=hosts)
    try:
        _build(made)
        yield made
    finally:
        for namespace in [host.namespace for host in hosts] + [f"{prefix}net"]:
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)


def _build(made: Lab) -> None:
    net = f"{made.prefix}net"
    _do("ip", "netns", "add", net)
    _do("ip", "-n", net, "link", "add", "bridge0", "type", "bridge")
    _do("ip", "-n", net, "link", "set", "bridge0", "up")
    for host in made.hosts:
        port = f"port{host.number}"
        _do("ip", "netns", "add", host.namespace)
        _do("ip", "-n", net, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
        _do("ip", "-n", net, "link", "set", port, "master", "bridge0", "up")
        _do("ip", "-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _do("ip", "-n", host.namespace, "link", "set", device, "up")


def _do(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")


def processes_in(namespace: str) -> list[int]:
    """The processes that are left in a host's network namespace."""
    found = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def listening(namespace: str) -> set[str]:
    """The local addresses at which something listens on a host, as /proc/net/tcp of one of its processes tells them."""
    text = subprocess.run(["ip", "netns", "exec", namespace, "cat", "/proc/net/tcp"], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in text.splitlines()[1:]]
    return {_address(row[1].partition(":")[0]) for row in rows if row[3] == "0A"}


def _address(word: str) -> str:
    return ".".join(str(byte) for byte in reversed(bytes.fromhex(word)))


def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parents[2]
