"""Modules of recurrent language models. Shapes: b sequences, s steps, h hidden units."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ._blocks import Divisions


class LayersOf(nn.LSTM):
    """Some of the layers of a stacked LSTM: its own parameters, by the names that they have there."""

    def __init__(self, whole: nn.LSTM, layers: range) -> None:
        width = whole.hidden_size if layers.start else whole.input_size
        dropout = whole.dropout if len(layers) > 1 else 0.0
        super().__init__(width, whole.hidden_size, len(layers), batch_first=True, dropout=dropout, device="meta")
        for name in self._flat_weights_names:
            delattr(self, name)
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        self._all_weights = [[f"{kind}_l{i}" for kind in kinds] for i in layers]
        self._flat_weights_names = [name for names in self._all_weights for name in names]
        for name in self._flat_weights_names:
            self.register_parameter(name, whole.get_parameter(name))
        self._init_flat_weights()


class LSTMLayers(nn.Module):
    """Stacked LSTM layers with dropout between them, as one nn.LSTM, so that cuDNN can work on two layers at once.

    `last` says whether these are the last layers of the model: others have dropout behind them.
    """

    def __init__(self, lstm: nn.LSTM, dropout: float, *, last: bool = True) -> None:
        super().__init__()
        self.lstm, self.dropout, self.last = lstm, dropout, last

    @property
    def fused(self) -> int:
        """How many layers these are."""
        return self.lstm.num_layers

    def only(self, layers: range) -> "LSTMLayers":
        """Some of them, for a stage of a pipeline."""
        return LSTMLayers(LayersOf(self.lstm, layers), self.dropout, last=self.last and layers.stop == self.fused)

    def forward(self, x: Tensor) -> Tensor:
        """(b, s, width) -> (b, s, h), from a state of zeros."""
        y: Tensor = self.lstm(x)[0]
        return y if self.last else functional.dropout(y, self.dropout, self.training)


def stacked(width: int, hidden: int, layers: int, dropout: float = 0.0) -> nn.LSTM:
    """An nn.LSTM of (b, s, width) -> (b, s, h), with dropout between its layers."""
    return nn.LSTM(width, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)


class RecurrentHead(nn.Module):
    """Dropout and a vocabulary projection with bias: (b, s, h) -> (b, s, V)."""

    divisions: ClassVar[Divisions] = {"projection": "vocabulary"}

    def __init__(self, hidden: int, vocabulary: int, dropout: float) -> None:
        super().__init__()
        self.projection, self.dropout = nn.Linear(hidden, vocabulary), dropout

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every position."""
        logits: Tensor = self.projection(functional.dropout(x, self.dropout, self.training))
        return logits


def initialise(model: nn.Module, bound: float = 0.1) -> None:
    """Every parameter uniform in ±0.1, the small model of Zaremba et al. (arXiv 1409.2329)."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-bound, bound)
