"""Where a run comes from."""

import os
import subprocess
from pathlib import Path

import pytest

from hwbench.core.accelerators import Accelerator, Accelerators
from hwbench.core.errors import MeasurementError, UserError
from hwbench.core.inventory import Inventory, Software
from hwbench.run import origin
from hwbench.run.worker import reason_of

GPU = Accelerators(devices=(Accelerator(label="GPU0", source="test"),))


def git(folder: Path, *words: str) -> None:
    identity = {"GIT_AUTHOR_NAME": "n", "GIT_AUTHOR_EMAIL": "e", "GIT_COMMITTER_NAME": "n", "GIT_COMMITTER_EMAIL": "e"}
    subprocess.run(("git", "-C", str(folder), *words), check=True, capture_output=True, env=os.environ | identity)


def test_the_commit_of_a_checkout_and_whether_files_differ(tmp_path: Path) -> None:
    assert origin.commit(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert origin.commit(tmp_path) is None
    (tmp_path / "file").write_text("a")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "first")
    clean = origin.commit(tmp_path)
    assert clean is not None
    assert len(clean) == 40
    (tmp_path / "file").write_text("b")
    assert origin.commit(tmp_path) == f"{clean}+"
    assert origin.commit(tmp_path / "nowhere") is None


def test_versions_come_from_metadata() -> None:
    assert {"python", "torch"} <= origin.versions().keys()


@pytest.mark.parametrize(
    ("wanted", "build", "devices", "device"),
    [
        ("auto", {}, None, "cpu"),
        ("auto", {"cuda": "12.8"}, None, "cpu"),
        ("auto", {}, GPU, "cpu"),
        ("auto", {"cuda": "12.8"}, GPU, "cuda"),
        ("auto", {"hip": "6.2"}, GPU, "cuda"),
        ("auto", {"xpu": "2025"}, GPU, "xpu"),
        ("cpu", {"cuda": "12.8"}, GPU, "cpu"),
        ("cuda", {}, None, "cuda"),
    ],
)
def test_auto_takes_an_accelerator_that_is_here_and_that_torch_is_built_for(
    wanted: str, build: dict[str, str], devices: Accelerators | None, device: str
) -> None:
    inventory = Inventory(accelerators=devices, software=Software(torch_build=build))
    assert origin.device_of(wanted, inventory) == device


def test_a_device_with_a_number_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        origin.device_of("cuda:1", Inventory())
    assert "CUDA_VISIBLE_DEVICES" in caught.value.hint


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no\nmore"), "ValueError: no"),
        (KeyError(), "KeyError"),
        (MeasurementError("the loss became nan"), "the loss became nan"),
        (MemoryError(), "out of memory: MemoryError"),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
            "out of memory: 2 GiB were asked for: CUDA out of memory. Tried to allocate 2 GiB",
        ),
    ],
)
def test_an_error_is_one_line(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason
