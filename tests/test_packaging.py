"""The rooms beside hwbench/ are part of the package, in a checkout, in a wheel, and next to folders that have the same names."""

import subprocess
import sys
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ROOMS_OUTSIDE = {"workloads", "reports", "cluster_profiles"}


def test_every_folder_with_code_is_listed_as_a_package() -> None:
    inside = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "hwbench").rglob("__init__.py")}
    outside = {f"hwbench.{name}" for name in ROOMS_OUTSIDE}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == inside | outside


def test_every_dependency_is_pinned_and_explained() -> None:
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    names = {_name(d) for d in PROJECT["project"]["dependencies"]}
    extras = {_name(d) for group in PROJECT["project"]["optional-dependencies"].values() for d in group}
    assert names | extras <= pinned
    documented = (ROOT / "docs" / "dependencies.md").read_text()
    assert [n for n in sorted(names | extras) if f"`{n}`" not in documented] == []


def _name(requirement: str) -> str:
    return next(requirement[:i] for i, c in enumerate(requirement + " ") if not (c.isalnum() or c in "-_.")).lower().replace("_", "-")


def _run(arguments: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, text=True, timeout=300
    )


LOAD_ALL = """
import hwbench, importlib
from hwbench.core import registry
for kind in registry.ROOMS:
    assert registry.names(kind), kind
importlib.import_module("hwbench.workloads.gpt")
importlib.import_module("hwbench.reports.html")
print(hwbench.__file__)
"""


def _hostile(folder: Path) -> Path:
    for name in (*ROOMS_OUTSIDE, "results"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise RuntimeError('the wrong package was imported')")
    return folder


@pytest.mark.heavy
def test_wheel_has_everything_and_runs_beside_packages_of_the_same_names(tmp_path: Path) -> None:
    if find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed")
    built = _run(["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT)], tmp_path)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        top = {n.split("/")[0] for n in archive.namelist()}
        assert {t for t in top if not t.endswith(".dist-info")} == {"hwbench"}
        archive.extractall(tmp_path / "site")
    dependencies = str(Path(find_spec("msgspec").origin or "").parent.parent)  # type: ignore[union-attr]
    paths = f"{tmp_path / 'site'}:{dependencies}"
    ran = _run(["-P", "-c", LOAD_ALL], _hostile(tmp_path / "elsewhere"), PYTHONPATH=paths)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip().startswith(str(tmp_path / "site"))


def test_checkout_runs_beside_packages_of_the_same_names(tmp_path: Path) -> None:
    ran = _run(["-P", "-c", LOAD_ALL], _hostile(tmp_path / "elsewhere"), PYTHONPATH=str(ROOT))
    assert ran.returncode == 0, ran.stderr
