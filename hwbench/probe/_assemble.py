"""From facts by dotted path to an Accelerator."""

from typing import Any

from hwbench.core.accelerators import Accelerator, Clock, Ecc, PcieLink, Power

_GROUPS: dict[str, type] = {"power": Power, "ecc": Ecc, "pcie": PcieLink}


def assembled(values: dict[str, Any], **others: Any) -> Accelerator:
    """An Accelerator of facts by dotted path: `power.draw_w` goes into its Power, `clocks.sm.now_hz` into the Clock of that domain.

    `others` are fields given whole (label, source, index …).
    """
    plain = {path: value for path, value in values.items() if "." not in path}
    for group, type_ in _GROUPS.items():
        parts = {path.partition(".")[2]: value for path, value in values.items() if path.startswith(f"{group}.")}
        if parts:
            plain[group] = type_(**parts)
    clocks: dict[str, dict[str, float]] = {}
    for path, value in values.items():
        if path.startswith("clocks."):
            _, domain, field = path.split(".")
            clocks.setdefault(domain, {})[field] = value
    plain["clocks"] = tuple(Clock(domain=domain, **parts) for domain, parts in clocks.items())
    return Accelerator(**plain, **others)
