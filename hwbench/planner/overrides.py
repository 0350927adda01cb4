"""A profile with single figures changed, each marked in its sources as the user's."""

from __future__ import annotations

from typing import Any

from hwbench.core.codec import convert, to_builtins
from hwbench.core.errors import UserError, unknown_name
from hwbench.core.profile import ClusterProfile
from hwbench.core.sourcing import checked, covers

SOURCE = "set by the user"
SECTIONS = ("accelerator", "node", "tiers", "efficiency", "nodes")
"""First parts of the keys that can be set."""


def with_settings(profile: ClusterProfile, settings: dict[str, Any]) -> ClusterProfile:
    """The profile with each dotted key replaced: `accelerator.memory_bytes`, `tiers.network.bandwidth_bytes_per_s` (a tier by name).

    UserError for a key that is not there (with the nearest), a value of the wrong type, or one that no machine has.
    """
    if not settings:
        return profile
    plain = to_builtins(profile)
    for key, value in settings.items():
        *path, last = key.split(".")
        place: Any = plain
        for part in path:
            place = _inside(place, part, key)
        _check_key(place, last, key)
        place[last] = value
    sources = {key: text for key, text in plain["sources"].items() if not any(covers(changed, key) for changed in settings)}
    plain["sources"] = sources | dict.fromkeys(settings, SOURCE)
    return checked(convert(plain, ClusterProfile, source=f"{profile.name} with --set"), f"{profile.name} with --set")


def _inside(place: Any, part: str, key: str) -> Any:
    if isinstance(place, list | tuple):
        named = {tier["name"]: tier for tier in place}
        if part not in named:
            raise unknown_name(f"tier in {key!r}:", part, named)
        return named[part]
    _check_key(place, part, key)
    return place[part]


def _check_key(place: Any, part: str, key: str) -> None:
    if not isinstance(place, dict):
        raise UserError(f"--set {key}: nothing lies below {key.rpartition('.')[0]!r}")
    if part not in place and not key.startswith(("accelerator.peak_flops_per_s.", "efficiency.matmul.")):
        raise unknown_name(f"key in --set {key!r}:", part, place)
