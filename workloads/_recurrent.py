"""Recurrent layers and the head of recurrent language models, counted in closed form, without torch."""

from typing import Final, Literal, NamedTuple

from hwbench.core.workload import Block

from ._count import cross_entropy, cross_entropy_saved_bytes, elementwise, product

Kind = Literal["rnn", "lstm", "gru"]


class _Gates(NamedTuple):
    gates: int
    """Products of the hidden width a step; gru's are reset, update and candidate (Cho et al. 2014, as cuDNN has it)."""
    states: int
    """Vectors that a step hands to the next."""
    moves: int
    """Hidden vectors read and written by what is not a product."""
    kept: int
    """Hidden vectors a step keeps for the backward pass."""


KINDS: Final[dict[Kind, _Gates]] = {
    "rnn": _Gates(gates=1, states=1, moves=2, kept=1),  # a pre-activation in, the output out; the output kept
    "lstm": _Gates(gates=4, states=2, moves=7, kept=6),  # four and the cell in, cell and output out; gates, cell and output kept
    "gru": _Gates(gates=3, states=1, moves=8, kept=5),  # three of each product and the state in, the output out; gates, R·h and output kept
}


def recurrent_block(
    kind: Kind,
    name: str,
    batch: int,
    steps: int,
    width: int,
    hidden: int,
    e: float,
    *,
    backward: bool = True,
    per_step: bool = False,
    continued: bool = False,
) -> Block:
    """One layer over `steps` steps of `batch` sequences, elements of `e` bytes.

    Two products a step: x_t·W of all steps at once (`per_step`: each by itself, which reads the weights again each time), (b·s, width)
    by (width, g·h); h_{t−1}·R one step after the other, each (b, h) by (h, g·h). The backward pass does both products of each, the one
    into the initial state included, as fused kernels do, and moves about twice as much between them. A `continued` layer's initial state
    is another's last. Kept for the backward pass: the input, and per step what KINDS says, the least there can be; oneDNN's workspace on a
    CPU takes 15.75h where an LSTM's gates and cell take 5h.
    """
    shape, n = KINDS[kind], batch * steps
    wide = shape.gates * hidden
    if per_step:
        inputs = product("input", batch, wide, width, e, batch=steps, kind="recurrent", division="column", backward=backward)
    else:
        inputs = product("input", n, wide, width, e, division="column", backward=backward)
    moves, moves_back, function = shape.moves, 2 * shape.moves if backward else 0, f"{kind}_gates"
    between = elementwise("gates", n * hidden, e, moves=moves, backward_moves=moves_back, division="column", function=function)
    return Block(
        name=name,
        parameters=wide * (width + hidden + 2),  # two biases, as torch and cuDNN keep them
        operators=(
            inputs,
            product(
                "recurrent", batch, wide, hidden, e, batch=steps, kind="recurrent", division="column", backward=backward, function=kind
            ),
            between,
        ),
        activation_bytes=e * n * (width + shape.kept * hidden) if backward else 0.0,
        output_bytes=e * n * hidden,
        first_state_bytes=e * batch * hidden if continued else 0.0,
    )


def recurrent_head_block(n: int, hidden: int, vocabulary: int, e: float) -> Block:
    """The projection h·V of n positions with a bias, its operand kept, and the loss."""
    return Block(
        name="head",
        parameters=(hidden + 1) * vocabulary,
        operators=(product("vocabulary", n, vocabulary, hidden, e, division="vocabulary"), cross_entropy(n, vocabulary, e)),
        activation_bytes=e * n * hidden + cross_entropy_saved_bytes(n, vocabulary, e),
    )
