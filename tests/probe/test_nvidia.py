"""NVIDIA GPUs: the real pynvml over a stand-in library, one subprocess for many descriptions of machines."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hwbench.core.accelerators import Accelerators
from hwbench.core.codec import convert
from hwbench.probe._nvml_facts import FACTS
from hwbench.probe.description import read_description
from hwbench.probe.topology import Place, link_domains, relation_matrix

NVML = Path(__file__).parent / "nvml"
ASK = """
import json, os, sys
from hwbench.core.codec import to_builtins
from hwbench.probe.nvidia import probe_nvidia
for path in sys.argv[2:]:
    os.environ["NVML_STAND_IN"] = path
    value, gaps = probe_nvidia(float(sys.argv[1]))
    print(json.dumps([to_builtins(value), gaps]), flush=True)
"""
CUBE_MESH = [
    "X NV1 NV1 NV2 NV2 SYS SYS SYS",
    "NV1 X NV2 NV1 SYS NV2 SYS SYS",
    "NV1 NV2 X NV2 SYS SYS NV1 SYS",
    "NV2 NV1 NV2 X SYS SYS SYS NV1",
    "NV2 SYS SYS SYS X NV1 NV1 NV2",
    "SYS NV2 SYS SYS NV1 X NV2 NV1",
    "SYS SYS NV1 SYS NV1 NV2 X NV2",
    "SYS SYS SYS NV1 NV2 NV1 NV2 X",
]
"""DGX-1 with V100 as `nvidia-smi topo -m` prints it (NVIDIA, "DGX-1 With Tesla V100 System Architecture", figure 4)."""


SHARED = Path(os.environ.get("HWBENCH_SHARED_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))


def build(folder: Path, *options: str) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler: the stand-in for libnvidia-ml.so.1 can't be built")
    folder.mkdir()
    command = [
        compiler,
        "-Wall",
        "-Werror",
        "-shared",
        "-fPIC",
        *options,
        "-o",
        str(folder / "libnvidia-ml.so.1"),
        str(NVML / "stand_in.c"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml") / "new")


def ask(library: Path, *descriptions: Path, timeout_s: float = 20.0, **environment: str) -> list[tuple[Accelerators, dict[str, str]]]:
    """What probe_nvidia says of each description, with its gaps as a dict."""
    variables = {**os.environ, "LD_LIBRARY_PATH": str(library), **environment}
    command = [sys.executable, "-c", ASK, str(timeout_s), *map(str, descriptions)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=variables, check=True)
    assert done.stderr == ""
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return [(convert(value, Accelerators, source="answer"), dict(gaps)) for value, gaps in answers]


def changed(folder: Path, base: str, *lines: str, name: str = "changed.txt") -> Path:
    """A description with lines in front, which win over what follows."""
    path = folder / name
    path.write_bytes("\n".join([*lines, ""]).encode("latin-1") + (NVML / f"{base}.txt").read_bytes())
    return path


def matrix_of(value: Accelerators) -> list[list[str | None]]:
    places = [Place(device.label, (), None, device.numa_node) for device in value.devices]
    matrix = relation_matrix(value.devices, places, value.matrices.get("topology"), "test", one_node=False)
    return [list(row) for row in matrix.cells]


def test_dgx_a100(library: Path) -> None:
    [(value, gaps)] = ask(library, NVML / "dgx_a100.txt")
    assert value.software.driver_version == "550.54.15"
    assert value.software.management_version == "12.550.54.15"
    assert value.software.cuda_driver_version == "12.4"
    assert [device.pci_address for device in value.devices[:3]] == ["0000:07:00.0", "0000:0f:00.0", "0000:47:00.0"]
    first = value.devices[0]
    assert (first.name, first.uuid, first.serial) == ("NVIDIA A100-SXM4-40GB", "GPU-5ca1ab1e-0000-4000-8000-000000000000", "1321621000000")
    assert (first.pci_id, first.compute_capability, first.core_count) == ("10de:20b0", "8.0", 6912)
    assert (first.memory_total_bytes, first.memory_used_bytes, first.memory_reserved_bytes) == (40 * 2**30, 458752000, 603979776)
    assert {clock.domain: (clock.now_hz, clock.max_hz) for clock in first.clocks}["memory"] == (345e6, 1215e6)
    assert first.power is not None
    assert (first.power.draw_w, first.power.limit_w, first.power.limit_min_w, first.power.limit_max_w) == (71.27, 400.0, 100.0, 400.0)
    assert first.ecc is not None
    assert (first.ecc.enabled, first.ecc.corrected_volatile, first.ecc.uncorrected_aggregate) == (True, 2, 0)
    assert first.mig is not None
    assert (first.mig.enabled, first.mig.instances) == (False, ())
    assert first.pcie is not None
    assert (first.pcie.generation, first.pcie.width, first.pcie.downtrained, first.pcie.slower_now) == (4, 16, False, False)
    assert (first.cpu_list, first.numa_node, first.temperature_c) == ("48-63", 3, 42.0)
    assert (first.throttle_reasons, first.performance_state, first.persistence) == (("gpu_idle",), "P0", True)
    assert [link.remote for link in first.links] == ["switch"] * 12
    assert (first.links[0].version, first.links[0].remote_pci_address) == ("3", "0000:c4:00.0")
    assert first.links[0].bandwidth_bytes_per_s == 25781e6
    assert set(gaps) == {f"devices.{index}.{fact}" for index in range(8) for fact in ("memory_numa_node", "fabric")}


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared data: set HWBENCH_SHARED_DATA")
def test_dgx_a100_agrees_with_nvidia_smi_of_one(library: Path) -> None:
    told, _ = read_description(SHARED / "gpu_topologies" / "nvidia_smi_topo_m" / "dgx_a100_rows_partial.txt")
    [(value, _)] = ask(library, NVML / "dgx_a100.txt")
    assert told.topology is not None
    cells = matrix_of(value)
    assert [cells[row] for row in range(4)] == [list(told.topology.cells[row][:8]) for row in range(4)]
    assert [device.numa_node for device in value.devices[:4]] == [device.numa_node for device in told.devices[:4]]


def test_hgx_h100_through_switches(library: Path) -> None:
    [(value, _)] = ask(library, NVML / "hgx_h100.txt")
    assert all(
        cell == ("X" if row == column else "NV18") for row, cells in enumerate(matrix_of(value)) for column, cell in enumerate(cells)
    )
    fabric = value.devices[0].fabric
    assert fabric is not None
    assert (fabric.state, fabric.clique, fabric.cluster_uuid) == ("completed", 0, "a5a5a5a5-a5a5-a5a5-a5a5-a5a5a5a5a5a5")
    assert value.matrices["p2p_read"].cell("GPU0", "GPU7") == "OK"


def test_v100_cube_mesh(library: Path) -> None:
    [(value, gaps)] = ask(library, NVML / "v100_cube_mesh.txt")
    cells = matrix_of(value)
    nvlinks = [["SYS" if cell in ("PIX", "PHB") else cell for cell in row] for row in cells]
    assert [" ".join(map(str, row)) for row in nvlinks] == CUBE_MESH
    assert value.devices[0].links[0].bandwidth_bytes_per_s == 25781e6  # the common speed: this driver knows none of one link
    assert gaps["devices.0.mig"] == "nvmlDeviceGetMigMode: NOT_SUPPORTED"
    matrix = relation_matrix(value.devices, [Place(d.label, (), None, None) for d in value.devices], None, "test", one_node=False)
    assert link_domains(value.devices, matrix) == (tuple(f"GPU{index}" for index in range(8)),)


def test_pcie_only_flags_the_downtrained_and_the_idle(library: Path) -> None:
    [(value, gaps)] = ask(library, NVML / "pcie_only.txt")
    links = [device.pcie for device in value.devices]
    assert [link and link.downtrained for link in links] == [False, False, True, False]
    assert [link and link.slower_now for link in links] == [False, False, False, True]
    assert value.matrices["p2p_write"].cell("GPU0", "GPU1") == "GNS"
    assert matrix_of(value)[0] == ["X", "PHB", "PHB", "PHB"]
    assert value.devices[0].links == ()
    assert gaps["devices.0.links"] == "nvmlDeviceGetNvLinkState: NOT_SUPPORTED"
    assert value.devices[0].ecc is not None
    assert value.devices[0].ecc.enabled is False


def test_mig(library: Path) -> None:
    [(value, _)] = ask(library, NVML / "mig.txt")
    mig = value.devices[0].mig
    assert mig is not None
    assert mig.enabled
    assert [(one.index, one.gpu_instance, one.compute_units) for one in mig.instances] == [(0, 2, 42), (1, 9, 14), (4, 13, 14)]
    assert (mig.instances[0].name, mig.instances[0].memory_total_bytes) == ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", 20937965568)


def test_a_lost_gpu_costs_that_gpu(library: Path, tmp_path: Path) -> None:
    handle = changed(tmp_path, "dgx_a100", "3.handle !15", name="handle.txt")
    calls = changed(tmp_path, "dgx_a100", "3.power.draw !15", "3.* !15", name="calls.txt")
    midway = changed(tmp_path, "dgx_a100", "3.ecc !15", name="midway.txt")
    links = changed(tmp_path, "dgx_a100", "3.link.7.version !15", name="links.txt")
    for (value, gaps), known in zip(
        ask(library, handle, calls, midway, links), (None, None, "1321621000003", "1321621000003"), strict=True
    ):
        assert len(value.devices) == 8
        assert value.devices[3].serial == known
        assert (value.devices[3].index, value.devices[3].label, value.devices[3].links) == (3, "GPU3", ())
        assert "GPU_IS_LOST" in gaps["devices.3"]
        assert not any(fact.startswith("devices.3.") and "GPU_IS_LOST" in reason for fact, reason in gaps.items())
        assert value.devices[4].serial == "1321621000004"
        assert value.matrices["topology"].labels == tuple(f"GPU{index}" for index in range(8) if index != 3)


def test_no_permission_costs_the_fact(library: Path, tmp_path: Path) -> None:
    [(value, gaps)] = ask(library, changed(tmp_path, "dgx_a100", "*.serial !4", "*.power.* !4"))
    assert value.devices[0].serial is None
    assert value.devices[0].power is None
    assert gaps["devices.0.serial"] == "nvmlDeviceGetSerial: NO_PERMISSION (not allowed for this user, or in this container)"
    assert value.devices[0].uuid is not None


@pytest.mark.parametrize(("code", "name"), [(18, "LIB_RM_VERSION_MISMATCH"), (9, "DRIVER_NOT_LOADED"), (999, "UNKNOWN"), (77, "error 77")])
def test_no_initialisation_is_one_gap(library: Path, tmp_path: Path, code: int, name: str) -> None:
    [(value, gaps)] = ask(library, changed(tmp_path, "dgx_a100", f"system.init !{code}"))
    assert value == Accelerators()
    assert list(gaps) == ["devices"]
    assert f"nvmlInit: {name}" in gaps["devices"]


def test_no_library_is_a_gap(tmp_path: Path) -> None:
    [(value, gaps)] = ask(tmp_path, NVML / "mig.txt")
    assert value == Accelerators()
    assert "libnvidia-ml.so.1 is not here" in gaps["devices"]


def test_a_file_that_is_no_library_is_a_gap(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"not a library")
    [(value, gaps)] = ask(tmp_path, NVML / "mig.txt")
    assert value == Accelerators()
    assert "LIBRARY_NOT_FOUND" in gaps["devices"]


def test_an_old_driver_lacks_symbols(tmp_path: Path) -> None:
    old = build(tmp_path / "old", "-DOLD_DRIVER")
    [(value, gaps)] = ask(old, NVML / "dgx_a100.txt")
    first = value.devices[0]
    assert (first.memory_total_bytes, first.memory_reserved_bytes) == (40 * 2**30, None)
    assert (first.temperature_c, first.throttle_reasons) == (42.0, ("gpu_idle",))  # by the calls that newer drivers deprecate
    assert first.mig is None
    for fact in (
        "memory_reserved_bytes",
        "core_count",
        "mig",
        "fabric",
        "memory_numa_node",
        "pcie.generation_device_max",
        "links.0.remote",
    ):
        assert "FUNCTION_NOT_FOUND (the installed driver is too old to know this call)" in gaps[f"devices.0.{fact}"]
    assert matrix_of(value)[0][1:] == ["NV12"] * 7  # an NVIDIA device that is no GPU is taken for a switch


def test_a_driver_that_hangs_costs_what_comes_after(library: Path, tmp_path: Path) -> None:
    [(value, gaps)] = ask(library, changed(tmp_path, "dgx_a100", "2.serial ~60"), timeout_s=1.0)
    assert [device.index for device in value.devices] == [0, 1]
    assert gaps["devices.2"].startswith("NVML did not answer within 1 s")


def test_text_that_is_not_utf8_costs_the_fact(library: Path, tmp_path: Path) -> None:
    [(value, gaps)] = ask(library, changed(tmp_path, "dgx_a100", "0.name caf\xe9", "1.pci junk"))
    assert value.devices[0].name is None
    assert "UnicodeDecodeError" in gaps["devices.0.name"]
    assert value.devices[0].uuid is not None
    assert value.devices[1].pci_address is None
    assert gaps["devices.1.pci_address"] == "nvmlDeviceGetPciInfo: not available"


def test_shutdown_after_each_reading(library: Path, tmp_path: Path) -> None:
    ask(library, NVML / "mig.txt", NVML / "pcie_only.txt", NVML_STAND_IN_SHUTDOWN=str(tmp_path / "log"))
    assert (tmp_path / "log").read_text() == "shutdown\nshutdown\n"


def test_absurd_numbers_are_no_values(library: Path, tmp_path: Path) -> None:
    lines = (
        "*.memory.total 0xffffffffffffffff",
        "*.cores 0xffffffff",
        "*.throttle 0xffffffffffffffff",
        "*.pstate 32",
        "*.links 4000000000",
    )
    [(value, gaps)] = ask(library, changed(tmp_path, "hgx_h100", *lines))
    device = value.devices[0]
    assert (device.memory_total_bytes, device.core_count, device.performance_state) == (None, None, None)
    assert gaps["devices.0.memory_total_bytes"] == "nvmlDeviceGetMemoryInfo: not available"
    assert len(device.links) == 36


# fmt: off
KEYS = [
    "name", "uuid", "serial", "pci", "capability", "cores", "memory.total", "bus_width", "memory_node", "clock.now.0", "clock.now.1",
    "clock.now.2", "clock.now.3", "clock.max.0", "clock.max.1", "clock.max.2", "clock.max.3", "power.draw", "power.limit",
    "power.enforced", "power.default", "power.range", "ecc", "ecc.0.0", "ecc.0.1", "ecc.1.0", "ecc.1.1", "pcie.generation",
    "pcie.max_generation", "pcie.gpu_max_generation", "pcie.width", "pcie.max_width", "cpus", "nodes", "temperature", "throttle",
    "pstate", "persistence", "links", "mig", "fabric", "link.0.version", "link.0.pci", "link.0.type", "link.0.state", "link.5.state",
]
# fmt: on


def test_one_failing_call_costs_its_facts_and_no_others(library: Path, tmp_path: Path) -> None:
    files = [
        changed(tmp_path, "hgx_h100", "system.count 2", f"0.{key} !{code}", name=f"{key}.{code}.txt")
        for key in KEYS
        for code in (3, 4, 999)
    ]
    (base, _), *answers = ask(library, changed(tmp_path, "hgx_h100", "system.count 2"), *files)
    paths = {path.split(".")[0] for fact in FACTS for path in fact.paths.split()} | {"links", "mig", "fabric"}
    costs_pairs = set()
    for (value, gaps), path in zip(answers, files, strict=True):
        assert value.devices[1:] == base.devices[1:], path
        differing = {field for field in paths if getattr(value.devices[0], field) != getattr(base.devices[0], field)}
        assert len(differing) <= 3, (path, differing)
        named = {fact.split(".")[2] for fact in gaps if fact.startswith("devices.0.")}
        assert differing <= named, (path, differing, gaps)
        costs_pairs |= differing
    assert costs_pairs >= paths - {"memory_numa_node"}  # the H100 has none to lose
