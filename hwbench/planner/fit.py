"""Fitting the planner's constants to measured steps: a robust least-squares fit in logarithms, held to physical priors.

`python -m hwbench.planner.fit` refits all constants on data/measurements.csv and data/collected.csv and writes data/constants.json.
The fit minimises  sum of w·rho((ln predicted - ln measured) / NOISE) + sum of ((constant - prior) / spread)²  over the logarithms of the
constants, rho the soft absolute value, by iteratively reweighted Gauss-Newton steps; w makes ten rows of a large family count for fewer.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hwbench.core.codec import to_json, write_atomic

from .conformal import doubt, quantile
from .constants import FittedFile, from_vector, names, priors, spreads
from .model import step_s
from .reading import read_setup, read_table
from .rows import Rows, columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

NOISE = 0.08
"""Scale of a residual beyond which it counts linearly: run-to-run noise and what the model cannot know, in the logarithm."""
TEMPER = 0.6
"""Share of the rows' weight against the priors': rows of one source err together, so they are fewer than they look."""
BALANCE = 0.25
"""Power of a family's size by which its rows count less: 0 is row by row, 1 is family by family."""
ITERATIONS = 7
LONGEST_STEP = 0.7
"""Largest change of a logarithm in one Gauss-Newton step."""
DIFFERENCE = 1e-4


class Measured(NamedTuple):
    """Rows whose measured step time is known."""

    rows: Rows
    step_s: Array
    family: NDArray[np.str_]
    table: tuple[dict[str, str], ...]


class Fit(NamedTuple):
    """The constants' logarithms, and what a leave-out needs to take rows away in one step."""

    logarithms: Array
    residuals: Array
    jacobian: Array
    weights: Array


def measurements_path() -> Path:
    """The shipped measurements with their sources."""
    return Path(str(files("hwbench.planner").joinpath("data/measurements.csv")))


def collected_path() -> Path:
    """Further measurements from sources that the first table has none of, in the same columns."""
    return Path(str(files("hwbench.planner").joinpath("data/collected.csv")))


def peaks_path() -> Path:
    """Published peaks of memory, in the same columns."""
    return Path(str(files("hwbench.planner").joinpath("data/peaks.csv")))


def shipped_table() -> list[dict[str, str]]:
    """All shipped measurements."""
    return read_table(measurements_path()) + read_table(collected_path())


def load(table: Sequence[Mapping[str, str]]) -> Measured:
    """The rows of a table that have a measured step time; every one of them must be expressible."""
    lines = [dict(line) for line in table if line.get("measured_step_time_s")]
    step = np.array([float(line["measured_step_time_s"]) for line in lines])
    family = np.array([line.get("source_family", "") for line in lines], dtype=np.str_)
    return Measured(columns([read_setup(line) for line in lines]), step, family, tuple(lines))


def fit(measured: Measured, use: NDArray[np.bool_]) -> Fit:
    """Fit the constants to the rows that `use` selects, starting from the priors."""
    logarithms = priors()
    balance = _balance(measured.family, use)
    for _ in range(ITERATIONS):
        residuals, jacobian = linearise(measured, logarithms)
        step = _solve(residuals, jacobian, balance * _robust(residuals), logarithms)
        logarithms = _search(measured, balance, logarithms, np.clip(step, -LONGEST_STEP, LONGEST_STEP))
    residuals, jacobian = linearise(measured, logarithms)
    return Fit(logarithms, residuals, jacobian, balance * _robust(residuals))


def without(done: Fit, also_without: NDArray[np.bool_]) -> Array:
    """The logarithms of a fit that lacks some of its rows as well: one Gauss-Newton step from the fit that had them."""
    weights = np.where(also_without, 0.0, done.weights)
    return np.asarray(done.logarithms + _solve(done.residuals, done.jacobian, weights, done.logarithms))


def linearise(measured: Measured, logarithms: Array) -> tuple[Array, Array]:
    """ln measured - ln predicted, shape (rows,), and the derivative of ln predicted by the logarithms, shape (rows, constants)."""
    base = np.log(step_s(measured.rows, from_vector(logarithms)))
    jacobian = np.empty((len(base), len(logarithms)))
    for index in range(len(logarithms)):
        moved = logarithms.copy()
        moved[index] += DIFFERENCE
        jacobian[:, index] = (np.log(step_s(measured.rows, from_vector(moved))) - base) / DIFFERENCE
    return np.log(measured.step_s) - base, jacobian


def _search(measured: Measured, balance: Array, start: Array, step: Array) -> Array:
    """The longest of a step, its half and its quarter that lowers the objective; the start where none does."""
    best = _objective(measured, balance, start)
    for share in (1.0, 0.5, 0.25):
        tried = start + share * step
        if _objective(measured, balance, tried) < best:
            return tried
    return start


def _objective(measured: Measured, balance: Array, logarithms: Array) -> float:
    scaled = (np.log(measured.step_s) - np.log(step_s(measured.rows, from_vector(logarithms)))) / NOISE
    loss = TEMPER**2 * np.sum(balance * 2 * (np.sqrt(1 + scaled**2) - 1))
    return float(loss + np.sum(((logarithms - priors()) / spreads()) ** 2))


def _solve(residuals: Array, jacobian: Array, weights: Array, logarithms: Array) -> Array:
    """One Gauss-Newton step of the held fit."""
    precision = 1 / spreads() ** 2
    normal = jacobian.T @ (weights[:, None] * jacobian) + np.diag(precision)
    gradient = jacobian.T @ (weights * residuals) - precision * (logarithms - priors())
    return np.asarray(np.linalg.solve(normal, gradient))


def _robust(residuals: Array) -> Array:
    """Weights of the soft absolute value, times the tempered precision of a row."""
    return np.asarray(TEMPER**2 / NOISE**2 / np.sqrt(1 + (residuals / NOISE) ** 2))


def _balance(family: NDArray[np.str_], use: NDArray[np.bool_]) -> Array:
    """Weight of each row by its family's size, mean square 1 over the used rows, 0 for the others."""
    sizes = Counter(family[use].tolist())
    raw = np.array([sizes.get(name, 1) ** -BALANCE for name in family.tolist()])
    raw = np.where(use, raw, 0.0)
    return np.asarray(raw**2 / max(float(np.mean(raw[use] ** 2)), 1e-12))


def calibrate(measured: Measured) -> float:
    """The conformal quantile over all rows, each predicted by constants to which no row of its family contributed."""
    scores = np.empty(len(measured.step_s))
    for name in dict.fromkeys(measured.family.tolist()):
        out = measured.family == name
        scores[out] = np.abs(fit(measured, ~out).residuals[out])
    return quantile(scores / doubt(measured.rows))


def main(arguments: Sequence[str]) -> int:
    """Refit on all shipped rows and write data/constants.json (or the file named)."""
    measured = load(shipped_table())
    done = fit(measured, np.ones(len(measured.step_s), dtype=bool))
    target = Path(arguments[0]) if arguments else measurements_path().with_name("constants.json")
    fitted = FittedFile(
        fitted_on=dict(sorted(Counter(measured.family.tolist()).items())),
        command="python -m hwbench.planner.fit",
        values=dict(zip(names(), [float(f"{value:.6g}") for value in np.exp(done.logarithms)], strict=True)),
        width=float(f"{calibrate(measured):.6g}"),
    )
    write_atomic(target, to_json(fitted, pretty=True))
    sys.stdout.write(f"{target}: {len(fitted.values)} constants fitted on {len(measured.step_s)} rows\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
