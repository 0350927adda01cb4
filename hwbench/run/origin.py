"""Where a run comes from: the header that says with what, from which commit and on which device it was started. Imports no torch."""

import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import hwbench
from hwbench.core.errors import UserError
from hwbench.core.inventory import Inventory
from hwbench.core.record import Case, RunHeader

_PACKAGES: Final = ("torch", "numpy", "triton", "mkl", "psutil")
_GIT_LIMIT_S: Final = 5.0
_BUILDS: Final = {"cuda": "cuda", "hip": "cuda", "xpu": "xpu"}
"""What torch may be built for, and the device type it then has (ROCm builds call it cuda too)."""


def header(
    run_id: str, cases: tuple[Case, ...], inventory: Inventory, command: Sequence[str], suite: str | None, settings: dict[str, Any]
) -> RunHeader:
    """The header of a run that starts now."""
    return RunHeader(
        id=run_id,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        hwbench_version=hwbench.__version__,
        command=tuple(command),
        suite=suite,
        cases=cases,
        inventory=inventory,
        versions=versions(),
        commit=commit(Path.cwd()),
        settings=settings,
    )


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that figures depend on, from package metadata."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit(folder: Path) -> str | None:
    """The commit of the checkout that holds `folder`, with '+' where files differ from it; None outside one, or where git can't tell."""
    head = _git(folder, "rev-parse", "--verify", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no") if head else None
    return f"{head}+" if head and changed else head


def _git(folder: Path, *words: str) -> str | None:
    command = ("git", "--no-optional-locks", "-C", str(folder), *words)
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_GIT_LIMIT_S, check=False, text=True)
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def device_of(wanted: str, inventory: Inventory) -> str:
    """The device type to measure on: what is asked for, or for 'auto' the accelerator that torch is built for and the machine has.

    UserError for a device with an index: ranks are numbered over the devices that the environment shows.
    """
    if ":" in wanted:
        hint = f"give {wanted.partition(':')[0]}, and choose with CUDA_VISIBLE_DEVICES (or its like) which ones are used"
        raise UserError(f"--device {wanted}: expected a kind of device without a number", hint=hint)
    if wanted != "auto":
        return wanted
    devices = inventory.accelerators.devices if inventory.accelerators else ()
    built = inventory.software.torch_build
    for name, device in _BUILDS.items():
        if devices and built.get(name, "None") not in ("None", ""):
            return device
    return "cpu"
