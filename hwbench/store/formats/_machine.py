"""The machine in a pytest-benchmark file: its own `machine_info`, and under `hwbench` the stable facts that our pytest plugin adds."""

from typing import Any, Final

import msgspec

from hwbench.core.comparability import comparison_facts, comparison_key
from hwbench.core.inventory import Inventory

from ._told import clean, not_told

KEY: Final = "hwbench"
"""Where in `machine_info` our facts are."""


def enriched(inventory: Inventory) -> dict[str, Any]:
    """What goes under `hwbench` in a machine_info: the comparison key, the host, and every fact that the key is made of."""
    facts = msgspec.to_builtins(comparison_facts(inventory))
    return {"comparison_key": comparison_key(inventory), "host_name": inventory.machine.host_name, "facts": facts}


def machine_info(inventory: Inventory, versions: dict[str, str]) -> dict[str, Any]:
    """A machine_info as pytest-benchmark writes it; what isn't known is empty text, as there."""
    cpu, software = inventory.cpu, inventory.software
    python = versions.get("python") or software.python or ""
    return {
        "node": inventory.machine.host_name or "",
        "processor": cpu.model or "",
        "machine": cpu.architecture or "",
        "python_compiler": "",
        "python_implementation": "",
        "python_implementation_version": python,
        "python_version": python,
        "python_build": [],
        "release": software.kernel_release or "",
        "system": "Linux",
        "cpu": {"brand_raw": cpu.model, "vendor_id_raw": cpu.vendor, "arch_string_raw": cpu.architecture, "count": cpu.online_count},
        KEY: enriched(inventory),
    }


def inventory_of(info: dict[str, Any]) -> Inventory:
    """The machine that a machine_info describes; what can't be read of it is None."""
    facts = _dict(_dict(info.get(KEY)).get("facts"))
    found = _from_facts(facts, _text(_dict(info[KEY]).get("host_name"))) if facts else None
    return found or _from_info(info)


def _from_info(info: dict[str, Any]) -> Inventory:
    cpu = _dict(info.get("cpu"))
    count = cpu.get("count")
    plain = {
        "cpu": {
            "architecture": _text(info.get("machine")),
            "vendor": _text(cpu.get("vendor_id_raw")),
            "model": _text(cpu.get("brand_raw")) or _text(info.get("processor")),
            "online_count": count if isinstance(count, int) and not isinstance(count, bool) and 0 < count < 2**31 else None,
        },
        "machine": {"host_name": _text(info.get("node"))},
        "software": {
            "kernel_release": _text(info.get("release")),
            "os": _text(info.get("system")),
            "python": _text(info.get("python_version")),
        },
    }
    gaps = not_told("pytest-benchmark", "limits", "memory", "pci", "network", "storage", "tuning", "accelerators")
    return msgspec.structs.replace(msgspec.convert(plain, Inventory), gaps=gaps)


def _from_facts(facts: dict[str, Any], host: str | None) -> Inventory | None:
    """The inventory with these facts, so that its comparison key is the same again; None where they are not ours."""
    sections: dict[str, dict[str, Any]] = {}
    for path, value in facts.items():
        section, _, name = path.partition(".")
        if path != "accelerators.devices" and value is not None:
            sections.setdefault(section, {})[name] = value
    sections.setdefault("machine", {})["host_name"] = host
    devices = facts.get("accelerators.devices") or []
    try:
        if devices:
            sections["accelerators"] = {"devices": [_device(index, one) for index, one in enumerate(devices)]}
        return msgspec.structs.replace(msgspec.convert(sections, Inventory), gaps=not_told("pytest-benchmark", "pci", "network", "storage"))
    except (msgspec.ValidationError, AttributeError, TypeError):
        return None


def _device(index: int, facts: dict[str, Any]) -> dict[str, Any]:
    limit = facts.get("power_limit_w")
    known = {name: value for name, value in facts.items() if name != "power_limit_w" and value is not None}
    return {"label": f"ACC{index}", "source": "machine_info", "power": {"limit_w": limit}, **known}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return clean(value) or None if isinstance(value, str) else None
