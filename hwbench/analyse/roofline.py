"""The roofline: measured ceilings as roofs, and how near each row comes to the roof above it.

Williams, Waterman, Patterson, "Roofline: an insightful visual performance model", CACM 52(4), 2009: at an intensity of I FLOPs a
byte nothing can exceed min(compute roof, I * memory roof). Both roofs are measured here, under the same layout, on the same
device, with as many threads, in the same run; never taken from a datasheet or from another machine.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from hwbench.core.summary import Roof, Throughput

MEMORY_ROOF: Final = "triad"
COMPUTE_ROOF: Final = "matmul"
"""The workloads that make roofs: one thread a rank, as every other workload. Other ceilings (caches, disks, transfers) bound no step."""


def roofs(rows: Iterable[Throughput]) -> tuple[Roof, ...]:
    """The roofs that ceiling rows make: one memory roof, and one compute roof a dtype, for each run, layout, device and threads.

    Of several memory rows the one with the largest working set counts (the least likely to stay in a cache), of several compute
    rows the fastest. Rates are of the fastest sample, as STREAM counts them: a ceiling is what the machine can do.
    """
    best: dict[tuple[object, ...], Throughput] = {}
    for row in rows:
        if row.workload not in (MEMORY_ROOF, COMPUTE_ROOF):
            continue
        place = (*_place(row), _roof_dtype(row))
        if place not in best or _rank(row) > _rank(best[place]):
            best[place] = row
    return tuple(_roof(row) for row in best.values())


def judged(rows: Iterable[Throughput], measured: Sequence[Roof]) -> tuple[Throughput, ...]:
    """The rows with `roof_fraction`, `mfu_fraction` and `hfu_fraction` filled in, or with the reason why not among their gaps."""
    return tuple(_with_mfu(_with_roof(row, measured), measured) for row in rows)


def _with_roof(row: Throughput, measured: Sequence[Roof]) -> Throughput:
    """The reached rate over min(compute roof, intensity * memory roof), which is the larger of the two rates' fractions.

    FLOPs that were skipped, as by causal attention, don't count: with them a good kernel would stand above its roof.
    """
    if row.kind in ("ceiling", "collective"):
        return row
    if not row.flops_per_step and not row.bytes_per_step:
        return _gap(row, "no roof fraction: the workload counts neither FLOPs nor bytes")
    here = [roof for roof in measured if _place(roof) == _place(row)]
    memory = next((roof.rate for roof in here if roof.dtype is None), None)
    compute = next((roof.rate for roof in here if roof.dtype == row.dtype), None)
    where = f"under {row.layout} on {row.device}{_threads(row)} in this run"
    if row.bytes_per_step and memory is None:
        return _gap(row, f"no roof fraction: no memory ceiling was measured {where}")
    if row.flops_per_step and compute is None:
        return _gap(row, f"no roof fraction: no {row.dtype} compute ceiling was measured {where}")
    fraction = max(row.bytes_per_s / memory if memory else 0.0, row.executed_fraction * row.flops_per_s / compute if compute else 0.0)
    return msgspec.structs.replace(row, roof_fraction=fraction, warnings=(*_above_roof(row, fraction), *row.warnings))


def _above_roof(row: Throughput, fraction: float) -> tuple[str, ...]:
    if fraction <= 1:
        return ()
    size = f"its step moves {row.bytes_per_step / 2**20:,.1f} MiB"
    return (
        f"{fraction:.2f} times the measured roof, which can't be: its data stay in a cache ({size}), the ceiling was disturbed, "
        "or the work is counted wrongly; don't quote this figure",
    )


def _with_mfu(row: Throughput, measured: Sequence[Roof]) -> Throughput:
    """Model FLOP/s, and executed FLOP/s, over (matrix-product rate of one rank alone) * ranks."""
    if row.kind not in ("training", "inference") or not row.flops_per_step:
        return row
    alone = (row.run, "single", row.device, row.threads)
    rate = next((roof.rate for roof in measured if _place(roof) == alone and roof.dtype == row.dtype), None)
    if rate is None:
        return _gap(
            row, f"no MFU: the {row.dtype} matrix-product rate of one rank was not measured on {row.device}{_threads(row)} in this run"
        )
    mfu = row.flops_per_s / (rate * row.world_size)
    return msgspec.structs.replace(row, mfu_fraction=mfu, hfu_fraction=mfu * row.executed_fraction)


def _gap(row: Throughput, reason: str) -> Throughput:
    return msgspec.structs.replace(row, gaps=(*row.gaps, reason))


def _threads(row: Throughput) -> str:
    return "" if row.threads == 1 else f" with {row.threads} threads a rank"


def _place(of: Throughput | Roof) -> tuple[object, ...]:
    """What a row and the roof above it must share."""
    return of.run, of.layout, of.device, of.threads


def _roof_dtype(row: Throughput) -> str | None:
    return None if row.workload == MEMORY_ROOF else row.dtype


def _rank(row: Throughput) -> float:
    return row.bytes_per_step if row.workload == MEMORY_ROOF else row.flops_per_step / row.step_best_s


def _roof(row: Throughput) -> Roof:
    dtype = _roof_dtype(row)
    return Roof(
        run=row.run,
        name=row.workload,
        device=row.device,
        layout=row.layout,
        world_size=row.world_size,
        threads=row.threads,
        dtype=dtype,
        rate=(row.bytes_per_step if dtype is None else row.flops_per_step) / row.step_best_s,
    )
