"""Single figures of a profile changed: by dotted key, marked as the user's, refused where they make no sense."""

import pytest

from hwbench.core.errors import UserError
from hwbench.core.registry import load_cluster
from hwbench.core.sourcing import idle_sources, unsourced
from hwbench.planner.overrides import SOURCE, with_settings

H100 = load_cluster("dgx-h100")


def test_a_figure_is_changed_and_marked() -> None:
    changed = with_settings(H100, {"accelerator.memory_bytes": 141e9, "tiers.network.bandwidth_bytes_per_s": 1e11})
    assert changed.accelerator.memory_bytes == 141e9
    assert changed.tiers[1].bandwidth_bytes_per_s == 1e11
    assert changed.sources["accelerator.memory_bytes"] == SOURCE
    assert unsourced(changed) == []
    assert idle_sources(changed) == []
    assert H100.accelerator.memory_bytes == 80e9


def test_a_rate_for_a_new_dtype_can_be_added() -> None:
    assert with_settings(H100, {"accelerator.peak_flops_per_s.int8": 1979e12}).accelerator.peak_flops_per_s["int8"] == 1979e12


def test_nothing_to_change_changes_nothing() -> None:
    assert with_settings(H100, {}) is H100


@pytest.mark.parametrize(
    ("key", "value", "said", "hint"),
    [
        ("accelerator.memory_byte", 1e9, "memory_byte", "did you mean memory_bytes?"),
        ("tiers.nvlnk.bandwidth_bytes_per_s", 1e9, "nvlnk", "did you mean nvlink?"),
        ("accelerator.power_w", "much", "accelerator.power_w: expected float", ""),
        ("accelerator.memory_bytes", 80, "expected 1e+06 to 1e+14, found 80", "SI"),
        ("node.accelerators", 0, "node.accelerators: expected 1 to 1e+06, found 0", "SI"),
        ("accelerator.name.x", 1, "nothing lies below 'accelerator.name'", ""),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(key: str, value: object, said: str, hint: str) -> None:
    with pytest.raises(UserError) as raised:
        with_settings(H100, {key: value})
    assert said in raised.value.message
    assert hint in raised.value.hint
