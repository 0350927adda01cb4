"""What `hwbench run` makes of several layouts: processes enough to interleave them, a world size, a way of scaling."""

import pytest

from hwbench.cli.run import INTERLEAVED, _are_several, _over_layouts, planned
from hwbench.core.suite import Suite
from hwbench.run.cases import expand
from hwbench.run.schedule import shuffled


def plan(*layouts: str, processes: int | None = None, world_size: int | None = None) -> Suite:
    made = planned(("gpt",), None, layouts, processes=processes)
    return _over_layouts(made, world_size, None, interleaved=processes is None and _are_several(layouts))


@pytest.mark.parametrize(("layouts", "processes"), [(("dp=2",), 1), (("single", "dp=2"), INTERLEAVED), (("all",), INTERLEAVED)])
def test_layouts_are_compared_over_several_processes(layouts: tuple[str, ...], processes: int) -> None:
    assert plan(*layouts).processes == processes


def test_what_is_asked_for_goes_before() -> None:
    assert plan("single", "dp=2", processes=1).processes == 1


def test_every_process_measures_all_layouts_in_an_order_of_its_own() -> None:
    """So that no drift of the machine falls on one layout: each is measured early once and late another time."""
    ordered = shuffled(expand(plan("all", world_size=2), "cpu"), "a seed")
    divided = [[case.layout for case in ordered if case.process == process and case.layout != "single"] for process in range(INTERLEAVED)]
    assert all(sorted(order) == sorted(divided[0]) for order in divided)
    assert len({tuple(order) for order in divided}) == INTERLEAVED
    assert [case.process for case in ordered] == sorted(case.process for case in ordered)
