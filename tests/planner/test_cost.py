"""Rent, power and energy, and what is said where a number is missing."""

import pytest

from hwbench.core.registry import load_cluster
from hwbench.planner.cost import energy, gaps, power_w, rent_usd
from hwbench.planner.overrides import with_settings

H100 = load_cluster("dgx-h100")


def test_rent_is_nodes_times_hours_times_price() -> None:
    assert rent_usd(H100, 4, 3600) is None
    assert rent_usd(with_settings(H100, {"node.price_usd_per_hour": 90.0}), 4, 7200) == pytest.approx(4 * 2 * 90)


def test_energy_is_of_whole_nodes_where_known() -> None:
    used = energy(H100, 2, 100.0)
    assert used is not None
    assert used.energy_j == 2 * 10_200 * 100
    assert "whole nodes" in used.covers


def test_energy_of_the_accelerators_alone_says_so() -> None:
    known = power_w(load_cluster("hgx-h100"), 2)
    assert known is not None
    assert known[0] == 2 * 8 * 700
    assert "accelerators alone" in known[1]


def test_without_any_power_there_is_no_energy() -> None:
    assert energy(load_cluster("tpu-v5p"), 2, 100.0) is None


def test_gaps_name_the_keys() -> None:
    assert len(gaps(H100)) == 1
    assert "node.price_usd_per_hour" in gaps(H100)[0]
    assert any("accelerators alone" in gap for gap in gaps(load_cluster("hgx-h100")))
    assert any("no power" in gap for gap in gaps(load_cluster("tpu-v5p")))
    assert gaps(with_settings(H100, {"node.price_usd_per_hour": 90.0})) == ()
