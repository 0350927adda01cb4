"""Recurrent layers whose hidden units are divided over ranks: each computes all gates of its own units, and every step gathers the state.

Shapes: s steps, b sequences, h hidden units, n = h / ranks of them here, g gates a unit. The state of the step before is needed whole, so a
rank's n units are gathered after each step, and the gradient of the whole state is scattered to its owners in each step back. An LSTM's
cell never leaves the rank that has its units. Imports torch.
"""

from typing import Any, Final, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
from torch.nn import functional

from hwbench.core.errors import UserError

GATES: Final = 4
"""An LSTM's, in torch's order: input, forget, candidate, output."""


def divide_recurrent(part: nn.Module, tp: DeviceMesh) -> None:
    """Put `DividedLSTM` in the place of every nn.LSTM, and a divided recurrence where a module offers its own as `recur`."""
    group = tp.get_group()
    modules: list[Any] = list(part.modules())
    for module in modules:
        for name, child in module.named_children():
            if isinstance(child, nn.LSTM):
                module.register_module(name, DividedLSTM(child, tp))
        if hasattr(module, "recur"):
            module.recur = _Sigmoid(group)


class DividedLSTM(nn.Module):
    """nn.LSTM with batch_first of which each rank has n units of every layer; `state` and what is returned of it have the rank's own cells.

    Parameters keep their names, and are (4, h, …) DTensors divided along h: torch's (4h, …) has the units of a gate one behind the other.
    """

    def __init__(self, whole: nn.LSTM, tp: DeviceMesh) -> None:
        super().__init__()
        if not whole.batch_first or not whole.bias or whole.bidirectional or whole.proj_size:
            raise UserError(
                f"tp of {whole}: the divided LSTM has batch_first=True, biases, one direction and no projection",
                hint="docs/layouts.md has what a model offers, so that every layout can divide it",
            )
        self.num_layers, self.dropout, self.group, self.tp = whole.num_layers, whole.dropout, tp.get_group(), tp
        self.names = [[str(name) for name in names] for names in whole._all_weights]  # of some of a model's layers they begin anywhere
        for name, parameter in whole.named_parameters():
            share = parameter.detach().view(GATES, -1, *parameter.shape[1:]).chunk(tp.size(), 1)[tp.get_local_rank()].clone()
            self.register_parameter(name, nn.Parameter(DTensor.from_local(share, tp, (Shard(1),), run_check=False)))

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(b, s, width), hidden (layers, b, h) and cell (layers, b, n), or zeros -> (b, s, h) and the last hidden and cell."""
        x, hiddens, cells = x.transpose(0, 1), [], []
        for i, (of_input, of_state, *biases) in enumerate(self.names):
            first, cell = (None, None) if state is None else (self._whole(state[0][i]), state[1][i])
            x = functional.dropout(x, self.dropout, self.training) if i else x
            # times 1, because DTensors would let the two biases' gradients share the memory in which each is accumulated and clipped
            bias = self._own(biases[0]) + self._own(biases[1]) * 1
            inputs = functional.linear(self._whole(x), self._own(of_input), bias)
            x, cell = _recurred(_LSTM, inputs, self._own(of_state), first, cell, self.group)
            hiddens.append(x[-1])
            cells.append(cell)
        return x.transpose(0, 1), (torch.stack(hiddens), torch.stack(cells))

    def _own(self, name: str) -> Tensor:
        """A parameter's rows of this rank: (4n, …)."""
        share: Any = self.get_parameter(name)
        rows: Tensor = share.to_local().flatten(0, 1)
        return rows

    def _whole(self, x: Tensor) -> Tensor:
        """What all ranks have alike; of its gradient each has a part, and the parts are added up."""
        return DTensor.from_local(x, self.tp, (Replicate(),), run_check=False).to_local(grad_placements=(Partial(),))


class _Sigmoid:
    """`recur` of the sigmoid cell: h_t = sigmoid(x_t + h_{t−1}·Wᵀ) of DTensors (s, b, h) and W (h, h), divided along the columns of x."""

    def __init__(self, group: ProcessGroup) -> None:
        self.group = group

    def __call__(self, inputs: DTensor, weight: DTensor, first: DTensor | None) -> Tensor:
        begin = None if first is None else first.to_local(grad_placements=(Partial(),))
        states: Tensor = _recurred(_SIGMOID, inputs.to_local(), weight.to_local(), begin, None, self.group)[0]
        return states


class _Cell(NamedTuple):
    """A cell's two passes over n units of a step, in place where they can be."""

    forward: Any
    """(pre-activations (b, g·n), the cell before (b, n) or None, where the new cell goes (b, n)) -> the units' new state (b, n)."""
    backward: Any
    """(activated gates, cell before or None, new cell, gradients of state and cell) -> those of the pre-activations and the cell before."""


