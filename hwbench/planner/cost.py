"""What a training run costs: rent and energy, each null with the key that would tell where a number is missing."""

from __future__ import annotations

from typing import NamedTuple

from hwbench.core.profile import ClusterProfile

HOUR_S = 3600.0


class Energy(NamedTuple):
    """Joules, and what draws them."""

    energy_j: float
    covers: str


def rent_usd(profile: ClusterProfile, nodes: int, seconds: float) -> float | None:
    """Dollars for `nodes` nodes for so long: nodes · hours · price of a node and hour; None where the profile has no price."""
    price = profile.node.price_usd_per_hour
    return None if price is None else nodes * seconds / HOUR_S * price


def power_w(profile: ClusterProfile, nodes: int) -> tuple[float, str] | None:
    """Watts of `nodes` nodes at full load and what they cover: whole nodes where known, else the accelerators alone, else None."""
    if profile.node.power_w is not None:
        return nodes * profile.node.power_w, "whole nodes at their maximum, without switches, storage and cooling"
    if profile.accelerator.power_w is not None:
        watts = nodes * profile.node.accelerators * profile.accelerator.power_w
        return watts, "the accelerators alone at board power, without hosts, switches, storage and cooling"
    return None


def energy(profile: ClusterProfile, nodes: int, seconds: float) -> Energy | None:
    """Joules of a run: power at full load for the whole time, an upper bound; None where the profile has no power."""
    known = power_w(profile, nodes)
    return None if known is None else Energy(known[0] * seconds, known[1])


def gaps(profile: ClusterProfile) -> tuple[str, ...]:
    """What of price and power the profile does not tell, with the key that would."""
    said = []
    if profile.node.price_usd_per_hour is None:
        said.append("cost: no price; give --price-usd-per-hour CLUSTER=USD (node.price_usd_per_hour)")
    if profile.node.power_w is None and profile.accelerator.power_w is None:
        said.append("energy: no power; give --set node.power_w=WATTS")
    elif profile.node.power_w is None:
        said.append("energy covers the accelerators alone; give --set node.power_w=WATTS for the whole node")
    return tuple(said)
