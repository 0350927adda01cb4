"""What a workload is: its configuration, its cost in closed form, and the step it builds.

`cost` is arithmetic without torch (the planner uses it for machines nobody has); `build` imports torch and returns what
run's worker measures. Conventions, the field's own: a multiply-add is 2 FLOPs; bytes are the least traffic to memory, every operand
read once and every result written once; the backward pass of a matrix product costs twice its forward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from hwbench.core.value import Value

if TYPE_CHECKING:  # torch stays out of the command line's own process
    import torch

DTYPE_BYTES = {"fp64": 8.0, "fp32": 4.0, "tf32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0, "fp4": 0.5}
"""Bytes an element takes in memory, by hwbench's name of the dtype (tf32 is stored as fp32)."""

OperatorKind = Literal["matmul", "attention", "recurrent", "embedding", "memory", "optimizer"]
Division = Literal["column", "row", "heads", "vocabulary", "loss", "sequence", "replicated", "expert"]
WorkloadKind = Literal["ceiling", "kernel", "training", "inference", "collective"]
Predicted = Literal["all", "first", "last", "given"]
"""Where in a sequence targets stand: at every position, at the first or the last alone, or where the input behind the tokens says."""


class Operator(Value):
    """One operation of a block, for one execution of the block on one micro-batch, undivided.

    `flops`/`bytes` are the forward pass, `backward_*` the backward pass. A product of (m, k) by (k, n), `batch` times, also has its shape,
    for efficiency by size. `division` says what tensor parallelism does to it: `column` divides n (of a recurrent product the
    gates of its k units), `row` divides k, `heads` and `vocabulary` divide all of it, `loss` only where the loss is parallel, `sequence`
    is divided only by sequence parallelism, `expert` by expert parallelism.
    """

    name: str
    kind: OperatorKind
    flops: float
    bytes: float
    backward_flops: float = 0.0
    backward_bytes: float = 0.0
    m: int | None = None
    n: int | None = None
    k: int | None = None
    batch: int = 1
    division: Division = "replicated"
    function: str = ""
    """What computes it, so that a time measured here can stand for it: linear, layer_norm, gelu, dropout … (workloads/operator.py)."""
    executed_fraction: float = 1.0
    """Share of the counted FLOPs that a kernel which skips masked work has to do: (s + 1) / 2s for causal attention."""


class Block(Value):
    """A part of a model that pipelines and recomputation treat as a whole: the embedding, one layer, the head.

    `count` blocks of this kind follow each other. All figures are for one block and one micro-batch on one undivided rank.
    `activation_bytes` is what the forward pass keeps for the backward pass without recomputation; `output_bytes` is the tensor handed
    to the next block: also the checkpoint of full recomputation and, with what is carried beside it, the message of a pipeline.
    """

    name: str
    count: int = 1
    parameters: int
    expert_parameters: int = 0
    undivided_parameters: int = 0
    """Those of the rest that tensor parallelism leaves whole on every rank: norms, biases of row products, tables of positions."""
    operators: tuple[Operator, ...]
    activation_bytes: float = 0.0
    output_bytes: float = 0.0
    carried_bytes: float = 0.0
    """What is handed on beside the output for later blocks, and no axis divides: a loss added up, hidden states."""
    carried_divided_bytes: float = 0.0
    """The same of what tensor and context parallelism divide: biases of scores (by heads, by rows), cells of an LSTM (by units)."""
    tp_all_reduces: int = 0
    """All-reduces of `output_bytes` in the forward pass under tensor parallelism (Megatron: 2 a layer); as many in the backward."""
    first_state_bytes: float = 0.0
    """Of a recurrent layer that begins with another block's last hidden state instead of zeros: that state, which has a gradient."""
    ep_all_to_alls: int = 0
    """All-to-alls of topk·`output_bytes` in the forward pass under expert parallelism; as many in the backward."""


