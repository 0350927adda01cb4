"""How good a trained model is, by torchmetrics: perplexity of language models, accuracy and its like of classifiers, BLEU of translations.

Nothing that is timed needs it. Sums stay on the rank: torchmetrics would add up those of all ranks by itself.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hwbench.core.errors import UnavailableError

if TYPE_CHECKING:
    from types import ModuleType

Answers = Iterable[tuple[Tensor, Tensor]]
"""Logits and the int64 targets that they were for, a batch at a time."""


def _library() -> "ModuleType":
    try:
        import torchmetrics
    except Exception as error:  # a broken installation is no more than a missing one
        raise UnavailableError(f"torchmetrics can't be imported: {error}", hint="pip install torchmetrics") from error
    return torchmetrics


def token_scores(answers: Answers, vocabulary: int) -> dict[str, float]:
    """Perplexity and accuracy of logits (b, n, V) for targets (b, n).

    Perplexity is exp of the mean cross entropy over the whole vocabulary: V where a model knows nothing. Sequences are scored one by
    one, so that no second copy of a batch's logits is made.
    """
    library: Any = _library()
    perplexity = library.text.Perplexity(sync_on_compute=False)
    accuracy = library.classification.MulticlassAccuracy(vocabulary, average="micro", validate_args=False, sync_on_compute=False)
    for logits, targets in answers:
        for metric in (perplexity, accuracy):
            metric.to(logits.device)
        for row, wanted in zip(logits, targets, strict=True):
            perplexity.update(row.float().unsqueeze(0), wanted.unsqueeze(0))
            accuracy.update(row.argmax(-1), wanted)
    return {"perplexity": float(perplexity.compute()), "accuracy": float(accuracy.compute())}


def class_scores(logits: Tensor, targets: Tensor) -> dict[str, float]:
    """Scores of the likeliest class of logits (n, classes) against targets (n,): accuracy over samples, the others means over classes."""
    scores, classes = _library().functional.classification, logits.shape[-1]

    def score(name: str, average: str) -> float:
        return float(getattr(scores, f"multiclass_{name}")(logits.float(), targets, num_classes=classes, average=average))

    found = {"accuracy": score("accuracy", "micro"), "precision": score("precision", "macro"), "recall": score("recall", "macro")}
    return found | {"f1": score("f1_score", "macro")}


def bleu(found: Tensor, wanted: Tensor) -> float:
    """BLEU of up to four words over the whole corpus, 0..1 (Papineni et al. 2002), of token ids (b, t) against one reference each."""

    def sentences(ids: Tensor) -> list[str]:
        return [" ".join(map(str, row)) for row in ids.tolist()]

    return float(_library().functional.text.bleu_score(sentences(found), [[text] for text in sentences(wanted)]))


def translated(model: nn.Module, source: Tensor, begin: Tensor, length: int) -> Tensor:
    """The likeliest translation, word by word, without a cache: int64 (b, length), from source (b, s) and first target ids (b, 1)."""
    target = begin
    with torch.no_grad():
        for _ in range(length):
            following = model(source, target)[:, -1:].argmax(-1)
            target = torch.cat([target, following], 1)
    return target[:, 1:]
