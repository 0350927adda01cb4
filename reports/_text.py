"""Words and numbers as every text format shows them."""

from hwbench.core.summary import Interval, Roof, Scaling, Throughput
from hwbench.core.units import UNKNOWN, format_bytes, format_fraction, format_rate, format_seconds, significant


def step_time(row: Throughput) -> str:
    """Step time with its interval: '12.3 ms (12.0 to 12.9 ms)'."""
    return with_interval(row.step_time_s, row.step_interval_s)


def with_interval(value_s: float, interval: Interval | None) -> str:
    """A time and the interval around it, or the word for having none."""
    if interval is None:
        return format_seconds(value_s)
    return f"{format_seconds(value_s)} ({format_seconds(interval.low)} to {format_seconds(interval.high)})"


def items(row: Throughput) -> str:
    """Items a second with their unit: '1,230 token/s'."""
    return f"{big(row.items_per_s)} {row.item_unit}/s"


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
    return f"±{format_fraction(row.spread_fraction, 2)}{' noisy' if row.noisy else ''}"


def peak_memory(row: Throughput) -> str:
    """Peak memory of one rank: the accelerator's where there is one, else the process's resident size."""
    return format_bytes(row.device_peak_bytes if row.device_peak_bytes is not None else row.resident_peak_bytes)


def loss(row: Throughput) -> str:
    """First and last loss of a training step, or a dash."""
    if row.first_loss is None or row.last_loss is None:
        return UNKNOWN
    return f"{row.first_loss:.4g} → {row.last_loss:.4g}"


def variant(row: Throughput | Scaling, *, several_runs: bool = False) -> str:
    """What sets a row apart within its workload: layout, settings, dtype, device, and the run where there are several."""
    parts = [row.layout, row.settings, row.dtype, row.device, row.run if several_runs else ""]
    return " · ".join(part for part in parts if part)


def efficiency(value: Scaling) -> str:
    """Scaling efficiency with its interval: '85.6 % (81 to 90 %)'."""
    text = format_fraction(value.efficiency_fraction)
    if value.interval is None:
        return text
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
