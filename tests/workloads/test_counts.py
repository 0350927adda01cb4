"""Closed forms against numbers worked by hand, and rules that hold for every size."""

import pytest
from hwbench.workloads import attention, bert, embedding, gpt, llama, lstm, lstm_lm, matmul, moe, triad
from hwbench.workloads._count import adamw, adamw_state_bytes, element_bytes, product
from hypothesis import given
from hypothesis import strategies as st

from hwbench.core.errors import UserError
from hwbench.core.workload import Cost

SIZES = st.integers(1, 64)


def test_triad_by_hand() -> None:
    counted = triad.cost(triad.Config(elements=10), "fp64")
    assert counted.flops == 20  # a product and a sum an element
    assert counted.bytes == 3 * 10 * 8  # b and c read, a written, 8 bytes each


def test_matmul_by_hand() -> None:
    counted = matmul.cost(matmul.Config(m=2, n=3, k=4), "fp32")
    assert counted.flops == 2 * 2 * 3 * 4 == 48
    assert counted.bytes == 4 * (2 * 4 + 4 * 3 + 2 * 3) == 104  # both operands and the result
    assert not counted.training


def test_embedding_by_hand() -> None:
    config = embedding.Config(vocabulary=10, dim=4, tokens=3)
    counted = embedding.cost(config, "fp32")
    forward = 3 * (8 + 16 + 16)  # an id, a row of 4·4 bytes read and written
    backward = 3 * (8 + 16) + 10 * 16  # ids, rows' gradients, the whole table's gradient
    assert (counted.flops, counted.bytes, counted.parameters) == (0, forward + backward, 40)
    assert embedding.cost(embedding.Config(vocabulary=10, dim=4, tokens=3, passes="forward"), "fp32").bytes == forward


def test_lstm_by_hand() -> None:
    config = lstm.Config(batch=1, seq_len=2, input_size=3, hidden=2)
    counted = lstm.cost(config, "fp32")
    inputs = 2 * 2 * 8 * 3  # two steps, four gates of two units, three inputs
    states = 2 * 2 * 8 * 2  # the same from two units
    assert counted.forward_flops == inputs + states == 160
    assert counted.flops == 3 * 160
    assert counted.parameters == 8 * 3 + 8 * 2 + 8 + 8 == 56


def test_attention_by_hand() -> None:
    config = attention.Config(batch=1, heads=2, kv_heads=1, seq_len=4, head_dim=8)
    counted = attention.cost(config, "fp16")
    assert counted.forward_flops == 2 * (2 * (2 * 4 * 4 * 8)) == 1024  # two heads, two products of 4·4·8
    assert counted.flops == 3 * 1024
    assert counted.executed_flops == 3 * 1024 * 10 / 16  # of 16 entries 1 + 2 + 3 + 4 are not masked
    q, kv = 4 * 2 * 8 * 2, 4 * 1 * 8 * 2  # bytes of Q (also O) and of K (also V)
    forward, backward = 2 * q + 2 * kv, 4 * q + 4 * kv  # Q, K, V, O; then Q, K, V, O, dO and dQ, dK, dV
    assert counted.bytes == forward + backward
    full = attention.cost(attention.Config(batch=1, heads=2, kv_heads=1, seq_len=4, head_dim=8, causal=False), "fp16")
    assert full.executed_flops == full.flops == counted.flops


def test_gpt_by_hand() -> None:
    counted = gpt.cost(gpt.Config(vocabulary=10, hidden=4, layers=1, heads=2, seq_len=3, micro_batch=1), "fp32")
    # Tables 10·4 + 3·4 = 52. Layer: qkv 4·12 + 12, out 4·4 + 4, up 4·16 + 16, down 16·4 + 4, norms 2·8: 60 + 20 + 80 + 68 + 16 = 244.
    # Final norm 8. The projection is tied.
    assert counted.parameters == 52 + 244 + 8 == 304
    # A token meets 12·4² = 192 weights of the layer and 40 of the projection: 2·232·3 tokens = 1,392 forward.
    # Attention: 4·s²·h = 4·9·4 = 144 forward. Three times both for forward and backward.
    assert counted.flops == 3 * (1392 + 144) == 4608
    assert counted.items == 3
    # Kept, in fp32. Embedding: 3 ids of 8. Layer: 3 tokens·(8h + 2f = 64)·4, and 3·(2·2 + 2 heads)·4 statistics.
    # Head: 3·2·4·4 around the norm, 3·2·4 its statistics, log-probabilities 3·10·4 and 3 targets of 8.
    assert counted.activation_bytes == 24 + (768 + 72) + (96 + 24 + 120 + 24) == 1128


