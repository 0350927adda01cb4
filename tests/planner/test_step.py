import math
from typing import Any

import pytest
from msgspec.structs import replace

from hwbench.core.errors import UserError
from hwbench.core.layout import parse_layout
from hwbench.core.parallel import Transfer
from hwbench.core.prediction import Prediction
from hwbench.core.profile import Accelerator, ClusterProfile, Efficiency, Node, Tier
from hwbench.core.workload import Block, Cost, Division, Operator
from hwbench.planner.communication import reach
from hwbench.planner.memory import kept_parameters, rank_memory, rank_parameters
from hwbench.planner.step import predict_step, rank_work_s


def profile(**changes: object) -> ClusterProfile:
    accelerator = Accelerator(
        name="A100-SXM4-80GB",
        vendor="NVIDIA",
        memory_bytes=80e9,
        memory_bandwidth_bytes_per_s=2.039e12,
        peak_flops_per_s={"bf16": 312e12, "fp32": 19.5e12},
        power_w=400.0,
    )
    values: dict[str, Any] = {
        "name": "dgx-a100",
        "description": "",
        "accelerator": accelerator,
        "node": Node(accelerators=8),
        "tiers": (
            Tier(name="nvlink", accelerators=8, bandwidth_bytes_per_s=300e9),
            Tier(name="infiniband", bandwidth_bytes_per_s=25e9),
        ),
        "sources": {},
    }
    return ClusterProfile(**(values | changes))


def product(name: str, m: int, n: int, k: int, division: Division) -> Operator:
    flops = 2.0 * m * n * k
    size = 2.0 * (m * n + n * k + m * k)
    return Operator(
        name=name,
        kind="matmul",
        flops=flops,
        bytes=size,
        backward_flops=2 * flops,
        backward_bytes=2 * size,
        m=m,
        n=n,
        k=k,
        division=division,
    )


def gpt(hidden: int = 4096, layers: int = 32, tokens: int = 2048, vocabulary: int = 50304, state: float = 16.0) -> Cost:
    layer = Block(
        name="layer",
        count=layers,
        parameters=12 * hidden**2,
        operators=(product("qkv", tokens, 4 * hidden, hidden, "column"), product("mlp", tokens, 8 * hidden, hidden, "row")),
        activation_bytes=34.0 * tokens * hidden,
        output_bytes=2.0 * tokens * hidden,
        tp_all_reduces=2,
    )
    embedding = Block(name="embedding", parameters=vocabulary * hidden, operators=(), output_bytes=2.0 * tokens * hidden)
    head = Block(
        name="head",
        parameters=0,
        operators=(product("head", tokens, vocabulary, hidden, "vocabulary"),),
        activation_bytes=4.0 * tokens * vocabulary,
    )
    parameters = layers * layer.parameters + embedding.parameters
    adam = Operator(name="adamw", kind="optimizer", flops=12.0 * parameters, bytes=26.0 * parameters)
    return Cost(
        blocks=(embedding, layer, head),
        dtype="bf16",
        items=tokens,
        micro_batch=1,
        training=True,
        optimizer_operators=(adam,),
        parameter_state_bytes=state,
    )


def predict(layout: str, transfers: tuple[Transfer, ...] = (), micro_batches: int = 8, **more: Any) -> Prediction:
    return predict_step(gpt(), parse_layout(layout), profile(), transfers=transfers, micro_batches=micro_batches, **more)


def test_parts_add_up_and_mfu_is_of_this_world() -> None:
    reduce = Transfer(collective="all_reduce", axis="dp", ranks=8, message_bytes=1.6e10, count=1, overlaps="backward")
    found = predict("dp=8", (reduce,))
    assert math.isclose(sum(part.time_s for part in found.parts), found.step_time_s, rel_tol=1e-12)
    assert found.mfu_fraction is not None
    assert 0.2 < found.mfu_fraction < 0.8
    assert found.tokens_per_step == 2048 * 8 * 8
    assert "compute" in found.bottleneck


def test_tensor_parallel_divides_compute_but_not_more() -> None:
    one, eight = predict("single").step_time_s, predict("tp=8").step_time_s
    assert one / 8 < eight < one / 4


def test_full_recomputation_costs_time_and_saves_memory() -> None:
    none, full = predict("single"), predict("single", recompute="full")
    assert full.step_time_s > 1.2 * none.step_time_s
    assert full.memory.activations_bytes < none.memory.activations_bytes / 4


def test_bubble_shrinks_with_micro_batches_and_with_chunks() -> None:
    def bubble(layout: str, micro_batches: int) -> float:
        found = predict(layout, micro_batches=micro_batches)
        return next(part.time_s for part in found.parts if part.name == "pipeline bubble") / found.step_time_s

    assert bubble("pp=4", 4) > bubble("pp=4", 32)
    assert bubble("pp=4,vpp=4,schedule=interleaved", 8) < bubble("pp=4", 8)


