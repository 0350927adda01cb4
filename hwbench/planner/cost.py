"""What a training run costs: rent or purchase, power, energy and CO2, each null with the key that would tell where a number is missing.

Every price is the user's: hwbench ships none.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from hwbench.core.errors import UserError
from hwbench.core.prediction import Costs
from hwbench.core.profile import ClusterProfile
from hwbench.core.value import Value

HOUR_S = 3600.0
KWH_J = 3.6e6


class Terms(Value):
    """The user's prices and site."""

    buy_usd: dict[str, float] = {}
    """Cluster -> purchase price of one node."""
    lifetime_s: float | None = None
    """Over which a purchase is written off."""
    power_usd_per_kwh: float | None = None
    pue: float | None = None
    """Power of the whole site over that of the nodes; None counts the nodes alone."""
    grid_co2_g_per_kwh: float | None = None


NO_TERMS = Terms()


def check_terms(terms: Terms) -> None:
    """UserError for a price, lifetime, PUE or grid figure that no site has, with the number."""
    for name in ("lifetime_s", "power_usd_per_kwh", "grid_co2_g_per_kwh"):
        value = getattr(terms, name)
        free = value == 0 and name != "lifetime_s"
        if value is not None and not free and not 0 < value < math.inf:
            raise UserError(f"{name}={value:g}: expected more than zero and finite")
    if terms.pue is not None and not 1 <= terms.pue < 10:
        raise UserError(f"pue={terms.pue:g}: expected at least 1, the nodes' own power, and less than 10")
    for cluster, price in terms.buy_usd.items():
        if not 0 < price < math.inf:
            raise UserError(f"purchase price of {cluster}: {price:g}: expected more than zero and finite")
    if terms.buy_usd and terms.lifetime_s is None:
        raise UserError("a purchase price needs a lifetime to be written off over", hint="give --lifetime 4y in days: --lifetime 1460d")


def costs(profile: ClusterProfile, nodes: int, seconds: float, terms: Terms, *, purchase_usd: float | None = None) -> Costs | None:
    """What a run of so long on so many nodes costs; None where neither rent nor purchase price is known.

    A purchase costs the run price · time / lifetime; its power is the nodes' · PUE · the price of a kWh, where that is known. Rented nodes
    come with their power. `purchase_usd` is the price of all nodes, where a supplier quoted one.
    """
    bought = terms.buy_usd.get(profile.name)
    whole = purchase_usd if purchase_usd is not None else None if bought is None else bought * nodes
    if whole is None:
        rent = rent_usd(profile, nodes, seconds)
        return None if rent is None else Costs(rent_usd=rent, outlay_usd=rent)
    drawn = energy(profile, nodes, seconds, pue=terms.pue or 1.0)
    power = 0.0 if drawn is None or terms.power_usd_per_kwh is None else drawn.energy_j / KWH_J * terms.power_usd_per_kwh
    used = whole * min(1.0, seconds / terms.lifetime_s) if terms.lifetime_s else whole
    return Costs(hardware_usd=used, power_usd=power, outlay_usd=whole + power)


def co2_kg(energy_j: float | None, terms: Terms) -> float | None:
    """CO2 of an energy by the grid's figure; None where either is unknown."""
    if energy_j is None or terms.grid_co2_g_per_kwh is None:
        return None
    return energy_j / KWH_J * terms.grid_co2_g_per_kwh / 1000


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


def energy(profile: ClusterProfile, nodes: int, seconds: float, *, pue: float = 1.0) -> Energy | None:
    """Joules of a run: power at full load for the whole time, times PUE, an upper bound; None where the profile has no power."""
    known = power_w(profile, nodes)
    if known is None:
        return None
    return Energy(known[0] * seconds * pue, known[1] if pue == 1.0 else f"{known[1]}, times a PUE of {pue:g}")


def gaps(profile: ClusterProfile, terms: Terms = NO_TERMS, *, quoted: bool = False) -> tuple[str, ...]:
    """What of price and power neither profile nor user tells, with the key that would."""
    said = []
    bought = quoted or profile.name in terms.buy_usd
    if bought and terms.power_usd_per_kwh is None:
        said.append("cost holds no power; give --power-usd-per-kwh")
    if not bought and profile.node.price_usd_per_hour is None:
        said.append("cost: no price; give --price-usd-per-hour CLUSTER=USD (node.price_usd_per_hour), or --buy-usd CLUSTER=USD a node")
    if profile.node.power_w is None and profile.accelerator.power_w is None:
        said.append("energy: no power; give --set node.power_w=WATTS")
    elif profile.node.power_w is None:
        said.append("energy covers the accelerators alone; give --set node.power_w=WATTS for the whole node")
    return tuple(said)