def _lstm(gates: Tensor, before: Tensor | None, cell: Tensor) -> Tensor:
    n = cell.shape[1]
    gates[:, : 2 * n].sigmoid_()
    gates[:, 2 * n : 3 * n].tanh_()
    gates[:, 3 * n :].sigmoid_()
    i, f, g, o = gates.chunk(GATES, 1)
    torch.mul(i, g, out=cell)
    if before is not None:
        cell.addcmul_(f, before)
    return o * cell.tanh()


def _lstm_back(gates: Tensor, before: Tensor | None, cell: Tensor, d_state: Tensor, d_cell: Tensor) -> tuple[Tensor, Tensor]:
    i, f, g, o = gates.chunk(GATES, 1)
    known = cell.tanh()
    d_cell = torch.addcmul(d_cell, d_state * o, 1 - known.square())
    d_f = torch.zeros_like(f) if before is None else d_cell * before * f * (1 - f)
    d_gates = torch.cat((d_cell * g * i * (1 - i), d_f, d_cell * i * (1 - g.square()), d_state * known * o * (1 - o)), 1)
    return d_gates, d_cell * f


_LSTM: Final = _Cell(forward=_lstm, backward=_lstm_back)
_SIGMOID: Final = _Cell(
    forward=lambda gates, _before, _cell: gates.sigmoid_(),
    backward=lambda gates, _before, _cell, d_state, d_cell: (d_state * gates * (1 - gates), d_cell),
)


class _Recurrence(torch.autograd.Function):
    """All steps of a layer; by hand, so that the gradient of the weight is one product of all steps, and each step sends once."""

    @staticmethod
    def forward(
        ctx: Any, kind: _Cell, inputs: Tensor, weight: Tensor, first: Tensor | None, cell: Tensor | None, group: ProcessGroup
    ) -> tuple[Tensor, Tensor]:
        """Pre-activations (s, b, g·n) of all inputs, W (g·n, h), first state (b, h), first cell (b, n) -> states (s, b, h), last cell."""
        ranks, (steps, batch, _), hidden = dist.get_world_size(group), inputs.shape, weight.shape[1]
        gates, states = torch.empty_like(inputs), inputs.new_empty(steps, batch, hidden)
        cells = inputs.new_empty(steps, batch, hidden // ranks)
        gathered = inputs.new_empty(ranks * batch, hidden // ranks)
        state, before = first, cell
        for t in range(steps):
            if state is None:
                gates[t].copy_(inputs[t])
            else:
                torch.addmm(inputs[t], state, weight.t(), out=gates[t])
            own = kind.forward(gates[t], before, cells[t])
            dist.all_gather_into_tensor(gathered, own, group=group)
            states[t].view(batch, ranks, -1).copy_(gathered.view(ranks, batch, -1).transpose(0, 1))
            state, before = states[t], cells[t]
        ctx.save_for_backward(gates, cells, states, weight, first, cell)
        ctx.kind, ctx.group = kind, group
        return states, cells[-1].clone()

    @staticmethod
    def backward(ctx: Any, d_states: Tensor, d_cell: Tensor) -> tuple[None, Tensor, Tensor, Tensor | None, Tensor | None, None]:
        """Gradients of states come whole and alike on all ranks; those of inputs and W are a rank's own, that of the first state a part."""
        gates, cells, states, weight, first, cell = ctx.saved_tensors
        ranks, n = dist.get_world_size(ctx.group), cells.shape[2]
        wanted = d_states.chunk(ranks, 2)[dist.get_rank(ctx.group)]
        d_gates, d_state = torch.empty_like(gates), wanted[-1]
        for t in range(len(gates) - 1, -1, -1):
            before = cells[t - 1] if t else cell
            d_gates[t], d_cell = ctx.kind.backward(gates[t], before, cells[t], d_state, d_cell)
            if t:
                parts = (d_gates[t] @ weight).view(-1, ranks, n).transpose(0, 1).flatten(0, 1)
                owned = torch.empty_like(cells[t])
                dist.reduce_scatter_tensor(owned, parts, group=ctx.group)
                d_state = owned.add_(wanted[t - 1])
        d_weight = d_gates[1:].flatten(0, 1).t() @ states[:-1].flatten(0, 1)
        if first is None:
            return None, d_gates, d_weight, None, None, None
        return None, d_gates, d_weight.addmm_(d_gates[0].t(), first), d_gates[0] @ weight, None if cell is None else d_cell, None


_recurred: Any = torch.compiler.disable(_Recurrence.apply)  # type: ignore[no-untyped-call]  # torch has no types here
"""Left out of what torch.compile traces, as every step sends."""
