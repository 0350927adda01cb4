"""Words and numbers as every text format shows them."""

from typing import Final

from hwbench.core.summary import Interval, Roof, Scaling, Throughput
from hwbench.core.units import UNKNOWN, format_bytes, format_fraction, format_rate, format_seconds, significant
from hwbench.core.workload import EvaluatedOn

TOO_WIDE: Final = "too wide"


def rate(row: Throughput) -> str:
    """The figure to judge a case by: '1,230 token/s', '20.5 GB/s'."""
    if row.rate_unit in ("B/s", "FLOP/s"):
        return format_rate(row.rate_per_s, row.rate_unit)
    return f"{big(row.rate_per_s)} {row.rate_unit}"


def many(unit: str) -> str:
    """The plural of an item: tokens, passes."""
    return f"{unit}es" if unit.endswith("s") else f"{unit}s"


def tells(interval: Interval | None, middle: float) -> bool:
    """Whether an interval says anything: two or three noisy processes can make one that is wider than twice the value."""
    return interval is not None and interval.high - interval.low <= 2 * middle


def step_time(row: Throughput) -> str:
    """Step time with its interval: '12.3 ms (12.0 to 12.9)', or the word that it is too wide to say anything."""
    if row.step_interval_s is None:
        return format_seconds(row.step_time_s)
    if not tells(row.step_interval_s, row.step_time_s):
        return f"{format_seconds(row.step_time_s)} ({TOO_WIDE})"
    return time_range(row.step_time_s, row.step_interval_s.low, row.step_interval_s.high)


def time_range(middle_s: float, low_s: float, high_s: float) -> str:
    """A time and its interval, the unit written once where it is the same: '12.3 ms (12.0 to 12.9)'."""
    middle, low, high = (format_seconds(value) for value in (middle_s, low_s, high_s))
    unit = middle.rpartition(" ")[2]
    same = middle.count(" ") == 1 and all(text.count(" ") == 1 and text.endswith(f" {unit}") for text in (low, high))
    return f"{middle} ({low.removesuffix(f' {unit}')} to {high.removesuffix(f' {unit}')})" if same else f"{middle} ({low} to {high})"


def big(value: float) -> str:
    """A number to three digits; from a million on with a prefix: 1,230 or 3.56 M."""
    return significant(value) if value < 1e6 else format_rate(value, "").strip()


def flops(row: Throughput) -> str:
    """FLOP rate, or a dash where the workload counts none."""
    return format_rate(row.flops_per_s, "FLOP/s") if row.flops_per_step else UNKNOWN


def traffic(row: Throughput) -> str:
    """Least memory traffic a second, or a dash where the workload counts none."""
    return format_rate(row.bytes_per_s, "B/s") if row.bytes_per_step else UNKNOWN


def spread(row: Throughput) -> str:
    """Half the interval's width: '±2.1 %', marked where it is noisy."""
    if row.spread_fraction is None:
        return UNKNOWN
    width = "over ±100 %" if row.spread_fraction > 1 else f"±{format_fraction(row.spread_fraction, 2)}"
    return f"{width}{' ⚠' if row.noisy else ''}"


def peak_memory(row: Throughput) -> str:
    """Peak memory of one rank: the accelerator's where there is one, else the process's resident size."""
    return format_bytes(row.device_peak_bytes if row.device_peak_bytes is not None else row.resident_peak_bytes)


def loss(row: Throughput) -> str:
    """First and last loss of a training step, or a dash."""
    if row.first_loss is None or row.last_loss is None:
        return UNKNOWN
    return f"{row.first_loss:.4g} → {row.last_loss:.4g}"


EVALUATED_ON: Final[dict[EvaluatedOn | None, str]] = {
    "held_out": "of text never trained on",
    "new": "of new pieces of the text",
    "batch": "of its own batch, learned by heart",
}


def metrics(row: Throughput) -> str:
    """How good the model was after the last sample, and of what: 'perplexity 512, accuracy 18.4 %'; a dash where nobody knows."""
    if not row.metrics:
        return UNKNOWN
    return ", ".join(f"{name} {_metric(name, value)}" for name, value in row.metrics.items())


def _metric(name: str, value: float) -> str:
    return significant(value) if name in ("perplexity", "bleu") else format_fraction(value)


def variant(row: Throughput | Scaling, *, several_runs: bool = False) -> str:
    """What sets a row apart within its workload: layout, settings, dtype, device, and the run where there are several."""
    parts = [row.layout, row.settings, row.dtype, row.device, row.run if several_runs else ""]
    return " · ".join(part for part in parts if part)


def efficiency(value: Scaling) -> str:
    """Scaling efficiency with its interval: '85.6 % (81 to 90 %)'."""
    text = format_fraction(value.efficiency_fraction)
    if value.interval is None:
        return text
    if not tells(value.interval, value.efficiency_fraction):
        return f"{text} ({TOO_WIDE})"
    return f"{text} ({100 * value.interval.low:.0f} to {100 * value.interval.high:.0f} %)"


def roof_rate(roof: Roof) -> str:
    """A roof's rate with its unit."""
    return format_rate(roof.rate, "B/s" if roof.dtype is None else "FLOP/s")


def energy(value_j: float | None) -> str:
    """Energy as it is billed: kWh, MWh or GWh."""
    return UNKNOWN if value_j is None else format_rate(value_j / 3600, "Wh")


def clip(text: str, length: int) -> str:
    """At most so many characters, the end replaced by an ellipsis."""
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"
