"""Operators counted in closed form, without torch: what every workload's `cost` is made of.

Conventions (docs/workloads.md explains them): a multiply-add is 2 FLOPs; only products and attention count FLOPs, as in torch's
FlopCounterMode and in published MFU figures; element-wise work counts its bytes. Bytes are the least traffic: each operator reads every
operand once and writes every result once. The letters: n tokens, e bytes an element.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from hwbench.core.errors import UserError
from hwbench.core.value import Value
from hwbench.core.workload import DTYPE_BYTES, Block, Cost, Division, Operator, OperatorKind

Recompute: TypeAlias = Literal["none", "selective", "full"]
"""What the backward pass computes again instead of keeping it: nothing, attention, whole layers."""

INDEX_BYTES = 8.0
"""torch's token ids are int64."""

_STORED_AS = {"fp8": 2.0, "mxfp8": 2.0}
"""FP8 recipes keep weights and activations in bf16 and only multiply in FP8 (Transformer Engine; arXiv 2209.05433)."""


def element_bytes(dtype: str) -> float:
    """Bytes an element of a weight or activation takes; UserError for a dtype no workload computes in."""
    known = {name: size for name, size in DTYPE_BYTES.items() if size >= 2} | _STORED_AS
    if dtype not in known:
        raise UserError(f"dtype {dtype!r}: expected one of {', '.join(known)}")
    return known[dtype]


def need_positive(config: Value, *names: str) -> None:
    """UserError unless every named field of `config` is at least 1; the message has field and value."""
    for name in names:
        value = getattr(config, name)
        if value < 1:
            raise UserError(f"{name}={value}: expected at least 1")


def need_divisor(config: Value, divisor: str, of: str) -> None:
    """UserError unless the field `divisor` divides the field `of`; the message has both and the remainder."""
    small, large = getattr(config, divisor), getattr(config, of)
    if large % small:
        raise UserError(
            f"{divisor}={small} does not divide {of}={large}: {large} = {large // small}·{small} + {large % small}",
            hint=f"choose {of} a multiple of {divisor}",
        )


def need_fraction(config: Value, name: str) -> None:
    """UserError unless the named field lies in 0 ≤ value < 1."""
    value = getattr(config, name)
    if not 0 <= value < 1:
        raise UserError(f"{name}={value}: expected at least 0 and less than 1")


def product(
    name: str,
    m: int,
    n: int,
    k: int,
    e: float,
    *,
    batch: int = 1,
    kind: OperatorKind = "matmul",
    division: Division = "replicated",
    backward: bool = True,
    function: str = "linear",
) -> Operator:
    """`batch` products of (m, k) by (k, n), elements of `e` bytes.

    Forward 2mnk FLOPs. Backward twice that: dX = dY·Wᵀ and dW = Xᵀ·dY are products of the same three lengths. Traffic of each of the
    three products: its two operands and its result, mk + kn + mn elements.
    """
    flops = 2.0 * m * n * k * batch
    size = e * (m * k + k * n + m * n) * batch
    back = 2.0 if backward else 0.0
    return Operator(
        name=name,
        kind=kind,
        flops=flops,
        bytes=size,
        backward_flops=back * flops,
        backward_bytes=back * size,
        m=m,
        n=n,
        k=k,
        batch=batch,
        division=division,
        function=function,
    )