def test_a_group_across_nodes_is_slower_than_inside_one() -> None:
    def exposed(ranks: int) -> float:
        transfer = Transfer(collective="all_reduce", axis="tp", ranks=ranks, message_bytes=64e6, count=100)
        found = predict(f"tp={ranks}", (transfer,))
        return next(part.time_s for part in found.parts if part.name == "tp communication")

    assert exposed(16) > 1.5 * exposed(8)


def test_experts_are_kept_once_among_the_ranks_that_share_them_out() -> None:
    block = Block(name="layer", count=2, parameters=1000, expert_parameters=800, undivided_parameters=50, operators=())
    cost = Cost(blocks=(block,), dtype="bf16", items=1, training=True, parameter_state_bytes=14.0)

    def kept(text: str, *, zero: bool = False) -> float:
        return kept_parameters(cost, parse_layout(text), zero=zero)

    assert rank_parameters(cost, parse_layout("fsdp=8,ep=4")) == (2 * 200, 2 * 800 / 4)
    assert kept("fsdp=8,ep=4") == kept("fsdp=8") == 2 * 1000 / 8  # ep and the ranks that it leaves divide by 8 either way
    assert kept("dp=4,ep=2") == 2 * (200 + 800 / 2)
    assert kept("dp=2,fsdp=2,ep=4") == 2 * (200 / 2 + 800 / 4)
    assert kept("tp=2") == 2 * (150 / 2 + 50 + 800 / 2)
    assert kept("dp=4,ep=2", zero=True) == 2 * (200 / 4 + 800 / 2 / 2)


def test_a_group_of_ranks_with_others_between_them_reaches_further() -> None:
    near = Transfer(collective="all_gather", axis="fsdp", ranks=4, message_bytes=1e9, count=1)
    layout = parse_layout("fsdp=16,ep=4")
    assert reach(profile(), layout, near).tier.name == "nvlink"
    assert reach(profile(), layout, replace(near, spacing=4)).tier.name == "infiniband"
    ends = Transfer(collective="all_reduce", axis="pp", ranks=2, message_bytes=1e9, count=1, spacing=7)
    assert reach(profile(), parse_layout("pp=8,microbatches=8"), ends).tier.name == "nvlink"
    assert reach(profile(), parse_layout("pp=8,tp=2,microbatches=8"), ends).tier.name == "infiniband"


def test_memory_is_sharded_by_zero_and_fsdp() -> None:
    plain, zero, fsdp = predict("dp=8").memory, predict("dp=8,zero=1").memory, predict("fsdp=8").memory
    assert math.isclose(zero.optimizer_bytes, plain.optimizer_bytes / 8)
    assert math.isclose(fsdp.weights_bytes, plain.weights_bytes / 8)
    assert fsdp.total_bytes < zero.total_bytes < plain.total_bytes


@pytest.mark.parametrize(
    "changes, key",
    [
        ({"accelerator": Accelerator(name="x", vendor="y", memory_bandwidth_bytes_per_s=1e12)}, "accelerator.peak_flops_per_s.bf16"),
        ({"accelerator": Accelerator(name="x", vendor="y", peak_flops_per_s={"bf16": 1e14})}, "accelerator.memory_bandwidth_bytes_per_s"),
        ({"tiers": ()}, "tiers"),
    ],
)
def test_a_missing_number_is_named(changes: dict[str, object], key: str) -> None:
    transfer = Transfer(collective="all_reduce", axis="tp", ranks=8, message_bytes=64e6, count=100)
    with pytest.raises(UserError, match=key):
        predict_step(gpt(), parse_layout("tp=8"), profile(**changes), transfers=(transfer,), micro_batches=1)


def test_nonsense_is_refused_with_its_numbers() -> None:
    with pytest.raises(UserError, match="micro_batches=0"):
        predict("single", micro_batches=0)
    with pytest.raises(UserError, match="layout pp=64: a model of 33 pieces"):
        predict("pp=64")


def test_accumulated_micro_batches_are_computed_and_the_optimizer_runs_once() -> None:
    cost = gpt()
    once, thrice = (predict_step(one, parse_layout("single"), profile(), transfers=(), micro_batches=1) for one in (
        cost, replace(cost, accumulation=3, items=3 * cost.items),
    ))  # fmt: skip
    before, after = ({part.name: part.time_s for part in one.parts} for one in (once, thrice))
    assert after["backward"] == pytest.approx(3 * before["backward"])
    assert after["optimizer"] == before["optimizer"]
    assert thrice.tokens_per_step == 3 * once.tokens_per_step


def test_nothing_hides_where_the_cores_that_compute_move_the_bytes() -> None:
    sent = Transfer(collective="all_gather", axis="fsdp", ranks=8, message_bytes=1e8, count=32, overlaps="forward")
    beside, alone = (
        predict_step(gpt(), parse_layout("fsdp=8"), profile(tiers=(tier,)), transfers=(sent,), micro_batches=1)
        for tier in (
            Tier(name="nvlink", bandwidth_bytes_per_s=300e9),
            Tier(name="shared memory", bandwidth_bytes_per_s=300e9, hidden=False),
        )
    )
    times = [next(part.time_s for part in one.parts if part.name == "fsdp communication") for one in (beside, alone)]
    assert times[1] == pytest.approx(32 * times[0])


