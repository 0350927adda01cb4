"""What models are trained to do: the batches they get, batches that they never get, and how their answers are scored.

A batch is tensors with samples first, the targets last: `module(*batch[:-1])` answers with logits for `batch[-1]`.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from hwbench.core.workload import EvaluatedOn, Predicted

from . import _metrics, _text
from ._heads import class_batch

Batch: TypeAlias = tuple[Tensor, ...]
NEW_BATCHES: Final = 16
"""As many are drawn where no text is held out: with four samples each enough for an accuracy to a few per cent."""
MOST_PAIRS, MOST_WORDS = 4, 32
"""What is translated for BLEU: each word takes a whole forward pass."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Functions of a config and a device, and of a config, a module and batches."""

    draw: Callable[[Any, torch.device], Batch]
    """A batch to train on."""
    unseen: Callable[[Any, torch.device], Iterable[Batch]]
    """Batches of the text to be evaluated on."""
    scores: Callable[[Any, nn.Module, Sequence[Batch]], dict[str, float]]
    """Metrics by name (hwbench.core.workload.METRICS)."""
    data: EvaluatedOn = "held_out"
    """What `unseen` is."""
    predicted: Predicted = "all"
    """Where in a sequence the targets stand."""


@contextlib.contextmanager
def drawn_apart(device: torch.device, seed: int) -> Iterator[None]:
    """Random numbers from this seed; afterwards torch's generators go on where they were, so that dropout masks stay what they are."""
    own = [] if device.type in ("cpu", "meta") else [device]
    with torch.random.fork_rng(own, device_type=device.type if own else "cuda"):
        torch.manual_seed(seed)
        yield


def next_token_batch(config: Any, device: torch.device) -> Batch:
    """Tokens and the tokens that follow them, both int64 (micro_batch, seq_len), by the config's distribution."""
    return _shifted(_text.sequences(config, config.seq_len + 1, device))


def _shifted(rows: Tensor) -> Batch:
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def pair_batch(config: Any, device: torch.device) -> Batch:
    """Source tokens (micro_batch, source_len), target tokens and those that follow them (micro_batch, target_len), int64.

    Of the text, the task is to say the source backwards, from its last word on; the vocabulary's last id begins it.
    """
    source = _text.sequences(config, config.source_len, device)
    target = _text.sequences(config, config.target_len + 1, device)
    return _backwards(config, source, target) if config.distribution == "text" else (source, *_shifted(target))


def _backwards(config: Any, source: Tensor, target: Tensor) -> Batch:
    said = min(source.shape[1], config.target_len)
    target[:, 0] = config.vocabulary - 1
    target[:, 1 : said + 1] = source.flip(1)[:, :said]
    return source, *_shifted(target)


def masked_batch(config: Any, device: torch.device, masked: int) -> Batch:
    """Tokens (micro_batch, seq_len), `masked` positions of each sequence, and the tokens that stood there (micro_batch, masked)."""
    return _masked(_text.sequences(config, config.seq_len, device), config, masked)


def _masked(tokens: Tensor, config: Any, masked: int) -> Batch:
    """The vocabulary's last id stands for [MASK]; all masked positions get it (the 80/10/10 rule of the paper costs no time)."""
    positions = torch.rand(tokens.shape, device=tokens.device).argsort(dim=1)[:, :masked].sort(dim=1).values
    return tokens.scatter(1, positions, config.vocabulary - 1), positions, tokens.gather(1, positions)


def _held_out(config: Any, device: torch.device, length: int) -> Iterator[Tensor]:
    """The text that training never sees, as many sequences at a time as a micro-batch has."""
    rows = _text.held_out(config.vocabulary, length).to(device)
    return (rows[first : first + config.micro_batch] for first in range(0, len(rows), config.micro_batch))


def _held_out_pairs(config: Any, device: torch.device) -> Iterator[Batch]:
    for source in _held_out(config, device, config.source_len):
        target = source.repeat(1, config.target_len // source.shape[1] + 1)[:, : config.target_len + 1]
        yield _backwards(config, source, target)


def _answers(module: nn.Module, batches: Iterable[Batch]) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and targets of each batch; what a model hands out beside its logits is for its loss."""
    for *given, targets in batches:
        answer = module(*given)
        yield answer[0] if isinstance(answer, tuple) else answer, targets


def _token_scores(config: Any, module: nn.Module, batches: Sequence[Batch]) -> dict[str, float]:
    return _metrics.token_scores(_answers(module, batches), config.vocabulary)


def _class_scores(_config: Any, module: nn.Module, batches: Sequence[Batch]) -> dict[str, float]:
    logits, targets = zip(*_answers(module, batches), strict=True)
    return _metrics.class_scores(torch.cat(logits)[:, 0], torch.cat(targets)[:, 0])


def _translation_scores(config: Any, module: nn.Module, batches: Sequence[Batch]) -> dict[str, float]:
    """Perplexity and accuracy of each word after the right ones, and BLEU of the first words of a few pairs, each after the model's own."""
    source, target, following = (x[:MOST_PAIRS] for x in batches[0])
    words = min(config.target_len, MOST_WORDS)
    said = _metrics.translated(module, source, target[:, :1], words)
    return _token_scores(config, module, batches) | {"bleu": _metrics.bleu(said, following[:, :words])}


NEXT_TOKEN: Final = Task(
    draw=next_token_batch,
    unseen=lambda config, device: map(_shifted, _held_out(config, device, config.seq_len + 1)),
    scores=_token_scores,
)
TRANSLATION: Final = Task(draw=pair_batch, unseen=_held_out_pairs, scores=_translation_scores)


def masking(masked: int) -> Task:
    """Masked language modelling with so many masked positions a sequence."""
    return Task(
        draw=functools.partial(masked_batch, masked=masked),
        unseen=lambda config, device: (_masked(rows, config, masked) for rows in _held_out(config, device, config.seq_len)),
        scores=_token_scores,
        predicted="given",
    )


def classifying(classes: int, predicted: Predicted) -> Task:
    """Telling classes of sequences by what stands at their first or last position.

    Of the text it is in which part a passage begins, which only the text's own parts can ask.
    """
    draw = functools.partial(class_batch, classes=classes)
    return Task(
        draw=draw,
        unseen=lambda config, device: (draw(config, device) for _ in range(NEW_BATCHES)),
        scores=_class_scores,
        data="new",
        predicted=predicted,
    )
