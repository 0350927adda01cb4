"""Options of training steps: accumulation, recomputation, heads, the text, schedules and fp16's scale."""

import math
from typing import Any

import msgspec
import pytest
import torch
from hwbench.workloads import _tasks, _text, _training, bert, gpt, llama, moe
from hwbench.workloads._losses import cross_entropy
from hwbench.workloads._tensors import relative_distance
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import set_checkpoint_early_stop
from torch.utils.flop_counter import FlopCounterMode

from hwbench.core.errors import UserError
from hwbench.core.workload import Context, Training
from hwbench.run.build import undivided
from hwbench.run.stepping import training_step

CPU, META = torch.device("cpu"), torch.device("meta")
SMALL: dict[Any, Any] = {
    gpt: gpt.Config(vocabulary=211, hidden=48, layers=3, seq_len=40),
    llama: llama.Config(vocabulary=211, hidden=48, layers=3, seq_len=40, mlp=100),
    moe: moe.Config(vocabulary=211, hidden=48, layers=3, seq_len=40, mlp=36, experts=5),
    bert: bert.Config(vocabulary=211, hidden=48, layers=3, seq_len=40),
}
MODELS = pytest.mark.parametrize("module", SMALL, ids=lambda module: module.__name__.rpartition(".")[2])


def build(module: Any, device: torch.device = CPU, dtype: str = "fp32", **changes: Any) -> Training:
    config = msgspec.structs.replace(SMALL[module], **changes)
    step: Training = module.build(config, Context(device=device, dtype=dtype))
    return step


def gradients(step: Training) -> list[Tensor]:
    loss = step.loss(step.module, *step.inputs)
    return [loss.detach(), *torch.autograd.grad(loss, list(step.module.parameters()))]


@MODELS
@pytest.mark.parametrize("recompute", ["selective", "full"])
def test_recomputation_changes_no_gradient_and_its_flops_are_counted_exactly(module: Any, recompute: str) -> None:
    plain, again = gradients(build(module)), gradients(build(module, recompute=recompute))
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))
    step = build(module, META, recompute=recompute)
    # Plain math needs only half of a repeated attention; a fused kernel, of which the closed form tells, all of it.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), set_checkpoint_early_stop(recompute == "full"):
        torch.autograd.backward(step.loss(step.module, *step.inputs))
    cost = module.cost(msgspec.structs.replace(SMALL[module], recompute=recompute), "fp32")
    assert counter.get_total_flops() == cost.flops + cost.recomputed_flops
    assert cost.recomputed_flops > 0
    masked = cost.flops - module.cost(SMALL[module], "fp32").executed_flops
    assert cost.executed_flops == cost.flops - masked + cost.recomputed_flops - cost.recomputed_masked_flops


@MODELS
def test_accumulation_multiplies_what_a_micro_batch_costs_but_not_the_optimizer(module: Any) -> None:
    one, three = (module.cost(msgspec.structs.replace(SMALL[module], accumulation=n), "fp32") for n in (1, 3))
    assert (three.items, three.flops, three.executed_flops) == (3 * one.items, 3 * one.flops, 3 * one.executed_flops)
    optimizer = sum(op.bytes for op in one.optimizer_operators)
    assert three.bytes - optimizer == pytest.approx(3 * (one.bytes - optimizer))
    assert (three.activation_bytes, three.micro_batch) == (one.activation_bytes, one.micro_batch)
    step = build(module, accumulation=3)
    assert step.accumulation == 3
    assert all(len(x) == 3 * SMALL[module].micro_batch for x in step.inputs)
    with pytest.raises(UserError, match="accumulation=0"):
        build(module, accumulation=0)


@pytest.mark.parametrize("module", [gpt, llama])
def test_a_head_of_classes_is_counted_and_says_what_it_is(module: Any) -> None:
    step, config = build(module, META, head="classes:100@last"), msgspec.structs.replace(SMALL[module], head="classes:100@last")
    cost = module.cost(config, "fp32")
    assert sum(p.numel() for p in step.module.parameters()) == cost.parameters
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        torch.autograd.backward(step.loss(step.module, *step.inputs))
    assert counter.get_total_flops() == cost.flops
    assert "not a language model's" in step.warnings[0]
    assert build(module).warnings == ()
    assert build(module, head="classes:100@last").check().passed
    whole = module.cost(SMALL[module], "fp32")
    assert cost.blocks[-1].operators[1].flops == 2 * 2 * 48 * 100  # two sequences, one position each
    assert cost.blocks[:-1] == whole.blocks[:-1]


@pytest.mark.parametrize("head", ["classes:0@last", "classes:ten@last", "classes:10", "words"])
def test_other_heads_are_refused(head: str) -> None:
    with pytest.raises(UserError, match="classes:N@last"):
        gpt.cost(gpt.Config(head=head), "fp32")


