"""The one place where probes touch the file system: small, bounded reads of regular files under a root that nothing leads out of.

A link is followed inside the root only: an absolute target starts at the root again, and `..` stops there, as after chroot(2).
FIFOs, sockets and devices are never opened. What could not be read is remembered, so that a Gap can say why.
"""

import errno
import os
import stat
from pathlib import Path

_MAX_LINKS = 40  # what Linux itself allows on the way to one file (MAXSYMLINKS)
_MAX_ENTRIES = 1 << 17
TEXT_BYTES = 1 << 20
_JUNK = {code for code in range(32) if chr(code) not in "\t\n\r\f\v"} | {127}
_STRIPPED = " \t\r\n\f\v\0"


class Sysroot:
    """Reads files under one root. `live` is True for the machine we run on, where facts that no file tells may be asked too."""

    def __init__(self, root: Path) -> None:
        self.root = os.path.abspath(root)  # noqa: PTH100  # a Path per file would cost more than the read
        self.live = self.root == "/"
        self._prefix = "" if self.live else self.root
        self._links: dict[str, str | None] = {}
        self._failures: dict[str, str] = {}

    def text(self, path: str, limit: int = TEXT_BYTES) -> str | None:
        """The file's text without surrounding blanks and NULs; None (see `why`) where it can't be read or holds control characters."""
        data = self.raw(path, limit)
        if data is None:
            return None
        text = data.decode("utf-8", "replace").strip(_STRIPPED)
        if not text.isprintable() and not _JUNK.isdisjoint(map(ord, set(text))):
            self._failures[path] = "holds control characters, not text"
            return None
        return text

    def raw(self, path: str, limit: int = TEXT_BYTES) -> bytes | None:
        """The file's bytes; None (see `why`) where it is missing, unreadable, not a regular file or larger than `limit`."""
        try:
            return self._read(path, limit)
        except OSError as error:
            self._failures[path] = _said(error)
            return None

    def entries(self, path: str) -> tuple[str, ...] | None:
        """The sorted names in a directory; None (see `why`) where it is missing or unreadable."""
        try:
            with os.scandir(self._prefix + self._resolved(path)) as found:
                names = [entry.name for _, entry in zip(range(_MAX_ENTRIES), found, strict=False)]
        except OSError as error:
            self._failures[path] = _said(error)
            return None
        return tuple(sorted(name for name in names if name.isprintable()))

    def exists(self, path: str) -> bool:
        """Whether the path leads to anything inside the root."""
        try:
            os.lstat(self._prefix + self._resolved(path))
        except OSError:
            return False
        return True

    def real(self, path: str) -> str | None:
        """The path with every link followed, as seen from inside the root; None where it leads nowhere."""
        try:
            resolved = os.path.realpath(path) if self.live else self._resolved(path)
            os.lstat(self._prefix + resolved)
        except OSError:
            return None
        return resolved

    def link_name(self, path: str) -> str | None:
        """The last part of where a link points, whether that is there or not; None for what is no link."""
        try:
            target = os.readlink(self._prefix + self._resolved(path.rpartition("/")[0]) + "/" + path.rpartition("/")[2])  # noqa: PTH115  # as above
        except OSError:
            return None
        return target.rstrip("/").rpartition("/")[2] or None

    def why(self, path: str) -> str:
        """Why the last reading of this path failed: 'PATH: missing'."""
        return f"{path}: {self._failures.get(path, 'there, but not usable')}"

    def _read(self, path: str, limit: int) -> bytes:
        where = self._prefix + self._resolved(path)
        if not stat.S_ISREG(os.stat(where, follow_symlinks=self.live).st_mode):  # noqa: PTH116  # as above
            raise OSError(0, "not a regular file")
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        handle = os.open(where, flags if self.live else flags | os.O_NOFOLLOW)
        try:
            return _bounded(handle, limit)
        finally:
            os.close(handle)

    def _resolved(self, path: str) -> str:
        """The path with links followed inside the root. The kernel does it on the live machine, where nothing can lead out."""
        if self.live:
            return path
        parts = [part for part in reversed(path.split("/")) if part and part != "."]
        here: list[str] = []
        followed = 0
        while parts:
            part = parts.pop()
            if part == "..":
                del here[-1:]
                continue
            here.append(part)
            target = self._link("/" + "/".join(here))
            if target is None:
                continue
            followed += 1
            if followed > _MAX_LINKS:
                raise OSError(errno.ELOOP, "too many links, or a loop of them")
            here = [] if target.startswith("/") else here[:-1]
            parts.extend(piece for piece in reversed(target.split("/")) if piece and piece != ".")
        return "/" + "/".join(here)

    def _link(self, path: str) -> str | None:
        """Where a link points, None for what is no link; remembered, as the same folders are walked thousands of times."""
        if path not in self._links:
            try:
                self._links[path] = os.readlink(self._prefix + path)  # noqa: PTH115  # as above
            except OSError as error:
                if error.errno != errno.EINVAL:  # EINVAL: it is there, and no link
                    raise
                self._links[path] = None
        return self._links[path]


def _bounded(handle: int, limit: int) -> bytes:
    pieces: list[bytes] = []
    left = limit + 1
    while left > 0 and (piece := os.read(handle, min(left, 1 << 16))):
        pieces.append(piece)
        left -= len(piece)
    if left <= 0:
        raise OSError(0, f"larger than {limit} bytes")
    return b"".join(pieces)


def _said(error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "missing"
    return (error.strerror or str(error)).lower()
