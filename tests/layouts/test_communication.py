"""What each way to split sends, against volumes worked out by hand from the papers."""

from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hwbench.core.layout import Layout
from hwbench.core.parallel import Split, Transfer
from hwbench.core.registry import load, names
from hwbench.core.workload import Block, Cost, Division, Operator

TOKENS, HIDDEN, LAYERS, VOCABULARY = 4096, 1024, 8, 32_000
LAYER_PARAMETERS, EXPERTS = 12 * HIDDEN**2, 8 * HIDDEN**2
OUT = 2.0 * TOKENS * HIDDEN


def model(*, training: bool = True, top_k: int = 2, mixed: bool = True) -> Cost:
    expert = Operator(name="experts", kind="matmul", flops=1.0, bytes=1.0, m=TOKENS * top_k // 8, batch=8, n=1, k=1, division="expert")
    attention = Operator(name="attention", kind="attention", flops=1.0, bytes=4 * OUT, division="heads", batch=8, m=4096, k=128)
    layer = Block(
        name="layer",
        count=LAYERS,
        parameters=LAYER_PARAMETERS,
        expert_parameters=EXPERTS if mixed else 0,
        operators=(attention, expert) if mixed else (attention,),
        output_bytes=OUT,
        tp_all_reduces=2,
        ep_all_to_alls=2,
    )
    lookup = Operator(name="lookup", kind="embedding", flops=0.0, bytes=1.0, division="vocabulary")
    embedding = Block(name="embedding", parameters=VOCABULARY * HIDDEN, operators=(lookup,), output_bytes=OUT, tp_all_reduces=1)
    return Cost(blocks=(embedding, layer), dtype="bf16", items=TOKENS, micro_batch=2, training=training)


def sent(axis: str, layout: Layout, cost: Cost | None = None) -> tuple[Transfer, ...]:
    return load("layouts", axis, Split).communication(cost or model(), layout)


def volume(transfers: tuple[Transfer, ...], collective: str | None = None) -> float:
    return sum(t.count * t.message_bytes for t in transfers if collective in (None, t.collective))


@pytest.mark.parametrize("axis", list(names("layouts")))
def test_an_axis_that_is_not_used_sends_nothing(axis: str) -> None:
    assert sent(axis, Layout()) == ()


def test_tp_does_two_all_reduces_a_layer_and_pass_for_each_micro_batch() -> None:
    transfers = sent("tp", Layout(tp=4, microbatches=3), model(mixed=False))
    assert {t.collective for t in transfers} == {"all_reduce"}
    assert volume(transfers) == 3 * OUT * (2 * 2 * LAYERS + 1)
    assert all(t.overlaps is None and t.ranks == 4 for t in transfers)


def test_sequence_parallelism_sends_the_same_bytes_in_halves() -> None:
    plain, sequence = (sent("tp", Layout(tp=4, sp=sp), model(mixed=False)) for sp in (False, True))
    layers = volume(plain) - OUT  # the token table's rows are summed whole either way
    assert volume(sequence, "reduce_scatter") == layers
    assert volume(sequence, "all_gather") == layers + OUT  # its gradient is gathered


def test_sequence_parallelism_gathers_what_column_products_multiply_and_scatters_what_row_products_make() -> None:
    def product(division: Division, m: int, k: int, n: int) -> Operator:
        return Operator(name=division, kind="matmul", flops=1.0, bytes=1.0, division=division, m=m, k=k, n=n)

    products = (product("column", 6, 4, 8), product("column", 10, 4, 16), product("row", 6, 8, 4))
    norm = Operator(name="norm", kind="memory", flops=0.0, bytes=1.0, division="sequence", function="layer_norm")
    block = Block(name="layer", count=3, parameters=0, operators=(*products, norm), output_bytes=4.0 * 16 * 4, tp_all_reduces=1)
    transfers = sent("tp", Layout(tp=2, sp=True), Cost(blocks=(block,), dtype="fp32", items=16, training=True))
    forward = {t.collective: t.count * t.message_bytes for t in transfers if t.during == "forward"}
    assert forward == {"all_gather": 3 * 4.0 * (6 + 10) * 4, "reduce_scatter": 3 * 4.0 * 6 * 4}
    assert volume(transfers, "reduce_scatter") == volume(transfers, "all_gather") == 3 * 4.0 * (6 + 10 + 6) * 4
    assert volume(transfers, "all_reduce") == 3 * 4.0 * 2 * 4  # gradients of the norms, each of which saw a share


def test_a_divided_vocabulary_sends_logits_or_three_numbers_a_row() -> None:
    projection = Operator(name="vocabulary", kind="matmul", flops=1.0, bytes=1.0, m=TOKENS, n=VOCABULARY, k=HIDDEN, division="vocabulary")
    cost = Cost(blocks=(Block(name="head", parameters=0, operators=(projection,)),), dtype="bf16", items=TOKENS, training=True)
    whole, divided = sent("tp", Layout(tp=4), cost), sent("tp", Layout(tp=4, loss="parallel"), cost)
    assert volume(whole, "all_gather") == 2.0 * TOKENS * VOCABULARY
    assert volume(divided, "all_gather") == 0
    assert volume(divided, "all_reduce") == volume(whole, "all_reduce") + 3 * 4.0 * TOKENS == OUT + 3 * 4.0 * TOKENS


def test_one_prediction_a_sequence_is_made_by_every_rank_of_the_ring() -> None:
    def logits(rows: int) -> float:
        head = Operator(name="classes", kind="matmul", flops=1.0, bytes=1.0, m=rows, n=10, k=HIDDEN, division="vocabulary")
        cost = Cost(blocks=(Block(name="head", parameters=0, operators=(head,)),), dtype="bf16", items=TOKENS, micro_batch=2, training=True)
        return volume(sent("tp", Layout(tp=2, cp=4), cost), "all_gather")

    assert logits(2) == 2 * 2.0 * 10
    assert logits(TOKENS) == 2.0 * TOKENS * 10 / 4


def recurrent(*, first_state_bytes: float = 0.0, steps: int = 5) -> Cost:
    batch, width, hidden = 3, 8, 16
    products = (
        Operator(name="input", kind="matmul", flops=1.0, bytes=1.0, m=batch * steps, n=4 * hidden, k=width, division="column"),
        Operator(name="recurrent", kind="recurrent", flops=1.0, bytes=1.0, batch=steps, m=batch, n=4 * hidden, k=hidden, division="column"),
    )
    output = 4.0 * batch * steps * hidden
    layer = Block(name="layer", parameters=1, operators=products, output_bytes=output, first_state_bytes=first_state_bytes)
    return Cost(blocks=(layer,), dtype="fp32", items=batch * steps, training=True)


def test_a_recurrent_layer_gathers_its_state_in_each_step_and_scatters_the_gradient_of_all_but_the_first() -> None:
    state = 4.0 * 3 * 16
    transfers = sent("tp", Layout(tp=2, microbatches=7), recurrent())
    assert {t.collective: (t.count, t.message_bytes) for t in transfers} == {
        "all_gather": (7 * 5, state),
        "reduce_scatter": (7 * 4, state),
        "all_reduce": (7, 4.0 * 3 * 5 * 8),  # of the gradient of its inputs
    }
    begun = sent("tp", Layout(tp=2), recurrent(first_state_bytes=state))
    assert volume(begun, "all_reduce") == 4.0 * 3 * 5 * 8 + state
    assert [t.collective for t in sent("tp", Layout(tp=2), recurrent(steps=1))] == ["all_gather", "all_reduce"]
    assert [t.collective for t in sent("tp", Layout(tp=2), replace(recurrent(), training=False))] == ["all_gather"]


def test_inference_has_no_backward_pass() -> None:
    cost = model(training=False)
    assert volume(sent("tp", Layout(tp=2), cost)) == (volume(sent("tp", Layout(tp=2), model(mixed=False))) + OUT) / 2
    assert {t.overlaps for t in sent("fsdp", Layout(fsdp=2), cost)} == {"forward"}


def test_fsdp_gathers_twice_and_scatters_once_every_parameter() -> None:
    cost = model()
    transfers = sent("fsdp", Layout(fsdp=8), cost)
    held = 2.0 * cost.parameters
    assert volume(transfers, "all_gather") == 2 * held
    assert volume(transfers, "reduce_scatter") == held
    assert volume(sent("fsdp", Layout(fsdp=8, reshard=False), cost), "all_gather") == held


def test_pp_sends_an_output_a_micro_batch_each_way() -> None:
    transfers = sent("pp", Layout(pp=4, microbatches=16))
    assert [t.collective for t in transfers] == ["send_recv", "send_recv"]
    assert volume(transfers) == 2 * 16 * OUT
    assert volume(sent("pp", Layout(pp=4, microbatches=16, vpp=2))) == 2 * volume(transfers)
    assert volume(sent("pp", Layout(pp=4, tp=2, sp=True, microbatches=16))) == volume(transfers) / 2


def test_borders_of_different_sizes_count_by_their_share() -> None:
    """An encoder-decoder cut in three: rows of both texts and the encoder's biases over one border, those of the decoder over the other."""
    product = Operator(name="product", kind="matmul", flops=1.0, bytes=1.0, backward_flops=2.0)
    encoder, decoder = (
        Block(name=name, parameters=0, operators=(product,), output_bytes=100.0, carried_bytes=carried)
        for name, carried in (("encoder", 7.0), ("decoder", 3.0))
    )
    head = Block(name="head", parameters=0, operators=(product,))
    cost = Cost(blocks=(encoder, decoder, head), dtype="fp32", items=1, training=True)
    transfers = sent("pp", Layout(pp=3, microbatches=4), cost)
    assert [(t.message_bytes, t.count) for t in transfers] == [(103.0, 2.0), (107.0, 2.0)] * 2
    assert {t.why for t in transfers[:2]} == {"activations to the next stage"}


def test_what_is_carried_beside_the_output_no_axis_divides() -> None:
    cost = model()
    carrying = replace(cost, blocks=(cost.blocks[0], replace(cost.blocks[1], carried_bytes=4.0)))
    assert {t.message_bytes for t in sent("pp", Layout(pp=2, tp=2, sp=True), carrying)} == {OUT / 2 + 4.0}


def test_place_sends_what_a_pipeline_of_as_many_stages_does() -> None:
    assert volume(sent("place", Layout(place=4, microbatches=3))) == volume(sent("pp", Layout(pp=4, microbatches=3)))


def test_branches_broadcast_results_and_sum_the_gradient_of_what_they_share() -> None:
    products = tuple(
        Operator(name=name, kind="matmul", flops=1.0, bytes=1.0, division="column", m=10, k=4, n=n)
        for name, n in (("qkv", 8), ("gate", 6), ("up", 6))
    )
    cost = Cost(blocks=(Block(name="layer", count=3, parameters=0, operators=products),), dtype="fp32", items=10, training=True)
    transfers = sent("branches", Layout(branches=2), cost)
    assert volume(transfers, "broadcast") == 3 * 4.0 * 10 * (8 + 6 + 6)
    assert volume(transfers, "all_reduce") == 3 * 4.0 * 10 * (4 + 4)


def test_cp_sends_keys_and_values_round_a_ring() -> None:
    ring = [t for t in sent("cp", Layout(cp=4)) if t.collective == "send_recv"]
    assert {t.overlaps for t in ring} == {"forward", "backward"}
    assert sum(t.count for t in ring) == LAYERS * (3 + 3 + 4)  # three hops forward and backward, and gradients go home
    assert all(t.message_bytes == 2 * OUT / 4 for t in ring)


def test_a_layer_with_two_attentions_has_two_rings() -> None:
    own, other = (
        Operator(name=name, kind="attention", flops=1.0, bytes=2.0 * 2 * 2 * (q + k), batch=2, m=q, n=k, k=1)
        for name, q, k in (("own", 6, 6), ("other", 6, 20))
    )
    cost = Cost(blocks=(Block(name="decoder", parameters=0, operators=(own, other)),), dtype="bf16", items=1, training=False)
    assert sorted(t.message_bytes for t in sent("cp", Layout(cp=2), cost)) == [2 * 2.0 * 2 * 6 / 2, 2 * 2.0 * 2 * 20 / 2]


def test_gradients_are_averaged_over_dp_and_cp_at_once() -> None:
    (together,) = (t for t in sent("dp", Layout(dp=2, cp=4)) if t.why == "gradients")
    assert together.ranks == 8
    assert [t.collective for t in sent("cp", Layout(dp=2, cp=4))] == ["send_recv", "send_recv"]
    assert "gradients" in sent("cp", Layout(cp=4))[2].why


def test_ep_sends_each_token_to_its_experts() -> None:
    *transfers, counts = sent("ep", Layout(dp=4, ep=4))
    assert all(t.message_bytes == 2 * OUT for t in transfers)
    assert sum(t.count for t in transfers) == 2 * 2 * LAYERS
    assert all(t.message_bytes == OUT for t in sent("ep", Layout(dp=4, ep=4), model(top_k=1))[:-1])
    assert (counts.message_bytes, counts.count) == (8 * 8.0, LAYERS)  # eight experts, int64, a layer


def test_fsdp_gathers_experts_over_the_ranks_that_ep_leaves() -> None:
    transfers = sent("fsdp", Layout(fsdp=8, ep=2))
    dense, experts = ([t for t in transfers if ("experts of" in t.why) is found] for found in (False, True))
    assert volume(tuple(dense), "all_gather") == 2 * 2.0 * (VOCABULARY * HIDDEN + LAYERS * (LAYER_PARAMETERS - EXPERTS))
    assert volume(tuple(experts), "all_gather") == 2 * 2.0 * LAYERS * EXPERTS / 2
    assert volume(tuple(experts), "reduce_scatter") == 2.0 * LAYERS * EXPERTS / 2
    assert {(t.ranks, t.spacing) for t in experts} == {(4, 2)}
    assert {t.ranks for t in dense if t.collective != "all_reduce"} == {8}
    assert not [t for t in sent("fsdp", Layout(fsdp=8, ep=8)) if "experts of" in t.why]


@pytest.mark.parametrize(
    ("layout", "shards", "copies", "spacing"),
    [
        (Layout(dp=4, ep=2), 1, 2, 2),
        (Layout(dp=4, fsdp=4, ep=2), 2, 4, 1),
        (Layout(dp=4, fsdp=2, ep=4), 1, 2, 2),
        (Layout(dp=2, cp=2, ep=2), 1, 2, 2),
    ],
)
def test_experts_are_averaged_over_the_ranks_that_have_the_same(layout: Layout, shards: int, copies: int, spacing: int) -> None:
    (experts,) = (t for t in sent("dp", layout) if t.why == "gradients of experts")
    assert experts.message_bytes == 2.0 * LAYERS * EXPERTS / (layout.ep * shards)
    assert (experts.ranks, experts.spacing) == (copies, spacing)
    (dense,) = (t for t in sent("dp", layout) if t.why == "gradients")
    assert dense.message_bytes == 2.0 * (VOCABULARY * HIDDEN + LAYERS * (LAYER_PARAMETERS - EXPERTS)) / layout.fsdp


def test_experts_that_ranks_of_cp_alone_share_are_averaged_with_the_rest() -> None:
    (gradients,) = (t for t in sent("cp", Layout(fsdp=4, cp=2, ep=2)) if "gradients" in t.why)
    assert gradients.message_bytes == 2.0 * model().parameters / 4


def test_tp_of_experts_sums_activations_once_a_layer_and_the_weights_gradients_of_each_token() -> None:
    shared = Operator(name="shared_down", kind="matmul", flops=1.0, bytes=1.0, m=TOKENS, n=HIDDEN, k=64, division="row")
    embedding, layer = model().blocks
    both = replace(model(), blocks=(embedding, replace(layer, operators=(*layer.operators, shared))))
    (weights,) = (t for t in sent("tp", Layout(tp=2), both) if t.why.startswith("gradients of the routers"))
    assert (weights.message_bytes, weights.count) == (2.0 * TOKENS * 2, LAYERS)
    assert volume(sent("tp", Layout(tp=2), both)) - volume((weights,)) == OUT * (2 * 2 * LAYERS + 1)


def test_ranks_of_tp_send_tokens_to_experts_whole() -> None:
    whole = sent("ep", Layout(dp=2, ep=2))
    assert sent("ep", Layout(dp=2, ep=2, tp=2, sp=True)) == whole
    assert volume(sent("ep", Layout(dp=2, ep=2, cp=2)), "all_to_all") < volume(whole, "all_to_all")


def test_the_balance_of_experts_is_averaged_over_all_ranks_with_samples_once() -> None:
    layout = Layout(dp=2, fsdp=2, cp=2)
    means = [t for axis in layout.axes() for t in sent(axis, layout) if t.why.startswith("tokens of each expert")]
    assert [(t.axis, t.ranks, t.message_bytes, t.count) for t in means] == [("dp", 8, 8 * 4.0, LAYERS)]


degrees = st.sampled_from([1, 2, 4, 8])


@given(fsdp=degrees, tp=degrees, pp=degrees, micro=st.integers(1, 64), sp=st.booleans())
def test_volumes_scale_with_micro_batches_and_shrink_with_the_model_ranks(fsdp: int, tp: int, pp: int, micro: int, sp: bool) -> None:
    layout = Layout(fsdp=fsdp, tp=tp, pp=pp, microbatches=micro, sp=sp)
    once = replace(layout, microbatches=1)
    for axis in ("fsdp", "tp", "pp"):
        times = 1 if axis == "fsdp" and pp > 1 else micro  # a pipeline keeps what it gathered
        kinds = ("all_gather", "reduce_scatter", "send_recv")
        assert all(isclose(volume(sent(axis, layout), kind), times * volume(sent(axis, once), kind)) for kind in kinds)
    if fsdp > 1 and pp == 1:
        undivided = Layout(fsdp=fsdp, microbatches=micro)
        assert isclose(volume(sent("fsdp", layout), "all_gather") * tp, volume(sent("fsdp", undivided), "all_gather"))
    for axis in ("fsdp", "tp", "pp", "cp", "ep", "dp"):
        assert all(t.count > 0 and t.message_bytes > 0 and t.ranks > 1 for t in sent(axis, layout))
