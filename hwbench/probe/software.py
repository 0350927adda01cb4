"""Versions of kernel, system, drivers and libraries, from files and package metadata: nothing is imported, nothing is run."""

import importlib.metadata
import importlib.util
import os
import platform
import re
from pathlib import Path

from hwbench.core.inventory import Software

from ._notes import Notes
from ._sysroot import Sysroot

_PACKAGES = (
    "torch", "torchvision", "torchao", "triton", "pytorch-triton-rocm", "intel-extension-for-pytorch", "numpy", "scipy", "numba", "mkl",
    "transformer-engine", "flash-attn", "xformers", "deepspeed", "nvidia-ml-py", "amdsmi", "psutil",
)  # fmt: skip
# CUDA libraries as wheels: the name without the CUDA major version that it ends with.
_CUDA_WHEELS = {"cuda": "nvidia-cuda-runtime", "cudnn": "nvidia-cudnn", "nccl": "nvidia-nccl", "cublas": "nvidia-cublas"}
_CUDA_MAJORS = ("-cu13", "-cu12", "-cu11", "")
_VARIABLES = (
    "OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_PLACES", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY", "KMP_BLOCKTIME", "NUMEXPR_NUM_THREADS", "MALLOC_ARENA_MAX", "LD_PRELOAD", "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE", "ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "NCCL_P2P_DISABLE",
    "NCCL_IB_DISABLE",
)  # fmt: skip
_BUILD = re.compile(r"^(cuda|hip|rocm|xpu|debug|git_version)(?:\s*:[^=]*)?\s*=\s*(.+?)\s*$", re.MULTILINE)
_NUMPY_BLAS = re.compile(r'"blas":\s*\{\s*"name":\s*"([^"]+)".*?"version":\s*"([^"]*)"', re.DOTALL)
_CUDNN_PARTS = ("MAJOR", "MINOR", "PATCHLEVEL")
_NCCL_PARTS = ("MAJOR", "MINOR", "PATCH")


def probe_software(root: Sysroot, notes: Notes) -> Software:
    """System versions from the tree; those of Python packages only on the live machine, where they are this process's own."""
    packages = _packages() if root.live else None
    build = _torch_build() if root.live else {}
    if packages is None:
        notes.gap("software.packages", "Python packages are looked up on the live machine only")
    facts = {
        "kernel_release": _kernel(root),
        "kernel_version": root.text("/proc/version"),
        "kernel_command_line": root.text("/proc/cmdline"),
        "os": _os_name(root),
        "nvidia_driver": _nvidia_driver(root),
        "amdgpu_driver": root.text("/sys/module/amdgpu/version"),
        "cuda": _wheel("cuda") if root.live else None,
        "cudnn": (_wheel("cudnn") if root.live else None) or _header(root, "cudnn_version.h", "CUDNN", _CUDNN_PARTS),
        "nccl": (_wheel("nccl") if root.live else None) or _header(root, "nccl.h", "NCCL", _NCCL_PARTS),
        "rocm": root.text("/opt/rocm/.info/version"),
        "blas": _numpy_blas() if root.live else None,
    }
    facts["cuda"] = build.get("cuda") or facts["cuda"] or _cuda_toolkit(root)
    _tell(facts, root, notes)
    return Software(
        **facts,
        python=platform.python_version() if root.live else None,
        libc=" ".join(platform.libc_ver()).strip() or None if root.live else None,
        torch=(packages or {}).get("torch"),
        torch_build=build,
        packages=packages,
    )


_WHERE = {
    "kernel_release": "/proc/sys/kernel/osrelease",
    "kernel_version": "/proc/version",
    "kernel_command_line": "/proc/cmdline",
    "os": "/etc/os-release",
    "nvidia_driver": "/proc/driver/nvidia/version",
    "amdgpu_driver": "/sys/module/amdgpu/version",
    "cuda": "/usr/local/cuda/version.json",
    "cudnn": "/usr/include/cudnn_version.h",
    "nccl": "/usr/include/nccl.h",
    "rocm": "/opt/rocm/.info/version",
}


def _tell(facts: dict[str, str | None], root: Sysroot, notes: Notes) -> None:
    for fact, value in facts.items():
        if value is not None:
            notes.source(f"software.{fact}", _WHERE.get(fact, "package metadata"))
        elif fact in _WHERE:
            notes.gap(f"software.{fact}", root.why(_WHERE[fact]))


def _kernel(root: Sysroot) -> str | None:
    told = root.text("/proc/sys/kernel/osrelease")
    if told:
        return told
    match = re.match(r"Linux version (\S+)", root.text("/proc/version") or "")
    return match[1] if match else None


def _os_name(root: Sysroot) -> str | None:
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        match = re.search(r'^PRETTY_NAME="?([^"\n]*)"?$', root.text(path) or "", re.MULTILINE)
        if match:
            return match[1]
    return None


def _nvidia_driver(root: Sysroot) -> str | None:
    told = root.text("/sys/module/nvidia/version")
    match = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)*)\s", root.text("/proc/driver/nvidia/version") or "")
    return told or (match[1] if match else None)


def _cuda_toolkit(root: Sysroot) -> str | None:
    match = re.search(r'"cuda"\s*:\s*\{[^}]*"version"\s*:\s*"([0-9.]+)"', root.text("/usr/local/cuda/version.json") or "")
    return match[1] if match else None


def _header(root: Sysroot, name: str, prefix: str, parts: tuple[str, ...]) -> str | None:
    """A version from `#define PREFIX_MAJOR 2` and so on in a header of the system."""
    for folder in ("/usr/include", "/usr/local/cuda/include", "/usr/include/x86_64-linux-gnu"):
        text = root.text(f"{folder}/{name}") or ""
        found = [re.search(rf"^#define {prefix}_{part} (\d+)$", text, re.MULTILINE) for part in parts]
        if all(found):
            return ".".join(match[1] for match in found if match)
    return None


def _packages() -> dict[str, str]:
    return {name: version for name in _PACKAGES if (version := _version(name))}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except (importlib.metadata.PackageNotFoundError, OSError, ValueError):
        return None


def _wheel(library: str) -> str | None:
    return next((version for major in _CUDA_MAJORS if (version := _version(_CUDA_WHEELS[library] + major))), None)


def _package_text(package: str, file: str) -> str:
    """A file of an installed package; '' where there is none. find_spec of a top-level name imports nothing."""
    try:
        spec = importlib.util.find_spec(package)
        return (Path(spec.origin).parent / file).read_text("utf-8") if spec and spec.origin else ""
    except (OSError, ValueError, ImportError):
        return ""


def _torch_build() -> dict[str, str]:
    """What torch/version.py says: cuda, hip, rocm, xpu, debug, git_version, those that are set."""
    found = {key: value.strip("'\"") for key, value in _BUILD.findall(_package_text("torch", "version.py"))}
    return {key: value for key, value in found.items() if value not in ("None", "False")}


def _numpy_blas() -> str | None:
    match = _NUMPY_BLAS.search(_package_text("numpy", "__config__.py"))
    return f"numpy: {match[1]} {match[2]}".strip() if match else None


def thread_variables() -> dict[str, str]:
    """Environment variables that decide thread counts, pinning and kernels, those that are set."""
    return {name: os.environ[name] for name in _VARIABLES if name in os.environ}