def test_llama_by_hand() -> None:
    config = llama.Config(vocabulary=10, hidden=8, layers=1, heads=4, kv_heads=2, mlp=12, seq_len=3, micro_batch=1)
    counted = llama.cost(config, "fp32")
    # Heads are 2 wide. Layer: query 64, key 32, value 32, out 64, gate, up and down 3·96, norms 16. Tables 80 twice, final norm 8.
    assert counted.parameters == 80 + (192 + 288 + 16) + 8 + 80 == 664
    assert counted.flops == 3 * (2 * 3 * (192 + 288 + 80) + 4 * 9 * 8) == 10944
    # Layer: 3 tokens·(4h + (4 + 4)·2 + h + 4f = 32 + 16 + 8 + 48 = 104)·4, and 3·(2 + 4)·4 statistics.
    assert counted.blocks[1].activation_bytes == 1248 + 72


def test_bert_by_hand() -> None:
    counted = bert.cost(bert.Config(vocabulary=10, hidden=4, layers=1, heads=2, seq_len=10, micro_batch=1), "fp32")
    # Tables (10 + 10 + 2)·4 and a norm 8; the layer of GPT 244; head: dense 20, norm 8, the projection's bias 10.
    assert counted.parameters == 96 + 244 + 38 == 378
    # Layer 2·192·10, attention 4·100·4; 15 % of 10 is 2 masked rows through dense 16 and projection 40: 2·2·56.
    assert counted.flops == 3 * (3840 + 1600 + 224) == 16992


def test_moe_by_hand() -> None:
    config = moe.Config(
        vocabulary=10, hidden=8, layers=1, heads=4, kv_heads=2, mlp=5, experts=3, topk=2, shared_mlp=6, seq_len=3, micro_batch=1
    )
    counted = moe.cost(config, "fp32")
    # Attention 192 as in the Llama above; router 8·3; three experts of 3·8·5 = 120; shared 3·8·6 = 144; norms 16.
    # Tables 80 twice, final norm 8.
    assert counted.parameters == 80 + (192 + 24 + 3 * 120 + 144 + 16) + 8 + 80 == 904
    assert counted.blocks[1].expert_parameters == 360
    # A token meets attention, router, two experts, the shared one and the projection.
    assert counted.flops == 3 * (2 * 3 * (192 + 24 + 2 * 120 + 144 + 80) + 4 * 9 * 8) == 13104


def test_lstm_lm_by_hand() -> None:
    config = lstm_lm.Config(vocabulary=10, embedding=3, hidden=2, layers=1, seq_len=2, micro_batch=1)
    counted = lstm_lm.cost(config, "fp32")
    assert counted.parameters == 30 + 56 + (2 * 10 + 10)  # table, layer as above, projection with bias
    assert counted.flops == 3 * (160 + 2 * 2 * 10 * 2) == 720


def test_adamw_by_hand() -> None:
    # fp32: clipping 3·4; weight, gradient, two moments read, weight and moments written 7·4. bf16: 3·2, 7·4, and 2 + 4 twice for copies.
    assert sum(op.bytes for op in adamw(1, "fp32")) == 12 + 28
    assert sum(op.bytes for op in adamw(1, "bf16")) == 6 + 28 + 12
    assert (adamw_state_bytes("fp32"), adamw_state_bytes("bf16"), adamw_state_bytes("fp64")) == (12, 14, 24)


@given(SIZES, SIZES, SIZES, SIZES)
def test_a_batch_of_products_is_the_sum_of_its_products(m: int, n: int, k: int, batch: int) -> None:
    one, many = product("p", m, n, k, 2), product("p", m, n, k, 2, batch=batch)
    assert (many.flops, many.bytes, many.backward_bytes) == (batch * one.flops, batch * one.bytes, batch * one.backward_bytes)


