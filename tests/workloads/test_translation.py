"""Encoder-decoder models and recurrent ones: hand-worked numbers, torch's own layers and formulas."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hwbench.workloads import rnn_lm, seq2seq, t5, transformer
from hwbench.workloads._translation_blocks import biased_attention, buckets, sinusoids
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from hwbench.core.errors import UserError
from hwbench.core.workload import Context

EXACT = Context(device=torch.device("cpu"), dtype="fp64")
META = Context(device=torch.device("meta"), dtype="fp32")


def test_rnn_lm_by_hand() -> None:
    counted = rnn_lm.cost(rnn_lm.Config(vocabulary=10, embedding=3, hidden=2, seq_len=4, micro_batch=1), "fp32")
    # Table 30, cell 2·(2 + 3) + 2, projection 2·10 + 10.
    assert counted.parameters == 30 + 12 + 30
    # Four inputs 2·3, three states 2·2 (the first is zero), four projections 2·10; a multiply-add is two.
    assert counted.flops == 3 * 2 * (4 * 6 + 3 * 4 + 4 * 20) == 696


def test_seq2seq_by_hand() -> None:
    counted = seq2seq.cost(seq2seq.Config(vocabulary=10, embedding=3, hidden=2, source_len=2, target_len=3, micro_batch=1), "fp32")
    # Two tables 30, two LSTMs 8·(3 + 2 + 2) = 56, projection 30.
    assert counted.parameters == 2 * 30 + 2 * 56 + 30
    # A step of an LSTM: 8·(3 + 2) = 40 multiply-adds; two and three of them; three projections of 20.
    assert counted.flops == 3 * 2 * (5 * 40 + 3 * 20) == 1560
    assert counted.items == 5


def test_transformer_by_hand() -> None:
    config = transformer.Config(vocabulary=10, hidden=4, layers=1, heads=2, mlp=6, source_len=3, target_len=2, micro_batch=1)
    counted = transformer.cost(config, "fp32")
    # Encoder: attention 4·(16 + 4) = 80, MLP 24 + 6 + 24 + 4 = 58, two norms of 8. Decoder: two attentions, MLP, three norms.
    assert counted.parameters == 40 + (80 + 58 + 16) + (160 + 58 + 24) == 436
    # A source token meets 64 + 48 weights of the encoder and the 32 of keys and values in the decoder; a target token 64 + 32 + 48 and the
    # projection's 40. Attention: 4·h·(3·3 + 2·2 + 2·3).
    assert counted.flops == 3 * (2 * 3 * (112 + 32) + 2 * 2 * (144 + 40) + 4 * 4 * 19) == 5712


def test_t5_by_hand() -> None:
    config = t5.Config(vocabulary=10, hidden=4, layers=1, heads=2, head_dim=3, mlp=5, source_len=3, target_len=2, micro_batch=1, buckets=8)
    counted = t5.cost(config, "fp32")
    # Table 40, position biases 2·8·2; encoder: attention 4·24, MLP 40, two norms of 4, one more; decoder: 8·24, 40, three norms, one more.
    assert counted.parameters == 40 + 32 + (96 + 40 + 8 + 4) + (192 + 40 + 12 + 4) == 468
    assert counted.flops == 3 * (2 * 3 * (96 + 40 + 48) + 2 * 2 * (96 + 48 + 40 + 40) + 4 * 6 * 19) == 7368


@pytest.mark.parametrize(
    "cost, config, parts",
    [
        (rnn_lm.cost, rnn_lm.Config(hidden=0), "hidden=0"),
        (seq2seq.cost, seq2seq.Config(target_len=0), "target_len=0"),
        (transformer.cost, transformer.Config(hidden=30, heads=4), "heads=4"),
        (t5.cost, t5.Config(buckets=6), "buckets=6"),
        (t5.cost, t5.Config(farthest=20), "farthest=20"),
    ],
)
def test_impossible_shapes_are_refused(cost: Any, config: Any, parts: str) -> None:
    with pytest.raises(UserError, match=parts):
        cost(config, "fp32")


def test_the_sigmoid_cell_equals_its_formula_and_so_do_its_gradients() -> None:
    config = rnn_lm.Config(vocabulary=13, embedding=5, hidden=6, seq_len=7, micro_batch=3)
    step = rnn_lm.build(config, EXACT)
    module, (tokens, following) = step.module, step.inputs
    weight, bias = module.layers[0].joined.parameters()
    rows, state, outputs = module.embed.tokens(tokens), torch.zeros(3, 6, dtype=torch.float64), []
    for t in range(7):
        state = torch.sigmoid(torch.cat([state, rows[:, t]], 1) @ weight.t() + bias)
        outputs.append(state)
    logits = module.head(torch.stack(outputs, 1))
    wanted = functional.cross_entropy(logits.flatten(0, 1), following.flatten())
    found = step.loss(module, *step.inputs)
    for ours, theirs in zip(*(torch.autograd.grad(loss, list(module.parameters())) for loss in (found, wanted)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_a_sequence_of_one_word_has_no_recurrent_product() -> None:
    config = rnn_lm.Config(vocabulary=13, embedding=5, hidden=6, seq_len=1, micro_batch=3)
    step = rnn_lm.build(config, EXACT)
    torch.autograd.backward(step.loss(step.module, *step.inputs))
    assert rnn_lm.cost(config, "fp64").blocks[1].operators[1].flops == 0


def test_seq2seq_flops_are_those_of_its_cells() -> None:
    """On the meta device LSTMs run as cells. Fused kernels also find the gradient of the encoder's first state, as is counted."""
    config = seq2seq.Config(vocabulary=50, embedding=6, hidden=8, layers=2, source_len=5, target_len=7, micro_batch=3)
    step = seq2seq.build(config, META)
    with FlopCounterMode(display=False) as counter:
        torch.autograd.backward(step.loss(step.module, *step.inputs))
    first_states = 2 * (2 * 3 * 4 * 8 * 8)
    assert counter.get_total_flops() + first_states == seq2seq.cost(config, "fp32").flops


