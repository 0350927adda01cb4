"""Network interfaces, RDMA adapters, NVMe controllers and control groups in the forms that other kernels and containers give them."""

from pathlib import Path

import pytest

from hwbench.core.inventory import Inventory
from hwbench.probe.inventory import take_inventory
from tests.probe.conftest import CPU, Files, Machine, meminfo, write

NET = "sys/class/net"
RDMA = "sys/class/infiniband"


def inventory_of(root: Path, files: Files, links: dict[str, str] | None = None) -> Inventory:
    return take_inventory(write(Machine(files, {}, links or {}), root))


def reasons(inventory: Inventory, path: str) -> list[str]:
    return [gap.reason for gap in inventory.gaps if gap.path == path]


@pytest.mark.parametrize(
    ("speed", "bandwidth"),
    [("100000", 12.5e9), ("2500", 312.5e6), ("-1", None), ("0", None), ("65535", None), ("4294967295", None), ("", None), ("fast", None)],
)
def test_speeds(tmp_path: Path, speed: str, bandwidth: float | None) -> None:
    """65535 and 4294967295 are the -1 of kernels that print it without its sign."""
    files: Files = {
        f"{NET}/eth0/speed": speed,
        f"{NET}/eth0/operstate": "down",
        f"{NET}/eth0/type": "1",
        f"{NET}/eth0/device/numa_node": "-1",
    }
    inventory = inventory_of(tmp_path, files)
    assert [one.bandwidth_bytes_per_s for one in inventory.network.interfaces or ()] == [bandwidth]
    assert bool(reasons(inventory, "network.interfaces.eth0.bandwidth_bytes_per_s")) == (bandwidth is None)
    assert reasons(inventory, "network.interfaces.eth0.numa_node") == []  # -1: the device belongs to no node


def test_kinds_of_interfaces(tmp_path: Path) -> None:
    """An interface whose folder was not copied is there, `bonding_masters` is none, and a virtual one has no speed to miss."""
    files: Files = {f"{NET}/bonding_masters": "bond0"}
    for name, kind in (("bond0", "1"), ("br0", "1"), ("ib0", "32"), ("lo", "772"), ("veth1", "1"), ("wlan0", "1"), ("tun0", "65534")):
        files |= {f"{NET}/{name}/type": kind, f"{NET}/{name}/operstate": "unknown"}
    files |= {f"{NET}/bond0/bonding/mode": "802.3ad 4", f"{NET}/bond0/speed": "50000", f"{NET}/br0/bridge/stp_state": "0"}
    files |= {f"{NET}/wlan0/phy80211/name": "phy0", f"{NET}/wlan0/device/vendor": "0x8086"}
    inventory = inventory_of(tmp_path, files, {f"{NET}/eth7": "../../devices/pci0000:00/0000:00:1f.6/net/eth7"})
    found = {one.name: (one.kind, one.bandwidth_bytes_per_s) for one in inventory.network.interfaces or ()}
    assert found == {
        "bond0": ("bond", 6.25e9),
        "br0": ("bridge", None),
        "eth7": (None, None),
        "ib0": ("infiniband", None),
        "lo": ("loopback", None),
        "tun0": ("tunnel", None),
        "veth1": ("virtual", None),
        "wlan0": ("wireless", None),
    }
    assert reasons(inventory, "network.interfaces.eth7.operational_state") == ["/sys/class/net/eth7/operstate: missing"]
    assert reasons(inventory, "network.interfaces.br0.bandwidth_bytes_per_s") == []


@pytest.mark.parametrize(
    ("rate", "bandwidth", "text"),
    [
        ("2.5 Gb/sec (1X SDR)", 2.5e9 / 8, "1X SDR"),
        ("10 Gb/sec (4X)", 10e9 / 8, "4X"),
        ("56 Gb/sec (4X FDR)", 7e9, "4X FDR"),
        ("100 Gb/sec (4X EDR)", 12.5e9, "4X EDR"),
        ("200 Gb/sec (4X HDR)", 25e9, "4X HDR"),
        ("800 Gb/sec (4X XDR)", 100e9, "4X XDR"),
        ("40 Gb/sec", 5e9, None),
        ("Invalid argument", None, "Invalid argument"),
    ],
)
def test_rates(tmp_path: Path, rate: str, bandwidth: float | None, text: str | None) -> None:
    """A port that is down says a rate too; an adapter may have one port of each link layer."""
    first, second = (f"{RDMA}/mlx4_0/ports/{number}" for number in (1, 2))
    files: Files = {
        f"{first}/rate": rate,
        f"{first}/state": "1: DOWN",
        f"{first}/phys_state": "3: Disabled",
        f"{first}/link_layer": "InfiniBand",
    }
    files |= {f"{second}/rate": "40 Gb/sec (4X QDR)", f"{second}/state": "4: ACTIVE", f"{second}/phys_state": "5: LinkUp"}
    files |= {f"{second}/link_layer": "Ethernet"}
    [adapter] = inventory_of(tmp_path, files).network.infiniband or ()
    assert [(port.state, port.link_layer) for port in adapter.ports] == [("DOWN", "InfiniBand"), ("ACTIVE", "Ethernet")]
    assert (adapter.ports[0].bandwidth_bytes_per_s, adapter.ports[0].rate_text) == (bandwidth, text)