@given(st.integers(1, 6), st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4]), SIZES, st.integers(1, 5))
def test_a_step_grows_with_its_batch_and_layers_as_it_should(layers: int, heads: int, group: int, seq_len: int, batch: int) -> None:
    def of(layers: int, batch: int) -> Cost:
        shape = {"heads": heads * group, "kv_heads": heads, "hidden": heads * group * 4, "seq_len": seq_len}
        counted: Cost = llama.cost(llama.Config(**shape, layers=layers, micro_batch=batch), "bf16")
        return counted

    one, more = of(layers, 1), of(layers, batch)
    assert more.flops == batch * one.flops
    assert more.activation_bytes == batch * one.activation_bytes
    assert more.parameters == one.parameters
    per_layer = of(layers + 1, 1).flops - one.flops
    assert per_layer == of(layers + 2, 1).flops - of(layers + 1, 1).flops > 0
    assert one.flops / 2 <= one.executed_flops <= one.flops


def test_model_flops_are_six_a_weight_and_token_plus_attention() -> None:
    """PaLM's formula (arXiv 2204.02311, appendix B): 6N + 12·L·h·s a token, N the weights in products."""
    c = gpt.Config(vocabulary=50_257, hidden=768, layers=12, heads=12, seq_len=1024, positions=1024)
    weights = 12 * 12 * 768**2 + 50_257 * 768
    assert gpt.cost(c, "bf16").flops / (c.micro_batch * c.seq_len) == 6 * weights + 12 * 12 * 768 * 1024


IMPOSSIBLE = [
    (matmul.cost, matmul.Config(m=0), ["m=0"]),
    (triad.cost, triad.Config(elements=-1), ["elements=-1"]),
    (embedding.cost, embedding.Config(tokens=0), ["tokens=0"]),
    (lstm.cost, lstm.Config(hidden=0), ["hidden=0"]),
    (attention.cost, attention.Config(heads=8, kv_heads=3), ["kv_heads=3", "heads=8", "2·3 + 2"]),
    (attention.cost, attention.Config(head_dim=0), ["head_dim=0"]),
    (gpt.cost, gpt.Config(hidden=100, heads=12), ["heads=12", "hidden=100", "8·12 + 4"]),
    (gpt.cost, gpt.Config(seq_len=128, positions=64), ["seq_len=128", "positions=64"]),
    (gpt.cost, gpt.Config(layers=0), ["layers=0"]),
    (gpt.cost, gpt.Config(mlp=-4), ["mlp=-4"]),
    (gpt.cost, gpt.Config(dropout=1.0), ["dropout=1.0"]),
    (llama.cost, llama.Config(heads=4, kv_heads=3), ["kv_heads=3", "heads=4"]),
    (llama.cost, llama.Config(hidden=12, heads=4), ["12/4 = 3", "even"]),
    (llama.cost, llama.Config(rope_theta=0.0), ["rope_theta=0.0"]),
    (moe.cost, moe.Config(experts=4, topk=5), ["topk=5", "experts=4"]),
    (moe.cost, moe.Config(balance=-1.0), ["balance=-1.0"]),
    (bert.cost, bert.Config(masked_fraction=-0.1), ["masked_fraction=-0.1"]),
    (bert.cost, bert.Config(seq_len=600, positions=512), ["seq_len=600", "positions=512"]),
    (lstm_lm.cost, lstm_lm.Config(vocabulary=0), ["vocabulary=0"]),
    (lstm_lm.cost, lstm_lm.Config(dropout=-0.5), ["dropout=-0.5"]),
]


@pytest.mark.parametrize("cost, config, parts", IMPOSSIBLE, ids=[" ".join(parts) for _, _, parts in IMPOSSIBLE])
def test_impossible_shapes_are_refused_with_their_numbers(cost, config, parts) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError) as caught:
        cost(config, "fp32")
    for part in parts:
        assert part in caught.value.message


def test_unknown_dtypes_are_refused_and_fp8_is_stored_as_bf16() -> None:
    with pytest.raises(UserError, match="'fp7'"):
        gpt.cost(gpt.Config(), "fp7")
    assert element_bytes("fp8") == element_bytes("bf16") == 2
