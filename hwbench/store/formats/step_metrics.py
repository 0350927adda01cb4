"""Step metrics of a training run as torchtitan names them, JSON or JSON Lines, read: each line with a step time is a sample."""

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any, Final

from hwbench.core.inventory import Inventory

from ._metrics import SECTIONS, UNKNOWN_FIELDS, first
from ._told import Content, Reader, Told, case, not_told, record

KIND: Final = "step metrics"
STEP_TIME_KEYS: Final = ("time_metrics/end_to_end(s)", "end_to_end(s)", "step_time_s", "step_time", "time_per_step", "iter_time_s")
"""Seconds a step. The first is torchtitan's: the mean over the steps since its last line (torchtitan/components/metrics.py)."""
RATE_KEYS: Final = ("throughput(tps)", "tokens_per_second", "tokens_per_s", "tps")
"""Tokens a second; torchtitan's are of one device."""
TFLOPS_KEYS: Final = ("tflops",)
LOSS_KEYS: Final = ("loss_metrics/global_avg_loss", "loss", "train/loss", "train_loss")


def recognises(content: Content) -> bool:
    """Whether it is a list, or lines, of objects of which some has a step time."""
    return any(first(entry, STEP_TIME_KEYS) is not None for entry in _entries(content))


def read(content: Content) -> Told:
    """One process: a sample a line that has a step time. Tokens and FLOPs are of one device, the median over the lines."""
    entries = [entry for entry in _entries(content) if first(entry, STEP_TIME_KEYS) is not None]
    times = [first(entry, STEP_TIME_KEYS) or math.nan for entry in entries]
    losses = [loss for entry in _entries(content) if (loss := first(entry, LOSS_KEYS)) is not None]
    work: dict[str, Any] = {}
    tokens, flops = _per_step(entries, RATE_KEYS, 1.0), _per_step(entries, TFLOPS_KEYS, 1e12)
    if tokens is not None and 1 <= tokens < 1e15:
        work |= {"items_per_step": round(tokens), "item_unit": "token"}
    if flops is not None:
        work["flops_per_step"] = flops
    if losses:
        work |= {"first_loss": losses[0], "last_loss": losses[-1]}
    taken = record(case("train"), times, started_at="", **work)
    return Told(kind=KIND, inventory=Inventory(gaps=not_told(KIND, *SECTIONS)), records=(taken,), unknown=UNKNOWN_FIELDS)


def _per_step(entries: Iterable[Mapping[str, Any]], keys: tuple[str, ...], unit: float) -> float | None:
    """A rate times the step time of its line, the median; None where no line has the rate."""
    each = [rate * time * unit for entry in entries if (rate := first(entry, keys)) and (time := first(entry, STEP_TIME_KEYS))]
    found = statistics.median(each) if each else math.nan
    return found if math.isfinite(found) else None


def _entries(content: Content) -> list[dict[str, Any]]:
    found = content.document if isinstance(content.document, list) else [content.document] if content.document else content.lines
    return [entry for entry in found if isinstance(entry, dict)]


_LOOKS: Final = f"JSON or JSON Lines of objects with a step time ({', '.join(STEP_TIME_KEYS[:3])} …)"
READER: Final = Reader(kind=KIND, looks_like=_LOOKS, recognises=recognises, read=read)
