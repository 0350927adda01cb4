"""The box and what it runs inside: firmware names, hypervisor, container, cloud and instance type."""

import json
import os
import re

from hwbench.core.inventory import Machine

from . import smbios
from ._cpuinfo import CpuInfo
from ._notes import Notes
from ._sysroot import Sysroot

DMI = ("/sys/class/dmi/id", "/sys/devices/virtual/dmi/id")
_DEVICE_TREE = ("/proc/device-tree", "/sys/firmware/devicetree/base")
_CLOUD_INIT = "/run/cloud-init/instance-data.json"
_FIELDS = {
    "vendor": "sys_vendor", "product_name": "product_name", "product_serial": "product_serial", "product_uuid": "product_uuid",
    "board_vendor": "board_vendor", "board_name": "board_name", "bios_vendor": "bios_vendor", "bios_version": "bios_version",
    "bios_date": "bios_date",
}  # fmt: skip
# SMBIOS DSP0134 7.4.1, those that tell kinds of machines apart.
_CHASSIS = {
    "1": "other", "3": "desktop", "7": "tower", "8": "portable", "9": "laptop", "10": "notebook", "13": "all in one", "17": "server",
    "23": "rack mount", "25": "multi-system", "28": "blade", "29": "blade enclosure", "30": "tablet", "31": "convertible", "35": "mini PC",
}  # fmt: skip
# What hypervisors write into DMI; the same list of facts as systemd-detect-virt(1) documents.
_HYPERVISORS = (
    ("KVM", "kvm"), ("QEMU", "kvm"), ("RHEV", "kvm"), ("oVirt", "kvm"), ("OpenStack", "kvm"), ("Firecracker", "kvm"), ("VMware", "vmware"),
    ("VMW", "vmware"), ("innotek", "virtualbox"), ("VirtualBox", "virtualbox"), ("Xen", "xen"), ("Bochs", "bochs"),
    ("Parallels", "parallels"), ("BHYVE", "bhyve"), ("Amazon EC2", "kvm"), ("Google Compute Engine", "kvm"),
    ("Apple Virtualization", "apple"),
)  # fmt: skip
_CLOUDS = (
    ("Amazon EC2", "aws"), ("Google", "gcp"), ("OracleCloud", "oracle"), ("Alibaba Cloud", "alibaba"), ("Tencent Cloud", "tencent"),
    ("DigitalOcean", "digitalocean"), ("Hetzner", "hetzner"), ("Scaleway", "scaleway"), ("Huawei Cloud", "huawei"), ("OVH", "ovh"),
    ("Vultr", "vultr"), ("Linode", "linode"), ("Akamai", "linode"), ("CloudStack", "cloudstack"), ("OpenStack", "openstack"),
)  # fmt: skip
_AZURE_ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"  # documented by Microsoft as the chassis asset tag of every Azure machine
_CLOCKS = "/sys/devices/system/clocksource/clocksource0/available_clocksource"
_PARAVIRTUAL_CLOCKS = {"kvm-clock": "kvm", "hyperv": "microsoft", "xen": "xen"}
_MARKS = ("/.dockerenv", "/run/.containerenv", "/run/systemd/container")
_CONTAINERS = (("kubepods", "kubernetes"), ("docker", "docker"), ("containerd", "containerd"), ("libpod", "podman"), ("lxc", "lxc"))


def probe_machine(root: Sysroot, info: CpuInfo | None, notes: Notes) -> Machine:
    """Names from DMI, else SMBIOS tables, else the device tree and /proc/cpuinfo."""
    names = _names(root, info, notes)
    words = " | ".join(text for text in names.values() if text)
    cloud, instance = _cloud(root, words, names)
    virtualization = _virtualization(root, info, words, names)
    container = _container(root)
    if virtualization is None:
        notes.gap("machine.virtualization", "no sign in DMI, /proc/cpuinfo, /proc/sysinfo or the device tree")
    if container is None:
        notes.gap("machine.container", f"no sign in {', '.join(_MARKS)}; {root.why('/proc/1/cgroup')}")
    return Machine(
        host_name=root.text("/proc/sys/kernel/hostname") or root.text("/etc/hostname"),
        chassis=_CHASSIS.get(_dmi(root, "chassis_type") or ""),
        virtualization=virtualization,
        container=container,
        cloud=cloud,
        instance_type=instance,
        **names,
    )


def _dmi(root: Sysroot, name: str) -> str | None:
    return next((text for folder in DMI if (text := root.text(f"{folder}/{name}", 4096))), None)


