"""What NVML says about links, partitions and pairs of GPUs."""

import ctypes
from collections.abc import Callable
from types import ModuleType
from typing import Any

from hwbench.core.accelerators import Fabric, Link, Matrix, Mig, MigInstance

from ._nvml import CallFailed, ask, call, constant
from ._nvml_facts import known, pci_of

Gaps = list[tuple[str, str]]

TOPOLOGY = {0: "X", 10: "PIX", 20: "PXB", 30: "PHB", 40: "NODE", 50: "SYS"}
"""NVML_TOPOLOGY_* to the words of `nvidia-smi topo -m`; X (internal) is two GPUs on one board."""

P2P_STATUS = {0: "OK", 1: "CNS", 2: "GNS", 3: "TNS", 4: "DR", 5: "NS", 6: "U"}
"""NVML_P2P_STATUS_* to the words of `nvidia-smi topo -p2p`: chipset, GPU or topology not supported, disabled by regkey, …"""

P2P_KINDS = ("READ", "WRITE", "NVLINK", "ATOMICS", "PCI")
_REMOTE = {0: "gpu", 1: "cpu", 2: "switch"}
_FABRIC_STATE = {0: "not supported", 1: "not started", 2: "in progress", 3: "completed"}


def read_links(binding: ModuleType, handle: Any, gaps: Gaps) -> tuple[Link, ...]:
    """The NVLinks of a GPU, inactive ones too; a GPU without NVLink gives an empty tuple and a gap with NVML's word."""
    links: list[Link] = []
    failures: dict[int, CallFailed] = {}
    for index in range(constant(binding, "NVML_NVLINK_MAX_LINKS")):
        try:
            active = bool(call(binding, "nvmlDeviceGetNvLinkState", handle, index))
        except CallFailed as failed:
            if failed.lost:
                raise
            # Past the last link the library says INVALID_ARGUMENT; a failure at the first means that none can be read.
            if not links:
                gaps.append(("links", str(failed)))
            if not links or failed.code == "INVALID_ARGUMENT":
                break
            failures[index] = failed
            links.append(Link(kind="nvlink", index=index))
            continue
        links.append(_link(binding, handle, index, gaps) if active else Link(kind="nvlink", index=index, active=False))
    # Some drivers say NOT_SUPPORTED past the last link; between links it is a failure.
    while links and (failed_last := failures.get(len(links) - 1)) and failed_last.code == "NOT_SUPPORTED":
        links.pop()
    gaps += [(f"links.{index}", str(failed)) for index, failed in failures.items() if index < len(links)]
    return tuple(links)


def _link(binding: ModuleType, handle: Any, index: int, gaps: Gaps) -> Link:
    def asked(field: str, name: str, convert: Callable[[Any], Any]) -> Any:
        try:
            return ask(binding, convert, name, handle, index)
        except CallFailed as failed:
            if failed.lost:
                raise
            gaps.append((f"links.{index}.{field}", str(failed)))
            return None

    address, pci_id = asked("remote_pci_address", "nvmlDeviceGetNvLinkRemotePciInfo", pci_of) or (None, None)
    return Link(
        kind="nvlink",
        index=index,
        active=True,
        version=asked("version", "nvmlDeviceGetNvLinkVersion", str),
        remote=asked("remote", "nvmlDeviceGetNvLinkRemoteDeviceType", _REMOTE.get),
        remote_pci_address=address,
        remote_pci_id=pci_id,
        bandwidth_bytes_per_s=_link_speed(binding, handle, index, gaps),
    )


def _link_speed(binding: ModuleType, handle: Any, index: int, gaps: Gaps) -> float | None:
    """Bytes a second in one direction; NVML counts in MB/s, of one link where the driver knows it, else of all."""
    fields = [(constant(binding, "NVML_FI_DEV_NVLINK_GET_SPEED"), index), (constant(binding, "NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON"), 0)]
    try:
        values = call(binding, "nvmlDeviceGetFieldValues", handle, fields)
    except CallFailed as failed:
        if failed.lost:
            raise
        gaps.append((f"links.{index}.bandwidth_bytes_per_s", str(failed)))
        return None
    for value in values:
        if value.nvmlReturn == 0 and value.value.uiVal:
            return float(value.value.uiVal) * 1e6
    gaps.append((f"links.{index}.bandwidth_bytes_per_s", f"nvmlDeviceGetFieldValues: error {values[0].nvmlReturn}"))
    return None


