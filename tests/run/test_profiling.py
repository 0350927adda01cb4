"""The parts of a step's time: intervals that add up, and shares that a made step is known to have."""

import itertools
import time
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._C._autograd import DeviceType

from hwbench.run.profiling import divided, inside, length_s, merged, outside, split_of

spans = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)).map(lambda pair: (float(min(pair)), float(max(pair)))), max_size=12)


class Range(NamedTuple):
    start: float
    end: float


class Event(NamedTuple):
    """What `divided` reads of torch's FunctionEvent."""

    name: str
    time_range: Range
    device_type: DeviceType = DeviceType.CPU


def event(name: str, start: float, end: float, device: DeviceType = DeviceType.CPU) -> Event:
    return Event(name, Range(start, end), device)


def points(of: list[tuple[float, float]]) -> set[int]:
    return {at for begin, end in of for at in range(int(begin), int(end))}


@given(spans, spans)
def test_spans_are_sets_of_moments(some: list[tuple[float, float]], others: list[tuple[float, float]]) -> None:
    first, second = merged(some), merged(others)
    assert points(first) == points(some)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(first))
    assert points(inside(first, second)) == points(some) & points(others)
    assert points(outside(first, second)) == points(some) - points(others)
    assert length_s(first) == pytest.approx(len(points(some)) / 1e6)


def test_what_is_sent_behind_compute_is_not_exposed() -> None:
    """Of 100 µs, 40 compute; an all_reduce is on its way for 50, 20 of them hidden; a message of the pipeline for 20; the rest is other."""
    events = [
        event("hwbench step", 0, 100),
        event("aten::mm", 0, 40),
        event("aten::add", 10, 20),
        event("gloo:all_reduce", 20, 70),
        event("gloo:recv", 70, 90),
        event("aten::mm", 150, 160),
    ]
    split = divided(events, on_device=False, pipeline=True)  # type: ignore[arg-type]
    parts = (split.profiled_s, split.compute_s, split.communication_s, split.bubble_s, split.other_s)
    assert parts == pytest.approx((100e-6, 40e-6, 30e-6, 20e-6, 10e-6))
    ring = divided(events, on_device=False, pipeline=False)  # type: ignore[arg-type]
    assert (ring.communication_s, ring.bubble_s) == pytest.approx((50e-6, 0.0))


def test_on_an_accelerator_its_own_timeline_counts() -> None:
    gpu = DeviceType.CUDA
    events = [
        event("hwbench step", 0, 100),
        event("aten::mm", 0, 90),
        event("gemm_kernel", 10, 60, gpu),
        event("ncclDevKernel_AllReduce_Sum_f32", 50, 80, gpu),
        event("ncclDevKernel_SendRecv", 80, 95, gpu),
    ]
    split = divided(events, on_device=True, pipeline=True)  # type: ignore[arg-type]
    assert (split.compute_s, split.communication_s, split.bubble_s, split.other_s) == pytest.approx((50e-6, 20e-6, 15e-6, 15e-6))


def test_while_a_step_sleeps_nothing_computes_and_nothing_is_sent() -> None:
    x = torch.ones(64, 64)

    def step() -> None:
        x @ x
        time.sleep(0.02)

    split = split_of(step, int, torch.device("cpu"), pipeline=False)
    assert split.other_s >= 0.019
    assert split.profiled_s >= split.other_s + split.compute_s - 1e-9
    assert split.communication_s == split.bubble_s == 0.0
    assert split.compute_s > 0
