"""Units are read and written as people do it; nonsense is refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.core import units
from hwbench.core.errors import UserError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("3m", 180), ("1.5h", 5400), ("30d", 2592000), (" 250 ms ", 0.25), ("2w", 1209600)]
)
def test_durations(text: str, seconds: float) -> None:
    assert units.parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0", "-3m", "3 fortnights", "inf", "nan", "1e999", "three", "3m3m"])
def test_nonsense_durations_are_refused(text: str) -> None:
    with pytest.raises(UserError):
        units.parse_duration_s(text)


@pytest.mark.parametrize(("text", "count"), [("300e9", 300e9), ("2T", 2e12), ("300B", 300e9), ("1.5M", 1.5e6)])
def test_counts(text: str, count: float) -> None:
    assert units.parse_count(text) == pytest.approx(count)


def test_sizes() -> None:
    assert units.parse_bytes("80GB") == 80e9
    assert units.parse_bytes("64MiB") == units.parse_bytes("64M") == 64 * 2**20


def test_text() -> None:
    assert units.format_bytes(16 * 2**30) == "16.0 GiB"
    assert units.format_rate(312e12, "FLOP/s") == "312 TFLOP/s"
    assert units.format_rate(999_999, "B/s") == "1.00 MB/s"
    assert units.format_count(175e9) == "175 B"
    assert units.format_count(12) == "12"
    assert units.format_seconds(0.0123) == "12.3 ms"
    assert units.format_seconds(200) == "3 min 20 s"
    assert units.format_seconds(30 * 86400) == "30.0 days"
    assert units.format_usd(1.234e6) == "$1.23 million"
    assert units.format_fraction(0.4567) == "45.7 %"
    assert units.significant(1234.5) == "1,230"


def test_an_unknown_is_said_as_unknown() -> None:
    formatters = (units.format_bytes, units.format_seconds, units.format_count, units.format_usd, units.format_fraction)
    assert {f(None) for f in formatters} == {units.UNKNOWN}


@given(st.floats(min_value=1e-9, max_value=1e18))
def test_formatted_numbers_keep_three_digits(value: float) -> None:
    number, _, suffix = units.format_rate(value, "B/s").partition(" ")
    factor = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}.get(suffix[0], 1.0) if len(suffix) > 3 else 1.0
    assert math.isclose(float(number.replace(",", "")) * factor, value, rel_tol=0.006)
