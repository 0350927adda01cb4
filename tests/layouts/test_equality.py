"""Every layout trains as one process does: a part of the table run here, and the whole of it written down and up to date."""

import string
from typing import Any

import pytest

from hwbench.core.layout import parse_layout

from .equality import wrong
from .launching import answers
from .table import LAYOUTS, SIZES, read_page, refusal, training_workloads

SAMPLE = {
    "gpt": [layout for layout in LAYOUTS if "ep=" not in layout and "branches" not in layout],
    "llama": ["branches=2", "tp=2,sp=yes,loss=parallel", "fsdp=2,tp=2,sp=yes,loss=parallel"],
    "moe": [layout for layout in LAYOUTS if "ep=" in layout]
    + ["tp=2,sp=yes,loss=parallel", "fsdp=2,tp=2", "fsdp=2,cp=2", "dp=2,pp=2,schedule=zb,vpp=2,microbatches=2"],
    "bert": ["tp=2", "cp=2", "dp=2,pp=2,microbatches=2", "tp=2,cp=2"],
    "lstm_lm": ["tp=2", "fsdp=2,tp=2", "pp=2,schedule=zb,vpp=2,microbatches=2"],
    "rnn_lm": ["dp=2", "tp=2", "pp=2,microbatches=4"],
    "seq2seq": ["dp=2,zero=1", "tp=2,loss=parallel", "place=2", "fsdp=2,pp=2,microbatches=2", "tp=2,pp=2,microbatches=2"],
    "t5": ["fsdp=2", "tp=2", "cp=2", "dp=2,tp=2,sp=yes,loss=parallel", "pp=4,microbatches=4"],
    "transformer": ["dp=2,microbatches=2", "tp=2,sp=yes", "cp=2", "pp=2,schedule=interleaved,vpp=2,microbatches=2"],
}
"""Every layout and every workload at least once."""
VARIANTS: list[tuple[str, dict[str, Any], str]] = [
    ("bert", {"task": "classification"}, "cp=2"),
    ("gpt", {"head": "classes:4@last"}, "cp=2"),
    ("gpt", {"head": "classes:4@last"}, "tp=2,cp=2"),
    ("lstm_lm", {"layers": 3}, "tp=2,microbatches=2"),
    ("seq2seq", {"layers": 2}, "dp=2,tp=2"),
]
"""Other sizes and heads, with layouts that divide these in a way of their own."""


@pytest.mark.heavy
@pytest.mark.parametrize("world_size", [2, 4])
def test_layouts_train_as_one_process_does(world_size: int) -> None:
    sample: list[tuple[str, dict[str, Any], str]] = [(workload, {}, layout) for workload, layouts in SAMPLE.items() for layout in layouts]
    wanted = [
        {"workload": workload, "settings": SIZES[workload] | other, "layout": parse_layout(layout).text}
        for workload, other, layout in (*sample, *VARIANTS)
        if parse_layout(layout).world_size == world_size
    ]
    found = list(answers(world_size, wanted))
    assert [(case["workload"], case["layout"], faults) for case, answer in found if (faults := wrong(answer))] == []
    assert len(found) == len(wanted)


@pytest.mark.heavy
def test_a_case_after_one_that_failed_gets_ranks_of_its_own() -> None:
    tiny = {"workload": "lstm_lm", "settings": SIZES["lstm_lm"], "layout": "single"}
    (_, failed), (_, good) = answers(1, [tiny | {"workload": "gpt", "settings": {"heads": 3}}, tiny])
    assert isinstance(failed, str)
    assert "heads=3 does not divide hidden=256" in failed
    assert wrong(good) == []


def test_the_sample_has_every_layout_and_every_workload() -> None:
    assert {layout for layouts in SAMPLE.values() for layout in layouts} == set(LAYOUTS)
    assert sorted(SAMPLE) == training_workloads()
    assert not any(refusal(workload, layout) for workload, layouts in SAMPLE.items() for layout in layouts)


def test_the_page_is_up_to_date() -> None:
    """Run `make equality` where this fails: a workload, a layout or a refusal has changed."""
    workloads, rows, reasons = read_page()
    assert workloads == training_workloads() == sorted(SIZES)
    assert list(rows) == list(LAYOUTS)
    for layout, cells in rows.items():
        for workload, cell in zip(workloads, cells, strict=True):
            said = reasons.get(cell, "")
            assert said == refusal(workload, layout), (workload, layout)
            assert said or cell[0] in string.digits, f"{workload} {layout}: {cell}"