def test_the_decoder_of_seq2seq_starts_from_the_encoders_last_state() -> None:
    step = seq2seq.build(seq2seq.Config(vocabulary=20, embedding=5, hidden=6, source_len=4, target_len=3, micro_batch=2), EXACT)
    module, (source, target, _) = step.module, step.inputs
    _, state = module.layers[0].lstm(module.embed(source))
    outputs, _ = module.layers[1].lstm(module.layers[1].table(target), state)
    torch.testing.assert_close(module(source, target), module.head(outputs))
    assert not torch.equal(module(source, target), module(source.flip(1), target))


def test_the_transformer_equals_torchs_own_layers() -> None:
    config = transformer.Config(vocabulary=31, hidden=24, layers=2, heads=4, mlp=40, source_len=7, target_len=9, micro_batch=2)
    model = transformer.build(config, EXACT).module
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    theirs = nn.Transformer(24, 4, 2, 2, 40, 0.0, batch_first=True, dtype=torch.float64)
    theirs.encoder.norm = theirs.decoder.norm = None  # torch adds norms behind the stacks that the paper doesn't have
    for ours, copy in zip(model.layers, [*theirs.encoder.layers, *theirs.decoder.layers], strict=True):
        copy_layer(ours, copy)
    source, target = torch.randint(31, (2, 7)), torch.randint(31, (2, 9))
    places = sinusoids(9, 24).double()
    x, y = (model.embed.tokens(ids) * math.sqrt(24) + places[: ids.shape[1]] for ids in (source, target))
    mask = nn.Transformer.generate_square_subsequent_mask(9, dtype=torch.float64)
    wanted = model.head((x, theirs(x, y, tgt_mask=mask, tgt_is_causal=True)))
    torch.testing.assert_close(model(source, target), wanted, rtol=1e-10, atol=1e-10)


