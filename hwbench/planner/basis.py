"""What a prediction rests on, in words, from the sources of the profile's figures."""

from __future__ import annotations

from hwbench.core.profile import ClusterProfile

from .constants import shipped
from .overrides import SOURCE

MEASURED = "measured here"
"""How the sources of a calibrated profile begin."""


def basis(profile: ClusterProfile, *, fitted: bool = False, listed: bool = True) -> str:
    """Datasheet, published curves or measurements here, what the user set; `fitted` adds the published training runs."""
    texts = profile.sources.values()
    curves = bool(profile.efficiency.matmul) or any(tier.efficiency for tier in profile.tiers)
    if any(text.startswith(MEASURED) for text in texts):
        parts = ["calibrated here"]
    else:
        parts = ["datasheet", *(["published efficiency curves"] if curves else [])]
    if SOURCE in texts:
        parts.append("figures set by the user")
    if fitted:
        runs = f"{sum(shipped().fitted_on.values())} published training runs"
        parts.append(runs if listed else f"{runs}, none of them on {profile.accelerator.name}")
    return ", ".join(parts)