def attention(
    batch: int, heads: int, kv_heads: int, length: int, head_dim: int, e: float, *, causal: bool, backward: bool = True
) -> Operator:
    """softmax(QKᵀ)·V over `length` positions, in its least-traffic (flash) form; the length² matrix never reaches memory.

    Forward: two products of length·length·head_dim a head, 4·s²·d FLOPs, masked or not (the convention of PaLM's MFU and of torch's
    counter). Backward: four such products (dV, dP, dQ, dK), twice the forward; a flash kernel's recomputation of QKᵀ is not counted.
    Causal kernels may skip the masked part: of s² entries s(s + 1)/2 remain, a fraction (s + 1)/2s.
    Traffic: reads Q, K, V, writes O; backward reads Q, K, V, O, dO, writes dQ, dK, dV.
    """
    flops = 4.0 * batch * heads * length * length * head_dim
    q_size = e * batch * length * heads * head_dim
    kv_size = 2 * e * batch * length * kv_heads * head_dim
    return Operator(
        name="attention",
        kind="attention",
        flops=flops,
        bytes=2 * q_size + kv_size,
        backward_flops=2 * flops if backward else 0.0,
        backward_bytes=4 * q_size + 2 * kv_size if backward else 0.0,
        m=length,
        n=length,
        k=head_dim,
        batch=batch * heads,
        division="heads",
        function="causal_attention" if causal else "attention",
        executed_fraction=(length + 1) / (2 * length) if causal else 1.0,
    )


def elementwise(
    name: str, elements: float, e: float, *, moves: int, backward_moves: int, division: Division = "sequence", function: str = ""
) -> Operator:
    """A pass over `elements` that moves `moves` tensors of that size (reads and writes), `backward_moves` in the backward pass."""
    size = e * elements
    return Operator(
        name=name,
        kind="memory",
        flops=0.0,
        bytes=moves * size,
        backward_bytes=backward_moves * size,
        division=division,
        function=function,
    )


def norm(name: str, n: int, hidden: int, e: float, *, function: str = "layer_norm") -> Operator:
    """Layer or RMS norm: x in, y out; backward x and dy in, dx out. The per-row statistics and weights are left out (1/hidden of it)."""
    return elementwise(name, n * hidden, e, moves=2, backward_moves=3, function=function)


def residual(name: str, n: int, hidden: int, e: float) -> Operator:
    """x + f(x): two in, one out; backward adds the gradients of both ways."""
    return elementwise(name, n * hidden, e, moves=3, backward_moves=3, function="add")


def dropout(name: str, elements: float, e: float, fraction: float) -> tuple[Operator, ...]:
    """Dropout with a mask of one byte an element (as torch's fused kernels keep it); nothing where the fraction is 0."""
    if not fraction:
        return ()
    size = elements * (2 * e + 1)  # x in, y and mask out; backward dy and mask in, dx out
    return (Operator(name=name, kind="memory", flops=0.0, bytes=size, backward_bytes=size, division="sequence", function="dropout"),)


def dropout_mask_bytes(elements: float, fraction: float) -> float:
    """What dropout keeps for the backward pass: its mask."""
    return elements if fraction else 0.0


def lookup(n: int, rows: int, width: int, e: float, *, backward: bool = True, sparse: bool = False) -> Operator:
    """n rows of a (rows, width) table: ids and rows in, rows out; backward reads ids and dy and writes the table's dense gradient.

    A `sparse` one is the rows' gradients and ids again.
    """
    written = n * (INDEX_BYTES + width * e) if sparse else rows * width * e
    return Operator(
        name="lookup",
        kind="embedding",
        flops=0.0,
        bytes=n * (INDEX_BYTES + 2 * width * e),
        backward_bytes=n * (INDEX_BYTES + width * e) + written if backward else 0.0,
        division="vocabulary",
        function="lookup",
    )


def bag_lookup(bags: int, bag_size: int, rows: int, width: int, e: float, *, gradient: Literal["dense", "sparse", "none"]) -> Operator:
    """Sums over `bag_size` rows of a (rows, width) table: ids and rows in, sums out; backward ids and the sums' gradients in.

    A dense gradient writes the whole table's, a sparse one a row and an id for each id.
    """
    looked_up = bags * bag_size
    written = {"dense": rows * width * e, "sparse": looked_up * (INDEX_BYTES + width * e), "none": 0.0}[gradient]
    return Operator(
        name="lookup",
        kind="embedding",
        flops=0.0,
        bytes=looked_up * (INDEX_BYTES + width * e) + bags * width * e,
        backward_bytes=0.0 if gradient == "none" else looked_up * INDEX_BYTES + bags * width * e + written,
        division="vocabulary",
        function="bag_lookup",
    )