class Cost(Value):
    """What one step of a workload costs on one undivided rank, in closed form."""

    blocks: tuple[Block, ...]
    dtype: str
    items: int
    """Items one step works on, in `item_unit`s: tokens for language models."""
    item_unit: str = "token"
    micro_batch: int = 1
    """Samples in a micro-batch."""
    accumulation: int = 1
    """Micro-batches of a step, whose gradients are accumulated; `items` are those of all."""
    training: bool = False
    """Whether the step has a backward pass and an optimizer."""
    optimizer_operators: tuple[Operator, ...] = ()
    parameter_state_bytes: float = 0.0
    """Bytes a parameter takes over its lifetime beside the weight itself: gradient, optimizer state, master copy."""
    recomputed_flops: float = 0.0
    """FLOPs of the forward pass of one micro-batch that activation recomputation repeats; masked attention in full."""
    recomputed_masked_flops: float = 0.0
    """Those of them that a kernel which skips masked work leaves out."""

    @property
    def parameters(self) -> int:
        """Trainable parameters, all experts included."""
        return sum(block.count * block.parameters for block in self.blocks)

    @property
    def forward_flops(self) -> float:
        """FLOPs of the forward pass of one micro-batch."""
        return sum(block.count * op.flops for block in self.blocks for op in block.operators)

    @property
    def flops(self) -> float:
        """Model FLOPs of one step (MFU counts these): masked attention counts in full, recomputation doesn't count."""
        optimizer = sum(op.flops for op in self.optimizer_operators)
        passes = sum(block.count * (op.flops + op.backward_flops) for block in self.blocks for op in block.operators)
        return optimizer + self.accumulation * passes

    @property
    def executed_flops(self) -> float:
        """FLOPs that hardware has to do for one step: `flops` without the masked half of causal attention, and what is recomputed.

        Rooflines and HFU use these.
        """
        optimizer = sum(op.flops * op.executed_fraction for op in self.optimizer_operators)
        passes = sum(b.count * (op.flops + op.backward_flops) * op.executed_fraction for b in self.blocks for op in b.operators)
        return optimizer + self.accumulation * (passes + self.recomputed_flops - self.recomputed_masked_flops)

    @property
    def bytes(self) -> float:
        """Least memory traffic of one step: every operand of every operator moved once."""
        optimizer = sum(op.bytes for op in self.optimizer_operators)
        passes = sum(block.count * (op.bytes + op.backward_bytes) for block in self.blocks for op in block.operators)
        return optimizer + self.accumulation * passes

    @property
    def activation_bytes(self) -> float:
        """Bytes the forward pass of one micro-batch keeps for its backward pass, without recomputation."""
        return sum(block.count * block.activation_bytes for block in self.blocks)


@dataclass(frozen=True, kw_only=True)
class Context:
    """Where and how a workload is built: what the worker tells `build`.

    For a training step `rank` counts the ranks that have samples of their own: those that share a model's work have the same number.
    """

    device: torch.device
    dtype: str
    rank: int = 0
    world_size: int = 1
    seed: int = 0
    micro_batches: int = 1
    """Micro-batches of a training step that the layout asks for, beside what the configuration accumulates."""


class Check(Value):
    """The result of a correctness check: the largest error seen against a reference, and what was allowed."""

    name: str
    error: float
    tolerance: float
    reference: str
    """What it was compared with: 'float64 on the CPU', 'closed form' …"""

    @property
    def passed(self) -> bool:
        """Whether the error is a number within the tolerance (NaN never is)."""
        return self.error <= self.tolerance


METRICS: Final = ("perplexity", "accuracy", "precision", "recall", "f1", "bleu")
"""Names that workloads give to what evaluation finds; perplexity is at least 1, the others are 0..1."""

EvaluatedOn = Literal["held_out", "new", "batch"]
"""held_out: text that training never sees; new: new pieces of the text that it trains on; batch: the very batch that it repeats."""


class Evaluation(Value):
    """How good a training step's model is at its task, after the last sample."""

    metrics: dict[str, float]
    """By name (METRICS); empty where there is a reason."""
    data: EvaluatedOn | None = None
    """What it was asked about. On its own batch a model is as good as its memory: such figures say nothing of what it has learned."""
    reasons: tuple[str, ...] = ()
    """Why a metric, or all of them, are missing."""


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A step without parameters to train: `run` does it once, `check` compares it with a reference."""

    run: Callable[[], object]
    check: Callable[[], Check]
    warnings: tuple[str, ...] = ()
    """What a reader of its figures should know, one sentence each; the record repeats them."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """A step that trains: layouts divide it, the worker adds clipping and the optimizer.

    `loss(module, *inputs)` is the mean loss over the items of one micro-batch; it calls `module(…)` once. `inputs` lie on the device, this
    rank's own share; each has samples as its first dimension, those of `accumulation` equal micro-batches one behind the other.
    `optimizer(parameters)` makes the optimizer after the module was divided.
    """

    module: torch.nn.Module
    inputs: tuple[torch.Tensor, ...]
    loss: Callable[..., torch.Tensor]
    optimizer: Callable[[Any], torch.optim.Optimizer]
    check: Callable[[], Check]
    clip_norm: float | None = 1.0
    accumulation: int = 1
    """Micro-batches of a step: the gradient is the mean of theirs."""
    predicted: Predicted = "all"
    """Where the last input's targets stand; `given`: at the positions, int64 (samples, targets), that the second input has."""
    renew: Callable[[], None] | None = None
    """Lays the next batch into `inputs`, in place, without disturbing torch's random numbers; None where a step repeats its batch."""
    evaluate: Callable[[], Evaluation] | None = None
    """Scores `module` as it stands and leaves it as it was; every rank calls it, and each needs whole logits. None: nobody can."""
    warnings: tuple[str, ...] = ()
    """What a reader of its figures should know, one sentence each; the record repeats them."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What a workload's file exports as WORKLOAD.

    `config` is a Value with a default for every field; `cost(config, dtype)` is pure arithmetic and refuses impossible shapes with
    UserError; `build(config, context)` imports torch.
    """

    kind: WorkloadKind
    config: type[Value]
    cost: Callable[[Any, str], Cost]
    build: Callable[[Any, Context], Kernel | Training]


class Preset(Value):
    """A named model: a workload and the configuration that makes it that model. One TOML file in workloads/presets."""

    description: str
    workload: str
    source: str
    config: dict[str, Any]
