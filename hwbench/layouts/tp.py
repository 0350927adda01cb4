"""Tensor parallel: each weight matrix is divided over ranks, by columns and then by rows, and the partial results are added up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal

from hwbench.core.parallel import Collective, Split, Step, Transfer

from ._models import indivisible, is_recurrent
from ._tensor import complete_gradients, divide, parallel_loss
from ._volumes import chosen_experts, element_bytes, experts_of, passes, sample_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch.distributed.device_mesh import DeviceMesh

    from hwbench.core.layout import Layout
    from hwbench.core.workload import Block, Cost, Operator

Pass = Literal["forward", "backward"]
STATISTIC_BYTES = 4.0
"""A row's largest logit, sum and target are fp32."""


def communication(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:
    """An all_reduce of the block's output for each of its `tp_all_reduces`, in the forward and again in the backward pass.

    Nothing hides them: the next product waits (Shoeybi et al. 2019, arXiv:1909.08053). With `sp=yes` each is a reduce_scatter and an
    all_gather of the same bytes (Korthikanti et al. 2022, arXiv:2205.05198, section 4.2.2). A divided token table sums its rows in the
    forward pass only, and the vocabulary projection its operand's gradient in the backward pass; its logits are gathered, unless
    `loss=parallel` leaves them divided: then the loss sums three numbers a row. Experts are divided inside, and summed once a layer, with
    the shared one; gradients of what the router weighted them with are partial sums too. A recurrent layer sends a small message in each
    step.
    """
    if layout.tp == 1:
        return ()
    return tuple(t for block in cost.blocks for t in _block(block, cost, layout))


def _block(block: Block, cost: Cost, layout: Layout) -> Iterator[Transfer]:
    table = any(op.kind == "embedding" and op.division == "vocabulary" for op in block.operators)
    products = [op for op in block.operators if op.kind == "matmul"]
    projection = next((op for op in products if op.division == "vocabulary"), None)
    recurrent = next((op for op in block.operators if op.kind == "recurrent"), None)
    if table:
        rows = _operand_bytes(products[0], cost) if products else block.output_bytes  # a layer may have a table of its own
        yield _sent("all_reduce", block, rows, cost, layout, "forward", "rows of the token table")
        if layout.sp and cost.training:
            yield _sent("all_gather", block, rows, cost, layout, "backward", "gradients of the embedding")
    if projection is not None:
        yield from _head(block, projection, cost, layout)
    elif recurrent is not None:
        yield from _recurrent(block, products[0], recurrent, cost, layout)
    elif not table:
        if block.tp_all_reduces:
            yield from _layer(block, cost, layout)
        yield from _norms(block, cost, layout)


def _layer(block: Block, cost: Cost, layout: Layout) -> Iterator[Transfer]:
    sums = _sums(block, cost)
    for direction, size in sums.items():
        if not cost.training and direction == "backward":
            continue
        other = sums["backward" if direction == "forward" else "forward"]
        parts: dict[Collective, float] = {"reduce_scatter": size, "all_gather": other} if layout.sp else {"all_reduce": size}
        for collective, whole in parts.items():
            yield _sent(collective, block, whole / block.tp_all_reduces, cost, layout, direction, "activations", block.tp_all_reduces)
    if experts_of(block) and cost.training:
        weights = element_bytes(cost) * sample_tokens(cost) * chosen_experts(block, cost)
        yield _sent("all_reduce", block, weights, cost, layout, "backward", "gradients of the routers' weights")


def _recurrent(block: Block, inputs: Operator, recurrent: Operator, cost: Cost, layout: Layout) -> Iterator[Transfer]:
    """Each step gathers the hidden state, and back scatters its gradient to the owners of its units, but for the first step's.

    `inputs` is the product of all steps' inputs, `recurrent` that of a step's hidden state.
    """
    state, steps = _operand_bytes(recurrent, cost), (inputs.m or 0) / (recurrent.m or 1)
    yield _sent("all_gather", block, state, cost, layout, "forward", "hidden states", steps)
    if not cost.training:
        return
    if steps > 1:
        yield _sent("reduce_scatter", block, state, cost, layout, "backward", "gradients of hidden states", steps - 1)
    yield _sent("all_reduce", block, _operand_bytes(inputs, cost), cost, layout, "backward", "gradients of the inputs")
    if block.first_state_bytes:
        yield _sent("all_reduce", block, block.first_state_bytes, cost, layout, "backward", "gradients of the first state")


def _operand_bytes(product: Operator, cost: Cost) -> float:
    """Bytes of what a product multiplies its weight with."""
    return element_bytes(cost) * (product.m or 0) * (product.k or 0)


def _norms(block: Block, cost: Cost, layout: Layout) -> Iterator[Transfer]:
    size = block.count / layout.pp * _norm_parameters(block, cost) * element_bytes(cost)
    if size and layout.sp and cost.training:
        why = f"gradients of the norms of {block.name}, of which each rank saw a share of the sequence"
        yield Transfer(collective="all_reduce", axis="tp", ranks=layout.tp, message_bytes=size, count=1, why=why)


def _sums(block: Block, cost: Cost) -> dict[Pass, float]:
    """Bytes of a layer that are partial sums on each rank: results of row products, and gradients of what column products multiply.

    Gate and up multiply the same. Without an operator for each sum, every one is taken to be as large as the block's output; so it is where
    experts and a shared one are joined in one.
    """
    rows, columns = ([op for op in block.operators if op.kind == "matmul" and op.division == way] for way in ("row", "column"))
    if len(rows) != block.tp_all_reduces or experts_of(block):
        whole = block.tp_all_reduces * block.output_bytes
        return {"forward": whole, "backward": whole}
    gated = any(op.name == "gate" for op in columns)
    results = sum((op.m or 0) * (op.n or 0) for op in rows)
    operands = sum((op.m or 0) * (op.k or 0) for op in columns if not (gated and op.name == "up"))
    return {"forward": results * element_bytes(cost), "backward": operands * element_bytes(cost)}


def _norm_parameters(block: Block, cost: Cost) -> float:
    """Weights of a block's norms, and biases of layer norms: each is as wide as what the block hands on."""
    norms = {"layer_norm": 2, "rms_norm": 1}
    width = block.output_bytes / (element_bytes(cost) * sample_tokens(cost))
    return width * sum(norms.get(op.function, 0) for op in block.operators)


def _head(block: Block, projection: Operator, cost: Cost, layout: Layout) -> Iterator[Transfer]:
    rows, width, classes = projection.m or 0, projection.k or 0, projection.n or 0
    e = element_bytes(cost)
    if layout.sp:
        yield _sent("all_gather", block, e * _last_elements(cost, width), cost, layout, "forward", "the last layer's output")
    if rows == cost.micro_batch:  # one prediction a sequence: every rank of cp makes it, and one of them counts it
        rows *= layout.cp
    if layout.loss == "parallel":
        yield _sent("all_reduce", block, STATISTIC_BYTES * rows, cost, layout, "forward", "largest logits, sums and targets", 3)
    else:
        yield _sent("all_gather", block, e * rows * classes, cost, layout, "forward", "logits")
    if cost.training:
        yield _sent("all_reduce", block, e * rows * width, cost, layout, "backward", "gradients of the projection's operand")


def _last_elements(cost: Cost, width: int) -> float:
    """Elements of what the head gets: what the last row product makes, of the target's positions alone where there is a source too."""
    made = [(op.m or 0) * (op.n or 0) for block in cost.blocks for op in block.operators if op.kind == "matmul" and op.division == "row"]
    return made[-1] if made else sample_tokens(cost) * width


def _sent(
    collective: Collective, block: Block, size: float, cost: Cost, layout: Layout, direction: Pass, what: str, times: float = 1
) -> Transfer:
    return Transfer(
        collective=collective,
        axis="tp",
        ranks=layout.tp,
        message_bytes=size / layout.cp,
        count=times * passes(block, cost, layout),
        during=direction,
        why=f"{what} of {block.name}, {direction} pass",
    )


def split(step: Step, mesh: DeviceMesh, layout: Layout) -> Step:
    """Each part's modules divided by `parallelize_module` as their `divisions` say; recurrent layers and experts by code of their own.

    With sp=yes norms work on shares of the sequence.
    """
    tp = mesh["tp"]
    shares = [share for part in step.parts for share in divide(part, tp, layout)]
    step = replace(step, spread=(*step.spread, *shares))
    if layout.loss == "parallel":
        step = parallel_loss(step)
    return step if layout.fsdp > 1 else replace(step, settle=(complete_gradients(step, tp), *step.settle))


def refusal(layout: Layout, config: Mapping[str, Any], cost: Cost) -> str:
    """What can't be divided evenly, and what torch's tensor parallelism has no plan for."""
    if layout.sp and is_recurrent(cost):
        return "sp=yes divides the sequence, and each step of a recurrent layer needs the one before"
    if any(op.function == "gru" for block in cost.blocks for op in block.operators):
        return "the divided recurrent cells are the LSTM's and the sigmoid one's: a GRU has none"
    lengths = ("seq_len", "source_len", "target_len") if layout.sp else ()
    if uneven := indivisible(config, layout.tp, "heads", "kv_heads", "hidden", "mlp", "shared_mlp", "vocabulary", *lengths):
        return f"tp={layout.tp} does not divide {uneven}"
    if layout.sp and layout.cp > 1:
        return "sp=yes and cp both divide the sequence: choose one"
    return ""


LAYOUT: Final = Split(communication=communication, split=split, refusal=refusal)
