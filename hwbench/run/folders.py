"""The private folder of a launch, for sockets and torch's files; those that a killed process left behind are removed by the next one."""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PREFIX: Final = "hwbench-launch-"
LOCK: Final = "lock"
"""A file that is locked (flock(2)) for as long as the launch lives: the kernel unlocks it whatever kills its owner."""
_LONGEST_PLACE_BYTES: Final = 80


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A folder of this launch's own, removed when the context is left; first removes what launches of this user left that are dead."""
    place = _short_place()
    remove_leftovers(place)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX, dir=place, ignore_cleanup_errors=True)))
        lock = stack.enter_context((folder / LOCK).open("wb", buffering=0))
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(b"locked\n")
        yield folder


def remove_leftovers(place: Path) -> list[Path]:
    """Remove this user's folders of dead launches from `place`; returns them. What can't be removed is left."""
    return [folder for folder in place.glob(f"{PREFIX}*") if _is_own(folder) and _remove_if_dead(folder)]


def _is_own(folder: Path) -> bool:
    """Whether this user made it, as mkdtemp does: a directory and no link, for this user only."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _remove_if_dead(folder: Path) -> bool:
    """A folder without a lock file is being made, or nobody's that is known here: it is left."""
    try:
        with (folder / LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(lock.fileno()).st_size:
                return False  # made, but not locked yet
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return False
    return True


def _short_place() -> Path:
    """The folder for temporary files, or /tmp where that has a long name: the path of a Unix socket has 107 bytes at most (unix(7))."""
    place = tempfile.gettempdir()
    return Path(place if len(os.fsencode(place)) <= _LONGEST_PLACE_BYTES else "/tmp")  # noqa: S108  # mkdtemp makes a private folder in it
