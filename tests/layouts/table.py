"""Which pairs of workload and layout the equality table has, and which of them are refused. Imports no torch."""

import re
from pathlib import Path
from typing import Any, Final

from hwbench.core import codec, registry
from hwbench.core.layout import parse_layout
from hwbench.core.workload import Workload
from hwbench.run import cases

PAGE: Final = Path(__file__).parents[2] / "docs" / "equality.md"
LOSS_TOLERANCE: Final = 1e-6
PARAMETER_TOLERANCE: Final = 1e-5
CLIP_TOLERANCE: Final = 1e-5

_DECODER: Final = {"vocabulary": 128, "hidden": 32, "layers": 4, "heads": 4, "seq_len": 16, "micro_batch": 2}
_GROUPED: Final = {"kv_heads": 2, "mlp": 48}
_RECURRENT: Final = {"vocabulary": 128, "embedding": 16, "hidden": 24, "micro_batch": 4}
_PAIRS: Final = {"source_len": 8, "target_len": 16}

SIZES: Final[dict[str, dict[str, Any]]] = {
    "gpt": _DECODER,
    "llama": _DECODER | _GROUPED | {"kv_heads": 4},
    "moe": _DECODER | _GROUPED | {"layers": 2, "experts": 4, "shared_mlp": 16},
    "bert": _DECODER | {"seq_len": 24},
    "lstm_lm": _RECURRENT | {"seq_len": 8, "dropout": 0.0},
    "rnn_lm": _RECURRENT | {"seq_len": 8},
    "seq2seq": _RECURRENT | _PAIRS | {"layers": 2},
    "t5": _PAIRS | {"vocabulary": 128, "hidden": 32, "heads": 4, "head_dim": 8, "mlp": 48, "micro_batch": 2},
    "transformer": _PAIRS | {"vocabulary": 128, "hidden": 32, "heads": 4, "mlp": 48, "micro_batch": 2},
}
"""Sizes at which a step takes milliseconds, and that as many layouts as can be divide evenly."""

LAYOUTS: Final = tuple(
    parse_layout(text).text
    for text in (
        "dp=2",
        "dp=2,microbatches=2",
        "dp=2,zero=1",
        "fsdp=2",
        "fsdp=2,reshard=no",
        "fsdp=2,microbatches=2",
        "tp=2",
        "tp=2,loss=parallel",
        "tp=2,sp=yes",
        "tp=2,sp=yes,loss=parallel",
        "pp=2,schedule=gpipe,microbatches=2",
        "pp=2,microbatches=4",
        "pp=2,schedule=interleaved,vpp=2,microbatches=2",
        "pp=2,schedule=interleaved,vpp=3,microbatches=2",
        "pp=2,schedule=zb,microbatches=2",
        "pp=2,schedule=zb,vpp=2,microbatches=2",
        "cp=2",
        "dp=2,ep=2",
        "fsdp=2,ep=2",
        "place=2",
        "branches=2",
        "dp=4",
        "dp=4,zero=1",
        "fsdp=4",
        "tp=4",
        "pp=4,microbatches=4",
        "cp=4",
        "dp=4,ep=2",
        "dp=4,ep=2,zero=1",
        "fsdp=4,ep=2",
        "fsdp=4,ep=4",
        "place=4",
        "dp=2,fsdp=2",
        "dp=2,fsdp=2,ep=2",
        "dp=2,fsdp=2,ep=4",
        "dp=2,tp=2",
        "dp=2,tp=2,ep=2",
        "dp=2,tp=2,sp=yes,loss=parallel",
        "dp=2,pp=2,microbatches=2",
        "dp=2,pp=2,schedule=zb,vpp=2,microbatches=2",
        "dp=2,pp=2,ep=2,microbatches=2",
        "fsdp=2,pp=2,ep=2,microbatches=2",
        "dp=2,cp=2",
        "dp=2,cp=2,ep=2",
        "fsdp=2,tp=2",
        "fsdp=2,tp=2,sp=yes,ep=2",
        "fsdp=2,tp=2,sp=yes,loss=parallel",
        "fsdp=2,pp=2,microbatches=2",
        "fsdp=2,cp=2",
        "tp=2,pp=2,microbatches=2",
        "tp=2,pp=2,sp=yes,loss=parallel,microbatches=2",
        "tp=2,cp=2",
        "pp=2,cp=2,microbatches=2",
    )
)


def training_workloads() -> list[str]:
    """The workloads with parameters to train, by name."""
    return [name for name in registry.names("workloads") if registry.load("workloads", name, Workload).kind == "training"]


def refusal(workload: str, layout: str) -> str:
    """Why a pair can't run; '' where it can."""
    chosen = registry.load("workloads", workload, Workload)
    config = codec.convert(SIZES[workload], chosen.config, source=workload)
    return cases.refusal(parse_layout(layout), codec.to_builtins(config), chosen.cost(config, "fp32"))


def read_page() -> tuple[list[str], dict[str, list[str]], dict[str, str]]:
    """The page's workloads, its cells by layout, and its reasons by letter."""
    text = PAGE.read_text(encoding="utf-8")
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    header, _, *body = rows
    reasons = dict(re.findall(r"^\* \*\*(\w+)\*\* (.+)$", text, flags=re.MULTILINE))
    return header[1:], {row[0]: row[1:] for row in body}, reasons


def faults(answer: dict[str, Any]) -> list[str]:
    """What a case's answer says that isn't equal; nothing where everything is."""
    found = [
        f"{what} differ by {answer[what]:.1e}, more than {most:g}{where}"
        for what, most, where in (
            ("loss", LOSS_TOLERANCE, ""),
            ("parameters", PARAMETER_TOLERANCE, f" ({answer['worst']})"),
            ("clip", CLIP_TOLERANCE, ""),
        )
        if not answer[what] <= most
    ]
    if answer["missing"]:
        found.append(f"no rank has {', '.join(answer['missing'])}")
    sent, predicted = ({kind: round(size) for kind, size in answer[key].items() if round(size)} for key in ("sent", "predicted"))
    if sent != predicted:
        found.append(f"bytes sent {sent}, predicted {predicted}")
    return found