def test_what_a_process_holds_beside_tensors_is_the_profiles() -> None:
    """On a CPU where it was measured; DTensor loads more for tensor parallelism and FSDP."""
    measured = profile(efficiency=Efficiency(process_bytes=4e8))
    single, sharded = (
        predict_step(gpt(), parse_layout(text), measured, transfers=(), micro_batches=1).memory.buffers_bytes for text in ("single", "tp=2")
    )
    before = predict_step(gpt(), parse_layout("single"), profile(), transfers=(), micro_batches=1).memory.buffers_bytes
    assert before - single == pytest.approx(2 * 2**30 - 4e8)
    assert sharded > 4e8 + 75 * 2**20


def test_replicas_of_stages_load_what_fsdp_loads() -> None:
    measured = profile(efficiency=Efficiency(process_bytes=4e8))
    staged, replicated = (
        predict_step(gpt(), parse_layout(text), measured, transfers=(), micro_batches=2).memory.buffers_bytes
        for text in ("pp=2,microbatches=2", "dp=2,pp=2,microbatches=2")
    )
    assert replicated - staged == pytest.approx(75 * 2**20)


def test_a_loss_over_gathered_logits_is_whole_on_every_rank() -> None:
    size = 4.0 * 2048 * 50304
    loss = Operator(name="loss", kind="memory", flops=0.0, bytes=size, backward_bytes=size, division="loss")
    cost = replace(gpt(), blocks=(*gpt().blocks[:-1], replace(gpt().blocks[-1], operators=(loss,))), optimizer_operators=())
    whole, full, parallel = (
        rank_work_s(cost, parse_layout(text), profile(), (), 1)[0] for text in ("single", "tp=8", "tp=8,loss=parallel")
    )
    layers = rank_work_s(replace(cost, blocks=cost.blocks[:-1]), parse_layout("tp=8"), profile(), (), 1)[0]
    alone = whole - rank_work_s(replace(cost, blocks=cost.blocks[:-1]), parse_layout("single"), profile(), (), 1)[0]
    assert full - layers == pytest.approx(alone)
    assert parallel - layers == pytest.approx(alone / 8)


def test_layers_of_different_kinds_are_shared_out_as_a_run_cuts_them() -> None:
    one = product("product", 1024, 1024, 1024, "replicated")
    blocks = (
        Block(name="first", parameters=10, operators=(one,)),
        Block(name="second", parameters=20, operators=(one,)),
        Block(name="third", parameters=40, operators=(one, one)),
    )
    cost = Cost(blocks=blocks, dtype="bf16", items=1024, training=True)
    whole, cut = (predict_step(cost, parse_layout(text), profile(), transfers=(), micro_batches=8) for text in ("single", "pp=2"))
    forward = [next(part.time_s for part in found.parts if part.name == "forward") for found in (whole, cut)]
    assert forward[1] == pytest.approx(forward[0] / 2)
    assert (whole.memory.weights_bytes, cut.memory.weights_bytes) == (2 * 70, 2 * 40)
    with pytest.raises(UserError, match=r"a model of 3 pieces \(embedding, layers, head\) can't be cut into 4 stages"):
        predict_step(cost, parse_layout("pp=4"), profile(), transfers=(), micro_batches=8)


def test_devices_that_take_turns_hold_their_own_layers_and_take_as_long_as_one() -> None:
    one = product("product", 1024, 1024, 1024, "replicated")
    blocks = tuple(Block(name=f"layer_{i}", parameters=size, operators=(one,)) for i, size in enumerate((10, 20, 40)))
    cost = Cost(blocks=blocks, dtype="bf16", items=1024, training=True)
    whole, placed = (predict_step(cost, parse_layout(text), profile(), transfers=(), micro_batches=1) for text in ("single", "place=2"))
    assert (whole.memory.weights_bytes, placed.memory.weights_bytes) == (2 * 70, 2 * 40)
    assert placed.step_time_s == pytest.approx(whole.step_time_s)
    alone, shared = (rank_work_s(cost, parse_layout(text), profile(), (), 1)[0] for text in ("single", "place=2"))
    assert shared == pytest.approx(alone / 2)


def test_layers_that_are_all_different_hold_micro_batches_in_flight_too() -> None:
    one = product("product", 1024, 1024, 1024, "replicated")
    blocks = tuple(
        Block(name=name, parameters=1, operators=(one,), activation_bytes=1.0) for name in ("embedding", "first", "second", "head")
    )
    cost = Cost(blocks=blocks, dtype="bf16", items=1024, training=True)
    held = [
        rank_memory(
            cost, parse_layout(f"pp=2,schedule=gpipe,microbatches={count}"), micro_batches=count, recompute="none"
        ).activations_bytes
        for count in (1, 4)
    ]
    assert held == [2.0, 5.0]
