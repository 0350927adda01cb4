"""AMD GPUs from trees of /sys/class/kfd written here, in the shape of the kernel's."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwbench.core.accelerators import AcceleratorCache, Link
from hwbench.probe._sysroot import Sysroot
from hwbench.probe.amd import NODES, probe_amd

Tree = dict[str, str]


def lines(**values: int) -> str:
    return "".join(f"{name} {value}\n" for name, value in values.items())


def gpu(number: int, location: int, render: int) -> Tree:
    """One MI300X-like GPU node with a memory bank, three kinds of caches and a link to CPU 0."""
    node = f"{NODES}/{number}"
    drm = f"/sys/class/drm/renderD{render}/device"
    cache = {"processor_id_low": 1, "cache_line_size": 128}
    return {
        f"{node}/gpu_id": "12345\n",
        f"{node}/properties": lines(
            simd_count=1216, simd_per_cu=4, mem_banks_count=1, caches_count=3, io_links_count=1, gfx_target_version=90402,
            vendor_id=0x1002, device_id=0x74A1, location_id=location, domain=0, drm_render_minor=render, hive_id=0xABCDEF,
            unique_id=0x1901EAD3A2ECD4A6, max_engine_clk_fcompute=2100, local_mem_size=0,
        ),
        f"{node}/mem_banks/0/properties": lines(heap_type=1, size_in_bytes=206141652992, width=8192, mem_clk_max=1300),
        f"{node}/caches/0/properties": lines(level=1, size=32, type=9, **cache) + "sibling_map 1,0,0\n",
        f"{node}/caches/1/properties": lines(level=1, size=32, type=9, **cache),
        f"{node}/caches/2/properties": lines(level=2, size=4096, type=9, **cache),
        f"{node}/io_links/0/properties": lines(type=2, node_from=number, node_to=0, weight=20, min_bandwidth=312, max_bandwidth=64000),
        f"{drm}/product_name": "AMD Instinct MI300X OAM\n",
        f"{drm}/serial_number": "692251001234\n",
        f"{drm}/mem_info_vram_total": "206141652992\n",
        f"{drm}/mem_info_vram_used": "297496576\n",
        f"{drm}/numa_node": "1\n",
        f"{drm}/current_link_speed": "32.0 GT/s PCIe\n",
        f"{drm}/current_link_width": "16\n",
        f"{drm}/hwmon/hwmon3/power1_average": "143000000\n",
        f"{drm}/hwmon/hwmon3/power1_cap": "750000000\n",
        f"{drm}/hwmon/hwmon3/temp2_input": "41000\n",
    }  # fmt: skip


def cpu(number: int) -> Tree:
    return {f"{NODES}/{number}/properties": lines(cpu_cores_count=96, simd_count=0, io_links_count=0, mem_banks_count=0, caches_count=0)}


def xgmi(number: int, place: int, to: int) -> Tree:
    values = lines(type=11, node_from=number, node_to=to, weight=15, min_bandwidth=64000, max_bandwidth=64000)
    return {f"{NODES}/{number}/io_links/{place}/properties": values}


def two_gpus() -> Tree:
    tree = {**cpu(0), **gpu(1, 0x0500, 128), **gpu(2, 0x2600, 129), **xgmi(1, 1, 2), **xgmi(2, 1, 1)}
    return {path: text.replace("io_links_count 1", "io_links_count 2") for path, text in tree.items()}


def written(root: Path, tree: Tree) -> Sysroot:
    for path, text in tree.items():
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return Sysroot(root)


def test_everything_of_a_gpu(tmp_path: Path) -> None:
    devices, gaps = probe_amd(written(tmp_path, two_gpus()))
    assert gaps == ()
    first = devices[0]
    assert (first.label, first.vendor, first.name, first.serial) == ("GPU0", "AMD", "AMD Instinct MI300X OAM", "692251001234")
    assert (first.pci_address, first.pci_id, first.target) == ("0000:05:00.0", "1002:74a1", "gfx942")
    assert (first.compute_units, first.simd_count, first.uuid) == (304, 1216, "0x1901ead3a2ecd4a6")
    assert (first.memory_total_bytes, first.memory_used_bytes, first.memory_bus_width_bits) == (206141652992, 297496576, 8192)
    assert first.caches == (
        AcceleratorCache(level=1, kind="data", size_bytes=32768, instances=2),
        AcceleratorCache(level=2, kind="data", size_bytes=4 << 20, instances=1),
    )
    assert first.power is not None
    assert (first.power.draw_w, first.power.limit_w, first.temperature_c, first.numa_node) == (143.0, 750.0, 41.0, 1)
    assert first.pcie is not None
    assert (first.pcie.generation, first.pcie.width) == (5, 16)
    assert {clock.domain: clock.max_hz for clock in first.clocks} == {"graphics": 2.1e9, "memory": 1.3e9}
    cpu_link = Link(kind="pcie", remote="cpu", remote_index=0, weight=20, bandwidth_bytes_per_s=64e9, bandwidth_min_bytes_per_s=312e6)
    peer = Link(kind="xgmi", remote="gpu", remote_index=1, weight=15, bandwidth_bytes_per_s=64e9, bandwidth_min_bytes_per_s=64e9)
    assert first.links == (cpu_link, peer)


@pytest.mark.parametrize(
    ("version", "target"), [(90010, "gfx90a"), (90402, "gfx942"), (90500, "gfx950"), (110001, "gfx1101"), (120100, "gfx1210")]
)
def test_target_names(tmp_path: Path, version: int, target: str) -> None:
    tree = {path: text.replace("gfx_target_version 90402", f"gfx_target_version {version}") for path, text in gpu(1, 0, 128).items()}
    assert probe_amd(written(tmp_path, tree))[0][0].target == target


def test_labels_go_on_from_others(tmp_path: Path) -> None:
    devices, _ = probe_amd(written(tmp_path, two_gpus()), first_label=4)
    assert [device.label for device in devices] == ["GPU4", "GPU5"]
    assert devices[0].links[1].remote_index == 5


def test_no_kfd_is_one_gap(tmp_path: Path) -> None:
    assert probe_amd(Sysroot(tmp_path)) == ((), (("", f"AMD: {NODES}: missing"),))


def test_a_hidden_gpu_is_a_gap(tmp_path: Path) -> None:
    devices, gaps = probe_amd(written(tmp_path, {**two_gpus(), f"{NODES}/2/properties": ""}))
    assert [device.label for device in devices] == ["GPU0"]
    assert any("hidden by the device cgroup" in reason for _, reason in gaps)
    assert devices[0].links[1].remote is None  # what it leads to can't be seen


def facts(root: Sysroot) -> tuple[dict[tuple[str | None, str], object], tuple[tuple[str, str], ...]]:
    devices, gaps = probe_amd(root)
    return {(device.pci_address, field): getattr(device, field) for device in devices for field in device.__struct_fields__}, gaps


MADE_OF_PARTS = {"caches", "links", "clocks", "power", "pcie"}
NUMBERED = {"label", "index"}


@pytest.mark.parametrize("path", sorted(two_gpus()))
def test_a_missing_file_costs_its_facts_and_is_named(tmp_path: Path, path: str) -> None:
    whole, _ = facts(written(tmp_path, two_gpus()))
    (tmp_path / path.lstrip("/")).unlink()
    part, gaps = facts(Sysroot(tmp_path))
    for (address, field), value in part.items():
        right = value == whole[address, field] or value in (None, ())
        assert right or field in MADE_OF_PARTS | NUMBERED, (address, field, value)
    if path.startswith(NODES) and not path.endswith("gpu_id"):
        assert any(path in reason for _, reason in gaps), gaps


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.dictionaries(
        st.sampled_from(sorted(two_gpus())),
        st.one_of(
            st.binary(max_size=60), st.sampled_from([b"simd_count 99999999999999999999999\n", b"type 2\nnode_to 7\n", b"simd_count 4\n"])
        ),
        max_size=6,
    )
)
def test_junk_never_crashes(tmp_path: Path, data: dict[str, bytes]) -> None:
    root = tmp_path / os.urandom(4).hex()
    written(root, two_gpus())
    for path, content in data.items():
        (root / path.lstrip("/")).write_bytes(content)
    devices, gaps = probe_amd(Sysroot(root))
    assert len(devices) <= 3
    assert all(isinstance(fact, str) and isinstance(reason, str) for fact, reason in gaps)
