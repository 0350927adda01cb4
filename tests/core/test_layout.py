"""The layout grammar: any order in, one order out, and every bad combination refused with its numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.core.errors import UserError
from hwbench.core.layout import Layout, parse_layout


@pytest.mark.parametrize(
    ("text", "canonical", "world"),
    [
        ("single", "single", 1),
        ("dp=2", "dp=2", 2),
        ("tp=4, dp=2", "dp=2,tp=4", 8),
        ("dp=8,zero=3", "fsdp=8", 8),
        ("zero=3,fsdp=4,dp=2", "dp=2,fsdp=4", 8),
        ("pp=4,vpp=2,schedule=interleaved,microbatches=8", "pp=4,schedule=interleaved,vpp=2,microbatches=8", 4),
        ("sp=yes,tp=2,reshard=no", "tp=2,reshard=no,sp=yes", 2),
        ("ep=4,dp=8", "dp=8,ep=4", 8),
        ("branches=2", "branches=2", 2),
    ],
)
def test_canonical_text(text: str, canonical: str, world: int) -> None:
    if text.startswith("zero=3,fsdp"):
        with pytest.raises(UserError, match="zero=3 and fsdp are the same thing"):
            parse_layout(text)
        return
    layout = parse_layout(text)
    assert (layout.text, layout.world_size) == (canonical, world)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dp", "expected key=value, found 'dp'"),
        ("dpp=2", "unknown layout key"),
        ("dp=0", "dp=0: expected a whole number of at least 1"),
        ("dp=-1", "found '-1'"),
        ("dp=two", "found 'two'"),
        ("dp=2,dp=4", "dp is given twice"),
        ("sp=maybe", "expected one of yes, no, found 'maybe'"),
        ("zero=5", "zero=5"),
        ("dp=4,ep=3", r"ep=3 does not divide dp·fsdp = 4·1 = 4"),
        ("vpp=2", "needs pp of at least 2, found pp=1"),
        ("schedule=fifo", "expected one of gpipe, 1f1b, interleaved, zb"),
        ("dp=9999999999999", "expected a whole number"),
        ("dp=²", "expected a whole number"),
    ],
)
def test_bad_layouts_say_every_number(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_layout(text)


degree = st.integers(min_value=1, max_value=64)


@given(dp=degree, fsdp=degree, tp=degree, pp=degree, cp=degree, sp=st.booleans(), zero=st.sampled_from([0, 1, 2]))
def test_text_round_trip(dp: int, fsdp: int, tp: int, pp: int, cp: int, sp: bool, zero: int) -> None:
    layout = Layout(dp=dp, fsdp=fsdp, tp=tp, pp=pp, cp=cp, sp=sp, zero=zero)
    assert parse_layout(layout.text) == layout
    assert layout.world_size == dp * fsdp * tp * pp * cp


@given(st.text(max_size=40))
def test_any_text_is_a_layout_or_the_users_error(text: str) -> None:
    try:
        layout = parse_layout(text)
    except UserError:
        return
    assert parse_layout(layout.text) == layout