def test_berts_classifier_is_counted_and_checked() -> None:
    config = msgspec.structs.replace(SMALL[bert], task="classification", classes=3)
    step, cost = build(bert, META, task="classification", classes=3), bert.cost(config, "fp32")
    assert sum(p.numel() for p in step.module.parameters()) == cost.parameters
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        torch.autograd.backward(step.loss(step.module, *step.inputs))
    assert counter.get_total_flops() == cost.flops
    first, again = (gradients(build(bert, task="classification", classes=3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert first[0].item() == pytest.approx(math.log(3), rel=0.03)
    assert build(bert, task="classification", classes=3).check().passed


def test_berts_classifier_by_hand() -> None:
    config = bert.Config(vocabulary=10, hidden=4, layers=1, heads=2, seq_len=10, micro_batch=1, task="classification", classes=3)
    counted = bert.cost(config, "fp32")
    # Tables and norm 96, layer 244 as for the other task; pooler 4·4 + 4, projection 4·3 + 3.
    assert counted.parameters == 96 + 244 + 20 + 15 == 375
    # Layer 3,840 and attention 1,600; one row through pooler 16 and projection 12.
    assert counted.flops == 3 * (3840 + 1600 + 2 * 28) == 16488


def test_the_text_is_read_in_order_and_its_end_is_held_out() -> None:
    config = msgspec.structs.replace(SMALL[gpt], vocabulary=3000, distribution="text", seq_len=64, micro_batch=4)
    torch.manual_seed(0)
    tokens, following = _tasks.next_token_batch(config, CPU)
    assert torch.equal(tokens[:, 1:], following[:, :-1])
    assert "alice" in _text.vocabulary()[:20]
    text = " ".join(_text.vocabulary()[i] for i in _text.tokens()[: len(_text.tokens()) // 2])
    assert "down the rabbit - hole" in text
    words = " ".join(_text.vocabulary()[i] for i in tokens[0])
    assert words[10:40] in " ".join(_text.words_of(_text._text()))
    kept = _text.held_out(3000, 64)
    assert kept.shape[1] == 64
    assert torch.equal(kept.flatten(), _text.tokens()[-3434:][: kept.numel()])
    assert int(_text.held_out(50, 64).max()) == 49  # rarer words are the last id


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [_training.learning_rate(i) for i in (0, 49, 99, 100, 5050, 10_000, 50_000)]
    assert rates == pytest.approx([3e-6, 1.5e-4, 3e-4, 3e-4, 1.65e-4, 3e-5, 3e-5])
    step = build(gpt)
    optimizer = step.optimizer(step.module.parameters())
    for _ in range(3):
        torch.autograd.backward(step.loss(step.module, *step.inputs))
        optimizer.step()
    assert optimizer.param_groups[0]["lr"] == _training.learning_rate(2)


def test_fp16_scales_gradients_and_leaves_out_steps_that_overflow() -> None:
    step = build(gpt, dtype="fp16")
    assert step.clip_norm == _training.LOSS_SCALE
    optimizer = step.optimizer(step.module.parameters())
    loss = step.loss(step.module, *step.inputs)
    assert loss.item() == pytest.approx(math.log(211), rel=0.03)  # the value itself is not scaled
    torch.autograd.backward(loss)
    optimizer.step()
    moved = next(iter(optimizer.state.values()))["exp_avg"]
    assert 0 < float(moved.abs().max()) < 1  # scaled back before the moments saw it
    before = [p.detach().clone() for p in step.module.parameters()]
    for left in (math.inf, math.nan, 0.0):  # 0 is what clipping makes of finite gradients beside an infinite one
        for p in step.module.parameters():
            p.grad = torch.full_like(p, left)
        optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(step.module.parameters(), before, strict=True))


@pytest.mark.parametrize("dtype, near", [(torch.float64, 1e-14), (torch.float32, 1e-6), (torch.bfloat16, 1e-6)])
def test_the_cpus_cross_entropy_equals_torchs_and_so_does_its_gradient(dtype: torch.dtype, near: float) -> None:
    torch.manual_seed(0)
    logits, targets = 5 * torch.randn(300, 1000, dtype=dtype), torch.randint(1000, (300,))
    results = []
    for function in (cross_entropy, lambda x, y: torch.nn.functional.cross_entropy(x.float() if dtype.itemsize < 4 else x, y)):
        given = logits.clone().requires_grad_()
        loss = 3 * function(given, targets)
        results.append((loss.detach(), *torch.autograd.grad(loss, given)))
    assert relative_distance(*results) < near


def test_a_cross_entropy_is_differentiated_once() -> None:
    loss = cross_entropy(torch.randn(4, 5, requires_grad=True), torch.randint(5, (4,)))
    torch.autograd.backward(loss, retain_graph=True)
    with pytest.raises(RuntimeError, match="second backward pass"):
        torch.autograd.backward(loss)


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_the_whole_step_trains_in_every_dtype(dtype: str) -> None:
    """With clipping as the worker does it: of a gradient scaled up, where the dtype needs that."""
    built = build(gpt, dtype=dtype)
    step = training_step(undivided(built), built.clip_norm)
    losses = [float(step()) for _ in range(8)]
    assert losses[-1] < losses[0] - 0.02
