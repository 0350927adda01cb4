"""Evaluation: metrics against numbers worked by hand, and models that learn what they are scored by."""

import math
from typing import Any

import pytest
import torch
from hwbench.workloads import _metrics, bert, transformer
from hwbench.workloads._heads import class_batch

from hwbench.core.workload import Context, Training

CPU = Context(device=torch.device("cpu"), dtype="fp32")


def test_perplexity_by_hand() -> None:
    assert _metrics.perplexity(torch.zeros(2, 3, 10), torch.randint(10, (2, 3))) == pytest.approx(10)
    shares = torch.tensor([[[0.5, 0.5], [0.25, 0.75]]])
    assert _metrics.perplexity(shares.log(), torch.tensor([[0, 1]])) == pytest.approx(1 / math.sqrt(0.5 * 0.75))


def test_scores_of_a_classifier_by_hand() -> None:
    # Said 0 0 1 1 1, true 0 1 1 1 0: class 0 has precision and recall 1/2, class 1 both 2/3.
    said, true = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 1, 1, 1, 0])
    scores = _metrics.classified(torch.nn.functional.one_hot(said).float(), true)
    assert scores.accuracy == pytest.approx(3 / 5)
    assert (scores.precision, scores.recall, scores.f1) == pytest.approx((7 / 12, 7 / 12, 7 / 12))


def test_bleu_by_hand() -> None:
    # Six words, five of them right; of pairs 4 of 5, of triples 3 of 4, of fours 2 of 3. The lengths are equal.
    found, wanted = torch.tensor([[1, 2, 3, 4, 5, 9]]), torch.tensor([[1, 2, 3, 4, 5, 6]])
    assert _metrics.bleu(found, wanted) == pytest.approx((5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25)
    assert _metrics.bleu(wanted, wanted) == pytest.approx(1)


def train(step: Training, batches: Any, count: int, rate: float) -> None:
    optimizer = torch.optim.AdamW(step.module.parameters(), lr=rate)
    for _ in range(count):
        optimizer.zero_grad()
        torch.autograd.backward(step.loss(step.module, *batches()))
        optimizer.step()


def test_a_classifier_learns_from_which_half_of_the_book_a_passage_is() -> None:
    shape: dict[str, Any] = {"vocabulary": 2000, "hidden": 32, "layers": 1, "heads": 2, "seq_len": 48, "micro_batch": 32}
    config = bert.Config(task="classification", classes=2, distribution="text", **shape)
    step = bert.build(config, CPU)
    torch.manual_seed(1)
    train(step, lambda: class_batch(config, CPU.device, 2), 80, 3e-3)
    tokens, halves = class_batch(config, CPU.device, 2)
    with torch.no_grad():
        scores = _metrics.classified(step.module(tokens)[:, 0], halves[:, 0])
    assert scores.accuracy > 0.7
    assert scores.f1 > 0.65


def test_a_translator_learns_to_say_sentences_backwards() -> None:
    shape: dict[str, Any] = {"vocabulary": 300, "hidden": 64, "layers": 1, "heads": 2, "mlp": 64, "micro_batch": 8}
    config = transformer.Config(source_len=8, target_len=8, distribution="text", **shape)
    step = transformer.build(config, CPU)
    source, target, following = step.inputs
    assert torch.equal(following, source.flip(1))
    assert bool((target[:, 0] == 299).all())
    before = _metrics.bleu(_metrics.translated(step.module, source, target[:, :1], 8), following)
    train(step, lambda: step.inputs, 60, 3e-3)
    after = _metrics.bleu(_metrics.translated(step.module, source, target[:, :1], 8), following)
    assert before < 0.05
    assert after > 0.5
