"""What `--base` and `--candidate` name: a commit, a folder, a virtual environment, an interpreter, a wheel, variables, settings. Pure.

docs/ab.md lists the kinds. What a prefix (`git:`, `venv:` …) leaves open is looked up in this order: `same`, a wheel, a virtual
environment, a folder, an interpreter, a commit.
"""

import os
import re
from pathlib import Path
from typing import Final, Literal

from hwbench.core.errors import UserError
from hwbench.core.value import Value

Kind = Literal["same", "git", "tree", "venv", "python", "wheel", "env", "set"]

PREFIXES: Final[dict[str, Kind]] = {
    "git": "git", "tree": "tree", "venv": "venv", "python": "python", "wheel": "wheel", "env": "env", "set": "set",
}  # fmt: skip
KINDS_HINT: Final = (
    "a version is a commit, a folder (`.` is the working tree), a virtual environment, a Python interpreter, a .whl file, "
    "env:NAME=VALUE, set:KEY=VALUE, or same"
)
_NEXT_NAME: Final = re.compile(r",(?=[A-Za-z_][A-Za-z0-9_]*=)")
"""A comma before another NAME=: values may hold commas."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class Ref(Value):
    """One version to compare. `text` is what the user wrote; the rest is what its kind needs."""

    text: str
    kind: Kind
    target: str = ""
    """A commit's name, or a path."""
    pairs: tuple[tuple[str, str], ...] = ()
    """Environment variables, or settings of workloads."""


def parse_ref(text: str) -> Ref:
    """The version that `text` names. UserError for what is none; whether a commit exists is found out later."""
    if not text.strip():
        raise UserError("an empty version", hint=KINDS_HINT)
    if text == "same":
        return Ref(text=text, kind="same")
    prefix, colon, rest = text.partition(":")
    if colon and prefix in PREFIXES:
        return _of_kind(text, PREFIXES[prefix], rest)
    return _of_kind(text, _looked_up(text), text)


def _of_kind(text: str, kind: Kind, target: str) -> Ref:
    if kind in ("env", "set"):
        return Ref(text=text, kind=kind, pairs=_pairs(text, target))
    if kind == "git":
        if not target or target.startswith("-"):
            raise UserError(f"{text!r} names no commit", hint=KINDS_HINT)
        return Ref(text=text, kind=kind, target=target)
    return Ref(text=text, kind=kind, target=str(_checked(text, kind, Path(target))))


def _looked_up(text: str) -> Kind:
    """The kind of a version written without a prefix, by what lies at the path; a commit where nothing does."""
    path = Path(text)
    if path.suffix == ".whl":
        return "wheel"
    if venv_python(path) is not None:
        return "venv"
    if path.is_dir():
        return "tree"
    return "python" if path.is_file() and os.access(path, os.X_OK) else "git"


def venv_python(folder: Path) -> Path | None:
    """The interpreter of a virtual environment; None where the folder is none."""
    python = folder / "bin" / "python"
    return python if (folder / "pyvenv.cfg").is_file() and python.exists() else None


def _checked(text: str, kind: Kind, path: Path) -> Path:
    """The absolute path (symbolic links kept: a virtual environment's interpreter is one), or a UserError that says what is wrong."""
    problem = {
        "tree": "" if path.is_dir() else "no such folder",
        "venv": "" if venv_python(path) else "not a virtual environment (it lacks pyvenv.cfg or bin/python)",
        "python": "" if path.is_file() and os.access(path, os.X_OK) else "no such program, or not one that can be run",
        "wheel": "" if path.is_file() else "no such file",
    }[kind]
    if problem:
        raise UserError(f"{text}: {problem}", hint=KINDS_HINT)
    return path.absolute()


def _pairs(text: str, body: str) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for item in _NEXT_NAME.split(body):
        name, equals, value = item.partition("=")
        if not equals or not _NAME.match(name):
            raise UserError(f"{text}: expected NAME=VALUE, found {item!r}", hint="for example env:OMP_PROC_BIND=true or set:backend=math")
        if name in found:
            raise UserError(f"{text}: {name} is given twice")
        found[name] = value
    return tuple(found.items())