def _names(root: Sysroot, info: CpuInfo | None, notes: Notes) -> dict[str, str | None]:
    names = {field: _dmi(root, file) for field, file in _FIELDS.items()}
    source = f"{DMI[0]}/*"
    if not any(root.exists(folder) for folder in DMI):
        tables, source = smbios.read_names(root)
        names |= {field: getattr(tables, field, None) for field in _FIELDS}
    product = names["product_name"]
    if product is None and not any(root.exists(folder) for folder in DMI):
        product, source = _other_product(root, info) or (None, source)
        names["product_name"] = product
    if product is not None:
        notes.source("machine.product_name", source)
    for field, file in _FIELDS.items():
        if names[field] is None:
            notes.gap(f"machine.{field}", root.why(f"{DMI[0]}/{file}"))
    return names


def _other_product(root: Sysroot, info: CpuInfo | None) -> tuple[str, str] | None:
    """What machines without DMI call themselves: the device tree's model, s390's /proc/sysinfo, or a line of /proc/cpuinfo."""
    for folder in _DEVICE_TREE:
        text = root.text(f"{folder}/model", 4096)
        if text:
            return text, f"{folder}/model"
    match = re.search(r"^Type:\s+(\S.*?)\s*$", root.text("/proc/sysinfo") or "", re.MULTILINE)
    if match:
        return match[1], "/proc/sysinfo: Type"
    for key in ("hardware", "machine", "system type"):
        told = info.shared.get(key) if info else None
        if told:
            return told, f"/proc/cpuinfo: {key}"
    return None


def _virtualization(root: Sysroot, info: CpuInfo | None, words: str, names: dict[str, str | None]) -> str | None:
    """The hypervisor, "none" where the firmware's names are a vendor's and the CPU shows no hypervisor, None where nothing tells."""
    told = root.text("/sys/hypervisor/type", 4096)
    if told:
        return told
    if names["product_name"] == "Virtual Machine" and (names["vendor"] or "").startswith("Microsoft"):
        return "microsoft"
    found = next((kind for word, kind in _HYPERVISORS if word in words), None)
    flags = set((info.first("flags") or "").split()) if info else set()
    if found and ("hypervisor" in flags or not flags):
        return found
    if "hypervisor" in flags:
        clocks = root.text(_CLOCKS, 4096) or ""
        return next((kind for clock, kind in _PARAVIRTUAL_CLOCKS.items() if clock in clocks), "unknown hypervisor")
    return "none" if flags and names["vendor"] else _other_virtualization(root, info)


def _other_virtualization(root: Sysroot, info: CpuInfo | None) -> str | None:
    """POWER partitions and s390 guests, which say so in the device tree and in /proc/sysinfo."""
    system = root.text("/proc/sysinfo") or ""
    if match := re.search(r"Control Program:\s*(\S+)", system):
        return "kvm" if match[1].startswith("KVM") else "zvm"
    if system:
        return "lpar"
    for folder in _DEVICE_TREE:
        if "kvm" in (root.text(f"{folder}/hypervisor/compatible", 4096) or ""):
            return "kvm"
        if root.exists(f"{folder}/ibm,partition-name"):
            return "kvm" if root.text(f"{folder}/ibm,partition-name", 4096) == "full" and _emulated(info) else "powervm"
    return "kvm" if _emulated(info) else None


def _emulated(info: CpuInfo | None) -> bool:
    return "qemu" in ((info.shared.get("platform") or "") + (info.shared.get("machine") or "")).lower() if info else False


def _container(root: Sysroot) -> str | None:
    """The container runtime; "none" only where the first process is in the group that systemd gives to the machine's own.

    A container with a control group namespace shows "/" there, as a machine without systemd does: then nothing is known.
    """
    if root.exists("/run/.containerenv"):
        return "podman"
    if root.exists("/.dockerenv"):
        return "docker"
    if root.live and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    told = root.text("/run/systemd/container", 4096)
    if told:
        return told
    first = root.text("/proc/1/cgroup") or ""
    groups = first + (root.text("/proc/self/cgroup") or "")
    found = next((kind for word, kind in _CONTAINERS if word in groups), None)
    return found or ("none" if "/init.scope" in first else None)


def _cloud(root: Sysroot, words: str, names: dict[str, str | None]) -> tuple[str | None, str | None]:
    """Provider and instance type. Amazon writes the type into DMI; others tell it only through cloud-init's data."""
    tag = _dmi(root, "chassis_asset_tag") or ""
    cloud = "azure" if tag == _AZURE_ASSET_TAG else next((name for word, name in _CLOUDS if word in words or word in tag), None)
    if cloud == "aws":
        return cloud, names["product_name"]
    return cloud, _instance_type(root) if cloud else None


def _instance_type(root: Sysroot) -> str | None:
    try:
        data = json.loads(root.text(_CLOUD_INIT) or "{}")
    except (ValueError, RecursionError):
        return None
    for path in (
        ("ds", "meta_data", "instance_type"),
        ("ds", "meta_data", "instance-type"),
        ("ds", "meta_data", "imds", "compute", "vmSize"),
    ):
        here = data
        for key in path:
            here = here.get(key) if isinstance(here, dict) else None
        if isinstance(here, str) and here.isprintable():
            return here
    return None
