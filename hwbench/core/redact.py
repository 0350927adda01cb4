"""Redaction: host names, serial numbers, UUIDs, MAC and IP addresses and home folders become pseudonyms, everything else stays.

Two ways find what is private: the name of a key (`host_name`, `serial`, `node_guid` …) and the shape of a text (a UUID anywhere in it).
What was found by key is replaced wherever else it stands, so that a host name inside a path or a reason goes too. The same original
gets the same pseudonym throughout one call; with a `salt`, throughout all calls with that salt. PCI addresses and versions stay.
"""

import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Any

HOST_KEYS = {"host", "hosts", "hostname", "host_name", "host_names", "node_name"}
SERIAL_KEYS = re.compile(r"(^|_)(serial|serial_number|asset_tag|machine_id|boot_id)$")
UUID_KEYS = re.compile(r"(^|_)(uuid|guid|wwid|wwn|eui|nguid)$")
MAC_KEYS = {"mac", "mac_address"}
VERSION_KEYS = re.compile(r"(version|release|packages|firmware|driver|nccl|cuda|cudnn|rocm|torch|blas|libc|python)")
"""Under these keys four numbers with dots are a version, not an address."""

NOT_PRIVATE = {"localhost", "none", "unknown", "n/a", "not specified", "default string", "to be filled by o.e.m.", "system serial number"}
_SHORTEST_ELSEWHERE = 4  # a shorter original is replaced in its own place only: it would match by chance elsewhere

_UUID = re.compile(r"(?<![0-9A-Za-z])[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}(?![0-9A-Za-z])")
_MAC = re.compile(r"(?<![0-9A-Za-z:.])[0-9a-fA-F]{2}(?:([:-])[0-9a-fA-F]{2})(?:\1[0-9a-fA-F]{2}){4,18}(?![0-9A-Za-z:-])")
_GUID = re.compile(r"(?<![0-9A-Za-z:.])[0-9a-fA-F]{4}(?::[0-9a-fA-F]{4}){3}(?![0-9A-Za-z:.])")
_IPV4 = re.compile(r"(?<![0-9A-Za-z.])\d{1,3}(?:\.\d{1,3}){3}(?![0-9A-Za-z]|\.\d)")
_IPV6 = re.compile(r"(?<![0-9A-Za-z:.])[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}(?![0-9A-Za-z:.])")
_HOME = re.compile(r"(?<=/home/)[^/\s:\"']+|(?<=/Users/)[^/\s:\"']+")


class _Names:
    """Pseudonyms given so far: by number in the order of appearance, or by a salted hash."""

    def __init__(self, salt: str | None) -> None:
        self.salt = salt
        self.given: dict[tuple[str, str], str] = {}
        self.counts: dict[str, int] = {}
        self.elsewhere: dict[str, str] = {}

    def of(self, kind: str, original: str) -> str:
        """The pseudonym of an original; letters' case makes no difference."""
        key = (kind, original.lower())
        if key not in self.given:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            self.given[key] = f"{kind}-{self.counts[kind] if self.salt is None else self._hash(original)}"
        return self.given[key]

    def _hash(self, original: str) -> str:
        return hashlib.blake2s(f"{self.salt}\0{original.lower()}".encode(), digest_size=6).hexdigest()


def redact(data: Any, *, host_names: Iterable[str] = (), salt: str | None = None) -> Any:
    """A copy of nested dicts, lists and texts without private identifiers; numbers and everything else as they are.

    `host_names` are further host names to look for. Without a `salt`, pseudonyms are numbered in the order of appearance.
    """
    names = _Names(salt)
    for name in host_names:
        _remember(names, "host", name)
    _collect(data, "", names)
    return _copied(data, (), names)


def _kind_of(key: str) -> str | None:
    lower = key.lower()
    if lower in HOST_KEYS:
        return "host"
    if lower in MAC_KEYS:
        return "mac"
    if SERIAL_KEYS.search(lower):
        return "serial"
    return "uuid" if UUID_KEYS.search(lower) else None


def _collect(data: Any, key: str, names: _Names) -> None:
    """Remember what stands under telling keys, so that it is found elsewhere too."""
    if isinstance(data, dict):
        for name, value in data.items():
            _collect(value, str(name), names)
    elif isinstance(data, list | tuple):
        for value in data:
            _collect(value, key, names)
    elif isinstance(data, str) and (kind := _kind_of(key)) is not None:
        _remember(names, kind, data)


def _remember(names: _Names, kind: str, original: str) -> None:
    original = original.strip()
    if _is_private(original):
        pseudonym = names.of(kind, _bare(original))
        if len(original) >= _SHORTEST_ELSEWHERE:
            names.elsewhere.setdefault(original, pseudonym)
            short = original.split(".")[0]
            if kind == "host" and len(short) >= _SHORTEST_ELSEWHERE and not short.isdigit():
                names.elsewhere.setdefault(short, pseudonym)


def _is_private(original: str) -> bool:
    return original.lower() not in NOT_PRIVATE and original.strip("0-:. ") != ""


def _bare(original: str) -> str:
    """A UUID without the GPU- or MIG- in front, so that one UUID has one pseudonym however it is written."""
    match = _UUID.search(original.replace("GPU-", "").replace("MIG-", ""))
    return match[0] if match else original


def _copied(data: Any, path: tuple[str, ...], names: _Names) -> Any:
    if isinstance(data, dict):
        return {
            _text(key, path, names) if isinstance(key, str) else key: _copied(value, (*path, str(key)), names)
            for key, value in data.items()
        }
    if isinstance(data, list | tuple):
        return type(data)(_copied(value, path, names) for value in data)
    return _text(data, path, names) if isinstance(data, str) else data


def _text(text: str, path: tuple[str, ...], names: _Names) -> str:
    kind = _kind_of(path[-1]) if path else None
    if kind is not None and _is_private(text.strip()):
        return names.of(kind, _bare(text.strip()))
    if names.elsewhere:
        text = _pattern(names).sub(lambda match: names.elsewhere[match[0]], text)
    text = _UUID.sub(lambda match: names.of("uuid", match[0]), text)
    text = _MAC.sub(lambda match: names.of("mac", match[0]), text)
    text = _GUID.sub(lambda match: names.of("uuid", match[0]), text)
    text = _HOME.sub(lambda match: names.of("user", match[0]), text)
    if any(VERSION_KEYS.search(key) for key in path):
        return text
    return _IPV4.sub(_address(names), _IPV6.sub(_address(names), text))


def _pattern(names: _Names) -> re.Pattern[str]:
    """What was found by key, the longest first, as whole words; compiled once, as re keeps the last patterns."""
    originals = sorted(names.elsewhere, key=len, reverse=True)
    return re.compile(rf"(?<![0-9A-Za-z])(?:{'|'.join(map(re.escape, originals))})(?![0-9A-Za-z])")


def _address(names: _Names) -> Callable[[re.Match[str]], str]:
    def replace(match: re.Match[str]) -> str:
        try:
            address = ipaddress.ip_address(match[0])
        except ValueError:
            return match[0]
        public = address.is_loopback or address.is_unspecified or match[0].startswith("255.")
        return match[0] if public else names.of("ip", match[0])

    return replace