def copy_layer(ours: Any, theirs: Any) -> None:
    """Give torch's layer our weights: our columns are (head, q/k/v, d), torch's (q/k/v, head, d)."""

    def regrouped(linear: Any, parts: int) -> tuple[Any, Any]:
        weight = linear.weight.view(4, parts, 6, 24).transpose(0, 1).reshape(parts * 24, 24)
        return weight, linear.bias.view(4, parts, 6).transpose(0, 1).reshape(-1)

    with torch.no_grad():
        pairs = [(theirs.self_attn, regrouped(ours.attention.function.qkv, 3), ours.attention)]
        if hasattr(ours, "cross"):
            memory = regrouped(ours.cross.function.memory, 2)
            query = ours.cross.function.query
            both = torch.cat([query.weight, memory[0]]), torch.cat([query.bias, memory[1]])
            pairs.append((theirs.multihead_attn, both, ours.cross))
        for attention, (weight, bias), part in pairs:
            attention.in_proj_weight.copy_(weight)
            attention.in_proj_bias.copy_(bias)
            attention.out_proj.load_state_dict(part.function.out.state_dict())
    theirs.linear1.load_state_dict(ours.mlp.function.up.state_dict())
    theirs.linear2.load_state_dict(ours.mlp.function.down.state_dict())
    norms = [ours.attention, *([ours.cross] if hasattr(ours, "cross") else []), ours.mlp]
    for i, part in enumerate(norms, 1):
        getattr(theirs, f"norm{i}").load_state_dict(part.norm.state_dict())


def test_t5s_buckets_are_its_papers() -> None:
    """Eight buckets each way up to distance 8 one by one, then on a logarithmic scale to 128 (32 buckets, both ways)."""
    both = buckets(300, 300, 32, 128, causal=False)
    assert both[150, 150].item() == 0
    assert [both[150, 150 - d].item() for d in (1, 7, 8, 127, 149)] == [1, 7, 8, 15, 15]
    assert [both[150, 150 + d].item() for d in (1, 7, 8, 127, 149)] == [17, 23, 24, 31, 31]
    causal = buckets(300, 300, 32, 128, causal=True)
    assert [causal[299, 299 - d].item() for d in (0, 15, 16, 127, 299)] == [0, 15, 16, 31, 31]
    assert bool((causal.triu(1) == 0).all())


def test_biased_attention_is_a_softmax_of_products_and_bias() -> None:
    q, k, v = (torch.randn(2, 3, 5, 4, dtype=torch.float64) for _ in range(3))
    bias = torch.randn(1, 3, 5, 5, dtype=torch.float64)
    scores = np.einsum("bhqd,bhkd->bhqk", q, k) + bias.numpy()
    shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    wanted = np.einsum("bhqk,bhkd->bhqd", shares, v)
    np.testing.assert_allclose(biased_attention(q, k, v, attn_mask=bias), wanted, rtol=1e-12)


@pytest.mark.parametrize("module", [t5, transformer], ids=["t5", "transformer"])
def test_a_target_position_sees_the_whole_source_and_only_earlier_targets(module: Any) -> None:
    config = module.Config(vocabulary=50, hidden=16, layers=2, heads=2, mlp=16, source_len=6, target_len=8, micro_batch=1)
    model = module.build(config, EXACT).module
    source, target = torch.randint(50, (1, 6)), torch.randint(50, (1, 8))
    other_source, other_target = source.clone(), target.clone()
    other_source[0, -1] = (source[0, -1] + 1) % 50
    other_target[0, -1] = (target[0, -1] + 1) % 50
    logits = model(source, target)
    assert torch.equal(model(source, other_target)[0, :7], logits[0, :7])
    assert not torch.equal(model(source, other_target)[0, 7], logits[0, 7])
    assert not torch.equal(model(other_source, target)[0, 0], logits[0, 0])
