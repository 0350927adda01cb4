"""Accelerators of a whole tree: what the PCI tree shows, the matrix with network adapters, GPUDirect, names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hwbench.core.accelerators import Accelerators
from hwbench.core.inventory import Memory, NumaNode, PciDevice
from hwbench.probe._notes import Notes
from hwbench.probe._sysroot import Sysroot
from hwbench.probe.accelerators import probe_accelerators, read_accelerators
from hwbench.probe.network import probe_network
from hwbench.probe.other_accelerators import PCI_IDS, is_accelerator, pcie_link
from hwbench.probe.pci import probe_pci

H100, CONNECTX, GAUDI, BRIDGE, MATROX = (
    ("0x030200", "0x10de", "0x2330"), ("0x020700", "0x15b3", "0x1021"), ("0x120000", "0x1da3", "0x1020"),
    ("0x060400", "0x1000", "0xc030"), ("0x030000", "0x102b", "0x0536"),
)  # fmt: skip
SWITCH = "pci0000:16/0000:16:01.0/0000:17:00.0"


class Tree:
    """Writes the part of /sys that PCI functions and RDMA adapters need, with the links a kernel makes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "sys/bus/pci/devices").mkdir(parents=True)
        self.file("proc/modules", "")

    def file(self, path: str, text: str) -> None:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text + "\n")

    def link(self, path: str, to: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(to)

    def function(
        self, path: str, kind: tuple[str, str, str], node: int = 0, speed: str = "32.0 GT/s PCIe", width: int = 16, widest: int = 16
    ) -> str:
        address = path.rsplit("/", 1)[-1]
        folder = f"sys/devices/{path}"
        files = {
            "class": kind[0],
            "vendor": kind[1],
            "device": kind[2],
            "numa_node": str(node),
            "local_cpulist": f"{node * 16}-{node * 16 + 15}",
        }
        files |= {
            "current_link_speed": speed,
            "max_link_speed": "32.0 GT/s PCIe",
            "current_link_width": str(width),
            "max_link_width": str(widest),
        }
        for name, text in files.items():
            self.file(f"{folder}/{name}", text)
        self.link(f"sys/bus/pci/devices/{address}", f"../../../devices/{path}")
        return folder

    def adapter(self, path: str, name: str, node: int = 0) -> None:
        folder = self.function(path, CONNECTX, node)
        self.file(f"{folder}/infiniband/{name}/node_guid", "b859:9f03:00aa:bbcc")
        self.link(f"{folder}/infiniband/{name}/device", "../..")
        self.link(f"sys/class/infiniband/{name}", f"../../../{folder}/infiniband/{name}")


def hgx(root: Path) -> Tree:
    """Two GPUs and an adapter below one switch of node 0; a GPU and an adapter behind ports of node 1; a screen that does not compute."""
    tree = Tree(root)
    for path in ("pci0000:16/0000:16:01.0", SWITCH, f"{SWITCH}/0000:18:00.0", f"{SWITCH}/0000:18:04.0", f"{SWITCH}/0000:18:08.0"):
        tree.function(path, BRIDGE)
    tree.function(f"{SWITCH}/0000:18:00.0/0000:19:00.0", H100)
    tree.function(f"{SWITCH}/0000:18:04.0/0000:1a:00.0", H100, width=8)
    tree.adapter(f"{SWITCH}/0000:18:08.0/0000:1b:00.0", "mlx5_10")
    for path in ("pci0000:c0/0000:c0:01.0", "pci0000:c0/0000:c0:02.0"):
        tree.function(path, BRIDGE, node=1)
    tree.function("pci0000:c0/0000:c0:01.0/0000:c1:00.0", GAUDI, node=1, speed="2.5 GT/s PCIe")
    tree.adapter("pci0000:c0/0000:c0:02.0/0000:c2:00.0", "mlx5_9", node=1)
    tree.function("pci0000:00/0000:00:02.0", MATROX)
    return tree


def seen(root: Path, memory: Memory | None = None) -> tuple[Accelerators, dict[str, str]]:
    tree, notes = Sysroot(root), Notes()
    value, gaps = read_accelerators(tree, probe_pci(tree, notes), probe_network(tree, notes), memory or Memory())
    return value, dict(gaps)


def test_devices_and_matrix_of_a_tree(tmp_path: Path) -> None:
    hgx(tmp_path)
    value, gaps = seen(tmp_path)
    assert [(device.label, device.kind, device.vendor, device.name) for device in value.devices] == [
        ("ACC0", "gpu", "NVIDIA", "GH100 [H100 SXM5 80GB]"),
        ("ACC1", "gpu", "NVIDIA", "GH100 [H100 SXM5 80GB]"),
        ("ACC2", "accelerator", "Habana", "Gaudi2 AI Training Accelerator"),
    ]
    assert [(nic.label, nic.name, nic.rdma) for nic in value.nics] == [("NIC0", "mlx5_9", True), ("NIC1", "mlx5_10", True)]
    assert value.topology is not None
    assert [" ".join(map(str, row)) for row in value.topology.cells] == [
        "X PIX SYS SYS PIX",
        "PIX X SYS SYS PIX",
        "SYS SYS X PHB SYS",
        "SYS SYS PHB X SYS",
        "PIX PIX SYS SYS X",
    ]
    assert [(pair.accelerator, pair.nics, pair.relation) for pair in value.pairings] == [
        ("ACC0", ("NIC1",), "PIX"),
        ("ACC1", ("NIC1",), "PIX"),
        ("ACC2", ("NIC0",), "PHB"),
    ]
    assert [device.pcie and device.pcie.downtrained for device in value.devices] == [False, True, False]
    assert [device.pcie and device.pcie.slower_now for device in value.devices] == [False, False, True]
    assert (value.devices[0].cpu_list, value.devices[0].numa_node) == ("0-15", 0)
    assert "memory_total_bytes" in "".join(gaps)


def test_a_slot_narrower_than_the_device_is_not_downtrained() -> None:
    device = PciDevice(address="0000:01:00.0", link_transfers_per_s=16e9, link_transfers_per_s_max=32e9, link_width=8, link_width_max=16)
    port = PciDevice(address="0000:00:01.0", link_transfers_per_s_max=16e9, link_width_max=8)
    link = pcie_link(device, port)
    assert link is not None
    assert (link.generation_max, link.generation_device_max, link.width_max, link.width_device_max) == (4, 5, 8, 16)
    assert (link.downtrained, link.slower_now) == (False, False)
    assert pcie_link(PciDevice(address="0000:00:02.0"), None) is None


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        (H100, True), (GAUDI, True), (MATROX, False), (CONNECTX, False), (("0x030000", "0x8086", "0x56c0"), True),
        (("0x088000", "0x1d0f", "0x7164"), True), (("0x088000", "0x1d0f", "0x8061"), False), (("0x0b4000", "0x1bcf", "0x001c"), True),
    ],
)  # fmt: skip
def test_what_counts_as_an_accelerator(kind: tuple[str, str, str], counts: bool) -> None:
    assert is_accelerator(PciDevice(address="0000:01:00.0", class_code=kind[0], vendor_id=kind[1], device_id=kind[2])) is counts


