"""Evaluation: metrics against numbers worked by hand, what each task is asked about, and models that learn what they are scored by."""

import math
from typing import Any

import pytest
import torch
from hwbench.workloads import _metrics, _tasks, _text, bert, gpt, lstm_lm, transformer

from hwbench.core import registry
from hwbench.core.workload import METRICS, Context, Evaluation, Training, Workload

CPU = Context(device=torch.device("cpu"), dtype="fp32")
LANGUAGE = ("perplexity", "accuracy")
FOUND = {
    "bert": LANGUAGE, "gpt": LANGUAGE, "llama": LANGUAGE, "lstm_lm": LANGUAGE, "moe": LANGUAGE, "rnn_lm": LANGUAGE,
    "seq2seq": (*LANGUAGE, "bleu"), "t5": (*LANGUAGE, "bleu"), "transformer": (*LANGUAGE, "bleu"),
}  # fmt: skip
SMALL: dict[str, Any] = {
    "vocabulary": 300, "hidden": 16, "embedding": 16, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 8, "mlp": 32, "seq_len": 12,
    "source_len": 9, "target_len": 12, "micro_batch": 3,
}  # fmt: skip


def build(name: str, **settings: Any) -> Any:
    workload = registry.load("workloads", name, Workload)
    known = {key: value for key, value in (SMALL | settings).items() if key in workload.config.__struct_fields__}
    return workload.build(workload.config(**known), CPU)


def test_perplexity_and_accuracy_by_hand() -> None:
    targets = torch.randint(10, (2, 3))
    assert _metrics.token_scores([(torch.zeros(2, 3, 10), targets)], 10)["perplexity"] == pytest.approx(10)
    shares = torch.tensor([[[0.5, 0.3, 0.2], [0.25, 0.75, 0.0]], [[0.1, 0.8, 0.1], [0.4, 0.3, 0.3]]])
    parts = [(shares[:1].log(), torch.tensor([[0, 1]])), (shares[1:].log(), torch.tensor([[2, 0]]))]
    found = _metrics.token_scores(parts, 3)
    assert found["perplexity"] == pytest.approx((0.5 * 0.75 * 0.1 * 0.4) ** -0.25)
    assert found["accuracy"] == pytest.approx(3 / 4)


def test_scores_of_a_classifier_by_hand() -> None:
    # Said 0 0 1 1 1, true 0 1 1 1 0: class 0 has precision and recall 1/2, class 1 both 2/3.
    said, true = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 1, 1, 1, 0])
    scores = _metrics.class_scores(torch.nn.functional.one_hot(said).float(), true)
    assert scores == pytest.approx({"accuracy": 3 / 5, "precision": 7 / 12, "recall": 7 / 12, "f1": 7 / 12})


