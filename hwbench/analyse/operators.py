"""Records of the workload `operator` as times that the planner interpolates between."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from hwbench.core.profile import OperatorTime
from hwbench.core.summary import Throughput

OPERATOR: Final = "operator"
"""The workload that measures single operators."""

Times = dict[str, dict[str, tuple[OperatorTime, ...]]]


def operator_times(measured: Iterable[tuple[Throughput, Mapping[str, Any]]]) -> Times:
    """By dtype and function, from rows of a lone rank and their configurations; other workloads' rows are passed over."""
    found: dict[str, dict[str, list[OperatorTime]]] = {}
    for row, config in measured:
        if row.workload == OPERATOR and row.world_size == 1:
            found.setdefault(row.dtype, {}).setdefault(str(config["function"]), []).append(_time(row, config))
    return {
        dtype: {function: tuple(sorted(times, key=lambda one: (one.flops, one.bytes))) for function, times in sorted(functions.items())}
        for dtype, functions in found.items()
    }


def _time(row: Throughput, config: Mapping[str, Any]) -> OperatorTime:
    """The lengths in the terms of the planner's operators: see `OperatorTime`."""
    rows, width, inner, length = (int(config[key]) for key in ("rows", "width", "inner", "length"))
    lengths: dict[str, dict[str, int]] = {
        "linear": {"m": rows, "n": inner, "k": width},
        "lstm": {"m": rows // length, "n": width, "k": inner, "batch": length},
    }
    heads = int(config["heads"])
    attention = {"m": length, "n": length, "k": width // heads, "batch": rows // length * heads}
    function = str(config["function"])
    return OperatorTime(
        time_s=row.step_time_s,
        flops=row.executed_fraction * row.flops_per_step,
        bytes=row.bytes_per_step,
        **(attention if "attention" in function else lengths.get(function, {})),
    )
