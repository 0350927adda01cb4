"""The models against torch's own layers and against formulas written out in numpy: not only equal to themselves in float64."""

import functools
from typing import Any

import numpy as np
import pytest
import torch
from hwbench.workloads import bert, gpt, llama, lstm_lm
from hwbench.workloads._bert_blocks import EPSILON, PostNormLayer
from hwbench.workloads._blocks import MLP, PreNormLayer, SelfAttention
from hwbench.workloads._llama_blocks import RMSNorm, rotary_table, rotate
from hwbench.workloads._recurrent_blocks import LSTMLayers, stacked
from hwbench.workloads._tensors import relative_distance
from torch import Tensor, nn
from torch.nn import functional

from hwbench.core.workload import Context

EXACT = Context(device=torch.device("cpu"), dtype="fp64")
HIDDEN, HEADS, INNER = 24, 3, 40


def copy_layer(ours: Any, theirs: nn.TransformerEncoderLayer) -> None:
    """Give torch's layer our weights: our qkv columns are (head, q/k/v, d), torch's (q/k/v, head, d)."""
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_()
        width = HIDDEN // HEADS
        weight = ours.attention.qkv.weight.view(HEADS, 3, width, HIDDEN).transpose(0, 1).reshape(3 * HIDDEN, HIDDEN)
        bias = ours.attention.qkv.bias.view(HEADS, 3, width).transpose(0, 1).reshape(-1)
        theirs.self_attn.in_proj_weight.copy_(weight)
        theirs.self_attn.in_proj_bias.copy_(bias)
    pairs = [
        (theirs.self_attn.out_proj, ours.attention.out),
        (theirs.norm1, ours.attention_norm),
        (theirs.norm2, ours.mlp_norm),
        (theirs.linear1, ours.mlp.up),
        (theirs.linear2, ours.mlp.down),
    ]
    for theirs_part, ours_part in pairs:
        theirs_part.load_state_dict(ours_part.state_dict())


@pytest.mark.parametrize("first, causal, approximate", [(True, True, "tanh"), (False, False, "none")])
def test_layers_equal_torchs_transformer_layer(first: bool, causal: bool, approximate: str) -> None:
    torch.manual_seed(0)
    attention, mlp = SelfAttention(HIDDEN, HEADS, 0.0, causal=causal), MLP(HIDDEN, INNER, approximate)
    kind = PreNormLayer if first else PostNormLayer
    ours = kind(lambda: nn.LayerNorm(HIDDEN, EPSILON), attention, mlp, 0.0).double()
    activation = functools.partial(functional.gelu, approximate=approximate)
    settings = {"dropout": 0.0, "layer_norm_eps": EPSILON, "batch_first": True, "norm_first": first, "dtype": torch.float64}
    theirs = nn.TransformerEncoderLayer(HIDDEN, HEADS, INNER, activation=activation, **settings)
    copy_layer(ours, theirs)
    x = torch.randn(2, 9, HIDDEN, dtype=torch.float64)
    mask = nn.Transformer.generate_square_subsequent_mask(9, dtype=torch.float64) if causal else None
    torch.testing.assert_close(ours(x), theirs(x, src_mask=mask, is_causal=causal), rtol=1e-10, atol=1e-10)