def read_mig(binding: ModuleType, handle: Any, gaps: Gaps) -> Mig | None:
    """Partitioning of a GPU and its instances; None with a gap where the GPU or the driver knows no partitions."""
    try:
        now, pending = ask(binding, tuple, "nvmlDeviceGetMigMode", handle)
        count = ask(binding, int, "nvmlDeviceGetMaxMigDeviceCount", handle) if now else 0
    except CallFailed as failed:
        if failed.lost:
            raise
        gaps.append(("mig", str(failed)))
        return None
    found = (_instance(binding, handle, index, gaps) for index in range(min(count, 64)))
    return Mig(enabled=bool(now), enabled_pending=bool(pending), instances=tuple(one for one in found if one is not None))


def _instance(binding: ModuleType, handle: Any, index: int, gaps: Gaps) -> MigInstance | None:
    try:
        instance = call(binding, "nvmlDeviceGetMigDeviceHandleByIndex", handle, index)
    except CallFailed as failed:
        if failed.lost:
            raise
        if failed.code not in ("NOT_FOUND", "INVALID_ARGUMENT"):
            gaps.append((f"mig.instances.{index}", str(failed)))
        return None
    values: dict[str, Any] = {}
    for field, name, convert in (
        ("name", "nvmlDeviceGetName", str),
        ("uuid", "nvmlDeviceGetUUID", str),
        ("gpu_instance", "nvmlDeviceGetGpuInstanceId", known),
        ("compute_instance", "nvmlDeviceGetComputeInstanceId", known),
        ("compute_units", "nvmlDeviceGetAttributes", lambda found: known(found.multiprocessorCount)),
        ("memory_total_bytes", "nvmlDeviceGetMemoryInfo", lambda found: known(found.total)),
        ("memory_used_bytes", "nvmlDeviceGetMemoryInfo", lambda found: known(found.used)),
    ):
        try:
            values[field] = ask(binding, convert, name, instance)
        except CallFailed as failed:
            if failed.lost:
                raise
            gaps.append((f"mig.instances.{index}.{field}", str(failed)))
    return MigInstance(index=index, **values)


def read_fabric(binding: ModuleType, handle: Any, gaps: Gaps) -> Fabric | None:
    """The NVLink fabric a GPU is part of, which may span machines; None with a gap where there is none."""
    try:
        info = binding.c_nvmlGpuFabricInfo_v2_t()
        call(binding, "nvmlDeviceGetGpuFabricInfoV", handle, ctypes.byref(info))
    except AttributeError as error:
        gaps.append(("fabric", f"nvmlDeviceGetGpuFabricInfoV: {error}"))
        return None
    except CallFailed as failed:
        if failed.lost:
            raise
        gaps.append(("fabric", str(failed)))
        return None
    state = _FABRIC_STATE.get(info.state)
    if state != "completed":
        return Fabric(state=state)
    text = bytes(info.clusterUuid).hex()
    uuid = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    return Fabric(state=state, cluster_uuid=uuid, clique=info.cliqueId)


def pair_matrices(binding: ModuleType, handles: dict[str, Any]) -> tuple[dict[str, Matrix], Gaps]:
    """Tables over pairs of GPUs: `topology` (the PCI path only) and `p2p_read` … `p2p_pci`, empty with fewer than two GPUs."""
    if len(handles) < 2:
        return {}, []
    gaps: Gaps = []
    made = {"topology": _matrix(binding, handles, "nvmlDeviceGetTopologyCommonAncestor", (), TOPOLOGY, "the nearest common PCI ancestor")}
    for kind in P2P_KINDS:
        index = constant(binding, f"NVML_P2P_CAPS_INDEX_{kind}")
        made[f"p2p_{kind.lower()}"] = _matrix(
            binding, handles, "nvmlDeviceGetP2PStatus", (index,), P2P_STATUS, f"peer to peer: {kind.lower()}"
        )
    matrices: dict[str, Matrix] = {}
    for name, (matrix, reasons) in made.items():
        gaps += [(f"matrices.{name}", reason) for reason in sorted(reasons)]
        if any(cell not in (None, "X") for row in matrix.cells for cell in row):
            matrices[name] = matrix
    return matrices, gaps


def _matrix(
    binding: ModuleType, handles: dict[str, Any], name: str, arguments: tuple[int, ...], words: dict[int, str], meaning: str
) -> tuple[Matrix, set[str]]:
    reasons: set[str] = set()

    def cell(one: str, other: str) -> str | None:
        if one == other:
            return "X"
        try:
            value = call(binding, name, handles[one], handles[other], *arguments)
        except CallFailed as failed:
            reasons.add(str(failed))
            return None
        return words.get(value, str(value))

    cells = tuple(tuple(cell(one, other) for other in handles) for one in handles)
    return Matrix(meaning=meaning, source=name, labels=tuple(handles), cells=cells), reasons
