"""A recurrent layer with the sigmoid cell. Shapes: b sequences, s steps, h hidden units."""

from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from ._blocks import Divisions

Recur: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""`recur(inputs, weight, first)`: (s, b, h), (h, h) and (b, h) or None to the states of all steps (s, b, h)."""


class _Recurrence(torch.autograd.Function):
    """h_t = sigmoid(x_t + h_{t−1}·Wᵀ) over the steps of x (s, b, h), from the state `first` (b, h), or from zeros.

    By hand, because a graph of one node a step would accumulate the gradient of W step by step: here it is one product of all steps.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, first: Tensor | None) -> Tensor:
        states = torch.empty_like(x)
        torch.sigmoid(x[0] if first is None else torch.addmm(x[0], first, weight.t()), out=states[0])
        for t in range(1, len(x)):
            torch.addmm(x[t], states[t - 1], weight.t(), out=states[t])
            states[t].sigmoid_()
        ctx.save_for_backward(states, weight, first)
        return states

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """With g_t = dh_t·h_t·(1 − h_t): dx_t = g_t, dh_{t−1} = upstream_{t−1} + g_t·W, dW = Σ g_tᵀ·h_{t−1}."""
        states, weight, first = ctx.saved_tensors
        slope = torch.addcmul(states, states, states, value=-1)
        dx = torch.empty_like(states)
        torch.mul(upstream[-1], slope[-1], out=dx[-1])
        for t in range(len(states) - 1, 0, -1):
            torch.addmm(upstream[t - 1], dx[t], weight, out=dx[t - 1])
            dx[t - 1].mul_(slope[t - 1])
        dweight = dx[1:].flatten(0, 1).t() @ states[:-1].flatten(0, 1)
        if first is None:
            return dx, dweight, None
        return dx, torch.addmm(dweight, dx[0].t(), first), dx[0] @ weight


_untraced: Any = torch.compiler.disable(_Recurrence.apply)  # type: ignore[no-untyped-call]  # torch has no types here
"""Left out of what torch.compile traces: torch 2.13 gets the shape of writes into slices of a transposed tensor wrong."""


class SigmoidLayer(nn.Module):
    """h_t = sigmoid(W·[h_{t−1}, x_t] + b) with one matrix W (h, h + width): (b, s, width) -> (b, s, h).

    `recur` does the steps, and tensor parallelism, which divides the rows of W, replaces it.
    """

    divisions: ClassVar[Divisions] = {"joined": "column"}

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.joined, self.hidden = nn.Linear(hidden + width, hidden), hidden
        self.recur: Recur = _untraced

    def forward(self, x: Tensor, first: Tensor | None = None) -> Tensor:
        """The inputs of all steps in one product, then step by step, from the state `first` (b, h), or from zeros."""
        of_state, of_input = torch.split(self.joined.weight, [self.hidden, x.shape[-1]], 1)
        inputs = functional.linear(x.transpose(0, 1), of_input, self.joined.bias)
        return self.recur(inputs, of_state, first).transpose(0, 1)