def test_controllers_of_a_subsystem(tmp_path: Path) -> None:
    """A copy without /sys/class/nvme: two controllers of one subsystem, one by PCIe and one by TCP, which has no NUMA node."""
    at = "sys/class/nvme-subsystem/nvme-subsys0"
    files: Files = {f"{at}/model": "Array", f"{at}/nvme0n1/size": "4096"}
    for number, transport in enumerate(("pcie", "tcp")):
        files |= {f"{at}/nvme{number}/model": "Array  X \t 1", f"{at}/nvme{number}/transport": transport}
        files |= {f"{at}/nvme{number}/nvme0c{number}n1/size": "4096", f"{at}/nvme{number}/numa_node": "0" if number == 0 else "-1"}
    found = inventory_of(tmp_path, files).storage.nvme or ()
    assert [(one.name, one.model, one.transport, one.numa_node, one.size_bytes) for one in found] == [
        ("nvme0", "Array X 1", "pcie", 0, 4096 * 512),
        ("nvme1", "Array X 1", "tcp", None, 4096 * 512),
    ]


def test_controllers_of_block_devices(tmp_path: Path) -> None:
    """Only /sys/block is there. The head of a subsystem leads to its controllers, a hidden path names its own."""
    at = "sys/devices/virtual/nvme-subsystem/nvme-subsys0"
    files: Files = {"sys/block/nvme2n1/device/model": "Plain", f"{at}/nvme0n1/size": "4096"}
    files |= {f"{at}/nvme5/model": "Array", "sys/block/sda/size": "1"}
    links = {
        "sys/block/nvme0n1": "../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1",
        f"{at}/nvme0n1/device": "../../nvme-subsys0",
    }
    found = inventory_of(tmp_path, files, links).storage.nvme or ()
    assert [(one.name, one.model) for one in found] == [("nvme2", "Plain"), ("nvme5", "Array")]


def group_files(root: Path, files: Files) -> Inventory:
    base: Files = {f"{CPU}/online": "0-7", "proc/meminfo": meminfo(8 << 20), "proc/self/status": "Cpus_allowed_list:\t0-7\n"}
    return inventory_of(root, base | files)


def v2(path: str, cpu: str, memory: str) -> Files:
    return {
        f"{path}/cgroup.controllers": "cpu memory",
        f"{path}/cgroup.events": "populated 1",
        f"{path}/cpu.max": cpu,
        f"{path}/memory.max": memory,
    }


def mountinfo(*mounts: tuple[str, str, str]) -> str:
    """Lines for (root, point, super options): version 1 where there are options beside "rw"."""
    line = "{at} 20 0:{at} {top} {point} rw - {kind} cgroup {options}\n"
    return "".join(
        line.format(at=30 + number, top=top, point=point, kind="cgroup2" if options == "rw" else "cgroup", options=options)
        for number, (top, point, options) in enumerate(mounts)
    )


@pytest.mark.parametrize(("path", "top"), [("/", "/../.."), ("/../other", "/"), ("/work", "/other"), ("/", "/docker/ab")])
def test_a_group_that_the_mount_does_not_show_is_unknown(tmp_path: Path, path: str, top: str) -> None:
    """The host's hierarchy mounted in a container, or a process outside of its namespace's root: the folder seen is not the group."""
    files = v2("sys/fs/cgroup", "max 100000", "max")
    files |= {"proc/self/cgroup": f"0::{path}\n", "proc/self/mountinfo": mountinfo((top, "/sys/fs/cgroup", "rw"))}
    limits = group_files(tmp_path, files).limits
    assert (limits.host_cpus, limits.effective_cpus, limits.effective_memory_bytes, limits.cgroup_limits) == (8, None, None, None)


