"""The mixture of experts against a loop over tokens, and what layouts take hold of."""

import pytest
import torch
from hwbench.workloads import moe
from hwbench.workloads._moe_blocks import Experts, MixtureOfExperts, balance_loss, here
from torch import Tensor
from torch.nn import functional

HIDDEN, INNER, EXPERTS, TOPK = 12, 10, 5, 2


def mixture(shared: int = 0) -> MixtureOfExperts:
    torch.manual_seed(0)
    layer = MixtureOfExperts(HIDDEN, INNER, EXPERTS, TOPK, shared).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    return layer


def by_tokens(layer: MixtureOfExperts, x: Tensor) -> Tensor:
    """Each token on its own, straight from the papers."""
    rows = []
    for token in x.flatten(0, -2):
        shares = layer.router(token).softmax(0)
        chosen = shares.argsort(descending=True)[:TOPK]
        weights = shares[chosen] / shares[chosen].sum()
        row = torch.zeros_like(token)
        for weight, i in zip(weights, chosen, strict=True):
            e = layer.experts
            row = row + weight * ((functional.silu(token @ e.gate[i]) * (token @ e.up[i])) @ e.down[i])
        rows.append(row if layer.shared is None else row + layer.shared(token))
    return torch.stack(rows).view_as(x)


def number(layer: MixtureOfExperts) -> float:
    loss: Tensor = balance_loss(layer)
    return loss.item()


@pytest.mark.parametrize("shared", [0, 7])
def test_a_mixture_equals_a_loop_over_its_tokens_and_so_do_its_gradients(shared: int) -> None:
    layer, x = mixture(shared), torch.randn(2, 9, HIDDEN, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn_like(x)
    wanted, found = by_tokens(layer, x), layer(x)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    given = [x, *layer.parameters()]
    for ours, theirs in zip(torch.autograd.grad(found, given, upstream), torch.autograd.grad(wanted, given, upstream), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_an_expert_that_no_token_chose_has_a_gradient_of_zeros() -> None:
    layer = mixture()
    layer(torch.randn(1, HIDDEN, dtype=torch.float64)).sum().backward()
    assert layer.experts.gate.grad is not None
    unused = int((layer.experts.gate.grad.flatten(1).abs().sum(1) == 0).sum())
    assert unused == EXPERTS - TOPK


def test_the_balance_loss_is_one_when_balanced_and_more_when_not() -> None:
    layer = mixture()
    with torch.no_grad():
        layer.router.weight.zero_()
    layer(torch.randn(4, HIDDEN, dtype=torch.float64))
    assert number(layer) == pytest.approx(1.0)
    assert layer.balance is None  # forgotten
    with torch.no_grad():
        layer.router.weight[0] = 50.0
        layer.router.weight[1] = 40.0
    layer(torch.rand(4, HIDDEN, dtype=torch.float64) + 1)
    assert number(layer) == pytest.approx(EXPERTS / TOPK)


def test_the_mean_of_two_ranks_balance_losses_is_that_of_the_whole_batch() -> None:
    layer, x = mixture(), torch.randn(8, HIDDEN, dtype=torch.float64)
    seen: list[Tensor] = []

    def loss_of(part: Tensor) -> Tensor:
        layer(part)
        loss: Tensor = balance_loss(layer)
        return loss

    def note(fractions: Tensor) -> Tensor:
        assert not fractions.requires_grad
        seen.append(fractions)
        return fractions

    layer.average = note
    whole = loss_of(x)
    loss_of(x[:4]), loss_of(x[4:])
    mean = (seen[1] + seen[2]) / 2
    torch.testing.assert_close(mean, seen[0])
    layer.average = lambda fractions: mean
    torch.testing.assert_close((loss_of(x[:4]) + loss_of(x[4:])) / 2, whole)


def test_tokens_move_through_dispatch_alone() -> None:
    layer, calls = mixture(), []

    def dispatch(experts: Experts, tokens: Tensor, chosen: Tensor) -> Tensor:
        calls.append((tokens.shape, chosen.shape, chosen.dtype))
        made: Tensor = here(experts, tokens, chosen)
        return made

    layer.dispatch = dispatch
    layer(torch.randn(2, 3, HIDDEN, dtype=torch.float64))
    assert calls == [((6, HIDDEN), (6, TOPK), torch.int64)]


def test_products_are_counted_exactly_where_experts_do_not_divide_the_rows() -> None:
    config = moe.Config(experts=7, topk=3, seq_len=11, micro_batch=1)
    gate = next(op for op in moe.cost(config, "fp32").blocks[1].operators if op.name == "gate")
    assert gate.flops == 2 * 33 * config.hidden * config.mlp
    assert gate.bytes == 4 * (33 * config.hidden + 7 * config.hidden * config.mlp + 33 * config.mlp)
