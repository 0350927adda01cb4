"""Suppliers' quotes: read or refused with file, line and column; whatever the text, no other error."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.core.errors import UserError
from hwbench.planner.offers import COLUMNS, day_s, read_quotes

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HEAD = ",".join(COLUMNS)


def read(*lines: str) -> list[object]:
    return list(read_quotes("\n".join((HEAD, *lines)), source="quotes.csv", now=NOW))


def test_a_quote_is_a_cluster_nodes_a_price_and_a_delivery() -> None:
    (one, two) = read_quotes(f"{HEAD}\nAlpha,dgx-h100,64,16e6,45d\nBeta,./b.toml,8,2_000_000,2026-11-30", source="q", now=NOW)
    assert (one.cluster, one.nodes, one.offer.price_usd, one.offer.delivery_s) == ("dgx-h100", 64, 16e6, 45 * 86_400)
    assert two.offer.price_usd == 2e6
    assert two.offer.delivery_s == pytest.approx(10.5 * 86_400, abs=2)
    assert read_quotes(f"{HEAD}\nA,b,1,1,stock", source="q", now=NOW)[0].offer.delivery_s == 0


REFUSED = {
    "supplier,cluster\nA,b": "quotes.csv: column nodes, price, delivery is missing",
    HEAD: "quotes.csv: no quotes",
    f"{HEAD}\n,b,1,1,1d": "quotes.csv, line 2: supplier is empty",
    f"{HEAD}\nA,b,1.5,1,1d": "line 2: nodes: expected a whole number, found '1.5'",
    f"{HEAD}\nA,b,0,1,1d": "line 2: nodes: expected more than zero and finite, found '0'",
    f"{HEAD}\nA,b,1,cheap,1d": "line 2: price: expected a number, found 'cheap'",
    f"{HEAD}\nA,b,1,1,1d\nA,b,1,1,soon": "line 3: delivery: 'soon' is not a duration",
    f"{HEAD}\nA,b,1,1,2020-01-01": "line 2: delivery 2020-01-01 is in the past",
    f"{HEAD}\nA,b,1,1,2027-02-30": "no such day",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_quote_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(UserError) as raised:
        read_quotes(text, source="quotes.csv", now=NOW)
    assert REFUSED[text] in raised.value.message


@given(text=st.text())
def test_any_text_is_quotes_or_a_users_error(text: str) -> None:
    try:
        found = read_quotes(text, source="quotes.csv", now=NOW)
    except UserError:
        return
    assert found


@given(cells=st.lists(st.text(st.characters(exclude_characters=',\n\r"')), min_size=5, max_size=5))
def test_any_line_is_a_quote_or_a_users_error(cells: list[str]) -> None:
    try:
        (found,) = read_quotes(f"{HEAD}\n{','.join(cells)}", source="quotes.csv", now=NOW)
    except UserError:
        return
    assert found.nodes >= 1
    assert found.offer.price_usd > 0


@given(days=st.integers(1, 3000))
def test_a_duration_is_seconds(days: int) -> None:
    assert day_s(f"{days}d", NOW, where="--deadline") == days * 86_400
