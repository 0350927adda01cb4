"""Heads that predict classes of a sequence, not tokens."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from . import _text
from ._blocks import Divisions, Head


class LastHead(Head):
    """Final norm and projection of the last position only: (b, s, h) -> (b, 1, classes)."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the last position."""
        return super().forward(x[:, -1:])


class PooledHead(nn.Module):
    """BERT's classifier: dense and tanh of the first position (the pooler), dropout, projection: (b, s, h) -> (b, 1, classes)."""

    divisions: ClassVar[Divisions] = {}

    def __init__(self, hidden: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dense, self.projection = nn.Linear(hidden, hidden), nn.Linear(hidden, classes)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the sequence."""
        pooled = self.dense(x[:, :1]).tanh()
        logits: Tensor = self.projection(nn.functional.dropout(pooled, self.dropout, self.training))
        return logits


def class_batch(config: Any, device: torch.device, classes: int) -> tuple[Tensor, Tensor]:
    """Tokens (micro_batch, seq_len), and a class for each sequence, (micro_batch, 1); both int64.

    Classes are drawn uniformly; of the text, the class is which of so many equal parts of the book a sequence begins in.
    """
    if config.distribution == "text":
        return _text.passages(config, config.seq_len, device, classes)
    tokens = _text.sequences(config, config.seq_len, device)
    return tokens, torch.randint(classes, (config.micro_batch, 1), device=device)
