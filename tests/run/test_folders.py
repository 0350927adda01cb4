"""Private folders of launches: gone afterwards, and after `kill -9` with the next launch."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwbench.run.folders import LOCK, PREFIX, private_folder, remove_leftovers

HOLDER = "from hwbench.run.folders import private_folder\nwith private_folder() as folder: print(folder, flush=True); input()"


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder for temporary files."""
    folder = Path(tempfile.mkdtemp(prefix="t-"))  # tmp_path is too long for a Unix socket
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    for leftover in folder.iterdir():
        assert leftover.is_dir()
        for file in leftover.iterdir():
            file.unlink()
        leftover.rmdir()
    folder.rmdir()


def holder(place: Path) -> tuple[subprocess.Popen[str], Path]:
    """Another process with a private folder, and that folder."""
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root, "TMPDIR": str(place)}
    process = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_folder_is_private_and_removed(place: Path) -> None:
    with private_folder() as folder:
        assert folder.parent == place
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_what_a_killed_process_left_is_removed_by_the_next_and_a_living_ones_folder_is_not(place: Path) -> None:
    process, folder = holder(place)
    try:
        assert folder.is_dir()
        assert remove_leftovers(place) == []
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert folder.is_dir()
    with private_folder() as mine:
        assert not folder.exists()
        assert mine.is_dir()


@pytest.mark.parametrize("state", ["without a lock file", "not locked yet", "open to others"])
def test_folders_that_may_be_somebody_elses_are_left(place: Path, state: str) -> None:
    folder = place / f"{PREFIX}x"
    folder.mkdir(mode=0o755 if state == "open to others" else 0o700)
    if state != "without a lock file":
        (folder / LOCK).write_bytes(b"" if state == "not locked yet" else b"locked")
    assert remove_leftovers(place) == []
    assert folder.is_dir()
