"""The largest batch of a case that fits into memory: a guess from the closed form, then doubling, halving and bisection, tried in workers.

A try that runs out of memory has failed, not the run. On a CPU a worker's memory is limited (RLIMIT_DATA) to what the machine has to give,
so that the kernel never has to kill anybody.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from hwbench.core import codec
from hwbench.core.errors import MeasurementError, UserError
from hwbench.core.record import Case
from hwbench.core.value import Value
from hwbench.core.workload import DTYPE_BYTES

from . import cases as casework

FIELDS: Final = ("micro_batch", "batch")
"""What workloads call the number of samples that memory grows with."""
SHARE: Final = 0.8
"""Of the memory that is free; the rest is for what others take meanwhile."""
RESOLUTION: Final = 16
"""Bisection ends where the next size is less than this part larger."""
_MOST: Final = 1 << 20
_WORDS: Final = ("out of memory", "bad_alloc", "could not create a", "killed by SIG")
"""How a try says that it didn't fit; native code that is refused memory may also end by a signal."""


class Try(Value):
    """One size that was tried."""

    batch: int
    fits: bool
    reason: str = ""
    """Why it doesn't fit."""


class Found(Value):
    """The largest size that fits, and every try on the way."""

    field: str
    batch: int
    limit_bytes: int | None
    """Memory that a rank was allowed; None on an accelerator, whose own limit counts."""
    tries: tuple[Try, ...]


def field_of(case: Case) -> str:
    """The setting that is the batch. UserError where the workload has none."""
    for name in FIELDS:
        if name in case.config:
            return name
    raise UserError(f"--find-batch: {case.workload} has no batch", hint=f"it looks for a workload's {' or '.join(FIELDS)}")


def sized(case: Case, batch: int) -> Case:
    """The case with another batch."""
    return msgspec.structs.replace(case, config=case.config | {field_of(case): batch})


def footprint_bytes(case: Case) -> float:
    """About what a rank's tensors take: weights with their state, activations and, of what doesn't train, every operand once."""
    cost = casework.cost_of(case)
    weights = cost.parameters * (DTYPE_BYTES.get(cost.dtype, 2.0) + cost.parameter_state_bytes)
    return weights + (cost.activation_bytes if cost.training else cost.bytes)


def guess(case: Case, limit_bytes: float) -> int:
    """The batch at which the footprint reaches the limit, from the footprints of one and of two samples; at least 1."""
    one, two = footprint_bytes(sized(case, 1)), footprint_bytes(sized(case, 2))
    each = max(two - one, 1.0)
    return max(1, min(_MOST, int((limit_bytes - (one - each)) / each)))


def search(first: int, fits: Callable[[int], Try], most: int = _MOST) -> tuple[Try, ...]:
    """Tries from `first` on, until the largest fitting size is known to one part in RESOLUTION.

    MeasurementError where not even 1 fits, with the reason of that try.
    """
    tries = [fits(min(first, most))]
    while tries[-1].fits and tries[-1].batch < most:
        tries.append(fits(min(2 * tries[-1].batch, most)))
    while not any(one.fits for one in tries):
        smallest = min(one.batch for one in tries)
        if smallest == 1:
            raise MeasurementError(f"not even a batch of 1 fits: {tries[-1].reason}")
        tries.append(fits(smallest // 2))
    while (gap := _gap(tries)) and gap[1] - gap[0] > max(1, gap[0] // RESOLUTION):
        tries.append(fits(sum(gap) // 2))
    return tuple(tries)


def _gap(tries: list[Try]) -> tuple[int, int] | None:
    """The largest size that fits and the smallest that doesn't; None where all fit."""
    failed = [one.batch for one in tries if not one.fits]
    return (max(one.batch for one in tries if one.fits), min(failed)) if failed else None


def largest(tries: tuple[Try, ...]) -> int:
    """The largest size that was tried and fits."""
    return max(one.batch for one in tries if one.fits)


def is_too_large(reason: str) -> bool:
    """Whether a failed record's reason is that the case didn't fit (or took longer than a try may take)."""
    return any(words in reason for words in (*_WORDS, "no answer within the time limit"))


def free_bytes(root: Path = Path("/")) -> int | None:
    """Memory that may be taken now: the kernel's MemAvailable, or less where the control group leaves less. None where nobody tells.

    Control groups, version 2: memory.max less memory.current of the group this process is in, and of those above it.
    """
    found = [_available(root / "proc/meminfo"), *_groups(root)]
    known = [one for one in found if one is not None]
    return max(0, min(known)) if known else None


def _available(meminfo: Path) -> int | None:
    for line in _lines(meminfo):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _groups(root: Path) -> list[int]:
    path = next((line.removeprefix("0::/") for line in _lines(root / "proc/self/cgroup") if line.startswith("0::/")), "")
    top = root / "sys/fs/cgroup"
    left: list[int] = []
    for group in (top / path, *(top / path).parents):
        limit, used = (_lines(group / name) for name in ("memory.max", "memory.current"))
        if limit and used and limit[0].isdigit() and used[0].isdigit():
            left.append(int(limit[0]) - int(used[0]))
        if group == top:
            break
    return left


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


def as_settings(found: Found) -> dict[str, Any]:
    """For the run's header."""
    settings: dict[str, Any] = codec.to_builtins(found)
    return settings
