"""Every layout of a world size: all of them legal values, each once, and only those that a workload can run under are measured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.core.errors import UserError
from hwbench.core.layout import parse_layout
from hwbench.core.record import Case
from hwbench.core.suite import Entry, Suite
from hwbench.run.cases import cost_of, expand
from hwbench.run.enumerating import enumerated


def cases(workload: str, **suite: object) -> tuple[Case, ...]:
    made = {"description": "", "entries": (Entry(workload=workload),), "layouts": ("all",)} | suite
    return expand(Suite(**made), "cpu")  # type: ignore[arg-type]


@given(st.integers(1, 48))
def test_each_layout_has_that_many_ranks_and_is_named_once(world_size: int) -> None:
    found = enumerated(world_size)
    assert all(layout.world_size == world_size for layout in found)
    texts = [layout.text for layout in found]
    assert len(texts) == len(set(texts))
    assert all(parse_layout(text) == layout for text, layout in zip(texts, found, strict=True))


def test_combinations_and_choices_are_among_them() -> None:
    texts = {layout.text for layout in enumerated(4)}
    assert {"dp=4", "dp=4,zero=1", "fsdp=4,reshard=no", "dp=2,fsdp=2", "dp=2,tp=2", "tp=4"} <= texts
    assert parse_layout("tp=2,sp=yes,pp=2,microbatches=4").text in texts


def test_all_means_what_the_workload_can_run_under() -> None:
    gpt, lstm = ({case.layout for case in cases(name, world_size=2)} for name in ("gpt", "lstm_lm"))
    assert {"single", "dp=2", "tp=2", "cp=2", "fsdp=2"} <= gpt
    assert {"single", "dp=2", "fsdp=2", "tp=2", "pp=2,microbatches=4"} <= lstm
    assert not any(key in layout for key in ("cp=", "sp=") for layout in lstm)


def test_a_kernel_is_run_whole_on_every_rank() -> None:
    assert {case.layout for case in cases("matmul", world_size=2)} == {"single", "dp=2"}


def test_all_needs_a_world_size() -> None:
    with pytest.raises(UserError, match="layout all: at how many ranks"):
        cases("gpt")


def test_strong_scaling_divides_the_batch_and_leaves_out_what_it_cant_divide() -> None:
    entry = Entry(workload="gpt", set={"micro_batch": 6})
    found = {case.layout: case for case in cases("gpt", entries=(entry,), world_size=4, scaling="strong")}
    assert "dp=4" not in found, "6 samples over 4 ranks"
    assert found["single"].scaling == "weak", "both ways of scaling share it"
    half = found["dp=2,tp=2"]
    assert half.scaling == "strong"
    assert half.config["micro_batch"] == 6
    assert cost_of(half).items * 2 == cost_of(found["single"]).items
    assert half.key.endswith(" strong")


def test_a_batch_that_cant_be_divided_is_refused_where_the_layout_was_named() -> None:
    entry = Entry(workload="gpt", set={"micro_batch": 3})
    with pytest.raises(UserError, match="micro_batch=3 can't be shared evenly by 2"):
        cases("gpt", entries=(entry,), layouts=("dp=2",), scaling="strong")
