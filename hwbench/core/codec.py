"""Reading and writing values: JSON and TOML, with errors that name the file and the key; writing is atomic.

Nothing here executes what it reads: JSON and TOML only, decoded into the asked-for type and refused if they differ.
"""

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hwbench.core.errors import UserError, unknown_name

T = TypeVar("T")

_WHERE = re.compile(r"^(?P<what>.*?)(?: - at `(?P<key>[^`]*)`)?$", re.DOTALL)
_EXPECTED = re.compile(r"^Expected (?P<expected>.+), got (?P<found>.+)$", re.DOTALL)
_CHOICE = re.compile(r"^Invalid enum value (?P<found>.+)$", re.DOTALL)
_STEP = re.compile(r"\[[^]]*\]|[^.\[]+")
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>[^`]*)`$")
_MISSING = re.compile(r"^Object missing required field `(?P<name>[^`]*)`$")


def read_text(path: Path, *, what: str = "file") -> str:
    """The UTF-8 text of a file. UserError names the file and the reason when it can't be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})", hint=f"is it the {what} you meant?") from error
    except OSError as error:
        raise UserError(f"{path}: can't read the {what}: {error.strerror or error}", hint="check the path and its permissions") from error


def read_json(path: Path, type_: type[T], *, what: str = "file") -> T:
    """A value of `type_` from a JSON file; UserError with file, key, expected and found otherwise."""
    return from_json(read_text(path, what=what), type_, source=str(path))


def read_toml(path: Path, type_: type[T], *, what: str = "file") -> T:
    """A value of `type_` from a TOML file; UserError with file, key, expected and found otherwise."""
    return from_toml(read_text(path, what=what), type_, source=str(path))


def from_json(text: str | bytes, type_: type[T], *, source: str) -> T:
    """Decode JSON text; `source` is what an error calls it."""
    try:
        return msgspec.json.decode(text, type=type_)
    except msgspec.ValidationError as error:
        raise _explained(error, type_, source) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{source}: not valid JSON: {error}") from error


def from_toml(text: str, type_: type[T], *, source: str) -> T:
    """Decode TOML text; `source` is what an error calls it."""
    try:
        return msgspec.toml.decode(text, type=type_)
    except msgspec.ValidationError as error:
        raise _explained(error, type_, source) from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise UserError(f"{source}: not valid TOML: {error}") from error


def convert(data: Any, type_: type[T], *, source: str) -> T:
    """Turn plain dicts and lists into `type_`, as strictly as a file would be read."""
    try:
        return msgspec.convert(data, type=type_)
    except msgspec.ValidationError as error:
        raise _explained(error, type_, source) from error


def to_json(value: Any, *, pretty: bool = False) -> bytes:
    """JSON bytes; `pretty` is indented and ends with a newline, else one line without one."""
    raw = msgspec.json.encode(value)
    return msgspec.json.format(raw, indent=2) + b"\n" if pretty else raw


def to_toml(value: Any) -> str:
    """TOML text of a value; what is None is absent, as TOML has no null."""
    import tomli_w

    return tomli_w.dumps(_without_none(to_builtins(value)))


def _without_none(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_none(child) for key, child in node.items() if child is not None}
    if isinstance(node, list | tuple):
        return [_without_none(child) for child in node]
    return node


def to_builtins(value: Any) -> Any:
    """Plain dicts, lists, strings and numbers, as a file would hold them."""
    return msgspec.to_builtins(value)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a whole file or nothing: a temporary file beside it, synced, then renamed over it.

    A link keeps pointing where it did and the file behind it is replaced. What is no regular file (`/dev/stdout`, a pipe) is written
    to as it stands: renaming over it would put a file in the place of the device.
    """
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as stream:
                stream.write(data)
        else:
            _replace(path.resolve(), data)
    except OSError as error:
        raise UserError(f"{path}: can't write: {error.strerror or error}", hint="choose another place, or make it writable") from error


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _explained(error: msgspec.ValidationError, type_: Any, source: str) -> UserError:
    """msgspec's message, said as: file, key, expected, found, and the nearest field for an unknown one."""
    match = _WHERE.match(str(error))
    what, key = (match["what"], match["key"]) if match else (str(error), None)
    where = f"{source}: key {_dotted(key)}" if _dotted(key) else source
    if unknown := _UNKNOWN.match(what):
        names = _field_names(type_)
        return UserError(
            f"{where}: unknown key {unknown['name']!r}", hint=unknown_name("key", unknown["name"], names).hint if names else ""
        )
    if missing := _MISSING.match(what):
        return UserError(f"{where}: missing key {missing['name']!r}", hint="add it, or compare with a file that works")
    if expected := _EXPECTED.match(what):
        return UserError(f"{where}: expected {_plain(expected['expected'])}, found {_plain(expected['found'])}")
    if choice := _CHOICE.match(what):
        known = _choices(type_, key or "")
        found = choice["found"].strip("'")
        return UserError(f"{where}: expected one of {', '.join(known)}, found {found!r}", hint=unknown_name("", found, known).hint)
    return UserError(f"{where}: {what}")


def _choices(type_: Any, key: str) -> tuple[str, ...]:
    """The words that may stand at a key such as `$.entries[0].devices[...]`; none where msgspec knows of none."""
    kinds = [msgspec.inspect.type_info(type_)]
    for step in _STEP.findall(_dotted(key)):
        kinds = [inner for kind in kinds for inner in _inside(kind, step)]
    return tuple(str(word) for kind in kinds for word in getattr(kind, "values", ()))


def _inside(kind: Any, step: str) -> tuple[Any, ...]:
    """The kinds one step further in: the parts of a union, a field, an item."""
    if isinstance(kind, msgspec.inspect.StructType) and not step.startswith("["):
        kind = next((field.type for field in kind.fields if field.encode_name == step), None)
    elif step.startswith("["):
        kind = getattr(kind, "item_type", getattr(kind, "value_type", None))
    return tuple(getattr(kind, "types", (kind,)))


def _dotted(key: str | None) -> str:
    return (key or "").removeprefix("$").removeprefix(".")


def _plain(text: str) -> str:
    return text.replace("`", "")


def _field_names(type_: Any) -> list[str]:
    """Every field name inside a struct type, nested ones too: enough for a nearest-name hint."""
    names: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "properties" in node:
                names.update(node["properties"])
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    try:
        walk(msgspec.json.schema(type_))
    except TypeError:
        return []
    return sorted(names)


def json_default(text: str) -> Any:
    """A command line's `key=value` value: JSON where it parses as such, otherwise the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
