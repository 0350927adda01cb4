"""When two inventories describe machines whose measurements may be compared, and what differs where they don't.

The key holds stable fields only: what a measurement depends on and what stays the same from one run to the next. Load, pressure,
temperatures, free memory and firmware serials are state or names, so they are left out.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from hwbench.core.inventory import Inventory
from hwbench.core.value import Value

_STABLE = (
    "cpu.architecture", "cpu.vendor", "cpu.model", "cpu.microcode", "cpu.online_count", "cpu.physical_cores", "cpu.sockets",
    "cpu.threads_per_core", "cpu.isa", "cpu.caches", "cpu.isolated_list", "cpu.mitigations",
    "limits.effective_cpu_list", "limits.effective_cpus", "limits.effective_memory_bytes",
    "memory.total_bytes", "memory.numa_nodes",
    "machine.product_name", "machine.virtualization", "machine.container", "machine.instance_type",
    "software.kernel_release", "software.os", "software.python", "software.nvidia_driver", "software.amdgpu_driver", "software.cuda",
    "software.cudnn", "software.nccl", "software.rocm", "software.torch", "software.torch_build", "software.blas",
    "tuning.governors", "tuning.turbo", "tuning.transparent_huge_pages", "tuning.numa_balancing", "tuning.autogroup",
    "tuning.address_randomisation", "tuning.clocksource", "tuning.thread_variables",
)  # fmt: skip
_MACHINE = (
    "cpu.architecture", "cpu.vendor", "cpu.model", "cpu.online_count", "cpu.sockets", "cpu.threads_per_core", "limits.effective_cpus",
    "machine.product_name", "machine.instance_type",
)  # fmt: skip
"""What makes another machine of it, where the other stable facts make the same machine a different one than yesterday."""
_DEVICE = ("kind", "vendor", "name", "compute_capability", "target", "compute_units", "memory_total_bytes", "numa_node")


class Difference(Value):
    """One stable fact that two inventories disagree on, as plain values; None is "not seen"."""

    path: str
    before: Any
    after: Any


def comparison_facts(inventory: Inventory) -> dict[str, Any]:
    """Every fact of the key by its dotted name, as plain values."""
    plain = msgspec.to_builtins(inventory)
    facts = {path: _at(plain, path) for path in _STABLE}
    # Without the nodes' sizes: where a hypervisor plugs memory in and out, a node's changes from one minute to the next.
    nodes = facts["memory.numa_nodes"]
    facts["memory.numa_nodes"] = nodes and [{name: node[name] for name in ("id", "kind", "cpu_list", "distances")} for node in nodes]
    devices = (plain.get("accelerators") or {}).get("devices") or ()
    facts["accelerators.devices"] = [_device(device) for device in devices]
    return facts


def comparison_key(inventory: Inventory) -> str:
    """Sixteen hex digits: equal where the stable facts are equal. Runs under one key may be compared without a second thought."""
    return hashlib.sha256(msgspec.json.encode(comparison_facts(inventory), order="sorted")).hexdigest()[:16]


def machine_key(inventory: Inventory) -> str:
    """Sixteen hex digits: equal for machines of one kind, whatever software, settings and memory they have at the moment.

    A history has one series a machine key, so that a new kernel or torch is a change in it and not the start of another.
    """
    facts = comparison_facts(inventory)
    kind = [facts[path] for path in _MACHINE]
    devices = [[device[name] for name in ("kind", "vendor", "name")] for device in facts["accelerators.devices"]]
    return hashlib.sha256(msgspec.json.encode([kind, devices])).hexdigest()[:16]


def machine_name(inventory: Inventory) -> str:
    """A machine's kind in a few words, for headings: its accelerators where it has some, else its CPU."""
    devices = inventory.accelerators.devices if inventory.accelerators else ()
    named = [device.name or device.kind for device in devices]
    if named:
        return ", ".join(f"{named.count(name)} × {name}" for name in dict.fromkeys(named))
    cpus = inventory.limits.effective_cpus or inventory.cpu.online_count
    model = inventory.cpu.model or inventory.cpu.architecture or "unknown CPU"
    return f"{model}, {cpus:g} CPUs" if cpus else model


def differences(before: Inventory, after: Inventory) -> tuple[Difference, ...]:
    """The stable facts that differ, by dotted name; empty where the keys are equal."""
    first, second = comparison_facts(before), comparison_facts(after)
    return tuple(Difference(path=path, before=first[path], after=second[path]) for path in first if first[path] != second[path])


def difference_texts(of: Sequence[Difference], most: int = 6) -> list[str]:
    """One line a fact: 'software.kernel_release 6.1.0-28 → 6.1.0-29'; those above `most` are only counted."""
    lines = [f"{one.path} {_short(one.before)} → {_short(one.after)}" for one in of[:most]]
    return [*lines, f"and {len(of) - most} more facts"] if len(of) > most else lines


def _short(value: Any, length: int = 60) -> str:
    text = "not seen" if value is None else value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _device(device: dict[str, Any]) -> dict[str, Any]:
    limit = (device.get("power") or {}).get("limit_w")
    return {name: device.get(name) for name in _DEVICE} | {"power_limit_w": limit}


def _at(plain: dict[str, Any], path: str) -> Any:
    section, name = path.split(".")
    return plain[section][name]
