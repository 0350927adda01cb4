"""The share of the dense peak that large matrix products reach, fitted to published microbenchmarks.

`python -m hwbench.planner.ceilings` prints what data/accelerators.csv holds as ceiling16 and ceiling8, from data/products.csv:

    time = norm(FLOPs / (peak · ceiling), traffic / (bandwidth · 0.78)) + cast + start

fitted by least squares in the logarithm, softly, over products of at least 512 rows; casting an 8-bit product reads and writes its input.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import least_squares

from .accelerators import find_part
from .transformer import NORM, PRODUCT_STREAM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

LEAST_ROWS = 512
"""Products with fewer rows are decode steps of serving, not training."""
CAST_BYTES = 3.0
"""Traffic of casting one 16-bit input to 8 bits."""


class Ceiling(NamedTuple):
    """The fit of one accelerator and dtype, and how well it fits."""

    accelerator: str
    dtype: str
    fraction: float
    start_s: float
    error_fraction: float
    products: int


def ceilings() -> tuple[Ceiling, ...]:
    """One fit for every accelerator and dtype of data/products.csv that has a table of products."""
    text = files("hwbench.planner").joinpath("data/products.csv").read_text(encoding="utf-8")
    groups: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in csv.DictReader(text.splitlines()):
        if row["kind"] == "point" and float(row["m"]) >= LEAST_ROWS:
            groups[row["accelerator"], row["dtype"]].append(row)
    return tuple(_fit(name, dtype, rows) for (name, dtype), rows in groups.items())


def _fit(name: str, dtype: str, rows: list[dict[str, str]]) -> Ceiling:
    m, n, k, achieved, peak = (_column(rows, key) for key in ("m", "n", "k", "achieved_tflops", "peak_tflops"))
    flops = 2 * m * n * k
    measured = flops / achieved / 1e12
    element = 1.0 if dtype == "fp8" else 2.0
    stream = find_part(name).memory_bytes_per_s * PRODUCT_STREAM
    traffic = (element * (m + n) * k + 2 * m * n) / stream
    cast = CAST_BYTES * m * k / stream if dtype == "fp8" else np.zeros_like(m)

    def predicted(x: Array) -> Array:
        compute = flops / (peak * 1e12 * np.exp(x[0]))
        return np.asarray((compute**NORM + traffic**NORM) ** (1 / NORM) + cast + np.exp(x[1]))

    found = least_squares(lambda x: np.log(predicted(x) / measured), [np.log(0.7), np.log(3e-6)], loss="soft_l1", f_scale=0.1).x
    error = float(np.mean(np.abs(np.log(predicted(found) / measured))))
    return Ceiling(name, dtype, float(np.exp(found[0])), float(np.exp(found[1])), error, len(rows))


def _column(rows: list[dict[str, str]], key: str) -> Array:
    return np.array([float(row[key]) for row in rows])


if __name__ == "__main__":
    for one in ceilings():
        sys.stdout.write(
            f"{one.accelerator:16} {one.dtype:5} ceiling {one.fraction:.3f} start {1e6 * one.start_s:5.1f} us "
            f"mean error {100 * one.error_fraction:.1f} % over {one.products} products\n"
        )
