"""Which call of NVML gives which fact of an NVIDIA GPU: one line of FACTS for each."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ._accelerator_text import list_text, pci_address

_NOT_AVAILABLE = (2**32 - 1, 2**64 - 1)  # NVML_VALUE_NOT_AVAILABLE as an unsigned int and as an unsigned long long
_CPU_WORDS = 64  # 64-bit words asked for: 4096 CPUs
_NODE_WORDS = 16


class Fact(NamedTuple):
    """One call of NVML and where its result goes: `paths` are fields of Accelerator, `convert` gives one value for each.

    An argument that is text is a constant of the binding.
    """

    paths: str
    call: str
    convert: Callable[[Any], Any]
    arguments: tuple[int | str, ...] = ()


def known(value: int) -> int | None:
    """The number, or None where NVML says it has none."""
    return None if value in _NOT_AVAILABLE or value < 0 else int(value)


def _hz(value: int) -> float:
    return value * 1e6


def _w(value: int) -> float:
    return value / 1e3


def _bits(words: Any) -> list[int]:
    return [64 * place + bit for place, word in enumerate(words) for bit in range(64) if word >> bit & 1]


def _only_node(words: Any) -> int | None:
    nodes = _bits(words)
    return nodes[0] if len(nodes) == 1 else None


def pci_of(info: Any) -> tuple[str | None, str]:
    """Address and `vendor:device` of an nvmlPciInfo_t; its device id holds the device in the upper half."""
    # The binding gives text for character arrays in its own structures since release 11.515, bytes before.
    address = info.busId.decode("ascii") if isinstance(info.busId, bytes) else info.busId
    return pci_address(address), f"{info.pciDeviceId & 0xFFFF:04x}:{info.pciDeviceId >> 16:04x}"


def _reasons(mask: int) -> tuple[str, ...]:
    return tuple(name for bit, name in THROTTLE_REASONS.items() if mask & bit)


THROTTLE_REASONS = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
    0x200: "board_limit",
    0x400: "reliability",
}
"""Bits of nvmlClocksEventReasons* in the NVML reference; the last two by the older name nvmlClocksThrottleReason*."""

_MEMORY = "memory_total_bytes memory_used_bytes memory_reserved_bytes"
_REASONS = "throttle_reasons"
_CLOCKS = {"graphics": "GRAPHICS", "sm": "SM", "memory": "MEM", "video": "VIDEO"}

# A path that stands twice is tried in order: the second call is for drivers without the first.
FACTS: tuple[Fact, ...] = (
    Fact("name", "nvmlDeviceGetName", str),
    Fact("uuid", "nvmlDeviceGetUUID", str),
    Fact("serial", "nvmlDeviceGetSerial", str),
    Fact("pci_address pci_id", "nvmlDeviceGetPciInfo", pci_of),
    Fact("compute_capability", "nvmlDeviceGetCudaComputeCapability", lambda pair: f"{pair[0]}.{pair[1]}"),
    Fact("core_count", "nvmlDeviceGetNumGpuCores", known),
    Fact(_MEMORY, "nvmlDeviceGetMemoryInfo", lambda m: (known(m.total), known(m.used), known(m.reserved)), ("nvmlMemory_v2",)),
    Fact(_MEMORY, "nvmlDeviceGetMemoryInfo", lambda m: (known(m.total), known(m.used), None)),
    Fact("memory_bus_width_bits", "nvmlDeviceGetMemoryBusWidth", known),
    Fact("memory_numa_node", "nvmlDeviceGetNumaNodeId", known),
    *(Fact(f"clocks.{name}.now_hz", "nvmlDeviceGetClockInfo", _hz, (f"NVML_CLOCK_{nvml}",)) for name, nvml in _CLOCKS.items()),
    *(Fact(f"clocks.{name}.max_hz", "nvmlDeviceGetMaxClockInfo", _hz, (f"NVML_CLOCK_{nvml}",)) for name, nvml in _CLOCKS.items()),
    Fact("power.draw_w", "nvmlDeviceGetPowerUsage", _w),
    Fact("power.limit_w", "nvmlDeviceGetPowerManagementLimit", _w),
    Fact("power.limit_enforced_w", "nvmlDeviceGetEnforcedPowerLimit", _w),
    Fact("power.limit_default_w", "nvmlDeviceGetPowerManagementDefaultLimit", _w),
    Fact("power.limit_min_w power.limit_max_w", "nvmlDeviceGetPowerManagementLimitConstraints", lambda pair: (_w(pair[0]), _w(pair[1]))),
    Fact("ecc.enabled ecc.enabled_pending", "nvmlDeviceGetEccMode", lambda pair: (bool(pair[0]), bool(pair[1]))),
    *(
        Fact(
            f"ecc.{kind}_{since}",
            "nvmlDeviceGetTotalEccErrors",
            known,
            (f"NVML_MEMORY_ERROR_TYPE_{kind.upper()}", f"NVML_{since.upper()}_ECC"),
        )
        for kind in ("corrected", "uncorrected")
        for since in ("volatile", "aggregate")
    ),
    Fact("pcie.generation", "nvmlDeviceGetCurrPcieLinkGeneration", known),
    Fact("pcie.generation_max", "nvmlDeviceGetMaxPcieLinkGeneration", known),
    Fact("pcie.generation_device_max", "nvmlDeviceGetGpuMaxPcieLinkGeneration", known),
    Fact("pcie.width", "nvmlDeviceGetCurrPcieLinkWidth", known),
    Fact("pcie.width_max", "nvmlDeviceGetMaxPcieLinkWidth", known),
    Fact("cpu_list", "nvmlDeviceGetCpuAffinity", lambda words: list_text(_bits(words)) or None, (_CPU_WORDS,)),
    Fact("numa_node", "nvmlDeviceGetMemoryAffinity", _only_node, (_NODE_WORDS, "NVML_AFFINITY_SCOPE_NODE")),
    Fact("temperature_c", "nvmlDeviceGetTemperatureV", float, ("NVML_TEMPERATURE_GPU",)),
    Fact("temperature_c", "nvmlDeviceGetTemperature", float, ("NVML_TEMPERATURE_GPU",)),
    Fact(_REASONS, "nvmlDeviceGetCurrentClocksEventReasons", _reasons),
    Fact(_REASONS, "nvmlDeviceGetCurrentClocksThrottleReasons", _reasons),
    Fact("performance_state", "nvmlDeviceGetPerformanceState", lambda state: f"P{state}" if state < 16 else None),
    Fact("persistence", "nvmlDeviceGetPersistenceMode", bool),
)
