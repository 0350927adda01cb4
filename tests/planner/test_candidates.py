"""The candidates of a plan: all legal, none twice, the right number of ranks and samples, and every cut with its numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwbench.core.errors import UserError
from hwbench.core.layout import Layout
from hwbench.planner.candidates import (
    LEAST_SLICE,
    MAX_MICRO_BATCH,
    RECOMPUTES,
    SCHEDULES,
    SHARDINGS,
    Cuts,
    Space,
    candidate,
    divisors,
    enumerate_candidates,
    how_recomputed,
    shares_out,
)


def space(accelerators: int = 64, batch: int = 256, **other: object) -> Space:
    fields: dict[str, object] = {
        "accelerators": accelerators, "global_batch": batch, "layers": 96, "divided": {"heads": 96, "kv heads": 8, "MLP width": 49152},
        "sequence": 8192, "experts": 1, "domain": 8,
    } | other  # fmt: skip
    return Space(**fields)  # type: ignore[arg-type]


@given(number=st.integers(1, 100_000))
def test_divisors_are_all_that_divide(number: int) -> None:
    found = divisors(number)
    assert found == sorted(set(found))
    assert all(number % one == 0 for one in found)
    if number < 2000:
        assert found == [one for one in range(1, number + 1) if number % one == 0]


@given(accelerators=st.integers(1, 600), batch=st.integers(1, 1024), experts=st.sampled_from([1, 8]), quick=st.booleans())
@settings(max_examples=40, deadline=None)
def test_every_candidate_is_a_legal_layout_of_all_ranks_and_the_whole_batch(
    accelerators: int, batch: int, experts: int, quick: bool
) -> None:
    one = space(accelerators, batch, experts=experts, quick=quick, schedules=SCHEDULES)
    found = enumerate_candidates(one, Cuts())
    assert (found.tp * found.pp * found.cp * found.data == accelerators).all()
    assert (found.data * found.micro_batch * found.micro_batches == batch).all()
    assert not quick or (found.micro_batch <= MAX_MICRO_BATCH).all()
    assert not quick or all(shares_out(96, pp) for pp in np.unique(found.pp))
    assert (found.pp * found.vpp <= 96).all()
    full = np.array(RECOMPUTES)[found.recompute] == "full"
    chunk = -(-96 // (found.pp * found.vpp))
    assert ((found.again == 0) | (full & (found.again >= 1) & (found.again <= chunk))).all()
    assert (found.again[full] > 0).all()
    assert (found.data % found.shards == 0).all()
    assert (8 % found.tp[found.tp <= 8] == 0).all()
    assert (found.data % found.ep == 0).all()
    assert (experts % found.ep == 0).all()
    assert ((found.vpp == 1) | ((found.micro_batches % found.pp == 0) & (found.pp > 1))).all()
    assert (8192 // found.cp[found.cp > 1] >= LEAST_SLICE).all()
    columns = np.stack(found, axis=1)
    assert len(np.unique(columns, axis=0)) == len(columns)
    for place in range(0, len(found), max(1, len(found) // 50)):
        layout = found.layout(place)
        assert layout.world_size == accelerators
        assert layout.data_ranks * int(found.micro_batch[place]) * layout.microbatches == batch
        recompute, layers = RECOMPUTES[int(found.recompute[place])], int(found.again[place]) or None
        again = candidate(layout, int(found.micro_batch[place]), recompute, layers=96, again=layers)
        assert int(again.again[0]) == int(found.again[place])
        assert again.layout(0) == layout
        assert SHARDINGS[int(again.sharding[0])] == SHARDINGS[int(found.sharding[place])] or layout.data_ranks == 1


def test_a_quick_search_is_part_of_a_complete_one() -> None:
    complete, quick = (enumerate_candidates(space(quick=quick), Cuts()) for quick in (False, True))
    everything = {tuple(row) for row in np.stack(complete, axis=1).tolist()}
    assert {tuple(row) for row in np.stack(quick, axis=1).tolist()} < everything


CUT = {
    "heads": (space(48, 96, divided={"heads": 64}), "tp must divide the heads, 64", "tp=3: 64 / 3 = 21.33"),
    "straddling": (space(48, 96, divided={"heads": 96}), "a tp group straddles scale-up domains of 8", "tp=3"),
    "too deep": (space(256, 256), "more pipeline stages than the 96 layers", "pp=128: 32 too many"),
    "uneven": (space(64, 256, quick=True), "pp does not share out 96 layers evenly", "pp=64: 32 layers left over"),
    "batch": (space(64, 24), "data ranks must divide the global batch of 24", "32 data ranks would need a batch of 32 or 64"),
    "interleaving": (space(32, 40), "interleaving needs micro-batches in multiples of the stages", "micro-batches"),
    "sequence": (space(64, 256, sequence=2048), "cp leaves a rank fewer than 4096 tokens", "cp=2: 1024 tokens"),
}


@pytest.mark.parametrize("name", CUT)
def test_what_is_cut_says_why_with_its_numbers(name: str) -> None:
    where, reason, nearest = CUT[name]
    cuts = Cuts()
    enumerate_candidates(where, cuts)
    (found,) = [one for one in cuts.misfits() if one.reason.startswith(reason)]
    assert found.count >= 1
    assert nearest in found.nearest


def test_more_sharding_only_where_there_are_ranks_for_it() -> None:
    found = enumerate_candidates(space(64, 256), Cuts())
    kinds = np.array(SHARDINGS)[found.sharding]
    assert (found.data[kinds == "fsdp"] > 1).all()
    assert (found.pp[kinds == "2"] == 1).all()
    assert set(kinds) == set(SHARDINGS)
    assert (found.shards[kinds == "fsdp"] == found.data[kinds == "fsdp"]).all()
    hybrid = found.shards[kinds == "hsdp"]
    assert set(hybrid) == {2, 4, 8, 16, 32}
    assert (hybrid < found.data[kinds == "hsdp"]).all()
    assert (found.shards[(kinds != "fsdp") & (kinds != "hsdp")] == 1).all()
    assert (found.tp[found.sp == 1] > 1).all()


def test_layers_are_recomputed_by_number() -> None:
    layout = Layout(dp=4, pp=4, vpp=3, schedule="interleaved", microbatches=8)
    assert how_recomputed(candidate(layout, 1, "full", layers=96), 0, 96) == "full"
    assert how_recomputed(candidate(layout, 1, "full", layers=96, again=3), 0, 96) == "full 3/8"
    assert how_recomputed(candidate(layout, 1, "selective", layers=96), 0, 96) == "selective"
    with pytest.raises(UserError, match=r"recompute full of 9 layers: .* has 8 of 96 layers in a model chunk"):
        candidate(layout, 1, "full", layers=96, again=9)
    with pytest.raises(UserError, match="recompute none of 2 layers"):
        candidate(layout, 1, "none", layers=96, again=2)


def test_gathered_weights_are_zero_2_but_in_a_pipeline() -> None:
    kept, pipelined = Layout(fsdp=8, reshard=False), Layout(fsdp=4, pp=2, reshard=False, microbatches=2)
    assert SHARDINGS[int(candidate(kept, 1, "none", layers=96).sharding[0])] == "2"
    assert SHARDINGS[int(candidate(pipelined, 1, "none", layers=96).sharding[0])] == "fsdp"