def test_a_device_that_a_driver_registered_counts_whatever_its_class(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    folder = tree.function("pci0000:00/0000:00:0b.0", ("0x088000", "0x8086", "0x7d1d"))
    tree.link("sys/class/accel/accel0/device", f"../../../../{folder}")
    value, _ = seen(tmp_path)
    assert [(device.label, device.pci_id) for device in value.devices] == [("ACC0", "8086:7d1d")]


AMDSMI = """
print("looking for libamd_smi.so")
class AmdSmiException(Exception): pass
def amdsmi_init(): {init}
def amdsmi_shut_down(): pass
def amdsmi_get_processor_handles(): return [1, 2]
def amdsmi_get_gpu_device_bdf(handle): return f"0000:0{{handle}}:00.0"
def amdsmi_get_gpu_asic_info(handle): return {{"market_name": "AMD Instinct MI300X" if handle == 1 else "N/A"}}
"""
NAMES = "from hwbench.probe._amd_smi import market_names; print(market_names())"


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (None, "({}, ())"),
        (AMDSMI.format(init="pass"), "({'0000:01:00.0': 'AMD Instinct MI300X'}, ())"),
        (AMDSMI.format(init="raise AmdSmiException('driver not loaded')"), "({}, ('amdsmi: driver not loaded',))"),
        ("print('no library')\n{}['libamd_smi.so']", "({}, (\"amdsmi can't be used: KeyError: 'libamd_smi.so'\",))"),
    ],
)
def test_amd_market_names(tmp_path: Path, module: str | None, said: str) -> None:
    if module is not None:
        (tmp_path / "amdsmi.py").write_text(module)
    done = subprocess.run(
        [sys.executable, "-c", NAMES], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(tmp_path)}, check=True
    )
    assert done.stdout.strip() == said


def test_names_come_from_the_machine_s_pci_ids_first(tmp_path: Path) -> None:
    tree = hgx(tmp_path)
    tree.file(
        PCI_IDS[0], "# comment\n1da3  Habana Labs Ltd.\n\t1020  A newer name\n\t\t1da3 0001  A board\nC 03  Display\n\t1020  no device"
    )
    value, _ = seen(tmp_path)
    assert (value.devices[2].name, value.devices[2].name_source) == ("A newer name", PCI_IDS[0])
    assert value.devices[0].name_source == "hwbench's extract of pci.ids (pci-ids.ucw.cz)"