def test_a_gpts_position_sees_only_earlier_tokens_and_a_berts_sees_all() -> None:
    for module, sees in ((gpt, False), (bert, True)):
        config = module.Config(vocabulary=50, hidden=16, layers=2, seq_len=12, micro_batch=1)
        model = module.build(config, EXACT).module
        model.head = nn.Identity()
        tokens = torch.randint(50, (1, 12))
        changed = tokens.clone()
        changed[0, -1] = (tokens[0, -1] + 1) % 50
        same = torch.equal(model(tokens)[0, :11], model(changed)[0, :11])
        assert same != sees


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def numpy_llama(config: llama.Config, weights: dict[str, Any], tokens: Any) -> Any:
    """Logits of one sequence, straight from the papers' formulas."""
    d, group = config.hidden // config.heads, config.heads // config.kv_heads
    x = weights["embed.tokens.weight"][tokens]
    s = len(tokens)
    angle = np.arange(s)[:, None] * config.rope_theta ** (-np.arange(0, d, 2) / d)

    def rms(x: Any, name: str) -> Any:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * weights[name]

    def turn(x: Any) -> Any:
        z = (x[:, 0::2] + 1j * x[:, 1::2]) * np.exp(1j * angle)
        return np.stack([z.real, z.imag], -1).reshape(s, d)

    for i in range(config.layers):
        part = f"layers.{i}."
        y = rms(x, part + "attention_norm.weight")
        q, k, v = (y @ weights[f"{part}attention.{name}.weight"].T for name in ("query", "key", "value"))
        mixed = []
        for head in range(config.heads):
            shared = head // group
            scores = turn(q[:, head * d : (head + 1) * d]) @ turn(k[:, shared * d : (shared + 1) * d]).T / np.sqrt(d)
            scores[np.triu_indices(s, 1)] = -np.inf
            mixed.append(softmax(scores) @ v[:, shared * d : (shared + 1) * d])
        x = x + np.concatenate(mixed, 1) @ weights[part + "attention.out.weight"].T
        y = rms(x, part + "mlp_norm.weight")
        gate = y @ weights[part + "mlp.gate.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (y @ weights[part + "mlp.up.weight"].T)) @ weights[part + "mlp.down.weight"].T
    return rms(x, "head.norm.weight") @ weights["head.projection.weight"].T


def test_llama_equals_its_formulas() -> None:
    config = llama.Config(vocabulary=31, hidden=24, layers=2, heads=6, kv_heads=2, mlp=20, seq_len=11, micro_batch=2)
    step = llama.build(config, EXACT)
    with torch.no_grad():
        for parameter in step.module.parameters():
            parameter.normal_(std=0.3)
    weights = {name: p.detach().numpy() for name, p in step.module.named_parameters()}
    tokens, targets = step.inputs
    logits = np.stack([numpy_llama(config, weights, row.numpy()) for row in tokens])
    # 1e-5: the table of angles is in fp32, whatever the dtype
    np.testing.assert_allclose(step.module(*step.inputs[:-1]).detach().numpy(), logits, rtol=1e-5, atol=1e-5)
    wanted = -np.log(softmax(logits).reshape(-1, 31)[np.arange(22), targets.flatten().numpy()]).mean()
    assert step.loss(step.module, *step.inputs).item() == pytest.approx(wanted, rel=1e-5)


def test_the_lstm_language_model_equals_its_formulas() -> None:
    config = lstm_lm.Config(vocabulary=31, embedding=5, hidden=6, seq_len=7, micro_batch=2, dropout=0.0)
    step = lstm_lm.build(config, EXACT)
    weights = {name: p.detach().numpy() for name, p in step.module.named_parameters()}
    x = weights["embed.tokens.weight"][step.inputs[0].numpy()]
    for i in range(2):
        w, r, b, c = (weights[f"layers.0.lstm.{kind}_l{i}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        h = cell = np.zeros((2, 6))
        outputs = []
        for t in range(7):
            i_, f, g, o = np.split(x[:, t] @ w.T + b + h @ r.T + c, 4, 1)
            cell = cell / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i_))
            h = np.tanh(cell) / (1 + np.exp(-o))
            outputs.append(h)
        x = np.stack(outputs, 1)
    logits = x @ weights["head.projection.weight"].T + weights["head.projection.bias"]
    np.testing.assert_allclose(step.module(step.inputs[0]).detach().numpy(), logits, rtol=1e-10, atol=1e-12)


def test_bert_predicts_what_stood_at_the_masked_positions() -> None:
    config = bert.Config(vocabulary=50, hidden=16, layers=1, seq_len=20, micro_batch=3, masked_fraction=0.2)
    step = bert.build(config, EXACT)
    tokens, positions, targets = step.inputs
    assert positions.shape == targets.shape == (3, 4)
    assert all(len(set(row)) == 4 for row in positions.tolist())
    assert bool((tokens.gather(1, positions) == 49).all())
    assert step.module(tokens, positions).shape == (3, 4, 50)


@pytest.mark.parametrize("dtype, near", [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_the_cpus_rms_norm_equals_torchs_and_so_does_its_gradient(dtype: torch.dtype, near: float) -> None:
    torch.manual_seed(0)
    x, dy = (torch.randn(3, 5, 32, dtype=dtype) for _ in range(2))
    norm = RMSNorm(32).to(dtype)
    with torch.no_grad():
        norm.weight.normal_()
    results = []
    for function in (norm, lambda x: functional.rms_norm(x, (32,), norm.weight, 1e-5)):
        given = x.clone().requires_grad_()
        y = function(given)
        results.append((y, *torch.autograd.grad(y, (given, norm.weight), dy)))
    assert relative_distance(*results) < near


def test_rotation_keeps_lengths_and_depends_on_distance_only() -> None:
    table = rotary_table(16, 8, 10_000.0)
    q, k = (torch.randn(8).expand(1, 16, 1, 8) for _ in range(2))
    turned_q, turned_k = (rotate(x, table)[0, :, 0] for x in (q, k))
    torch.testing.assert_close(turned_q.norm(dim=1), q[0, :, 0].norm(dim=1))
    scores: Tensor = turned_q @ turned_k.T
    for offset in range(-15, 16):
        diagonal = scores.diagonal(offset)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-4, atol=1e-4)


def test_lstm_layers_that_a_cut_takes_apart_are_the_stack_with_its_dropout_between_them() -> None:
    torch.manual_seed(0)
    stack = LSTMLayers(stacked(4, 6, 3, 0.5), 0.5)
    first, last = stack.only(range(2)), stack.only(range(2, 3))
    x = torch.randn(5, 7, 4)
    assert [*dict(first.named_parameters()), *dict(last.named_parameters())] == list(dict(stack.named_parameters()))
    assert (first(x) == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert not (last(first(x)) == 0).any()
    for part in (stack, first, last):
        part.eval()
    torch.testing.assert_close(last(first(x)), stack(x))
