"""From a version to a place where it can run: an interpreter, a path, variables. Worktrees and unpacked wheels live in a private folder."""

import contextlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

import hwbench
from hwbench.core.errors import UnavailableError, UserError
from hwbench.core.value import Value

from .duel_refs import KINDS_HINT, Ref, venv_python

_GIT_LIMIT_S: Final = 120.0
_OWN_INTERPRETER: Final = ("venv", "python")
FALLBACKS: Final = {"hwbench": Path(hwbench.__file__).parent, "msgspec": Path(msgspec.__file__).parent}
"""What an interpreter gets lent where it has none of its own: nothing else of this environment, above all not its torch."""


class Place(Value):
    """Where one version runs."""

    label: str
    """The version for people: what they wrote, and the commit's short name."""
    python: str
    paths: tuple[str, ...] = ()
    """Folders put first on the module search path."""
    variables: tuple[tuple[str, str], ...] = ()
    settings: tuple[str, ...] = ()
    """Settings of workloads, `key=value`, that only this version gets."""
    folder: str
    """The working directory."""
    inherits_path: bool = True
    """Whether PYTHONPATH of this process is meant for it too: not for another interpreter."""
    top: str = ""
    """The repository's top folder; files below it are taken from `mirror`. Empty where the version has no files of its own."""
    mirror: str = ""

    def workload(self, name: str) -> str:
        """A workload's name as this version sees it: a path of a user's file is the file in this version's folder."""
        if not name.endswith(".py"):
            return name
        path = Path(name).resolve()
        if not self.top or not path.is_relative_to(self.top):
            return str(path)
        mine = Path(self.mirror, path.relative_to(self.top))
        if not mine.is_file():
            raise UserError(f"{name}: not in {self.label}", hint="a workload inside the project has to exist in both versions")
        return str(mine)


@contextlib.contextmanager
def placed(ref: Ref, private: Path) -> Iterator[Place]:
    """A place for the version below the folder `private`, as long as the context lasts; a worktree made for it is removed afterwards.

    UserError for a commit that is none, a folder outside of git, a wheel that can't be unpacked.
    """
    private.mkdir(parents=True, exist_ok=True)
    if ref.kind == "git":
        with _worktree(ref, private / "tree") as place:
            yield place
    elif ref.kind == "wheel":
        yield _own(ref, paths=(str(_unpacked(ref, private / "wheel")),))
    elif ref.kind == "tree":
        yield _of_tree(ref)
    elif ref.kind in _OWN_INTERPRETER:
        python = venv_python(Path(ref.target)) if ref.kind == "venv" else Path(ref.target)
        yield _own(ref, python=str(python), inherits_path=False)
    else:
        settings = tuple(f"{key}={value}" for key, value in ref.pairs) if ref.kind == "set" else ()
        yield _own(ref, variables=ref.pairs if ref.kind == "env" else (), settings=settings)


def _own(
    ref: Ref,
    *,
    python: str = sys.executable,
    paths: tuple[str, ...] = (),
    variables: tuple[tuple[str, str], ...] = (),
    settings: tuple[str, ...] = (),
    inherits_path: bool = True,
) -> Place:
    return Place(
        label=ref.text,
        python=python,
        paths=paths,
        variables=variables,
        settings=settings,
        folder=str(Path.cwd()),
        inherits_path=inherits_path,
    )


def _of_tree(ref: Ref) -> Place:
    """A folder as it is. The working tree's own files stand for themselves; those of another checkout are found in its mirror."""
    folder = Path(ref.target).resolve()
    top = _git(folder, "rev-parse", "--show-toplevel") or str(folder)
    here = _git(Path.cwd(), "rev-parse", "--show-toplevel") or str(Path.cwd().resolve())
    place = _own(ref, paths=_search_paths(Path(top), folder))
    return msgspec.structs.replace(place, top=here, mirror=top, folder=str(folder))


@contextlib.contextmanager
def _worktree(ref: Ref, path: Path) -> Iterator[Place]:
    here = Path.cwd().resolve()
    top = _git(here, "rev-parse", "--show-toplevel")
    if top is None:
        raise UserError(f"{ref.text}: {here} is not in a git repository", hint=KINDS_HINT)
    commit = _git(here, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref.target}^{{commit}}")
    if not commit:
        raise UserError(f"{ref.text}: no such commit, branch or tag in {top}", hint=KINDS_HINT)
    _git(here, "worktree", "prune")
    # no hook of the repository is run: files only
    _git_or_raise(here, "-c", "core.hooksPath=/dev/null", "worktree", "add", "--detach", "--quiet", str(path), commit)
    try:
        counterpart = path / here.relative_to(top)
        folder = counterpart if counterpart.is_dir() else path
        label = f"{ref.target} ({commit[:9]})" if not commit.startswith(ref.target) else commit[:9]
        place = _own(ref, paths=_search_paths(path, folder))
        yield msgspec.structs.replace(place, label=label, top=top, mirror=str(path), folder=str(folder))
    finally:
        _git(here, "worktree", "remove", "--force", str(path))
        _git(here, "worktree", "prune")


def uncommitted(folder: Path) -> bool:
    """Whether files of the checkout that holds `folder` differ from its commit."""
    return bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))


def _search_paths(top: Path, folder: Path) -> tuple[str, ...]:
    """Where a project's packages lie: in its folder or the folder's src, at the top too where the project is a part of a repository."""
    candidates = (folder / "src", folder, top / "src", top)
    return tuple(dict.fromkeys(str(path) for path in candidates if path.is_dir()))


def _unpacked(ref: Ref, into: Path) -> Path:
    """A wheel's packages, as an installer would lay them out, without running anything of it."""
    try:
        with zipfile.ZipFile(ref.target) as wheel:
            wheel.extractall(into)  # zipfile keeps members below `into`
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{ref.text}: can't unpack the wheel: {error}", hint="is it a whole .whl file?") from error
    for data in into.glob("*.data"):
        for scheme in ("purelib", "platlib"):
            if (data / scheme).is_dir():
                for entry in (data / scheme).iterdir():
                    entry.rename(into / entry.name)
    return into


def environment(place: Place, private: Path, ours: dict[str, str]) -> dict[str, str]:
    """The environment of a version's processes: ours, its variables, its path first, what it may be lent last."""
    inherited = os.environ.get("PYTHONPATH", "") if place.inherits_path else ""
    path = os.pathsep.join(filter(None, (*place.paths, inherited)))
    base = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    return base | ours | ({"PYTHONPATH": path} if path else {}) | dict(place.variables) | {"HWBENCH_AB_LENT": str(_lent(private))}


def _lent(private: Path) -> Path:
    """A folder of links to the packages in FALLBACKS, for an interpreter's path to end with."""
    folder = private / "lent"
    folder.mkdir(exist_ok=True)
    for name, package in FALLBACKS.items():
        with contextlib.suppress(FileExistsError):
            (folder / name).symlink_to(package, target_is_directory=True)
    return folder


def _git(folder: Path, *words: str) -> str | None:
    """What git says; None where it fails."""
    try:
        return _git_or_raise(folder, *words)
    except (UserError, UnavailableError):
        return None


def _git_or_raise(folder: Path, *words: str) -> str:
    command = ("git", "-C", str(folder), *words)
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_GIT_LIMIT_S, check=False, text=True, start_new_session=True
        )
    except FileNotFoundError as error:
        raise UnavailableError("git is not installed: commits can't be compared") from error
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"git {words[0]} took longer than {_GIT_LIMIT_S:.0f} s") from error
    if done.returncode:
        raise UserError(f"git {' '.join(words[:2])}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return done.stdout.strip()
