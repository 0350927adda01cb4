"""Energy counters of the machine, read before and after the samples of a case: NVML's of an accelerator, RAPL's of the host.

NVML counts the joules of a whole board since the driver was loaded, and its counter advances every tens of milliseconds
(nvmlDeviceGetTotalEnergyConsumption; Volta and newer). RAPL counts those of each processor package, whoever used them, and since 2020
the kernel shows it to root only (CVE-2020-8694). What is not told is None, with the reason.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch

from hwbench.core.record import Energy

_POWERCAP: Final = Path("/sys/class/powercap")
_SHORTEST_S: Final = 0.1
"""Counters advance by steps: over less than this they tell nothing."""


class Counter(NamedTuple):
    """A package's RAPL counter, in microjoules, and where it starts again from 0."""

    now_uj: int
    range_uj: int


class Reading(NamedTuple):
    """Counters at one moment; None where the machine doesn't tell, with the reason in `reasons`."""

    device_mj: int | None
    host: dict[str, Counter] | None
    reasons: tuple[str, ...]


def read(device: torch.device, *, host: bool, powercap: Path = _POWERCAP) -> Reading:
    """The counters now: of `device` if it is an accelerator, and of the host's packages if `host` (one rank of a machine reads them)."""
    device_mj, why_device = (None, "") if device.type == "cpu" else _device_mj(device)
    packages, why_host = _host(powercap) if host else (None, "read by another rank of this machine")
    return Reading(device_mj=device_mj, host=packages, reasons=tuple(filter(None, (why_device, why_host))))


def between(before: Reading, after: Reading, span_s: float) -> Energy:
    """What was taken in the `span_s` seconds between two readings."""
    if span_s < _SHORTEST_S:
        return Energy(device_j=None, host_j=None, span_s=span_s, reasons=(f"sampled for {span_s:.3f} s, too short for the counters",))
    device_j = None
    if before.device_mj is not None and after.device_mj is not None:
        device_j = (after.device_mj - before.device_mj) / 1e3
    host_j = None
    if before.host is not None and after.host is not None and before.host.keys() == after.host.keys():
        host_j = sum(_spent_uj(counter, after.host[name]) for name, counter in before.host.items()) / 1e6
    return Energy(device_j=device_j, host_j=host_j, span_s=span_s, reasons=after.reasons)


def _spent_uj(before: Counter, after: Counter) -> int:
    """Microjoules between two readings of a counter that may have started again once."""
    spent = after.now_uj - before.now_uj
    return spent if spent >= 0 else spent + before.range_uj


def _host(powercap: Path) -> tuple[dict[str, Counter] | None, str]:
    """RAPL's packages; memory (the subzone dram) is not within a package's count, and is added where there is one."""
    try:
        found = dict(_packages(powercap))
    except PermissionError:
        return None, f"host energy: {powercap}/*/energy_uj may be read by root only"
    except (OSError, ValueError) as error:
        return None, f"host energy: {error}"
    return (found, "") if found else (None, f"host energy: no RAPL packages under {powercap}")


def _packages(powercap: Path) -> Iterator[tuple[str, Counter]]:
    for zone in sorted(powercap.glob("intel-rapl:*")):
        name = (zone / "name").read_text(encoding="ascii").strip()
        if name.startswith("package") or name == "dram":
            now, whole = ((zone / file).read_text(encoding="ascii") for file in ("energy_uj", "max_energy_range_uj"))
            yield zone.name, Counter(now_uj=int(now), range_uj=int(whole))


def _device_mj(device: torch.device) -> tuple[int | None, str]:
    """Millijoules of the board that torch calls `device`, found by its UUID: NVML knows nothing of CUDA_VISIBLE_DEVICES."""
    if device.type != "cuda" or torch.version.hip:
        return None, f"device energy: no counter is read on {device.type}{' (ROCm)' if torch.version.hip else ''}"
    import pynvml

    try:
        pynvml.nvmlInit()
        handle: Any = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)), ""
    except (pynvml.NVMLError, AttributeError) as error:
        return None, f"device energy: {error}"
