"""Files that describe accelerators in the forms of other driver versions and other machines than those in test_description.py."""

from hwbench.core.accelerators import Accelerators, Matrix
from hwbench.probe.description import parse_description

GB200 = """\
\t\x1b[4mGPU0\tGPU1\tNIC0\tNIC1\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\x1b[0m
GPU0\t X \tNV18\tNODE\tSYS\t0-71\t0,2-17\t\tN/A
GPU1\tNV18\t X \tSYS\tNODE\t72-143\t1\t\t10
NIC0\tNODE\tSYS\t X \tSYS\t\t\t\t
NIC1\tSYS\tNODE\tSYS\t X \t\t\t\t

NIC Legend:

  NIC0: mlx5_0
  NIC1: mlx5_bond_0
"""
OLD = """\
\tGPU0\tGPU1\tmlx5_0\tmlx5_bond_0\tCPU Affinity
GPU0\t X \tPHB\tPIX\tSOC\t0-9,20-29
GPU1\tPHB\t X \tSOC\tPXB\t10-19,30-39
mlx5_0\tPIX\tSOC\t X \tSOC\t
mlx5_bond_0\tSOC\tPXB\tSOC\t X \t
"""
UNKNOWN = "\tGPU0\tGPU1\tCPU Affinity\tNUMA Affinity\nGPU0\t X \tN/A\tN/A\tN/A\nGPU1\tN/A\t X \t0-3\t-1\n"
VGPU = """\
==============NVSMI LOG==============

Driver Version                            : 535.161.08
CUDA Version                              : 12.2

Attached GPUs                             : 1
GPU 00000000:02:00.0
    Product Name                          : GRID A100-20C
    Addressing Mode                       : None
    Serial Number                         : N/A
    GPU Virtualization Mode
        Virtualization Mode               : VGPU
    vGPU Software Licensed Product
        Product Name                      : NVIDIA Virtual Compute Server
        License Status                    : Licensed (Expiry: N/A)
    PCI
        Device Id                         : 0x20F110DE
        Bus Id                            : 00000000:02:00.0
        GPU Link Info
            PCIe Generation
                Max                       : N/A
                Current                   : N/A
    FB Memory Usage
        Total                             : 20480 MiB
        Used                              : 0 MiB
    Ecc Mode
        Current                           : N/A
    GPU Power Readings
        Power Draw                        : N/A
"""
GRACE = """\
<system version="2"><cpu host_hash="0x5f" numaid="0" affinity="ff,ffffffff,ffffffff" arch="arm64">
  <pci busid="0009:01:00.0" class="0x030200" vendor="0x10de" device="0x2342" link_speed="" link_width="0">
    <gpu dev="0" sm="90" rank="0" gdr="1"><c2c bw="44712" count="10"/></gpu>
  </pci>
  <pci busid="0002:03:00.0" class="0x020700" link_speed="32.0 GT/s PCIe" link_width="16">
    <nic><net name="mlx5_0" dev="0" speed="400000" port="1" guid="0x1" gdr="1" coll="1"/></nic>
  </pci>
</cpu></system>
"""
POWER9 = """\
<system version="1"><cpu numaid="0" affinity="0f" arch="ppc64">
  <pci busid="0004:04:00.0" class="0x030200" link_speed="16 GT/s" link_width="8"><gpu dev="0" sm="70" rank="0" gdr="0">
    <nvlink target="0004:05:00.0" count="3" tclass="0x030200"/><nvlink target="0007:00:00.0" count="3" tclass="0x060400"/>
  </gpu></pci>
  <pci busid="0004:05:00.0" class="0x030200" link_speed="16 GT/s" link_width="8"><gpu dev="1" sm="70" rank="1" gdr="0">
    <nvlink target="0004:04:00.0" count="3" tclass="0x030200"/>
  </gpu></pci>
</cpu></system>
"""


def parsed(text: str) -> tuple[Accelerators, set[str]]:
    value, gaps = parse_description(text.encode(), "file")
    return value, {fact for fact, _ in gaps}


def cells(matrix: Matrix | None) -> list[str]:
    return [" ".join(cell or "?" for cell in row) for row in matrix.cells] if matrix else []


def test_a_gpu_whose_memory_is_several_nodes() -> None:
    """Grace Blackwell: "0,2-17" are the nodes of its CPU and of its memory's partitions, no one node."""
    value, gaps = parsed(GB200)
    assert [(one.cpu_list, one.numa_node, one.memory_numa_node) for one in value.devices] == [("0-71", None, None), ("72-143", 1, 10)]
    assert "devices.0.numa_node" in gaps
    assert [nic.name for nic in value.nics] == ["mlx5_0", "mlx5_bond_0"]
    assert value.link_domains == (("GPU0", "GPU1"),)


def test_adapters_by_name_and_no_numa_column() -> None:
    value, _ = parsed(OLD)
    assert [(nic.label, nic.name) for nic in value.nics] == [("mlx5_0", "mlx5_0"), ("mlx5_bond_0", "mlx5_bond_0")]
    assert cells(value.topology)[0] == "X PHB PIX SYS"
    assert [(pair.accelerator, pair.nics) for pair in value.pairings] == [("GPU0", ("mlx5_0",)), ("GPU1", ("mlx5_bond_0",))]


def test_cells_that_say_nothing() -> None:
    value, gaps = parsed(UNKNOWN)
    assert cells(value.topology) == ["X ?", "? X"]
    assert [(one.cpu_list, one.numa_node) for one in value.devices] == [(None, None), ("0-3", None)]
    assert {"devices.0.cpu_list", "devices.0.numa_node", "devices.1.numa_node"} <= gaps


def test_a_virtual_gpu_tells_less() -> None:
    value, gaps = parsed(VGPU)
    [device] = value.devices
    assert (device.name, device.pci_id, device.memory_total_bytes) == ("GRID A100-20C", "10de:20f1", 20480 << 20)
    assert (device.pcie, device.power, device.ecc, device.throttle_reasons) == (None, None, None, None)
    assert {"devices.0.power.draw_w", "devices.0.ecc.enabled", "devices.0.pcie.generation", "devices.0.throttle_reasons"} <= gaps


def test_a_chip_to_chip_link_leads_to_the_cpu() -> None:
    value, gaps = parsed(GRACE)
    [device] = value.devices
    assert (device.numa_node, device.cpu_list, device.pcie) == (0, "0-71", None)
    assert [(link.kind, link.remote, link.count) for link in device.links] == [("c2c", "cpu", 10)]
    assert "devices.*.links" in gaps  # of NVLinks nothing is said
    assert value.link_domains == ()


def test_links_to_a_power_cpu_are_no_links_to_a_switch() -> None:
    value, _ = parsed(POWER9)
    assert [(link.remote, link.count) for link in value.devices[0].links] == [("gpu", 3), ("cpu", 3)]
    assert cells(value.topology) == ["X NV3", "NV3 X"]


def test_a_virtual_machine_without_numa_nodes() -> None:
    value, _ = parsed(POWER9.replace('numaid="0"', 'numaid="-1"'))
    assert [one.numa_node for one in value.devices] == [None, None]
