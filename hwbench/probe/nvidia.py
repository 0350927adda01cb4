"""NVIDIA GPUs through NVML (`pynvml`, the package nvidia-ml-py); which call gives which fact stands in `_nvml_facts`.

A failing call costs its fact, a lost GPU costs that GPU, and a driver that never answers costs what was not read until then: the
reading runs in a daemon thread with a deadline.
"""

import threading
from types import ModuleType
from typing import Any

from hwbench.core.accelerators import Accelerator, Accelerators, AcceleratorSoftware, Matrix, Reading

from ._assemble import assembled
from ._nvml import CallFailed, ask, call, constant
from ._nvml_facts import FACTS, Fact
from ._nvml_links import pair_matrices, read_fabric, read_links, read_mig

SOURCE = "NVML"


class _Report:
    """What the reading thread has found so far; the asking thread reads it when the time is up."""

    def __init__(self) -> None:
        self.software = AcceleratorSoftware()
        self.devices: list[Accelerator] = []
        self.matrices: dict[str, Matrix] = {}
        self.gaps: list[tuple[str, str]] = []
        self.at = "devices"
        self.finished = False


def probe_nvidia(timeout_s: float = 10.0) -> Reading:
    """All NVIDIA GPUs that NVML shows on this machine.

    Never raises and never hangs: after `timeout_s` seconds the facts read until then are returned, with a gap that says so.
    """
    report = _Report()
    reader = threading.Thread(target=_read, args=(report,), name="hwbench-nvml", daemon=True)
    reader.start()
    reader.join(timeout_s)
    gaps = list(report.gaps)
    if reader.is_alive():
        gaps.append((report.at, f"NVML did not answer within {timeout_s:g} s: the driver hangs; look into the kernel log for Xid errors"))
    elif not report.finished:
        gaps.append((report.at, "reading NVML ended early: a fault of hwbench, its traceback is on the standard error"))
    return Accelerators(software=report.software, devices=tuple(report.devices), matrices=dict(report.matrices)), tuple(gaps)


def _read(report: _Report) -> None:
    try:
        import pynvml as binding
    except ImportError as error:
        report.gaps.append(("devices", f"NVIDIA: the package nvidia-ml-py can't be imported: {error}"))
        report.finished = True
        return
    try:
        call(binding, "nvmlInit")
    except CallFailed as failed:
        report.gaps.append(("devices", f"NVIDIA: {failed}"))
    else:
        _read_all(binding, report)
        _shut_down(binding, report)
    report.finished = True


def _read_all(binding: ModuleType, report: _Report) -> None:
    report.software = _software(binding, report)
    try:
        count = ask(binding, int, "nvmlDeviceGetCount")
    except CallFailed as failed:
        report.gaps.append(("devices", f"NVIDIA: {failed}"))
        return
    handles: dict[str, Any] = {}
    for index in range(count):
        report.at = f"devices.{index}"
        _read_device(binding, report, index, handles)
    report.at = "matrices"
    report.matrices, gaps = pair_matrices(binding, handles)
    report.gaps += gaps


def _shut_down(binding: ModuleType, report: _Report) -> None:
    try:
        call(binding, "nvmlShutdown")
    except CallFailed as failed:
        report.gaps.append(("software.management_version", f"NVML did not close: {failed}"))


def _software(binding: ModuleType, report: _Report) -> AcceleratorSoftware:
    found: dict[str, str] = {}
    for field, name in (
        ("driver_version", "nvmlSystemGetDriverVersion"),
        ("management_version", "nvmlSystemGetNVMLVersion"),
        ("cuda_driver_version", "nvmlSystemGetCudaDriverVersion"),
    ):
        try:
            found[field] = ask(binding, _version, name)
        except CallFailed as failed:
            report.gaps.append((f"software.{field}", str(failed)))
    return AcceleratorSoftware(**found)


def _version(value: str | int) -> str:
    """Text as it is; CUDA's number is 1000 * major + 10 * minor."""
    return value if isinstance(value, str) else f"{value // 1000}.{value % 1000 // 10}"


def _read_device(binding: ModuleType, report: _Report, index: int, handles: dict[str, Any]) -> None:
    label = f"GPU{index}"
    values: dict[str, Any] = {}
    gaps: list[tuple[str, str]] = []
    try:
        handle = call(binding, "nvmlDeviceGetHandleByIndex", index)
        device_facts(binding, handle, values, gaps)
        for field, read in (("links", read_links), ("mig", read_mig), ("fabric", read_fabric)):
            values[field] = read(binding, handle, gaps)
        handles[label] = handle
    except CallFailed as failed:
        # Only a lost GPU, or one without a handle, comes this far: what was read before stays, the rest is one gap.
        gaps.append(("", str(failed)))
    name_source = SOURCE if "name" in values else None
    report.devices.append(assembled(values, label=label, source=SOURCE, index=index, vendor="NVIDIA", name_source=name_source))
    report.gaps += [(f"devices.{index}.{fact}".rstrip("."), reason) for fact, reason in gaps]


def device_facts(binding: ModuleType, handle: Any, values: dict[str, Any], gaps: list[tuple[str, str]]) -> None:
    """Into `values` the facts of one GPU by dotted path, into `gaps` (path, reason) for each that failed; CallFailed if it is lost."""
    reasons: dict[str, str] = {}
    for fact in FACTS:
        paths = [path for path in fact.paths.split() if path not in values]
        if not paths:
            continue
        try:
            found = _asked(binding, handle, fact)
        except CallFailed as failed:
            if failed.lost:
                raise
            reasons |= {path: str(failed) for path in paths}
            continue
        for path, value in found.items():
            if value is not None:
                values[path] = value
                reasons.pop(path, None)
            elif path not in values:
                reasons.setdefault(path, f"{fact.call}: not available")
    gaps += reasons.items()


def _asked(binding: ModuleType, handle: Any, fact: Fact) -> dict[str, Any]:
    paths = fact.paths.split()
    arguments = [constant(binding, item) if isinstance(item, str) else item for item in fact.arguments]

    def by_path(answer: Any) -> dict[str, Any]:
        found = fact.convert(answer)
        return dict(zip(paths, found if len(paths) > 1 else (found,), strict=True))

    return ask(binding, by_path, fact.call, handle, *arguments)
