"""How fast products and memory are here, tried in a few seconds before a run: what sizes of a suite's cases are chosen by.

Some CPUs have no vector path for bf16 or fp16 and need minutes for what fp32 does in a second; accelerators idle at a CPU's sizes.
"""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

from hwbench.core import codec, registry
from hwbench.core.record import Case, Record
from hwbench.core.suite import Tried
from hwbench.core.workload import Workload

from .events import Recorded
from .execute import Options, execute

_CASE_S: Final = 0.2
_LIMIT_S: Final = 60.0
_LENGTHS: Final = {"cpu": 192, "accelerator": 4096}
"""A scalar path takes tens of milliseconds for the first; an accelerator is busy with the second."""
_ELEMENTS: Final = {"cpu": 1 << 24, "accelerator": 1 << 27}


def tried(device: str, dtypes: Iterable[str], cpus: int, logs: Path) -> Tried:
    """Measure a small product in each of the dtypes, and a pass over memory, in a worker process. `logs` is the folder for its logs."""
    kind = "cpu" if device == "cpu" else "accelerator"
    length = _LENGTHS[kind]
    cases = [_case("matmul", {"m": length, "n": length, "k": length}, dtype, device) for dtype in dict.fromkeys(dtypes)]
    cases.append(_case("triad", {"elements": _ELEMENTS[kind]}, "fp32", device))
    options = Options(case_time_s=_CASE_S, time_limit_s=_LIMIT_S, cpus=cpus)
    with closing(execute(tuple(cases), options, logs)) as events:
        records = [event.record for event in events if isinstance(event, Recorded)]
    rates = {
        record.case.dtype: rate for record in records if record.case.workload == "matmul" and (rate := _rate(record, "flops_per_step"))
    }
    memory = [rate for record in records if record.case.workload == "triad" and (rate := _rate(record, "bytes_per_step"))]
    return Tried(flops_per_s=rates, bytes_per_s=memory[0] if memory else None)


def _case(name: str, settings: dict[str, int], dtype: str, device: str) -> Case:
    config = codec.convert(settings, registry.load("workloads", name, Workload).config, source=name)
    return Case(workload=name, config=codec.to_builtins(config), dtype=dtype, device=device)


def _rate(record: Record, amount: str) -> float | None:
    """The amount over the time of the fastest sample; None where nothing was measured."""
    measured = record.measurement
    return getattr(measured, amount) / min(measured.step_wall_s) if measured and measured.step_wall_s else None
