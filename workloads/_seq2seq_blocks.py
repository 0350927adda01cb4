"""Modules of a sequence-to-sequence LSTM. Shapes: b pairs of sequences, s source and t target steps, h hidden units."""

from typing import ClassVar

from torch import Tensor, nn

from ._blocks import Divisions
from ._translation_blocks import State, TranslationModel

__all__ = ["Decoder", "Encoder", "TranslationModel", "TwoTables"]


class TwoTables(nn.Module):
    """A table of words for each language: (b, s), (b, t) -> (b, s, width), (b, t, width)."""

    divisions: ClassVar[Divisions] = {"source": "vocabulary", "target": "vocabulary"}

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(vocabulary, width), nn.Embedding(vocabulary, width)

    def forward(self, source: Tensor, target: Tensor) -> State:
        """The words' rows."""
        return self.source(source), self.target(target)


class Encoder(nn.Module):
    """LSTM layers over the source, of which only the last state goes on."""

    def __init__(self, width: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, layers, batch_first=True)

    def forward(self, state: State) -> State:
        """Source and target -> the last hidden state (layers, b, h), the target, the last cell (layers, b, h)."""
        source, target = state
        _, (hidden, cell) = self.lstm(source)
        return hidden, target, cell


class Decoder(nn.Module):
    """LSTM layers over the target, from the encoder's last state."""

    def __init__(self, width: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, layers, batch_first=True)

    def forward(self, state: State) -> State:
        """Hidden state, target, cell -> the hidden state and the layers' outputs (b, t, h)."""
        hidden, target, cell = state
        outputs, _ = self.lstm(target, (hidden, cell))
        return hidden, outputs
