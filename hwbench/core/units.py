"""Units as people write and read them. Inside hwbench everything is in SI base units; text is made only here.

Binary prefixes (KiB, MiB, GiB) for memory sizes, decimal ones for rates (GB/s, TFLOP/s), as the field does.
"""

import math
import re

from hwbench.core.errors import UserError

_DURATION_S = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_COUNT = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}
_BYTES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
    "k": 2**10,
    "m": 2**20,
    "g": 2**30,
    "t": 2**40,
}
_NUMBER = re.compile(r"^\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Z]*)\s*$")
UNKNOWN = "–"


def parse_duration_s(text: str) -> float:
    """Seconds of '90', '90s', '3m', '1.5h', '30d'; UserError otherwise, and for zero or infinity."""
    return _parse(text, _DURATION_S, "duration", "90s, 3m, 1.5h or 30d", lower=True)


def parse_count(text: str) -> float:
    """A positive number of '300e9', '300B', '2T', '1.5M' (decimal prefixes); UserError otherwise."""
    return _parse(text, _COUNT, "count", "300e9, 300B or 2T", lower=True)


def parse_bytes(text: str) -> float:
    """Bytes of '80GB' (decimal), '64MiB' or '64M' (binary); UserError otherwise."""
    return _parse(text, {k: float(v) for k, v in _BYTES.items()}, "size", "80GB or 64MiB", lower=True)


def _parse(text: str, table: dict[str, float], kind: str, example: str, *, lower: bool) -> float:
    match = _NUMBER.match(text)
    unit = (match[2].lower() if lower else match[2]) if match else None
    if match is None or unit not in table:
        raise UserError(f"{text!r} is not a {kind}", hint=f"write it like {example}")
    value = float(match[1]) * table[unit]
    if not 0 < value < math.inf:
        raise UserError(f"{text!r}: a {kind} must be more than zero and finite", hint=f"write it like {example}")
    return value


def _scaled(value: float, step: float, units: list[str], digits: int) -> str:
    index = 0
    while abs(value) >= step * (1 - 0.5 * 10**-digits) and index < len(units) - 1:
        value /= step
        index += 1
    return f"{significant(value, digits)} {units[index]}"


def significant(value: float, digits: int = 3) -> str:
    """A number to so many significant digits, without an exponent where that reads better: 1234.5 -> 1,230, 0.01234 -> 0.0123."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    rounded = round(value, digits - 1 - math.floor(math.log10(abs(value))))
    places = digits - 1 - math.floor(math.log10(abs(rounded)))
    if abs(rounded) < 1e-4:
        return f"{rounded:.{digits - 1}e}"
    return f"{rounded:,.{max(places, 0)}f}"


def format_bytes(value: float | None, digits: int = 3) -> str:
    """Memory size with binary prefixes: 16 GiB."""
    return UNKNOWN if value is None else _scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"], digits)


def format_rate(value: float | None, unit: str, digits: int = 3) -> str:
    """A rate or an amount with decimal prefixes: format_rate(2e12, 'FLOP/s') -> 2.00 TFLOP/s."""
    if value is None:
        return UNKNOWN
    return _scaled(value, 1000, [f"{p}{unit}" for p in ("", "k", "M", "G", "T", "P", "E", "Z")], digits)


def format_count(value: float | None, digits: int = 3) -> str:
    """A plain count with a short suffix: 175 B for 175e9, 2.00 T for 2e12."""
    if value is not None and abs(value) < 1000 and value == int(value):
        return str(int(value))
    return UNKNOWN if value is None else _scaled(value, 1000, ["", "k", "M", "B", "T", "Q"], digits).rstrip()


def format_seconds(value: float | None, digits: int = 3) -> str:
    """A time as people say it: 12.3 ms, 4.56 s, 3 min 20 s, 5.2 h, 31.4 days."""
    if value is None:
        return UNKNOWN
    if value < 1:
        for factor, unit in ((1e3, "ms"), (1e6, "µs"), (1e9, "ns")):
            if value * factor >= 1 or unit == "ns":
                return f"{significant(value * factor, digits)} {unit}"
    if value < 120:
        return f"{significant(value, digits)} s"
    if value < 7200:
        return f"{int(value // 60)} min {int(value % 60):02d} s"
    if value < 172800:
        return f"{significant(value / 3600, digits)} h"
    return f"{significant(value / 86400, digits)} days"


def format_usd(value: float | None) -> str:
    """Money to three significant digits: $1.23 million, $45,600."""
    if value is None:
        return UNKNOWN
    if value >= 1e6:
        return f"${significant(value / 1e6)} million"
    return f"${significant(value)}" if value >= 100 else f"${value:.2f}"


def format_fraction(value: float | None, digits: int = 3) -> str:
    """A fraction as a percentage: 0.4567 -> 45.7 %."""
    return UNKNOWN if value is None else f"{significant(value * 100, digits)} %"
