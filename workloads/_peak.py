"""Peak of the tensors alive in a training step, in closed form, without torch."""

from hwbench.core.workload import Cost

from ._count import element_bytes


def peak_bytes(cost: Cost) -> float:
    """Most bytes alive at once in a training step without recomputation: weights, optimizer state, and the transient part.

    The gradient is in that part, so its bytes of the state stand for the weight's.
    """
    return cost.parameters * cost.parameter_state_bytes + transient_peak_bytes(cost)


def transient_peak_bytes(cost: Cost) -> float:
    """Most bytes alive at once of what a step makes and forgets: activations, logits, gradients. Weights and optimizer state aside.

    Either at the end of the forward pass, when the logits lie beside all that is kept; or at some block of the backward pass, which holds
    the gradients of the blocks behind it and its own, what the blocks before it and itself kept, and the gradient that it hands on. A
    tied table's gradient comes twice, from the head and from the lookup, and a third time as their sum.
    """
    e, head = element_bytes(cost.dtype), cost.blocks[-1]
    projection = next(op for op in head.operators if op.name in ("vocabulary", "classes"))
    rows, words, width = projection.m or 0, projection.n or 0, projection.k or 0
    tied = e * words * width if any(op.name == "tied_gradient" for op in head.operators) else 0.0
    kept, gradients = cost.activation_bytes, tied
    peak = kept + e * rows * words
    for block in reversed(cost.blocks):
        for _ in range(block.count):
            gradients += e * block.parameters
            peak = max(peak, kept + gradients + block.output_bytes)
            kept -= block.activation_bytes
    return max(peak, gradients + tied)
