"""The colours can be seen against both backgrounds and told apart, also by people who see fewer of them."""

import math
from itertools import combinations

import pytest
from hwbench.reports._palette import DARK_BACKGROUND, LIGHT_BACKGROUND, ROOF_COLOUR, WORKLOAD_COLOURS, workload_colours

from tests.made_summaries import demo

Colour = tuple[float, float, float]
# Machado, Oliveira, Fernandes, "A physiologically-based model for simulation of color vision deficiency", IEEE TVCG 15(6), 2009, severity 1
VISION = {
    "full": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
}


def linear(hex_: str) -> Colour:
    r, g, b = (int(hex_[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return tuple(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (r, g, b))  # type: ignore[return-value]


def luminance(hex_: str) -> float:
    r, g, b = linear(hex_)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def lab(hex_: str, vision: str) -> Colour:
    seen = [min(1.0, max(0.0, sum(m * c for m, c in zip(row, linear(hex_), strict=True)))) for row in VISION[vision]]
    r, g, b = seen
    x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089
    fx, fy, fz = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


@pytest.mark.parametrize("background", [LIGHT_BACKGROUND, DARK_BACKGROUND])
def test_marks_stand_out(background: str) -> None:
    for colour in (*WORKLOAD_COLOURS, ROOF_COLOUR):
        assert contrast(colour, background) >= 3, colour  # WCAG 2.2, 1.4.11


@pytest.mark.parametrize("vision", VISION)
def test_workloads_can_be_told_apart(vision: str) -> None:
    for one, other in combinations(WORKLOAD_COLOURS, 2):
        assert math.dist(lab(one, vision), lab(other, vision)) >= 20, (one, other)


def test_a_workload_keeps_its_colour() -> None:
    colours = workload_colours(demo())
    assert set(colours) == {row.workload for row in demo().throughput}
    assert len(set(colours.values())) == len(colours)
