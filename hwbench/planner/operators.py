"""Time of an operator from measured times of the same operator at other sizes: a fit over work, and what the nearest measurements were off.

    time = (a + b·FLOPs + c·bytes) · correction,    a, b, c ≥ 0

The fit (least squares of relative errors) carries beyond the measured sizes; the correction is the mean of log(measured / fit) over the
measured sizes, weighted by 1 / (distance² + SMOOTHING) in logarithms of the lengths, and pulls the surface through them between. For an
LSTM layer the product with its inputs is an operator of its own, and the rest is a + b·FLOPs + c·bytes of each step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from hwbench.core.profile import ClusterProfile, OperatorTime
from hwbench.core.workload import Operator

SMOOTHING = 0.1
"""Of distances in natural logarithms: measurements nearer than a third (e^0.3) of a size count alike, so that their noise averages out."""
MOST_OVERHEAD_FRACTION = 0.5
"""Of the shortest measurement. A larger constant is no overhead: the sizes are too few or too alike to tell it from work, which then counts
alone."""
LSTM = "lstm"
LSTM_GATES = "lstm_gates"
LINEAR = "linear"
BACKWARD_PASSES = 3
"""Products of a product's forward and backward pass."""

Features = tuple[float, float, float]


class Fit(NamedTuple):
    """What `time_of` needs: coefficients of (1, FLOPs, bytes), and log-lengths and log-residual of each measurement."""

    coefficients: Features
    places: tuple[tuple[float, ...], ...]
    residuals: tuple[float, ...]


def measured_time_s(profile: ClusterProfile, operator: Operator, dtype: str) -> float | None:
    """Seconds of both passes of an undivided operator by the profile's measurements; None where it has none of such an operator."""
    known = profile.efficiency.operators.get(dtype, {})
    if operator.function == LSTM_GATES and LSTM in known:
        return 0.0  # in the layer's time
    points = known.get(operator.function)
    if not points:
        return None
    wanted = _as_point(operator)
    if operator.function == LSTM:
        return wanted.batch * _time_of(_fit_steps(points, known.get(LINEAR, ())), wanted, _step_features(wanted))
    return _time_of(_fit(points), wanted, _features(wanted))


def share_of_work(operator: Operator, flops: float, size_bytes: float) -> float:
    """The part of an operator's both passes that some of its FLOPs (or bytes, where it has no FLOPs) are."""
    whole = operator.flops + operator.backward_flops
    if whole > 0:
        return flops / whole
    return size_bytes / (operator.bytes + operator.backward_bytes)


def _as_point(operator: Operator) -> OperatorTime:
    """An operator in the terms of a measurement; its time is not known."""
    return OperatorTime(
        time_s=math.nan,
        flops=(operator.flops + operator.backward_flops) * operator.executed_fraction,
        bytes=operator.bytes + operator.backward_bytes,
        m=operator.m or 1,
        n=operator.n or 1,
        k=operator.k or 1,
        batch=operator.batch,
    )


def _features(point: OperatorTime) -> Features:
    return 1.0, point.flops, point.bytes


def _step_features(point: OperatorTime) -> Features:
    """One step of an LSTM layer's own: its product of (m, k) by (k, 4k), and the gates' m·k elements."""
    return 1.0, BACKWARD_PASSES * 8.0 * point.m * point.k * point.k, 4.0 * point.m * point.k


def _place(point: OperatorTime) -> tuple[float, ...]:
    lengths = (point.m, point.n, point.k) if point.flops else (point.bytes,)
    return tuple(math.log(length) for length in lengths)


@lru_cache(maxsize=256)
def _fit(points: tuple[OperatorTime, ...]) -> Fit:
    return _solve(points, [_features(point) for point in points], [point.time_s for point in points])


@lru_cache(maxsize=64)
def _fit_steps(points: tuple[OperatorTime, ...], linear: tuple[OperatorTime, ...]) -> Fit:
    """Of LSTM layers: what a step takes beside its share of the product with the inputs, which is (m·batch, n) by (n, 4k)."""
    steps = []
    for point in points:
        product = _input_product(point)
        inputs_s = _time_of(_fit(linear), product, _features(product)) if linear else 0.0
        steps.append(max(0.1 * point.time_s, point.time_s - inputs_s) / point.batch)
    return _solve(points, [_step_features(point) for point in points], steps)


def _input_product(point: OperatorTime) -> OperatorTime:
    rows, columns = point.m * point.batch, 4 * point.k
    flops = BACKWARD_PASSES * 2.0 * rows * columns * point.n
    size = BACKWARD_PASSES * 4.0 * (rows * point.n + point.n * columns + rows * columns)
    return OperatorTime(time_s=math.nan, flops=flops, bytes=size, m=rows, n=columns, k=point.n)


def _solve(points: Sequence[OperatorTime], features: Sequence[Features], times: Sequence[float]) -> Fit:
    coefficients = _least_squares(features, times)
    if coefficients[0] > MOST_OVERHEAD_FRACTION * min(times):
        coefficients = _least_squares([(0.0, *one[1:]) for one in features], times)
    residuals = [math.log(seconds / _linear(coefficients, one)) for seconds, one in zip(times, features, strict=True)]
    return Fit(coefficients, tuple(_place(point) for point in points), tuple(residuals))


def _least_squares(features: Sequence[Features], times: Sequence[float]) -> Features:
    """Coefficients of at least 0 with the least squares of relative errors."""
    from scipy.optimize import nnls

    relative = np.array(features) / np.array(times)[:, None]
    scale = relative.max(axis=0)
    scale[scale == 0] = 1.0
    solved = nnls(relative / scale, np.ones(len(times)))[0] / scale
    return float(solved[0]), float(solved[1]), float(solved[2])


def _linear(coefficients: Features, features: Features) -> float:
    return sum(factor * amount for factor, amount in zip(coefficients, features, strict=True))


def _time_of(fit: Fit, wanted: OperatorTime, features: Features) -> float:
    here = _place(wanted)
    weights = [1 / (sum((a - b) ** 2 for a, b in zip(here, place, strict=True)) + SMOOTHING) for place in fit.places]
    correction = sum(weight * residual for weight, residual in zip(weights, fit.residuals, strict=True)) / sum(weights)
    return _linear(fit.coefficients, features) * math.exp(correction)
