from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwbench.analyse.series import parse_series, read_series
from hwbench.core.errors import UserError


def test_values_in_file_order_with_their_times() -> None:
    found = parse_series("timestamp,value\n2026-01-01,3\n2026-01-02,4.5\n", source="s")
    assert found.values == (3.0, 4.5)
    assert found.times == ("2026-01-01", "2026-01-02")
    assert found.indices == (0, 1)
    assert found.note == ""


def test_a_value_column_is_enough() -> None:
    assert parse_series("value\n1\n2\n", source="s").times == ("", "")


def test_what_was_not_measured_is_left_out_and_counted_and_places_stay_those_of_the_file() -> None:
    found = parse_series("timestamp,value\n1,\n2,nan\n3,0\n4,-1\n5,inf\n6,7\n", source="s")
    assert (found.indices, found.values) == ((5,), (7.0,))
    assert found.note == "5 rows without a positive value left out"


def test_a_clock_that_went_backwards_is_said() -> None:
    assert "backwards 1 time" in parse_series("timestamp,value\n2026-01-02,3\n2026-01-01,4\n", source="s").note


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "lacks the column 'value'"),
        ("time,seconds\n1,2\n", "lacks the column 'value'"),
        ("timestamp,value\n", "no positive values"),
        ("value\nnan\n", "no positive values"),
        ("value\nfast\n", "row 2: the value is 'fast'"),
        ('value\n"1\n', "not a CSV file"),
    ],
)
def test_unusable_files_are_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "h.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(UserError, match=says) as caught:
        read_series(path)
    assert "h.csv" in caught.value.message


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't read the history"):
        read_series(tmp_path / "none.csv")


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    for body in (text, f"value\n{text}"):
        try:
            found = parse_series(body, source="s")
        except UserError:
            continue
        assert all(value > 0 for value in found.values)