def cross_entropy(n: int, classes: int, e: float) -> Operator:
    """Mean negative log likelihood over n rows, in fp32: logits in, log-probabilities out (kept); backward those in, d logits out."""
    size = n * classes * (e + max(4.0, e))
    return Operator(
        name="cross_entropy", kind="memory", flops=0.0, bytes=size, backward_bytes=size, division="loss", function="cross_entropy"
    )


def cross_entropy_saved_bytes(n: int, classes: int, e: float) -> float:
    """What the loss keeps for the backward pass: log-probabilities, in fp32 at least, and the targets."""
    return n * (max(4.0, e) * classes + INDEX_BYTES)


def adamw(parameters: int, dtype: str) -> tuple[Operator, ...]:
    """Clipping by global norm and a fused AdamW step. Traffic in bytes a parameter, e the bytes of weight and gradient:

    norm reads the gradient (e), scaling reads and writes it (2e); AdamW reads weight, gradient, two moments and writes weight and two
    moments, 7·max(4, e); with fp32 master weights (e = 2) the gradient is also widened (2 + 4) and the weight narrowed (4 + 2).
    """
    e = element_bytes(dtype)
    wide = max(4.0, e)
    copies = 2 * (e + wide) if wide > e else 0.0
    clip = Operator(name="clip", kind="optimizer", flops=0.0, bytes=3 * e * parameters, function="adamw")
    step = Operator(name="adamw", kind="optimizer", flops=0.0, bytes=(7 * wide + copies) * parameters, function="adamw")
    return clip, step


def adamw_state_bytes(dtype: str) -> float:
    """Bytes a parameter beside the weight: gradient, two moments, and an fp32 master weight where the weight itself is narrower.

    fp32: 4 + 8 = 12. bf16 and fp16: 2 + 8 + 4 = 14, with the weight 16: the figure of the ZeRO paper (arXiv 1910.02054, section 3.1).
    """
    e = element_bytes(dtype)
    wide = max(4.0, e)
    return e + 2 * wide + (wide if wide > e else 0.0)


def recomputed(blocks: Sequence[Block], recompute: Recompute, *, whole: bool) -> tuple[float, float]:
    """FLOPs that recomputation repeats in the layers (all blocks but the first and the last), and how many of them are masked.

    `selective` repeats attention alone (Korthikanti et al., arXiv 2205.05198); `full` a layer's forward pass, up to the last tensor that
    its backward pass needs: not the last product of a layer that ends with one and a residual connection, unless `whole`.
    """
    flops = masked = 0.0
    for block in blocks[1:-1]:
        products = [op for op in block.operators if op.flops and (recompute == "full" or op.kind == "attention")]
        if recompute == "full" and not whole:
            products = products[:-1]
        flops += block.count * sum(op.flops for op in products)
        masked += block.count * sum(op.flops * (1 - op.executed_fraction) for op in products)
    return (flops, masked) if recompute != "none" else (0.0, 0.0)


def training_cost(
    blocks: Sequence[Block],
    dtype: str,
    *,
    items: int,
    micro_batch: int,
    accumulation: int = 1,
    recompute: Recompute = "none",
    whole: bool = False,
) -> Cost:
    """The cost of a training step: these blocks for each of `accumulation` micro-batches of `items`, an AdamW step over all parameters.

    `recompute` and `whole` as in `recomputed`. UserError for less than one micro-batch.
    """
    if accumulation < 1:
        raise UserError(f"accumulation={accumulation}: expected at least 1")
    parameters = sum(block.count * block.parameters for block in blocks)
    flops, masked = recomputed(blocks, recompute, whole=whole)
    return Cost(
        blocks=tuple(blocks),
        dtype=dtype,
        items=items * accumulation,
        micro_batch=micro_batch,
        accumulation=accumulation,
        recomputed_flops=flops,
        recomputed_masked_flops=masked,
        training=True,
        optimizer_operators=adamw(parameters, dtype),
        parameter_state_bytes=adamw_state_bytes(dtype),
    )
