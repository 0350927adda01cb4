"""What exists, by name: workloads, layouts, reports, probes are found, not listed, and imported only when chosen.

A name is a file of its room (without `_` in front), an entry point of an installed package (group `hwbench.workloads` and so on), or a
path ending in .py or .toml. The first line of the docstring is read with `ast`, so listing imports nothing.
"""

import importlib
import importlib.util
from collections.abc import Mapping
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple, TypeVar

from hwbench.core import codec
from hwbench.core.docstrings import first_line
from hwbench.core.errors import UnavailableError, UserError, unknown_name
from hwbench.core.profile import ClusterProfile
from hwbench.core.sourcing import checked
from hwbench.core.suite import Suite
from hwbench.core.workload import Preset

T = TypeVar("T")
Kind = Literal["workloads", "layouts", "reports", "clusters", "models", "suites"]


class _Room(NamedTuple):
    package: str
    folder: str
    suffix: str
    export: str
    """Name of the constant a module exports; for TOML files the field that describes it."""


ROOMS: Mapping[Kind, _Room] = {
    "workloads": _Room("hwbench.workloads", "", ".py", "WORKLOAD"),
    "layouts": _Room("hwbench.layouts", "", ".py", "LAYOUT"),
    "reports": _Room("hwbench.reports", "", ".py", "REPORT"),
    "clusters": _Room("hwbench.cluster_profiles", "", ".toml", "description"),
    "models": _Room("hwbench.workloads", "presets", ".toml", "description"),
    "suites": _Room("hwbench.run", "suites", ".toml", "description"),
}


def names(kind: Kind) -> dict[str, str]:
    """Everything of one kind: name -> one line about it, sorted by name."""
    room = ROOMS[kind]
    found = {_stem(file): _summary(file, room) for file in _files(room)}
    for point in metadata.entry_points(group=f"hwbench.{kind}"):
        found.setdefault(point.name, f"from {point.dist.name if point.dist else point.value}")
    return dict(sorted(found.items()))


def load(kind: Literal["workloads", "layouts", "reports"], name: str, type_: type[T]) -> T:
    """The constant that the named module exports, checked to be a `type_`. UserError for an unknown name, with the nearest known one."""
    value = getattr(_module(kind, name), ROOMS[kind].export, None)
    if not isinstance(value, type_):
        found = "nothing of that name" if value is None else type(value).__name__
        raise UserError(f"{kind[:-1]} {name}: expected {ROOMS[kind].export} to be a {type_.__name__}, found {found}")
    return value


def load_cluster(name: str) -> ClusterProfile:
    """A cluster profile by name or by the path of a TOML file; UserError where a number can't be one of a machine."""
    return checked(_load_toml("clusters", name, ClusterProfile), name)


def load_model(name: str) -> Preset:
    """A model preset by name or by the path of a TOML file."""
    return _load_toml("models", name, Preset)


def load_suite(name: str) -> Suite:
    """A suite by name or by the path of a TOML file."""
    return _load_toml("suites", name, Suite)


def _load_toml(kind: Kind, name: str, type_: type[T]) -> T:
    if name.endswith(".toml") or "/" in name:
        return codec.read_toml(Path(name), type_, what=kind[:-1])
    for file in _files(ROOMS[kind]):
        if _stem(file) == name:
            return codec.from_toml(file.read_text(encoding="utf-8"), type_, source=file.name)
    raise unknown_name(kind[:-1], name, names(kind))


def _module(kind: Literal["workloads", "layouts", "reports"], name: str) -> ModuleType:
    room = ROOMS[kind]
    if name.endswith(".py"):
        return _module_at(Path(name), kind)
    if any(_stem(file) == name for file in _files(room)):
        return importlib.import_module(f"{room.package}.{name}")
    for point in metadata.entry_points(group=f"hwbench.{kind}", name=name):
        try:
            return importlib.import_module(point.module)
        except ImportError as error:
            raise UnavailableError(f"{kind[:-1]} {name}: can't import {point.module}: {error}") from error
    raise unknown_name(kind[:-1], name, names(kind))


def _module_at(path: Path, kind: str) -> ModuleType:
    if not path.is_file():
        raise UserError(f"{path}: no such file", hint=f"a {kind[:-1]} of your own is a Python file that exports {ROOMS[kind].export}")  # type: ignore[index]
    spec = importlib.util.spec_from_file_location(f"hwbench_user_{path.stem}", path.resolve())
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: not a Python file that can be imported")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # somebody else's code is run here, and may raise anything
        what = error.msg if isinstance(error, SyntaxError) else error
        raise UserError(f"{path}: can't import: {_line(error, path)}{type(error).__name__}: {what}") from error
    return module


def _line(error: Exception, path: Path) -> str:
    """`line 3: `, where the file at `path` has a part in this error; the innermost of its lines."""
    import traceback  # costs milliseconds, and hardly ever needed

    if isinstance(error, SyntaxError) and error.filename == str(path.resolve()):
        return f"line {error.lineno}: "
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path.resolve())]
    return f"line {lines[-1]}: " if lines else ""


def _files(room: _Room) -> list[Traversable]:
    folder: Traversable = resources.files(room.package)
    if room.folder:
        folder = folder / room.folder
    if not folder.is_dir():
        return []
    return [f for f in folder.iterdir() if f.name.endswith(room.suffix) and not f.name.startswith("_")]


def _stem(file: Traversable) -> str:
    return file.name.rsplit(".", 1)[0]


def _summary(file: Traversable, room: _Room) -> str:
    text = file.read_text(encoding="utf-8")
    if room.suffix == ".toml":
        table: dict[str, Any] = codec.from_toml(text, dict[str, Any], source=file.name)
        return str(table.get(room.export, ""))
    return first_line(text)
