"""What BERT has instead of GPT's parts: segments, a norm behind each residual, and a head that predicts at chosen positions."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ._blocks import MLP, Divisions, Held, SelfAttention, rows_of

SEGMENTS = 2
"""Sentence A and sentence B."""

EPSILON = 1e-12
"""Of BERT's layer norms."""


class SegmentedEmbedding(nn.Module):
    """Token, position and segment tables, a norm and dropout: (b, s) -> (b, s, h). The first half of a sequence is segment A."""

    divisions: ClassVar[Divisions] = {"tokens": "vocabulary"}
    held: Held = None

    def __init__(self, vocabulary: int, positions: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, hidden), nn.Embedding(positions, hidden)
        self.segments, self.norm = nn.Embedding(SEGMENTS, hidden), nn.LayerNorm(hidden, EPSILON)
        self.dropout = dropout

    def forward(self, tokens: Tensor) -> Tensor:
        """Norm of the sum of the three rows."""
        here = tokens.shape[1]
        places, length = (torch.arange(here, device=tokens.device), here) if self.held is None else self.held[here]
        x = self.tokens(tokens) + (rows_of(self.positions.weight, here, self.held) + self.segments(places * SEGMENTS // length))
        return functional.dropout(self.norm(x), self.dropout, self.training)


class PostNormLayer(nn.Module):
    """norm(x + attention(x)), then norm(x + mlp(x)): BERT and the Transformer of 2017."""

    def __init__(self, norm: Callable[[], nn.Module], attention: SelfAttention, mlp: MLP, dropout: float) -> None:
        super().__init__()
        self.attention, self.attention_norm = attention, norm()
        self.mlp, self.mlp_norm = mlp, norm()
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """(b, s, h) -> (b, s, h)."""
        x = self.attention_norm(x + functional.dropout(self.attention(x), self.dropout, self.training))
        y: Tensor = self.mlp_norm(x + functional.dropout(self.mlp(x), self.dropout, self.training))
        return y


class MaskedHead(nn.Module):
    """Dense, GELU, norm and vocabulary projection of the masked positions only: (b, s, h), (b, m) -> (b, m, V)."""

    divisions: ClassVar[Divisions] = {"projection": "vocabulary"}
    held: Held = None
    takes_rest: ClassVar[bool] = True

    def __init__(self, hidden: int, vocabulary: int) -> None:
        super().__init__()
        self.dense, self.norm = nn.Linear(hidden, hidden), nn.LayerNorm(hidden, EPSILON)
        self.projection = nn.Linear(hidden, vocabulary)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """Logits at `positions`, m of each sequence, int64; where tokens are held, (n, V) at those n of them, one for none."""
        starts = torch.arange(0, x.shape[0] * x.shape[1], x.shape[1], device=x.device).unsqueeze(1)
        rows = positions + starts if self.held is None else _held_rows(positions, starts, *self.held[x.shape[1]])
        chosen = x.flatten(0, 1).index_select(0, rows.flatten()).view(*rows.shape, -1)
        logits: Tensor = self.projection(self.norm(functional.gelu(self.dense(chosen))))
        return logits


def _held_rows(positions: Tensor, starts: Tensor, here: Tensor, length: int) -> Tensor:
    """Rows of those of the positions (b, m) that are among `here`, where sequences' tokens start at `starts` (b, 1); row 0 for none."""
    places = here.new_full((length,), -1).scatter(0, here, torch.arange(len(here), device=here.device))[positions]
    rows = (places + starts)[places >= 0]
    return rows if len(rows) else rows.new_zeros(1)