def test_the_mount_that_shows_most_counts(tmp_path: Path) -> None:
    """A pod that also mounts the host's hierarchy sees there what its parents may use."""
    host = "host/sys/fs/cgroup"
    files = v2("sys/fs/cgroup", "400000 100000", "max") | v2(f"{host}/pods/a", "400000 100000", "max")
    files |= v2(f"{host}/pods", "200000 100000", str(1 << 30)) | {f"{host}/cgroup.controllers": "cpu memory"}
    files |= {"proc/self/cgroup": "0::/pods/a\n"}
    files["proc/self/mountinfo"] = mountinfo(("/pods/a", "/sys/fs/cgroup", "rw"), ("/", "/host/sys/fs/cgroup", "rw"))
    limits = group_files(tmp_path, files).limits
    assert (limits.cpu_quota, limits.memory_limit_bytes, limits.cgroup_version) == (2.0, 1 << 30, "2")
    assert len(limits.cgroup_limits or ()) == 3


def v1_files(quota: str = "-1", limit: str = "9223372036854771712", inherited: str = "9223372036854771712") -> Files:
    cpu, memory = "sys/fs/cgroup/cpu", "sys/fs/cgroup/memory"
    return {
        "proc/self/cgroup": "3:cpu,cpuacct:/pods/a\n2:memory:/pods/a\n1:name=systemd:/pods/a\n0::/pods/a\n",
        "proc/self/mountinfo": mountinfo(
            ("/pods/a", "/sys/fs/cgroup/cpu", "rw,cpu,cpuacct"), ("/pods/a", "/sys/fs/cgroup/memory", "rw,memory"),
            ("/", "/sys/fs/cgroup/unified", "rw"),
        ),
        f"{cpu}/cpu.cfs_quota_us": quota, f"{cpu}/cpu.cfs_period_us": "100000", f"{memory}/memory.limit_in_bytes": limit,
        f"{memory}/memory.stat": f"cache 0\nhierarchical_memory_limit {inherited}\n", "sys/fs/cgroup/unified/pods/a/cgroup.events": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "cpus", "memory"),
    [
        ({}, 8.0, 8 << 30),
        ({"quota": "350000"}, 3.5, 8 << 30),
        ({"limit": str(1 << 30)}, 8.0, 1 << 30),
        ({"limit": str(4 << 30), "inherited": str(2 << 30)}, 8.0, 2 << 30),  # a parent that the container can't see
        ({"quota": "junk"}, None, 8 << 30),
        ({"quota": "0x10"}, None, 8 << 30),
        ({"limit": "-5"}, 8.0, None),
        ({"inherited": "junk"}, 8.0, None),
    ],
)
def test_version_1_beside_version_2(tmp_path: Path, change: dict[str, str], cpus: float | None, memory: int | None) -> None:
    """What can't be read is not "no limit"."""
    limits = group_files(tmp_path, v1_files(**change)).limits
    assert (limits.effective_cpus, limits.effective_memory_bytes, limits.cgroup_version) == (cpus, memory, "1+2")


@pytest.mark.parametrize(("cpu", "quota"), [("max 100000", None), ("50000 100000", 0.5), ("50000", None), ("many 100000", None)])
def test_version_2_quotas(tmp_path: Path, cpu: str, quota: float | None) -> None:
    files = v2("sys/fs/cgroup/a", cpu, "max") | {"proc/self/cgroup": "0::/a\n"}
    files["proc/self/mountinfo"] = mountinfo(("/", "/sys/fs/cgroup", "rw"))
    inventory = group_files(tmp_path, files)
    assert inventory.limits.cpu_quota == quota
    assert inventory.limits.effective_cpus == (8.0 if cpu.startswith("max") else quota)
    assert bool(reasons(inventory, "limits.cpu_quota")) == (cpu in ("50000", "many 100000"))


def test_a_mount_table_of_many_containers(tmp_path: Path) -> None:
    line = "{at} 20 0:{at} / /var/lib/containers/{at:0200} rw - overlay overlay rw\n"
    files = v2("sys/fs/cgroup/a", "100000 100000", "max") | {"proc/self/cgroup": "0::/a\n"}
    files["proc/self/mountinfo"] = "".join(line.format(at=at) for at in range(6000)) + mountinfo(("/", "/sys/fs/cgroup", "rw"))
    assert group_files(tmp_path, files).limits.effective_cpus == 1.0


def test_a_hidden_mount_is_not_read(tmp_path: Path) -> None:
    """Of two hierarchies on one point the later hides the earlier."""
    files = v2("sys/fs/cgroup", "100000 100000", "max") | {"proc/self/cgroup": "1:cpu:/\n0::/\n"}
    files["proc/self/mountinfo"] = mountinfo(("/", "/sys/fs/cgroup", "rw,cpu"), ("/", "/sys/fs/cgroup", "rw"))
    limits = group_files(tmp_path, files).limits
    assert (limits.effective_cpus, limits.cgroup_version) == (1.0, "2")
