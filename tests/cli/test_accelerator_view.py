"""What people see of accelerators, and `hwbench probe --from` and `--redact` as a whole."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from hwbench.cli._accelerator_view import accelerators_view
from hwbench.core.accelerators import Accelerator, Accelerators, Ecc, GpuDirect, Matrix, Mig, MigInstance, Nic, Pairing, PcieLink

GPUS = tuple(
    Accelerator(
        label=f"GPU{index}",
        source="test",
        index=index,
        vendor="NVIDIA",
        name="NVIDIA A100-SXM4-40GB",
        compute_capability="8.0",
        memory_total_bytes=40 << 30,
        numa_node=0,
        pci_address=f"0000:0{index}:00.0",
        pcie=PcieLink(generation=4, generation_max=4, width=16, width_max=16),
    )
    for index in range(8)
)
LABELS = (*(gpu.label for gpu in GPUS), *(f"NIC{index}" for index in range(8)))
CELLS = tuple(tuple("X" if i == j else "NV12" if i < 8 and j < 8 else "SYS" for j in range(16)) for i in range(16))
VALUE = Accelerators(
    devices=GPUS,
    nics=tuple(Nic(label=f"NIC{index}", name=f"mlx5_{index}") for index in range(8)),
    topology=Matrix(meaning="", source="", labels=LABELS, cells=CELLS),
    pairings=tuple(Pairing(accelerator=gpu.label, nics=("NIC0", "NIC1"), relation="PXB") for gpu in GPUS[:2]),
    link_domains=(tuple(gpu.label for gpu in GPUS),),
    gpudirect=GpuDirect(ready=False, reason="neither nvidia_peermem nor dma-buf"),
)


def shown(value: Accelerators, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(accelerators_view(value, width))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    return text


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_every_cell_is_there_at_every_width(width: int) -> None:
    text = shown(VALUE, width)
    assert "…" not in text
    assert text.count("NV12") == 8 * 7
    assert text.count("SYS") == 8 * 8 + 1  # and the legend
    assert "NVIDIA A100-SXM4-40GB" in " ".join(text.split())


def test_equal_devices_are_one_row() -> None:
    text = shown(VALUE, 120)
    assert "GPU0-7  NVIDIA A100-SXM4-40GB (sm 8.0)  40.0 GiB  4.0 x16" in text
    assert "nearest to GPU0, GPU1: NIC0 mlx5_0, NIC1 mlx5_1 (PXB)" in text
    assert "linked: GPU0-GPU7 (8 GPUs)" in text
    assert "linked: GPU0, GPU2, GPU4" in shown(msgspec.structs.replace(VALUE, link_domains=(("GPU0", "GPU2", "GPU4"),)), 120)
    assert "GPUDirect RDMA: not ready (neither nvidia_peermem nor dma-buf)" in text


def test_what_is_amiss_is_said() -> None:
    change = msgspec.structs.replace
    broken = change(
        GPUS[2],
        pcie=PcieLink(generation=1, generation_max=4, width=8, width_max=16),
        throttle_reasons=("gpu_idle", "hw_thermal_slowdown"),
        ecc=Ecc(enabled=True, uncorrected_volatile=3),
    )
    text = shown(change(VALUE, devices=(*GPUS[:2], broken, *GPUS[3:])), 120)
    assert "1.0 x8 of x16, up to 4.0" in text
    assert "warning: GPU2 runs on 8 of 16 PCIe lanes" in text
    assert "warning: GPU2 is slowed by hw_thermal_slowdown" in text
    assert "warning: GPU2 counts 3 uncorrected memory errors" in text


def test_partitions_and_unknowns() -> None:
    mig = Accelerator(label="GPU0", source="test", name="NVIDIA H100", mig=Mig(enabled=True, instances=(MigInstance(index=0),)))
    text = shown(Accelerators(devices=(mig, Accelerator(label="ACC0", source="test", kind="accelerator"))), 80)
    assert "NVIDIA H100 in 1 MIG instances" in text
    assert "accelerator of an unknown kind" in text
    assert "No accelerator was seen." in shown(Accelerators(), 80)


def probe(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hwbench", "probe", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})


TOPO = """\
        GPU0    GPU1    NIC0    CPU Affinity    NUMA Affinity
GPU0     X      NV4     PIX     0-15            0
GPU1    NV4      X      SYS     16-31           1
NIC0    PIX     SYS      X
"""


def test_probe_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "topo.txt").write_text(TOPO)
    done = probe("--from", str(tmp_path / "topo.txt"), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["accelerators"]["topology"]["cells"] == [["X", "NV4", "PIX"], ["NV4", "X", "SYS"], ["PIX", "SYS", "X"]]
    assert "topo.txt: describes accelerators only" in {gap["reason"] for gap in found["gaps"]}
    text = probe("--from", str(tmp_path / "topo.txt"), COLUMNS="80").stdout
    assert "GPU0   X    NV4   PIX" in text
    assert "Not told (2)" in text


def test_probe_from_a_file_of_no_kind(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello\n")
    done = probe("--from", str(tmp_path / "notes.txt"))
    assert done.returncode == 2
    assert done.stderr.startswith("hwbench: notes.txt: not a description of accelerators: starts with 'hello'\n  try: expected ")
    assert probe("--from", str(tmp_path / "notes.txt"), "--sysroot", str(tmp_path)).returncode == 2


def test_probe_redacted_greps_clean(tmp_path: Path) -> None:
    query = "==============NVSMI LOG==============\nGPU 00000000:07:00.0\n    Serial Number : 1320220000001\n"
    (tmp_path / "q.txt").write_text(query + "    GPU UUID      : GPU-5ca1ab1e-0000-4000-8000-000000000001\n")
    plain, hidden = (probe("--from", str(tmp_path / "q.txt"), "--json", *more).stdout for more in ((), ("--redact",)))
    for original in ("1320220000001", "5ca1ab1e-0000-4000-8000-000000000001"):
        assert original in plain
        assert original not in hidden
    assert json.loads(hidden)["accelerators"]["devices"][0]["pci_address"] == "0000:07:00.0"


def test_probe_of_this_machine_redacted_hides_its_name() -> None:
    plain, hidden = (json.loads(probe("--json", *more).stdout) for more in ((), ("--redact",)))
    name = plain["machine"]["host_name"]
    if not name or len(name) < 4:
        pytest.skip("this machine has no name to hide")
    assert name not in json.dumps(hidden)
    for interface in plain["network"]["interfaces"] or ():
        if (interface["mac"] or "").strip("0:"):
            assert interface["mac"] not in json.dumps(hidden)
