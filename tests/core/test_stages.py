"""How a model's pieces are dealt out to stages: against all ways there are, and for models whose best cut is known."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.core.errors import UserError
from hwbench.core.layout import Layout
from hwbench.core.stages import balanced, dealt, pieces
from hwbench.core.workload import Block, Cost, Operator


def block(name: str, flops: float, *, count: int = 1, parameters: int = 0) -> Block:
    return Block(name=name, count=count, parameters=parameters, operators=(Operator(name=name, kind="matmul", flops=flops, bytes=1.0),))


def model(*blocks: Block) -> Cost:
    return Cost(blocks=blocks, dtype="fp32", items=1, training=True)


def sizes(stages: tuple[range, ...]) -> list[int]:
    return [len(stage) for stage in stages]


def test_layers_that_the_stages_divide_go_out_evenly_with_the_ends_at_the_ends() -> None:
    cost = model(block("embedding", 0.0), block("layer", 1.0, count=8), block("head", 20.0))
    assert dealt(cost, Layout(pp=4)) == (range(0, 3), range(3, 5), range(5, 7), range(7, 10))
    assert sizes(dealt(cost, Layout(pp=2, vpp=4))) == [2, 1, 1, 1, 1, 1, 1, 2]


def test_layers_that_they_do_not_divide_leave_the_head_fewer() -> None:
    cost = model(block("embedding", 0.0), block("layer", 1.0, count=5), block("head", 2.5))
    assert sizes(dealt(cost, Layout(pp=2))) == [5, 2]  # 4 and 3.5
    assert sizes(dealt(cost, Layout(pp=7))) == [1] * 7


def test_devices_that_take_turns_share_parameters_and_stages_share_work() -> None:
    blocks = block("source", 0.0, parameters=50), block("encoder", 2.0, parameters=4), block("decoder", 2.0, parameters=54)
    cost = model(*blocks, block("head", 9.0, parameters=26))
    assert sizes(dealt(cost, Layout(place=2))) == [2, 2]
    assert sizes(dealt(cost, Layout(pp=2))) == [3, 1]


def test_a_projection_that_is_the_embeddings_table_weighs_as_much_on_a_device_of_its_own() -> None:
    projection = Operator(name="vocabulary", kind="matmul", flops=1.0, bytes=1.0, m=1, n=10, k=5, division="vocabulary")
    tied = Operator(name="tied_gradient", kind="memory", flops=0.0, bytes=1.0)
    layers = [block(f"layer_{i}", 1.0, parameters=20) for i in range(3)]
    head = Block(name="head", parameters=0, operators=(projection, tied))
    assert sizes(dealt(model(block("embedding", 0.0, parameters=50), *layers, head), Layout(place=2))) == [2, 3]


def test_what_does_nothing_is_no_piece() -> None:
    cost = model(block("embedding", 0.0), Block(name="memory", parameters=0, operators=()), block("head", 1.0))
    assert [piece.name for piece in pieces(cost)] == ["embedding", "head"]


def test_more_stages_than_pieces_are_refused() -> None:
    with pytest.raises(UserError, match=r"a model of 3 pieces \(embedding, layers, head\) can't be cut into 4 stages"):
        dealt(model(block("embedding", 0.0), block("layer", 1.0), block("head", 1.0)), Layout(pp=4))


def test_of_equal_cuts_the_earliest_is_taken() -> None:
    assert balanced((0.0, 1.0, 0.0, 1.0, 5.0), 3) == (range(0, 2), range(2, 4), range(4, 5))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=9), st.data())
def test_the_heaviest_stage_is_as_light_as_any_way_makes_it(weights: list[int], data: st.DataObject) -> None:
    stages = data.draw(st.integers(1, len(weights)))
    found = balanced(tuple(map(float, weights)), stages)

    def loads(ends: tuple[int, ...]) -> list[int]:
        return [sum(weights[begin:end]) for begin, end in pairwise((0, *ends, len(weights)))]

    ways = [loads(ends) for ends in combinations(range(1, len(weights)), stages - 1)]
    mine = [sum(weights[i] for i in stage) for stage in found]
    assert [i for stage in found for i in stage] == list(range(len(weights)))
    assert len(found) == stages
    assert all(found)
    assert (max(mine), sum(x * x for x in mine)) == min((max(way), sum(x * x for x in way)) for way in ways)
