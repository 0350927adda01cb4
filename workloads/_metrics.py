"""How good a trained model is, by torchmetrics: perplexity of language models, accuracy and its like of classifiers, BLEU of translations.

Needs the extra `metrics` (docs/dependencies.md); nothing that is timed does.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hwbench.core.errors import UnavailableError
from hwbench.core.value import Value

if TYPE_CHECKING:
    from types import ModuleType


class Classified(Value):
    """Scores of a classifier, each 0..1: accuracy over all samples, the others as means over classes (macro)."""

    accuracy: float
    precision: float
    recall: float
    f1: float


def _library() -> "ModuleType":
    try:
        from torchmetrics import functional
    except ImportError as error:
        raise UnavailableError("evaluation needs torchmetrics, which is not installed", hint="pip install 'hwbench[metrics]'") from error
    return functional


def perplexity(logits: Tensor, targets: Tensor) -> float:
    """exp of the mean cross entropy of int64 targets (b, s) under logits (b, s, V); V where a model knows nothing."""
    return float(_library().text.perplexity(logits.float(), targets))


def classified(logits: Tensor, targets: Tensor) -> Classified:
    """Scores of the likeliest class of logits (n, classes) against int64 targets (n,)."""
    scores, classes = _library().classification, logits.shape[-1]

    def score(name: str, average: str) -> float:
        return float(getattr(scores, f"multiclass_{name}")(logits, targets, num_classes=classes, average=average))

    return Classified(
        accuracy=score("accuracy", "micro"),
        precision=score("precision", "macro"),
        recall=score("recall", "macro"),
        f1=score("f1_score", "macro"),
    )


def bleu(found: Tensor, wanted: Tensor) -> float:
    """BLEU of up to four words over the whole corpus, 0..1 (Papineni et al. 2002), of token ids (b, t) against one reference each."""

    def sentences(ids: Tensor) -> list[str]:
        return [" ".join(map(str, row)) for row in ids.tolist()]

    return float(_library().text.bleu_score(sentences(found), [[text] for text in sentences(wanted)]))


def translated(model: nn.Module, source: Tensor, begin: Tensor, length: int) -> Tensor:
    """The likeliest translation, word by word, without a cache: int64 (b, length), from source (b, s) and first target ids (b, 1)."""
    target = begin
    with torch.no_grad():
        for _ in range(length):
            following = model(source, target)[:, -1:].argmax(-1)
            target = torch.cat([target, following], 1)
    return target[:, 1:]