def test_an_unknown_device_has_no_name(tmp_path: Path) -> None:
    Tree(tmp_path).function("pci0000:00/0000:00:04.0", ("0x120000", "0x1b36", "0x0005"))
    value, gaps = seen(tmp_path)
    assert (value.devices[0].name, value.devices[0].pci_id) == (None, "1b36:0005")
    assert "pci.ids does not name 1b36:0005" in gaps["devices.0.name"]


OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build"
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024"


@pytest.mark.parametrize(
    ("modules", "version", "ready"),
    [
        ("ib_core 1 0 - Live 0x0\nnvidia_peermem 1 0 - Live 0x0", CLOSED, True),
        ("ib_core 1 0 - Live 0x0\nnvidia 1 0 - Live 0x0", OPEN, True),
        ("ib_core 1 0 - Live 0x0\nnvidia 1 0 - Live 0x0", CLOSED, False),
        ("ib_core 1 0 - Live 0x0\nnvidia 1 0 - Live 0x0", None, None),
        ("nvidia_peermem 1 0 - Live 0x0", CLOSED, False),
    ],
)
def test_gpudirect_readiness(tmp_path: Path, modules: str, version: str | None, ready: bool | None) -> None:
    tree = hgx(tmp_path)
    tree.file("proc/modules", modules)
    if version is not None:
        tree.file("proc/driver/nvidia/version", version)
    value, _ = seen(tmp_path)
    assert value.gpudirect is not None
    assert value.gpudirect.ready is ready
    assert bool(value.gpudirect.reason) is (ready is not True)


def test_gpudirect_without_a_list_of_modules_is_not_known(tmp_path: Path) -> None:
    hgx(tmp_path)
    (tmp_path / "proc/modules").unlink()
    value, _ = seen(tmp_path)
    assert value.gpudirect is not None
    assert (value.gpudirect.ready, value.gpudirect.reason) == (None, "/proc/modules: missing")


def test_nothing_there(tmp_path: Path) -> None:
    value, gaps = seen(tmp_path)
    assert value == Accelerators()
    assert gaps == {"devices": "/sys/bus/pci/devices: missing"}
    Tree(tmp_path / "empty")
    value, gaps = seen(tmp_path / "empty")
    assert value.devices == ()


def test_one_numa_node_makes_unknown_nodes_node(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    for path in ("pci0000:00/0000:00:04.0", "pci0000:40/0000:40:04.0"):
        tree.function(path, H100, node=-1)
    value, gaps = seen(tmp_path)
    assert value.topology is not None
    assert value.topology.cells[0] == ("X", None)
    assert "topology" in gaps
    value, _ = seen(tmp_path, Memory(numa_nodes=(NumaNode(id=0),)))
    assert value.topology is not None
    assert value.topology.cells[0] == ("X", "NODE")


def test_a_loop_of_parents_is_an_unknown_place(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.function("pci0000:00/0000:00:04.0", H100)
    (tmp_path / "sys/bus/pci/devices/0000:00:05.0").symlink_to("0000:00:05.0")
    value, _ = seen(tmp_path)
    assert len(value.devices) == 1


def every_file(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def test_any_missing_file_costs_at_most_its_facts(tmp_path: Path) -> None:
    hgx(tmp_path / "whole")
    whole, _ = seen(tmp_path / "whole")
    by_address = {device.pci_address: device for device in whole.devices}
    for path in every_file(tmp_path / "whole"):
        file = tmp_path / "whole" / path
        text = file.read_text()
        file.unlink()
        value, _ = seen(tmp_path / "whole")
        file.write_text(text)
        for device in value.devices:
            before = by_address[device.pci_address]
            for field in ("vendor", "pci_id", "numa_node", "cpu_list", "name", "kind"):
                assert getattr(device, field) in (getattr(before, field), None), (path, field)
        assert value.topology is not None
        for row, label in enumerate(value.topology.labels):
            for column, other in enumerate(value.topology.labels):
                if len(value.devices) == 3 and len(value.nics) == 2 and whole.topology is not None:
                    assert value.topology.cells[row][column] in (whole.topology.cell(label, other), None), (path, label, other)


def test_gaps_and_sources_go_to_the_notes(tmp_path: Path) -> None:
    hgx(tmp_path)
    tree, notes = Sysroot(tmp_path), Notes()
    value = probe_accelerators(tree, notes, probe_pci(tree, Notes()), probe_network(tree, Notes()), Memory())
    assert notes.sources["accelerators.devices.0"] == "/sys/bus/pci/devices/0000:19:00.0"
    assert all(gap.path.startswith("accelerators.") for gap in notes.gaps)
    assert len(value.devices) == 3
