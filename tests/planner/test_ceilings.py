import pytest

from hwbench.planner.accelerators import find_part
from hwbench.planner.ceilings import ceilings


def test_the_shipped_ceilings_are_the_fit_of_the_shipped_products() -> None:
    found = ceilings()
    assert len(found) == 15
    for one in found:
        part = find_part(one.accelerator)
        held = part.ceiling_low if one.dtype == "fp8" else part.ceiling
        assert held == pytest.approx(one.fraction, rel=0.015), one
        assert one.error_fraction < 0.09, one
