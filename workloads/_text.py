"""A small real text as token ids: what `distribution=text` trains on.

Lewis Carroll, Alice's Adventures in Wonderland, 1865: in the public domain. The edition (Millennium Fulcrum 2.9) is the one that the
Canterbury corpus made the common test text of compressors; only blanks at ends of lines and runs of empty lines were removed.

Words and punctuation marks in lower case are tokens; ids follow their frequency, 0 the most frequent. Words beyond a model's
vocabulary become its last id.
"""

import functools
import re
from collections import Counter
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor

from . import _tensors

_TOKEN = re.compile(r"[a-z]+(?:'[a-z]+)*|[^\sa-z]")
HELD_OUT_FRACTION = 0.1
"""The end of the text that training never sees: `held_out` has it."""


def words_of(text: str) -> list[str]:
    """Words and punctuation marks of a text, in lower case."""
    return _TOKEN.findall(text.lower())


@functools.cache
def vocabulary() -> tuple[str, ...]:
    """The text's words, the most frequent first; equally frequent ones in the order of the alphabet."""
    counted = Counter(words_of(_text()))
    return tuple(sorted(counted, key=lambda word: (-counted[word], word)))


@functools.cache
def tokens() -> Tensor:
    """The whole text as int64 ids on the CPU."""
    place = {word: i for i, word in enumerate(vocabulary())}
    return torch.tensor([place[word] for word in words_of(_text())], device="cpu")


def _text() -> str:
    return files(__package__).joinpath("data", "alice.txt").read_text("utf-8")


def held_out(vocabulary_size: int, length: int) -> Tensor:
    """The text's last tenth in sequences of `length` ids, one behind the other: (rows, length), on the CPU; one where it has fewer."""
    ids = tokens()[_split() :].clamp(max=vocabulary_size - 1)
    length = min(length, len(ids))
    return ids[: len(ids) // length * length].view(-1, length)


def _split() -> int:
    return round(len(tokens()) * (1 - HELD_OUT_FRACTION))


def sequences(config: Any, length: int, device: torch.device) -> Tensor:
    """int64 ids (micro_batch, length) by the config's `distribution`: drawn over the vocabulary, or pieces of the text from random places.

    A sequence longer than the text goes on at its beginning.
    """
    if config.distribution != "text":
        return _tensors.token_ids((config.micro_batch, length), config.vocabulary, config.distribution, device)
    return passages(config, length, device, parts=1)[0]


def passages(config: Any, length: int, device: torch.device, parts: int) -> tuple[Tensor, Tensor]:
    """Pieces of the text (micro_batch, length), and in which of `parts` equal parts of it each begins (micro_batch, 1); both int64."""
    ids = tokens()[: _split()].clamp(max=config.vocabulary - 1).to(device)
    starts = torch.randint(len(ids), (config.micro_batch, 1), device=device)
    return ids[(starts + torch.arange(length, device=device)) % len(ids)], starts * parts // len(ids)
