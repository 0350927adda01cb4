"""Checks of a cluster profile beyond its types: every number plausible, and every number with a source.

A number's key is dotted, a tier's by its name: `accelerator.memory_bytes`, `tiers.nvlink.bandwidth_bytes_per_s`.
A source covers its key and everything below it.
"""

import itertools
from typing import Any

from hwbench.core.codec import to_builtins
from hwbench.core.errors import UserError
from hwbench.core.profile import ClusterProfile

BOUNDS = {
    "memory_bytes": (1e6, 1e14),
    "memory_bandwidth_bytes_per_s": (1e8, 1e14),
    "peak_flops_per_s": (1e6, 1e17),
    "power_w": (0.1, 1e6),
    "accelerators": (1, 1e6),
    "price_usd_per_hour": (1e-6, 1e6),
    "bandwidth_bytes_per_s": (1e5, 1e14),
    "latency_s": (1e-10, 1.0),
    "launch_s": (1e-10, 1.0),
    "size": (1, 1e18),
    "fraction": (1e-9, 1.05),
    "attention_fraction": (1e-9, 1.05),
    "nodes": (1, 1e6),
    "time_s": (1e-9, 1e6),
    "process_bytes": (1e6, 1e12),
    "message_s": (1e-9, 1.0),
    "step_factor": (0.1, 10.0),
    "step_factor_spread": (1.0, 10.0),
}
"""Outside these a figure is a slip of a unit or a comma (GB for bytes, Gb/s for B/s), not a machine: key -> lowest, highest."""


def numbers(profile: ClusterProfile) -> dict[str, float]:
    """Every number of a profile by its dotted key; points of a curve are under `KEY.N.size` and `KEY.N.fraction`."""
    plain = to_builtins(profile)
    plain["tiers"] = {tier["name"]: tier for tier in plain["tiers"]}
    for key in ("schema", "sources"):
        del plain[key]
    found: dict[str, float] = {}
    _walk(plain, "", found)
    return found


def _walk(node: Any, path: str, found: dict[str, float]) -> None:
    if isinstance(node, dict):
        for key, child in node.items():
            _walk(child, f"{path}.{key}" if path else key, found)
    elif isinstance(node, list | tuple):
        for index, child in enumerate(node):
            _walk(child, f"{path}.{index}", found)
    elif isinstance(node, int | float) and not isinstance(node, bool):
        found[path] = float(node)


def unsourced(profile: ClusterProfile) -> list[str]:
    """Keys of numbers that no source covers."""
    return [key for key in numbers(profile) if not any(covers(source, key) for source in profile.sources)]


def idle_sources(profile: ClusterProfile) -> list[str]:
    """Sources that cover no number."""
    keys = numbers(profile)
    return [source for source in profile.sources if not any(covers(source, key) for key in keys)]


def covers(source: str, key: str) -> bool:
    """Whether the source of one dotted key covers another: it is the same, or above it."""
    return key == source or key.startswith(f"{source}.")


def checked(profile: ClusterProfile, where: str) -> ClusterProfile:
    """The profile itself if it makes sense; UserError names file, key, what was expected and what was found."""
    _check_tiers(profile, where)
    for key, value in numbers(profile).items():
        low, high = _bounds(key)
        if not low <= value <= high:
            raise UserError(
                f"{where}: key {key}: expected {low:g} to {high:g}, found {value:g}", hint="units are SI: bytes, bytes/s, FLOP/s, W, s"
            )
    return profile


def _bounds(key: str) -> tuple[float, float]:
    parts = key.split(".")
    for part in (parts[-1], *parts[:-1]):
        if part in BOUNDS:
            return BOUNDS[part]
    return 0.0, float("inf")


def _check_tiers(profile: ClusterProfile, where: str) -> None:
    """Tiers have names of their own and grow outwards; only the last may join everything."""
    names = [tier.name for tier in profile.tiers]
    if len(set(names)) < len(names):
        raise UserError(f"{where}: key tiers: two tiers have the same name: {', '.join(names)}")
    sizes = [tier.accelerators for tier in profile.tiers]
    for inner, outer in itertools.pairwise(sizes):
        if inner is None or (outer is not None and outer <= inner):
            said = ", ".join("all" if size is None else str(size) for size in sizes)
            raise UserError(f"{where}: key tiers: expected each to join more accelerators than the one before, found {said}")
