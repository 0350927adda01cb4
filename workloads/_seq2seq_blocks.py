"""Modules of a sequence-to-sequence LSTM. Shapes: b pairs of sequences, s source and t target steps, h hidden units.

Beside its result a layer of the encoder hands on the last states of all layers so far; the decoder's take theirs from the front of them.
"""

from typing import ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from ._blocks import Divisions
from ._recurrent_blocks import LayersOf

State: TypeAlias = Tensor | tuple[Tensor, ...]


class Encoder(nn.Module):
    """LSTM layers over the source, of which only the last states go on. `last` says whether these are the last of them."""

    def __init__(self, lstm: nn.LSTM, *, last: bool = True) -> None:
        super().__init__()
        self.lstm, self.last = lstm, last

    @property
    def fused(self) -> int:
        """How many layers these are."""
        return self.lstm.num_layers

    def only(self, layers: range) -> "Encoder":
        """Some of them, for a stage of a pipeline."""
        return Encoder(LayersOf(self.lstm, layers), last=self.last and layers.stop == self.fused)

    def forward(self, state: State) -> tuple[Tensor, ...]:
        """The source's rows (b, s, width), or (b, s, h) and states so far -> (b, s, h) before the last layer, hidden states and cells.

        States are (layers so far, b, h) each.
        """
        x, *before = state if isinstance(state, tuple) else (state,)
        outputs, last = self.lstm(x)
        states = tuple(map(torch.cat, zip(before, last, strict=True))) if before else tuple(last)
        return states if self.last else (outputs, *states)


class Decoder(nn.Module):
    """LSTM layers over the target, each from the last state of the encoder's. The first of them have the target's table of words."""

    divisions: ClassVar[Divisions] = {"table": "vocabulary"}
    takes_rest: ClassVar[bool] = True

    def __init__(self, table: nn.Embedding | None, lstm: nn.LSTM, *, last: bool = True) -> None:
        super().__init__()
        self.table, self.lstm, self.last = table, lstm, last

    @property
    def fused(self) -> int:
        """How many layers these are."""
        return self.lstm.num_layers

    def only(self, layers: range) -> "Decoder":
        """Some of them, for a stage of a pipeline."""
        return Decoder(self.table if layers.start == 0 else None, LayersOf(self.lstm, layers), last=self.last and layers.stop == self.fused)

    def forward(self, state: tuple[Tensor, ...], target: Tensor) -> State:
        """Hidden states and cells (layers to come, b, h), behind (b, t, h) where that is made -> (b, t, h), and what states are left."""
        *made, hidden, cell = state
        x = made[0] if self.table is None else self.table(target)
        if self.last:
            outputs: Tensor = self.lstm(x, (hidden, cell))[0]
            return outputs
        return self.lstm(x, (hidden[: self.fused], cell[: self.fused]))[0], hidden[self.fused :], cell[self.fused :]
