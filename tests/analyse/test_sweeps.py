"""Which cases make a curve, what tells the curves apart, and what makes none."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hwbench.core.record import Record
from hwbench.core.summary import Sweep
from tests.made_runs import record, run
from tests.made_summaries import summary


def attention(length: int, **case: Any) -> Record:
    config = {"size": 512, "batch": 8, "seq_len": length} | case.pop("config", {})
    return record("attention", slower=length / 128, config=config, **case)


def found(*records: Record) -> tuple[Sweep, ...]:
    return summary(run(records)).sweeps


def test_three_values_of_one_number_make_a_curve_in_their_order() -> None:
    (sweep,) = found(attention(2048), attention(128), attention(512))
    assert (sweep.workload, sweep.setting, sweep.rate_unit) == ("attention", "seq_len", "token/s")
    (line,) = sweep.lines
    assert [point.value for point in line.points] == [128, 512, 2048]
    assert line.about == {}
    assert line.points[0].rate_per_s > line.points[2].rate_per_s


def test_lines_are_told_apart_by_what_differs() -> None:
    records = [
        attention(length, dtype=dtype, config={"backend": backend})
        for length in (128, 512, 2048)
        for dtype in ("fp32", "bf16")
        for backend in ("flash", "math")
    ]
    (sweep,) = found(*records)
    assert [line.about for line in sweep.lines] == [
        {"backend": backend, "dtype": dtype}
        for backend, dtype in (("flash", "bf16"), ("flash", "fp32"), ("math", "bf16"), ("math", "fp32"))
    ]


def test_of_a_grid_the_number_with_the_most_values_is_the_axis() -> None:
    (sweep,) = found(*(attention(length, config={"batch": batch}) for length in (128, 256, 512, 1024) for batch in (1, 2, 4)))
    assert sweep.setting == "seq_len"
    assert [line.about for line in sweep.lines] == [{"batch": "1"}, {"batch": "2"}, {"batch": "4"}]


def test_pairs_ceilings_and_numbers_that_change_together_make_none() -> None:
    assert found(attention(128), attention(512)) == ()
    assert found(*(record("triad", config={"size": size, "batch": 8}) for size in (1, 2, 3))) == ()
    assert found(*(attention(length, config={"batch": 65536 // length}) for length in (128, 512, 2048))) == ()
    assert found(*(attention(128, config={"causal": causal}) for causal in (True, False))) == ()


def test_a_line_that_is_too_short_is_left_out_and_a_noisy_point_is_marked() -> None:
    (sweep,) = found(*(attention(length) for length in (128, 512, 2048)), attention(128, dtype="bf16"), attention(4096, spread=1.0))
    assert len(sweep.lines) == 1
    assert [point.noisy for point in sweep.lines[0].points][-1]


@given(
    st.lists(st.sampled_from([64, 128, 256, 512]), min_size=1, max_size=6), st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=6)
)
def test_every_point_is_a_measured_case(lengths: list[int], backends: list[str]) -> None:
    made = summary(run(tuple(attention(length, config={"backend": backend}) for length in lengths for backend in backends)))
    times = {row.step_time_s for row in made.throughput}
    points = [point for sweep in made.sweeps for line in sweep.lines for point in line.points]
    assert {point.step_time_s for point in points} <= times
    assert len(points) <= len(made.throughput)
