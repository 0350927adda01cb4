"""What readers of training metrics share: numbers under keys, and what metrics don't tell."""

import math
from collections.abc import Mapping
from typing import Any, Final

SECTIONS: Final = ("cpu", "limits", "memory", "pci", "network", "storage", "machine", "software", "tuning", "accelerators")
UNKNOWN_FIELDS: Final = {
    "dtype, device, threads, layout": "the metrics don't say what the training ran on",
    "cpu_s, warmup_wall_s, involuntary_switches": "they don't hold them; the first steps are among the samples",
    "parameters, bytes_per_step": "they don't say",
    "commit, started_at": "they name neither; `--commit` tells the first",
}


def first(entry: Mapping[str, Any], keys: tuple[str, ...]) -> float | None:
    """The first of these keys' values that is a finite number; None where none is."""
    return next((value for key in keys if (value := number(entry, key)) is not None), None)


def number(entry: Mapping[str, Any], key: str) -> float | None:
    """A finite number under a key; None where there is none."""
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300 or math.isnan(value):
        return None
    return float(value)
