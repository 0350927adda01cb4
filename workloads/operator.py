"""One operator of a training step, forward and backward, on cold operands: what `hwbench calibrate` predicts whole steps from.

Called as the models call it, through autograd. Calls go round through as many sets of operands as fill `cold_bytes`: in a step, too,
weights and activations were last touched long ago. With one set a small operator finds its operands in a cache and looks faster than any
step is.
"""

from typing import Final, Literal

import msgspec

from hwbench.core.value import Value
from hwbench.core.workload import Block, Check, Context, Cost, Kernel, Operator, Workload

from ._count import (
    adamw,
    attention,
    cross_entropy,
    dropout,
    element_bytes,
    elementwise,
    lookup,
    need_divisor,
    need_positive,
    norm,
    residual,
)
from ._count import product as linear
from ._recurrent import recurrent_block

Function = Literal[
    "linear", "attention", "causal_attention", "plain_attention", "layer_norm", "rms_norm", "gelu", "gelu_tanh", "relu", "silu_gate",
    "rotary", "add", "dropout", "cross_entropy", "lookup", "lstm", "adamw",
]  # fmt: skip
ATTENTION: Final = ("attention", "causal_attention", "plain_attention")
DROPPED: Final = 0.5
"""Share that the dropout drops; its time hardly depends on it."""


class Config(Value):
    """An operator and its sizes; what a size means depends on the operator."""

    function: Function = "linear"
    """linear has a bias; plain_attention is T5's, not fused and with biases of the scores; add is a residual connection; rotary turns one
    operand; adamw clips by the global norm first."""
    rows: int = 512
    """Tokens: rows of the operand. Of lstm, attention and rotary, sequences times `length`; of adamw, rows of each parameter."""
    width: int = 512
    """Columns of the operand: inputs of linear and lstm, classes of cross_entropy, a table's row of lookup, heads times head width."""
    inner: int = 512
    """Outputs of linear, units of lstm, rows of lookup's table, number of adamw's parameters."""
    length: int = 128
    """Positions of a sequence of attention and rotary, steps of lstm."""
    heads: int = 8
    """Of attention and rotary."""
    cold_bytes: int = 1 << 25
    """Operands that are gone through before a set comes again: many times what a core's own caches hold."""


def cost(config: Config, dtype: str) -> Cost:
    """The operator as models count it; an item is a row (of adamw, a parameter)."""
    need_positive(config, "rows", "width", "inner", "length", "heads", "cold_bytes")
    operators = _operators(config, element_bytes(dtype), dtype)
    items = config.rows * config.width * config.inner if config.function == "adamw" else config.rows
    return Cost(blocks=(Block(name=config.function, parameters=0, operators=operators),), dtype=dtype, items=items, item_unit="row")


def _operators(config: Config, e: float, dtype: str) -> tuple[Operator, ...]:
    n, width, inner, function = config.rows, config.width, config.inner, config.function
    if function in (*ATTENTION, "rotary"):
        need_divisor(config, "length", "rows")
        need_divisor(config, "heads", "width")
    if function in ATTENTION:
        batch, causal, per_head = n // config.length, function == "causal_attention", width // config.heads
        counted = attention(batch, config.heads, config.heads, config.length, per_head, e, causal=causal)
        return (msgspec.structs.replace(counted, function=function),)
    if function == "lstm":
        need_divisor(config, "length", "rows")
        return recurrent_block("lstm", function, n // config.length, config.length, width, inner, e).operators
    if function == "adamw":
        return adamw(n * width * inner, dtype)
    if function == "dropout":
        return dropout(function, n * width, e, DROPPED)
    if function == "linear":
        return (linear(function, n, inner, width, e),)
    if function == "lookup":
        return (lookup(n, inner, width, e),)
    if function == "cross_entropy":
        return (cross_entropy(n, width, e),)
    if function in ("layer_norm", "rms_norm"):
        return (norm(function, n, width, e, function=function),)
    if function == "add":
        return (residual(function, n, width, e),)
    moves, backward_moves = {"rotary": (2, 2), "silu_gate": (3, 5)}.get(function, (2, 3))
    return (elementwise(function, n * width, e, moves=moves, backward_moves=backward_moves, function=function),)


def build(config: Config, context: Context) -> Kernel:
    """As many sets of operands as are gone through, on the device."""
    import itertools

    from . import _operators, _tensors

    dtype = _tensors.begin(context)
    cost(config, context.dtype)
    first = _operators.draw(config, context.device, dtype)
    size = sum(tensor.nbytes for tensor in first)
    count = max(1, min(_operators.MOST_SETS, -(-config.cold_bytes // size)))
    sets = [first, *(_operators.draw(config, context.device, dtype) for _ in range(count - 1))]
    calls = itertools.cycle([_operators.prepare(config, operands) for operands in sets])

    def check() -> Check:
        """Every result of one call on a few rows against float64, as relative Euclidean distances; 64u as for whole steps."""
        part = _few_rows(config)
        error = _operators.error(part, _operators.draw(part, context.device, dtype))
        tolerance = 64 * _tensors.unit_roundoff(context.dtype)
        return Check(name=config.function, error=error, tolerance=tolerance, reference="float64 on the CPU")

    return Kernel(run=lambda: next(calls)(), check=check)


def _few_rows(config: Config) -> Config:
    """The operator at its widths, on rows enough to be right or wrong: float64 takes its time."""
    if config.function in (*ATTENTION, "rotary", "lstm"):
        return msgspec.structs.replace(config, rows=config.length)
    if config.function == "adamw":
        return msgspec.structs.replace(config, rows=min(config.rows, 64), inner=min(config.inner, 2))
    return msgspec.structs.replace(config, rows=min(config.rows, 64))


WORKLOAD: Final = Workload(kind="ceiling", config=Config, cost=cost, build=build)
