"""LSTM layers and the head of recurrent language models, counted in closed form, without torch."""

from hwbench.core.workload import Block

from ._count import cross_entropy, cross_entropy_saved_bytes, elementwise, product

GATES = 4
"""Input, forget and output gate and the candidate (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000)."""


def lstm_parameters(width: int, hidden: int) -> int:
    """W_ih (4h, width), W_hh (4h, h) and two biases of 4h, as torch and cuDNN keep them."""
    return GATES * hidden * (width + hidden + 2)


def lstm_block(name: str, batch: int, steps: int, width: int, hidden: int, e: float, *, backward: bool = True) -> Block:
    """One LSTM layer over `steps` steps of `batch` sequences, elements of `e` bytes.

    Two products a step: x_t·W_ih of all steps at once, (b·s, width) by (width, 4h); h_{t−1}·W_hh one step after the other, each
    (b, h) by (h, 4h). The backward pass does both products of each, the one into the initial state included, as fused kernels do.
    Gates: reads 4h pre-activations and the cell, writes the cell and the output; about twice that backward.
    Kept for the backward pass: the input (width), per step the 4h gates, the cell and the output (h each), the least there can be;
    oneDNN's workspace on a CPU takes 15.75h where gates and cell take 5h.
    """
    n = batch * steps
    return Block(
        name=name,
        parameters=lstm_parameters(width, hidden),
        operators=(
            product("input", n, GATES * hidden, width, e, backward=backward),
            product("recurrent", batch, GATES * hidden, hidden, e, batch=steps, kind="recurrent", backward=backward, function="lstm"),
            elementwise("gates", n * hidden, e, moves=7, backward_moves=14 if backward else 0, function="lstm_gates"),
        ),
        activation_bytes=e * n * (width + (GATES + 2) * hidden) if backward else 0.0,
        output_bytes=e * n * hidden,
    )


def recurrent_head_block(n: int, hidden: int, vocabulary: int, e: float) -> Block:
    """The projection h·V of n positions with a bias, its operand kept, and the loss."""
    return Block(
        name="head",
        parameters=(hidden + 1) * vocabulary,
        operators=(product("vocabulary", n, vocabulary, hidden, e, division="vocabulary"), cross_entropy(n, vocabulary, e)),
        activation_bytes=e * n * hidden + cross_entropy_saved_bytes(n, vocabulary, e),
    )
