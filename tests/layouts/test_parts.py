"""The parts of layouts that one process can check: blocks of attention, places on the ring, branches, experts, clipping."""

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from hwbench.workloads._bert_blocks import MaskedHead
from hwbench.workloads._llama_blocks import GatedMLP
from hwbench.workloads._moe_blocks import MixtureOfExperts
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from hwbench.core import codec, registry
from hwbench.core.errors import UserError
from hwbench.core.layout import Layout
from hwbench.core.parallel import Step
from hwbench.core.stages import dealt
from hwbench.core.workload import Context, Workload
from hwbench.layouts._attention import block_backward, block_forward, written_out, written_out_backward
from hwbench.layouts._branching import owners
from hwbench.layouts._experts import _even
from hwbench.layouts._mixtures import divide_mixture
from hwbench.layouts._models import groups, keep
from hwbench.layouts._pipeline import Stage, cut
from hwbench.layouts._predicted import shared
from hwbench.layouts._recurrence import _LSTM, _SIGMOID, divide_recurrent
from hwbench.layouts._ring import _join, _visible, places
from hwbench.run.stepping import accumulated, clipping

from .table import SIZES

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


def qkv(heads: int, kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, heads, 8, 16), torch.randn(2, kv_heads, 8, 16), torch.randn(2, kv_heads, 8, 16)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_a_block_of_attention_is_torchs_own(causal: bool, kv_heads: int) -> None:
    q, k, v = (x.requires_grad_() for x in qkv(4, kv_heads))
    wanted = functional.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)
    d_out = torch.randn_like(wanted)
    gradients = torch.autograd.grad(wanted, (q, k, v), d_out)
    with torch.no_grad():
        out, log_sum = block_forward(q, k, v, causal=causal)
        torch.testing.assert_close(out, wanted, rtol=1e-5, atol=1e-6)
        found = block_backward(d_out, q, k, v, out, log_sum, causal=causal)
    assert found[3] is None
    for one, other in zip(found[:3], gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_a_block_with_a_bias_is_torchs_own_and_the_bias_has_a_gradient() -> None:
    q, k, v = (x.requires_grad_() for x in qkv(4, 4))
    bias = torch.randn(4, 8, 8).masked_fill(torch.ones(8, 8, dtype=torch.bool).triu(1), float("-inf")).requires_grad_()
    wanted = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
    d_out = torch.randn_like(wanted)
    gradients = torch.autograd.grad(wanted, (q, k, v, bias), d_out)
    with torch.no_grad():
        out, log_sum = block_forward(q, k, v, causal=False, scale=1.0, bias=bias)
        torch.testing.assert_close(out, wanted, rtol=1e-5, atol=1e-6)
        found = block_backward(d_out, q, k, v, out, log_sum, causal=False, scale=1.0, bias=bias)
    for one, other in zip(found, gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_query_that_sees_no_key_of_a_block_leaves_the_others_blocks_as_they_are() -> None:
    q, k, v = qkv(2, 2)
    out, log_sum = block_forward(q, k, v, causal=False, bias=torch.full((2, 8, 8), float("-inf")))
    assert torch.equal(out, torch.zeros_like(out))
    whole, whole_sum = block_forward(q, k, v, causal=False)
    joined, joined_sum = whole.clone(), whole_sum.clone()
    _join(joined, joined_sum, out, log_sum)
    assert torch.equal(joined, whole)
    assert torch.equal(joined_sum, whole_sum)


@pytest.mark.parametrize("causal", [True, False])
def test_written_out_attention_is_the_flash_operators(causal: bool) -> None:
    """What devices without a flash operator get, checked on one that has it."""
    q, k, v = qkv(2, 2)
    out, log_sum = written_out(q, k, v, causal=causal)
    flash, flash_sum = block_forward(q, k, v, causal=causal)
    torch.testing.assert_close(out, flash, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(log_sum, flash_sum, rtol=1e-5, atol=1e-6)
    d_out = torch.randn_like(out)
    for one, other in zip(
        written_out_backward(d_out, q, k, v, out, log_sum, causal=causal)[:3],
        block_backward(d_out, q, k, v, out, log_sum, causal=causal)[:3],
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_blocks_of_a_ring_join_to_the_whole(causal: bool, ranks: int) -> None:
    torch.manual_seed(1)
    length = 4 * ranks
    q, k, v = (torch.randn(1, 2, length, 16) for _ in range(3))
    wanted = functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    for rank in range(ranks):
        mine = places(rank, ranks, length, q.device)
        out, log_sum = torch.zeros(1, 2, 4, 16), torch.full((1, 2, 4), float("-inf"))
        for source in range(ranks):
            theirs = places(source, ranks, length, q.device)
            queries, keys, masked = _visible(rank, source, 4, causal)
            part = block_forward(q[:, :, mine][:, :, queries], k[:, :, theirs][:, :, keys], v[:, :, theirs][:, :, keys], causal=masked)
            _join(out[:, :, queries], log_sum[:, :, queries], *part)
        torch.testing.assert_close(out, wanted[:, :, mine], rtol=1e-5, atol=1e-6)


@given(st.integers(1, 8), st.integers(1, 5))
def test_every_position_is_somebodys(ranks: int, chunk: int) -> None:
    length = 2 * ranks * chunk
    held = torch.cat([places(rank, ranks, length, torch.device("cpu")) for rank in range(ranks)])
    assert sorted(held.tolist()) == list(range(length))


@given(st.lists(st.integers(1, 100), min_size=2, max_size=6))
def test_branches_are_dealt_out_evenly(sizes: list[int]) -> None:
    chosen = owners(sizes, 2)
    loads = [sum(size for size, owner in zip(sizes, chosen, strict=True) if owner == rank) for rank in (0, 1)]
    assert set(chosen) == {0, 1}
    assert abs(loads[0] - loads[1]) <= max(sizes)


@pytest.mark.parametrize(("dim", "kept"), [(0, [[4.0, 5.0], [6.0, 7.0]]), (1, [[1.0], [3.0], [5.0], [7.0]])])
def test_a_rank_keeps_its_share_of_a_weight(dim: int, kept: list[list[float]]) -> None:
    experts, second_of_two = nn.Module(), SimpleNamespace(size=lambda: 2, get_local_rank=lambda: 1)
    experts.register_parameter("gate", nn.Parameter(torch.arange(8.0).view(4, 2)))
    keep(experts, "gate", dim, cast("DeviceMesh", second_of_two))
    share = experts.get_parameter("gate")
    assert torch.equal(share, torch.tensor(kept))
    assert share.is_contiguous()


def test_tp_refuses_a_mixture_that_does_not_offer_what_it_takes_hold_of() -> None:
    tp, mixture = cast("DeviceMesh", SimpleNamespace(size=lambda: 2, get_local_rank=lambda: 0)), MixtureOfExperts(4, 6, 2, 1, 8)
    mixture.shared = GatedMLP(4, 8)
    mixture.shared.gate = nn.Linear(4, 8)
    with pytest.raises(UserError, match="inside a mixture gate has a bias"):
        divide_mixture(mixture, tp, None)
    del mixture.mix
    with pytest.raises(UserError, match="through an attribute `mix`"):
        divide_mixture(mixture, tp, None)


@pytest.mark.parametrize("odd", [{"batch_first": False}, {"bias": False}, {"bidirectional": True}, {"proj_size": 2}], ids=str)
def test_tp_refuses_an_lstm_that_it_cannot_divide(odd: dict[str, Any]) -> None:
    tp, made = cast("DeviceMesh", SimpleNamespace(get_group=lambda: None)), {"batch_first": True} | odd
    with pytest.raises(UserError, match=r"tp of LSTM\(3, 4.*one direction and no projection"):
        divide_recurrent(nn.ModuleList([nn.LSTM(3, 4, **made)]), tp)


@pytest.mark.parametrize(("shape", "ranks", "dim"), [((4, 6, 8), 2, 0), ((1, 6, 8), 2, 1), ((3, 5, 8), 4, 2), ((3, 5, 7), 4, 0)])
def test_fsdp_shares_experts_out_along_what_it_can_share_evenly(shape: tuple[int, ...], ranks: int, dim: int) -> None:
    assert _even(ranks, nn.Parameter(torch.empty(shape))).dim == dim


@pytest.mark.parametrize("cell, gates", [(_LSTM, 4), (_SIGMOID, 1)])
@pytest.mark.parametrize("first", [True, False])
def test_the_backward_pass_of_a_cell_is_autograds(cell: Any, gates: int, first: bool) -> None:
    torch.manual_seed(0)
    whole = torch.randn(3, gates * 5, dtype=torch.float64, requires_grad=True)
    before = torch.randn(3, 5, dtype=torch.float64, requires_grad=True) if first and gates == 4 else None
    if gates == 4:
        i, f, g, o = whole.chunk(4, 1)
        state = i.sigmoid() * g.tanh() if before is None else i.sigmoid() * g.tanh() + f.sigmoid() * before
        out = o.sigmoid() * state.tanh()
    else:
        state, out = whole * 0, whole.sigmoid()
    d_out, d_state = torch.randn_like(out), torch.randn_like(state) * (gates == 4)
    wanted = torch.autograd.grad((out, state), [x for x in (whole, before) if x is not None], (d_out, d_state))
    with torch.no_grad():
        activated, made = whole.clone(), torch.empty_like(state)
        torch.testing.assert_close(cell.forward(activated, before, made), out)
        d_gates, d_before = cell.backward(activated, before, made, d_out, d_state)
    torch.testing.assert_close(d_gates, wanted[0])
    if before is not None:
        torch.testing.assert_close(d_before, wanted[1])


@pytest.mark.parametrize("predicted", ["all", "first", "last", "given"])
@pytest.mark.parametrize("ranks", [2, 4])
def test_the_losses_of_shares_have_the_whole_ones_mean(predicted: Any, ranks: int) -> None:
    """Also where a rank has no target at all: here one sequence has two, of eight and more places."""
    torch.manual_seed(1)
    samples, length, classes = 1, 4 * ranks, 7
    tokens, logits = torch.arange(length).expand(samples, -1), torch.randn(length, classes)
    positions = torch.tensor([[0, length - 1]])
    stands = {"all": tokens, "first": positions[:, :1], "last": positions[:, -1:], "given": positions}[predicted]
    targets = torch.randint(classes, stands.shape)
    given = (tokens, positions) if predicted == "given" else (tokens,)

    def loss(module: nn.Module, *inputs: Tensor) -> Tensor:
        return functional.cross_entropy(module(*inputs[:-1]).flatten(0, -2), inputs[-1].flatten())

    def found(held: Mapping[int, tuple[Tensor, int]] | None, step: Step) -> Tensor:
        head = MaskedHead(classes, classes)
        head.dense, head.norm, head.projection, head.held = Doubled(), nn.Identity(), nn.Identity(), held
        pick = {"first": slice(0, 1), "last": slice(-1, None)}.get(predicted, slice(None))
        made: Any = head if predicted == "given" else lambda x: functional.gelu(2 * x[:, pick])
        return step.loss(lambda tokens, *rest: made(logits[tokens], *rest), *step.inputs)

    whole = replace(step_of(nn.Identity(), (*given, targets)), loss=loss, predicted=predicted)
    shares = []
    for rank in range(ranks):
        held = {length // ranks: (places(rank, ranks, length, tokens.device), length)}
        shares.append(found(held, shared(whole, held, ranks)))
    torch.testing.assert_close(torch.stack(shares).mean(), found(None, whole))


class Doubled(nn.Module):
    """Twice its input."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def step_of(module: nn.Module, inputs: tuple[Tensor, ...], micro_batches: int = 1) -> Step:
    def optimizer(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=0.1)

    return Step(
        parts=(module,),
        inputs=inputs,
        micro_batches=micro_batches,
        loss=lambda model, x: model(x).square().mean(),
        optimizer=optimizer,
        passes=accumulated,
    )


def test_micro_batches_have_the_gradient_of_all_samples_at_once() -> None:
    torch.manual_seed(0)
    module, x = nn.Linear(4, 3), torch.randn(6, 4)
    losses, gradients = [], []
    for micro_batches in (1, 3):
        module.zero_grad()
        losses.append(accumulated(step_of(module, (x,), micro_batches))())
        gradients.append(module.weight.grad)
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("clip_norm", [0.1, 100.0])
def test_clipping_on_one_rank_is_torchs(clip_norm: float) -> None:
    module = nn.Linear(4, 3)
    for p in module.parameters():
        p.grad = torch.ones_like(p)
    clipping(step_of(module, ()), clip_norm)()
    found = [p.grad for p in module.parameters()]
    for p in module.parameters():
        p.grad = torch.ones_like(p)
    nn.utils.clip_grad_norm_(module.parameters(), clip_norm)
    for one, p in zip(found, module.parameters(), strict=True):
        torch.testing.assert_close(one, p.grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_clipping_of_narrow_gradients_squares_them_in_fp32(dtype: torch.dtype) -> None:
    module = nn.Linear(64, 64, bias=False, dtype=dtype)
    module.weight.grad = torch.full_like(module.weight, 64.0)
    clipping(step_of(module, ()), 1.0)()
    assert module.weight.grad.dtype == dtype
    assert float(module.weight.grad.double().norm()) == pytest.approx(1.0, rel=1e-2)


def whole_and_stages(workload: str, stages: int, **settings: Any) -> tuple[Any, Any, list[Stage]]:
    """What a workload built, in fp64, its loss's gradients, and the model cut into so many stages."""
    chosen = registry.load("workloads", workload, Workload)
    config = codec.convert(SIZES[workload] | settings, chosen.config, source=workload)
    built: Any = chosen.build(config, Context(device=torch.device("cpu"), dtype="fp64"))
    gradients = torch.autograd.grad(built.loss(built.module, *built.inputs), list(built.module.parameters()))
    return built, gradients, [Stage(built.module, pieces) for pieces in dealt(chosen.cost(config, "fp64"), Layout(pp=stages))]


@pytest.mark.parametrize("stages", [2, 3, 4, 6])
@pytest.mark.parametrize("workload", ["bert", "lstm_lm", "moe", "seq2seq", "t5", "transformer"])
def test_stages_one_after_the_other_are_the_model(workload: str, stages: int) -> None:
    built, wanted, cut = whole_and_stages(workload, stages, layers=4)
    rest = {f"rest_{i}": x for i, x in enumerate(built.inputs[1:-1])}
    handed: list[Tensor] = []

    def through(*_: Tensor) -> Any:
        nonlocal handed
        state: Any = built.inputs[0]
        for stage in cut:
            state = stage(*(state if isinstance(state, tuple) else (state,)), **rest)
            handed += [] if stage.head else list(state if isinstance(state, tuple) else (state,))
        return state

    loss = built.loss(through, *built.inputs)
    for ours, theirs in zip(torch.autograd.grad(loss, list(built.module.parameters())), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
    assert all(x.is_contiguous() and not x._is_view() for x in handed)
    names = [name for stage in cut for name, _ in stage.named_parameters(remove_duplicate=False)]
    assert sorted(names) == sorted(name for name, _ in built.module.named_parameters(remove_duplicate=False))


def test_gradients_that_go_back_to_the_stage_before_are_contiguous() -> None:
    """nn.LSTM gives its input a transposed one, which can't be sent as it lies."""
    _, _, (_, last) = whole_and_stages("lstm_lm", 2)
    x = torch.randn(4, 8, 24, dtype=torch.float64, requires_grad=True)
    outputs, plain = last(x), last.layers["0"](x)
    (gradient,), (transposed,) = (torch.autograd.grad(y, x, torch.randn_like(y)) for y in (outputs, plain))
    assert gradient.is_contiguous()
    assert not transposed.is_contiguous()


def test_a_model_of_other_pieces_than_its_cost_is_refused() -> None:
    model: Any = nn.Module()
    model.embed, model.head, model.layers = nn.Embedding(5, 4), nn.Linear(4, 5), nn.ModuleList([nn.Linear(4, 4)])
    pipeline: Any = SimpleNamespace(dealt=(range(2), range(2, 4)))
    with pytest.raises(UserError, match="has 4 pieces; embedding, layers and head are 3"):
        cut(step_of(model, ()), pipeline)


def test_tied_ends_are_gathered_together() -> None:
    model: Any = nn.Module()
    model.embed, model.head, model.layers = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False), nn.ModuleList([nn.Linear(4, 4)])
    assert [len(modules) for modules in groups(model)] == [1, 1, 1]
    model.head.weight = model.embed.weight
    assert [len(modules) for modules in groups(model)] == [2, 1]
    assert list(groups(nn.Linear(2, 2))) == []
