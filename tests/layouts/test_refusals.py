"""What the layouts refuse before anything starts: in a line, with the number that is wrong, and without torch."""

import subprocess
import sys
from pathlib import Path

import pytest
from hwbench.workloads._recurrent import Kind, recurrent_block

from hwbench.core import registry
from hwbench.core.layout import parse_layout
from hwbench.core.parallel import MESH_AXES, SPLIT_ORDER
from hwbench.core.workload import Cost, Workload
from hwbench.run import cases
from hwbench.run.build import RANK_ORDER, data_rank

from .table import LAYOUTS, refusal, training_workloads


@pytest.mark.parametrize(
    ("workload", "layout", "says"),
    [
        ("gpt", "tp=3", "tp=3 does not divide heads=4"),
        ("gpt", "dp=2,sp=yes", "sp changes nothing without tp"),
        ("gpt", "zero=1", "zero changes nothing without dp"),
        ("gpt", "tp=2,cp=2,sp=yes", "sp=yes and cp both divide the sequence"),
        ("gpt", "dp=2,zero=2", "torch has no ZeRO stage 2"),
        ("gpt", "dp=2,pp=2,microbatches=2,zero=1", "takes whole parameters only, and pp"),
        ("gpt", "pp=8", "embedding, layers and head are 6 pieces, fewer than pp·vpp = 8·1 = 8 stages"),
        ("rnn_lm", "place=4", "embedding, layers and head are 3 pieces, fewer than place = 4 stages"),
        ("moe", "pp=3,vpp=2,schedule=zb,microbatches=3", "4 pieces, fewer than pp·vpp = 3·2 = 6 stages"),
        ("gpt", "pp=2,vpp=2", "schedule=1f1b has one stage a rank"),
        ("gpt", "pp=2", "needs at least pp=2 micro-batches, found 1: add microbatches=2"),
        ("gpt", "pp=2,schedule=interleaved", "needs vpp of at least 2"),
        ("gpt", "pp=2,vpp=2,schedule=zb,microbatches=3", "microbatches a multiple of pp=2, found 3"),
        ("gpt", "cp=3", "cp=3 cuts a sequence into 6 chunks, which do not divide seq_len=16"),
        ("gpt", "dp=2,ep=2", "no experts"),
        ("gpt", "branches=2", "no independent products"),
        ("gpt", "place=2,dp=2", "dp goes with pp=N"),
        ("llama", "branches=3", "2 branches of about the same size, not 3"),
        ("moe", "dp=3,ep=3", "ep=3 does not divide experts=4"),
        ("moe", "tp=4", "tp=4 does not divide kv_heads=2"),
        ("moe", "dp=2,fsdp=6,ep=4", "of ep=4 and fsdp=6 one has to divide the other"),
        ("moe", "fsdp=2,ep=2,zero=1", "zero changes nothing without dp"),
        ("t5", "tp=3", "tp=3 does not divide heads=4"),
        ("transformer", "cp=8", "cuts a sequence into 16 chunks, which do not divide source_len=8"),
        ("seq2seq", "tp=5", "tp=5 does not divide hidden=24"),
        ("lstm_lm", "tp=2,sp=yes", "needs the one before"),
    ],
)
def test_a_refusal_says_what_is_wrong(workload: str, layout: str, says: str) -> None:
    assert says in refusal(workload, layout)


def test_every_axis_has_a_file_and_every_training_step_runs_under_dp_and_fsdp() -> None:
    assert set(SPLIT_ORDER) == {*MESH_AXES, "ep"} <= set(registry.names("layouts"))
    assert sorted(RANK_ORDER) == sorted(MESH_AXES)
    assert [refusal(w, layout) for w in training_workloads() for layout in ("single", "dp=2", "dp=4,zero=1", "fsdp=4")] == [""] * 36


def test_ranks_that_share_a_models_work_have_the_same_samples() -> None:
    layout = parse_layout("dp=2,fsdp=2,pp=2,cp=2,tp=2")
    ranks = [data_rank(layout, rank) for rank in range(layout.world_size)]
    assert ranks == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4 + [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4


def test_a_recurrent_layer_without_a_divided_cell_is_not_divided() -> None:
    def said(kind: Kind) -> str:
        layers = recurrent_block(kind, "layer", 2, 3, 4, 8, 4.0)
        return cases.refusal(parse_layout("tp=2"), {"hidden": 8}, Cost(blocks=(layers,), dtype="fp32", items=6, training=True))

    assert said("lstm") == said("rnn") == ""
    assert "a GRU has none" in said("gru")


def test_refusing_imports_no_torch() -> None:
    program = (
        "import sys\nfrom tests.layouts.table import refusal, training_workloads, LAYOUTS\n"
        "[refusal(w, layout) for w in training_workloads() for layout in LAYOUTS]\nprint('torch' in sys.modules)"
    )
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "False"


def test_a_workload_is_asked_with_its_whole_configuration() -> None:
    gpt = registry.load("workloads", "gpt", Workload)
    cost = gpt.cost(gpt.config(), "fp32")
    assert cases.refusal(parse_layout("cp=2"), {"seq_len": 128, "dropout": 0.1}, cost) == "dropout=0.1: the ring's attention has none"
    assert len(LAYOUTS) == len(set(LAYOUTS))