def test_bleu_by_hand() -> None:
    # Six words, five of them right; of pairs 4 of 5, of triples 3 of 4, of fours 2 of 3. The lengths are equal.
    found, wanted = torch.tensor([[1, 2, 3, 4, 5, 9]]), torch.tensor([[1, 2, 3, 4, 5, 6]])
    assert _metrics.bleu(found, wanted) == pytest.approx((5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25)
    assert _metrics.bleu(wanted, wanted) == pytest.approx(1)


@pytest.mark.parametrize("distribution", ["uniform", "text"])
@pytest.mark.parametrize("name", FOUND)
def test_every_training_step_is_scored_by_its_task(name: str, distribution: str) -> None:
    step = build(name, distribution=distribution)
    before = [p.clone() for p in step.module.parameters()]
    state = torch.get_rng_state()
    found = step.evaluate()
    assert found.data == ("held_out" if distribution == "text" else "batch")
    assert tuple(found.metrics) == FOUND[name]
    assert set(found.metrics) <= set(METRICS)
    assert found.metrics["perplexity"] == pytest.approx(300, rel=0.2), "it knows nothing yet"
    assert all(map(torch.equal, before, step.module.parameters()))
    assert torch.equal(state, torch.get_rng_state()), "dropout masks go on where they were"
    assert step.module.training
    assert found == step.evaluate()


def test_perplexity_is_exp_of_the_loss_without_dropout() -> None:
    step = build("lstm_lm", dropout=0.5, accumulation=2)
    with torch.no_grad():
        wanted = math.exp(step.loss(step.module.eval(), *step.inputs))
    step.module.train()
    assert step.evaluate().metrics["perplexity"] == pytest.approx(wanted, rel=1e-5)


def test_the_whole_held_out_text_is_asked_for() -> None:
    step = build("gpt", distribution="text")
    rows = _text.held_out(300, 13)
    with torch.no_grad():
        wanted = math.exp(step.loss(step.module, rows[:, :-1], rows[:, 1:]))
    assert len(rows) > 250
    assert step.evaluate().metrics["perplexity"] == pytest.approx(wanted, rel=1e-4)
    assert _text.held_out(300, 10_000).shape == (1, 3434), "a sequence longer than that is cut"


def test_held_out_translations_say_the_text_backwards() -> None:
    config = transformer.Config(vocabulary=300, source_len=9, target_len=6, micro_batch=4, distribution="text")
    source, target, following = next(iter(_tasks.TRANSLATION.unseen(config, CPU.device)))
    assert torch.equal(source, _text.held_out(300, 9)[:4])
    assert torch.equal(following, source.flip(1)[:, :6])
    assert torch.equal(target[:, 1:], following[:, :-1])
    assert bool((target[:, 0] == 299).all())


def test_a_batch_is_renewed_in_place_by_its_number_alone() -> None:
    steps = [build("lstm_lm", distribution="text", accumulation=2, dropout=0.5) for _ in range(2)]
    kept, first = steps[0].inputs, [x.clone() for x in steps[0].inputs]
    torch.rand(5)  # whatever else draws, such as dropout
    for step in steps:
        step.renew()
    assert all(a is b for a, b in zip(kept, steps[0].inputs, strict=True))
    assert not torch.equal(first[0], kept[0])
    assert all(map(torch.equal, kept, steps[1].inputs))
    steps[0].renew()
    assert not torch.equal(kept[0], steps[1].inputs[0])
    assert kept[0].max() < 300
    assert build("lstm_lm").renew is None, "drawn words hold nothing to learn: their batch is repeated"


def train(step: Training, count: int, rate: float, *, renewed: bool = True) -> Evaluation:
    """So many updates; what the model can do then."""
    assert step.renew is not None
    assert step.evaluate is not None
    optimizer = torch.optim.AdamW(step.module.parameters(), lr=rate)
    for _ in range(count):
        optimizer.zero_grad()
        torch.autograd.backward(step.loss(step.module, *step.inputs))
        optimizer.step()
        if renewed:
            step.renew()
    return step.evaluate()


@pytest.mark.parametrize("module", [gpt, lstm_lm], ids=["gpt", "lstm_lm"])
def test_a_language_model_learns_the_text(module: Any) -> None:
    """100 steps on new pieces of the text: the perplexity of text never seen falls from the vocabulary's size to under a fifth of it."""
    shape: dict[str, Any] = {
        "gpt": {"hidden": 64, "layers": 2, "heads": 2},
        "lstm_lm": {"embedding": 64, "hidden": 64, "layers": 1, "dropout": 0.0},
    }
    name = module.__name__.rpartition(".")[2]
    step = module.build(module.Config(vocabulary=1000, seq_len=32, micro_batch=16, distribution="text", **shape[name]), CPU)
    before = step.evaluate().metrics["perplexity"]
    found = train(step, 100, 3e-3)
    assert before == pytest.approx(1000, rel=0.1)
    assert found.metrics["perplexity"] < 200
    assert found.metrics["accuracy"] > 0.05, "commas"


def test_a_classifier_learns_from_which_half_of_the_book_a_passage_is() -> None:
    shape: dict[str, Any] = {"vocabulary": 2000, "hidden": 32, "layers": 1, "heads": 2, "seq_len": 48, "micro_batch": 32}
    found = train(bert.build(bert.Config(task="classification", classes=2, distribution="text", **shape), CPU), 80, 3e-3)
    assert found.data == "new"
    assert found.metrics["accuracy"] > 0.7
    assert found.metrics["f1"] > 0.65
    assert set(found.metrics) == {"accuracy", "precision", "recall", "f1"}


def test_a_translator_learns_to_say_sentences_backwards() -> None:
    shape: dict[str, Any] = {"vocabulary": 300, "hidden": 64, "layers": 1, "heads": 2, "mlp": 64, "micro_batch": 8}
    step = transformer.build(transformer.Config(source_len=8, target_len=8, distribution="text", **shape), CPU)
    source, target, following = step.inputs

    def score() -> Any:
        return _metrics.bleu(_metrics.translated(step.module, source, target[:, :1], 8), following)

    assert torch.equal(following, source.flip(1))
    assert bool((target[:, 0] == 299).all())
    before = score()
    train(step, 60, 3e-3, renewed=False)
    assert before < 0.05
    assert score() > 0.5


def test_shorter_translations_of_t5_are_the_beginnings_of_longer_ones() -> None:
    step = build("t5", distribution="text")
    source, target, _ = step.inputs
    short, long = (_metrics.translated(step.module.eval(), source, target[:, :1], length) for length in (4, 12))
    assert torch.equal(short, long[:, :4])
