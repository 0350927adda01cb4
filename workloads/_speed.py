"""How fast products of a dtype are here, tried on small ones: some CPUs have no vector path for bf16 or fp16. Imports torch."""

import time
from typing import Final

import torch

from hwbench.core.errors import UnavailableError
from hwbench.core.units import format_rate, format_seconds
from hwbench.core.workload import Context

from . import _tensors

_LONG_S: Final = 3.0
"""Longer than this no step is waited for that runs by a scalar path: smaller ones have told its rate."""
_SCALAR_PATH_TIMES: Final = 8
"""A dtype so many times slower than fp32 has no vector path; one that goes by conversion to fp32 is two to four times slower."""
_TRIED: Final = 128
"""Length of the matrices that are tried: a scalar path takes some milliseconds for them."""


def refuse_scalar_path(context: Context, flops: float, what: str) -> None:
    """UnavailableError where this CPU has no vector path for the dtype and a step of so many FLOPs would take long.

    Nothing is tried on accelerators, and for dtypes that every CPU has.
    """
    dtype = _tensors.dtype_of(context.dtype)
    if context.device.type != "cpu" or dtype in (torch.float32, torch.float64) or not flops:
        return
    rate, vector_rate = tried_flops_per_s(dtype), tried_flops_per_s(torch.float32)
    if flops / rate > _LONG_S and rate < vector_rate / _SCALAR_PATH_TIMES:
        raise UnavailableError(
            f"{what}: {context.dtype} products run at {format_rate(rate, 'FLOP/s')} here, fp32 at {format_rate(vector_rate, 'FLOP/s')}: "
            f"torch has no vector path for them, and one of this size would take {format_seconds(flops / rate)}",
            hint="smaller products have the same rate",
        )


def tried_flops_per_s(dtype: torch.dtype) -> float:
    """The best of three small products on the CPU, after one that warms up."""
    a = torch.ones(_TRIED, _TRIED, dtype=dtype)
    times = []
    for _ in range(4):
        began_s = time.perf_counter()
        torch.mm(a, a)
        times.append(time.perf_counter() - began_s)
    return 2.0 * _TRIED**3 / min(times[1:])
