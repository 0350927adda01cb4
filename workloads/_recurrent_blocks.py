"""Modules of recurrent language models. Shapes: b sequences, s steps, h hidden units."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ._blocks import Divisions


class LSTMLayers(nn.Module):
    """Stacked LSTM layers with dropout between them, as one nn.LSTM, so that cuDNN can work on two layers at once."""

    def __init__(self, width: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(b, s, width) -> (b, s, h), from a state of zeros."""
        y: Tensor = self.lstm(x)[0]
        return y


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
