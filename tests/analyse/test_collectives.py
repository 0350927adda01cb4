"""nccl-tests' definitions, with the numbers of its own documentation."""

import pytest

from hwbench.analyse.collectives import bus_bandwidth_bytes_per_s
from hwbench.core.errors import UserError


@pytest.mark.parametrize(
    ("collective", "ranks", "factor"),
    [
        ("all_reduce", 2, 1.0),
        ("all_reduce", 8, 1.75),
        ("all_gather", 8, 0.875),
        ("reduce_scatter", 4, 0.75),
        ("all_to_all", 8, 0.875),
        ("broadcast", 8, 1.0),
        ("send_recv", 2, 1.0),
    ],
)
def test_bus_bandwidth(collective: str, ranks: int, factor: float) -> None:
    assert bus_bandwidth_bytes_per_s(collective, 1e9, 0.5, ranks) == pytest.approx(2e9 * factor)


def test_an_unknown_collective_is_refused() -> None:
    with pytest.raises(UserError, match="expected one of all_reduce"):
        bus_bandwidth_bytes_per_s("alltoallv", 1.0, 1.0, 2)
