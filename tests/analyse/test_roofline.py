"""Roofs come from triad and matmul of the same run, layout, device and threads, and a fraction above 1 is said to be an error."""

import msgspec
import pytest

from hwbench.analyse.roofline import judged, roofs
from hwbench.analyse.throughput import rows
from hwbench.core.record import Record
from hwbench.core.summary import Throughput
from tests.made_runs import WORKLOADS, record


def made(*records: Record) -> dict[tuple[str, str], Throughput]:
    measured = rows(records, run="r", workloads=WORKLOADS)
    return {(row.workload, row.layout): row for row in judged(measured, roofs(measured))}


def bigger(of: Record, *, bytes_factor: float, size: int) -> Record:
    assert of.measurement is not None
    measurement = msgspec.structs.replace(of.measurement, bytes_per_step=bytes_factor * (of.measurement.bytes_per_step or 0.0))
    return msgspec.structs.replace(of, measurement=measurement, case=msgspec.structs.replace(of.case, config={"size": size, "batch": 8}))


def test_roofs_are_the_fastest_sample_of_triad_and_matmul() -> None:
    triad, matmul = record("triad"), record("matmul", dtype="bf16")
    found = {roof.dtype: roof for roof in roofs(rows((triad, matmul), run="r", workloads=WORKLOADS))}
    assert triad.measurement is not None
    assert matmul.measurement is not None
    assert found[None].rate == pytest.approx((triad.measurement.bytes_per_step or 0.0) / min(triad.measurement.step_wall_s))
    assert found["bf16"].rate == pytest.approx((matmul.measurement.flops_per_step or 0.0) / min(matmul.measurement.step_wall_s))


def test_memory_roof_is_that_of_the_largest_working_set() -> None:
    cached = bigger(record("triad", slower=0.001), bytes_factor=0.01, size=64)
    (roof,) = roofs(rows((cached, record("triad")), run="r", workloads=WORKLOADS))
    assert roof.rate < 30e9


def test_fraction_is_of_the_roof_at_the_intensity() -> None:
    found = made(record("triad"), record("matmul"), record("gpt"), record("embedding"))
    gpt, embedding = found["gpt", "single"], found["embedding", "single"]
    peak = next(roof.rate for roof in roofs(tuple(found.values())) if roof.dtype == "fp32")
    assert gpt.roof_fraction == pytest.approx(gpt.flops_per_s / peak)
    assert gpt.mfu_fraction == gpt.roof_fraction
    assert embedding.roof_fraction is not None  # it has no FLOPs: its roof is memory's
    assert 0.5 < embedding.roof_fraction < 1
    assert embedding.mfu_fraction is None


def test_skipped_work_does_not_count_against_the_roof_but_does_for_mfu() -> None:
    causal = record("gpt")
    assert causal.measurement is not None
    done = 0.75 * (causal.measurement.flops_per_step or 0.0)
    told = msgspec.structs.replace(causal, measurement=msgspec.structs.replace(causal.measurement, executed_flops_per_step=done))
    row = made(record("triad"), record("matmul"), told)["gpt", "single"]
    assert row.mfu_fraction is not None
    assert row.executed_fraction == pytest.approx(0.75)
    assert row.roof_fraction == pytest.approx(0.75 * row.mfu_fraction)
    assert row.intensity_flops_per_byte == pytest.approx(done / row.bytes_per_step)


def test_a_record_says_its_kind_where_the_workload_is_not_installed() -> None:
    embedding = record("embedding")
    assert embedding.measurement is not None
    told = msgspec.structs.replace(embedding, measurement=msgspec.structs.replace(embedding.measurement, kind="ceiling"))
    assert [row.kind for row in rows((told,), run="r")] == ["ceiling"]


def test_a_layout_needs_ceilings_of_its_own_but_mfu_is_against_one_rank() -> None:
    matmul = record("matmul")
    row = made(record("triad"), matmul, record("gpt", layout="dp=2"))["gpt", "dp=2"]
    assert row.roof_fraction is None
    assert any("no memory ceiling was measured under dp=2 on cpu" in gap for gap in row.gaps)
    assert matmul.measurement is not None
    peak = (matmul.measurement.flops_per_step or 0.0) / min(matmul.measurement.step_wall_s)
    assert row.mfu_fraction == pytest.approx(row.flops_per_s / (2 * peak))


@pytest.mark.parametrize("ceiling", [record("matmul", threads=2), record("matmul", device="cuda"), record("matmul", dtype="fp64")])
def test_ceilings_of_something_else_do_not_count(ceiling: Record) -> None:
    row = made(record("triad"), ceiling, record("gpt"))["gpt", "single"]
    assert row.roof_fraction is None
    assert row.mfu_fraction is None
    assert any("no fp32 compute ceiling" in gap for gap in row.gaps)
    assert any("no MFU" in gap for gap in row.gaps)


def test_more_than_the_roof_is_shown_and_called_an_error() -> None:
    row = made(record("triad"), record("matmul"), record("embedding", slower=0.3))["embedding", "single"]
    assert row.roof_fraction is not None
    assert row.roof_fraction > 1
    assert "which can't be" in row.warnings[0]


def test_without_ceilings_every_row_says_why_it_has_no_fraction() -> None:
    for row in made(record("gpt"), record("attention")).values():
        assert row.roof_fraction is None
        assert any("no memory ceiling" in gap for gap in row.gaps)
