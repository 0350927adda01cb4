from pathlib import Path

import numpy as np
import pytest

from hwbench.core.errors import UserError
from hwbench.planner.card import rank_correlation, score
from hwbench.planner.conformal import doubt, interval, quantile
from hwbench.planner.constants import Constants, fitted, from_vector, markdown, names, priors, shipped, spreads
from hwbench.planner.fit import Fit, Measured, collected_path, fit, load, measurements_path, shipped_table, without
from hwbench.planner.leave_out import ANCHORED, pick_anchors, validate
from hwbench.planner.model import step_s
from hwbench.planner.reading import read_table
from hwbench.planner.rows import columns
from hwbench.planner.table import Line

TABLE = shipped_table()
SHIPPED = load(TABLE)
FIRST = slice(0, len(read_table(measurements_path())))
"""Rows of data/measurements.csv; those of data/collected.csv come after."""


@pytest.fixture(scope="module")
def fits() -> dict[str, Fit]:
    return {}


@pytest.fixture(scope="module")
def blind(fits: dict[str, Fit]) -> list[Line]:
    return validate(TABLE, "source_family", fits=fits)


@pytest.fixture(scope="module")
def anchored(fits: dict[str, Fit]) -> list[Line]:
    return validate(TABLE, "source_family", anchors=3, fits=fits)


def test_the_blind_score_does_not_fall(blind: list[Line]) -> None:
    """The guard: measured 10.0 % mean, 7.9 % median, p90 21.6 % over all shipped rows when it was written."""
    card = score(TABLE, blind, "source_family", "blind")
    assert card is not None
    assert card.predicted == card.rows == len(TABLE)
    assert card.total.mape_fraction < 0.105
    assert card.total.median_fraction < 0.085
    assert card.total.p90_fraction < 0.23
    assert card.total.coverage_fraction is not None
    assert 0.85 <= card.total.coverage_fraction <= 0.95
    assert card.total.width_fraction is not None
    assert card.total.width_fraction < 0.5
    assert all(one.coverage_fraction is not None and one.coverage_fraction >= 0.70 for one in card.groups)


@pytest.mark.parametrize(
    "rows, mean, median, p90", [(FIRST, 0.100, 0.077, 0.212), (slice(FIRST.stop, None), 0.112, 0.094, 0.24)], ids=["first", "collected"]
)
def test_neither_table_is_predicted_worse_blind(blind: list[Line], rows: slice, mean: float, median: float, p90: float) -> None:
    """The first table's bounds are its figures from before the second was collected: 10.0 %, 7.7 %, 21.2 %."""
    card = score(TABLE[rows], blind[rows], "source_family", "blind")
    assert card is not None
    assert card.total.mape_fraction < mean
    assert card.total.median_fraction < median
    assert card.total.p90_fraction < p90
    assert card.total.coverage_fraction is not None
    assert 0.85 <= card.total.coverage_fraction <= 0.95


def test_the_choice_of_layouts_does_not_fall(blind: list[Line]) -> None:
    card = score(TABLE[FIRST], blind[FIRST], "source_family", "blind")
    assert card is not None
    assert card.mean_regret_fraction is not None
    assert card.mean_regret_fraction < 0.02
    assert card.mean_rank_correlation is not None
    assert card.mean_rank_correlation > 0.8


def test_the_anchored_score_does_not_fall(anchored: list[Line]) -> None:
    card = score(TABLE, anchored, "source_family", "anchored")
    assert card is not None
    assert card.total.mape_fraction < 0.10
    assert card.total.median_fraction < 0.07
    assert card.total.p90_fraction < 0.22
    assert card.mean_over_groups_fraction < 0.11
    assert card.total.coverage_fraction is not None
    assert 0.85 <= card.total.coverage_fraction <= 0.95
    first = score(TABLE[FIRST], anchored[FIRST], "source_family", "anchored")
    assert first is not None
    assert first.total.mape_fraction < 0.092
    left = [line for line in anchored if line.step_s is None]
    assert {line.reason for line in left} == {ANCHORED}
    assert len(left) <= 3 * len(card.groups)


def test_a_shipped_source_under_another_name_is_left_out_too(blind: list[Line]) -> None:
    """Rows of a family that is shipped, with other ids and another family: constants that saw them would not be blind."""
    places = [place for place, row in enumerate(TABLE) if row["source_family"] == "LUMI"]
    renamed = [dict(TABLE[place], id=f"x{place}", source_family="mine") for place in places]
    found = [line.step_s for line in validate(renamed, "source_family")]
    assert found == pytest.approx([blind[place].step_s for place in places], rel=1e-6)


def test_every_collected_row_names_its_source_and_is_no_shipped_run() -> None:
    rows = read_table(collected_path())
    assert all(row["source"] and row["source_family"] and float(row["measured_step_time_s"]) > 0 for row in rows)
    ids = [row["id"] for row in TABLE]
    assert len(set(ids)) == len(ids)
    assert not {row["source_family"] for row in rows} & {row["source_family"] for row in TABLE[FIRST]}


def test_anchors_are_chosen_without_a_look_at_what_was_measured() -> None:
    logs = np.log(step_s(SHIPPED.rows, fitted()))
    picked = pick_anchors(SHIPPED.rows, logs, 3)
    assert len(picked) == 3
    assert (picked == pick_anchors(SHIPPED.rows, logs, 3)).all()


def test_the_shipped_constants_are_the_fit_of_the_shipped_rows() -> None:
    assert sum(shipped().fitted_on.values()) == len(TABLE)
    done = fit(SHIPPED, np.ones(len(TABLE), dtype=bool))
    assert np.allclose(np.log([getattr(fitted(), name) for name in names()]), done.logarithms, atol=2e-3)


def test_a_fit_finds_the_constants_that_made_its_rows() -> None:
    truth = priors()
    moved = names().index("sustained_ampere"), names().index("elementwise_eager")
    truth[moved[0]] -= 0.05
    truth[moved[1]] += 0.2
    made = Measured(SHIPPED.rows, step_s(SHIPPED.rows, from_vector(truth)), SHIPPED.family, SHIPPED.table)
    found = fit(made, np.ones(len(TABLE), dtype=bool)).logarithms
    assert (np.abs(found - truth)[list(moved)] < 0.5 * np.abs(truth - priors())[list(moved)]).all()
    assert np.abs(np.log(step_s(SHIPPED.rows, from_vector(found)) / made.step_s)).mean() < 0.01


def test_without_rows_a_fit_keeps_its_priors() -> None:
    one = SHIPPED.family == "MT-NLG"
    done = fit(SHIPPED, one)
    index = names().index("grouped")
    assert done.logarithms[index] == pytest.approx(priors()[index], abs=1e-6)


def test_taking_rows_away_in_one_step_is_near_to_fitting_again() -> None:
    out = SHIPPED.family == "DGXC"
    quick = without(fit(SHIPPED, np.ones(len(TABLE), dtype=bool)), out)
    exact = fit(SHIPPED, ~out).logarithms
    logs = [np.log(step_s(SHIPPED.rows, from_vector(one))) for one in (quick, exact)]
    assert np.abs(logs[0] - logs[1]).mean() < 0.01


def test_every_constant_has_a_prior_a_spread_and_a_reason() -> None:
    assert (spreads() > 0).all()
    assert len(names()) == len(priors()) == len(spreads())
    assert np.allclose([getattr(Constants(), name) for name in names()], np.exp(priors()))


def test_the_quantile_covers_what_it_says() -> None:
    scores = np.abs(np.random.default_rng(7).normal(size=400))
    assert 0.90 <= (scores <= quantile(scores)).mean() <= 0.91
    assert quantile(np.array([3.0, 1.0])) == 3.0
    assert quantile(np.array([])) == float("inf")


def test_intervals_are_around_the_prediction() -> None:
    low, high = interval(np.array([2.0]), np.array([0.2]))
    assert low[0] < 2 < high[0]
    assert low[0] * high[0] == pytest.approx(4.0)
    assert (doubt(SHIPPED.rows) >= 1).all()


def test_a_card_counts_as_the_protocol_says() -> None:
    table = [{"source_family": "a", "measured_step_time_s": "2", "tp": str(tp), "mem_gib_reported": "10"} for tp in (1, 2, 4, 8)]
    lines = [Line(2.0 * factor, 1.0, 3.0, 11 * 2**30) for factor in (1.0, 1.1, 0.9, 1.2)]
    card = score(table, lines, "source_family", "test")
    assert card is not None
    assert card.total.mape_fraction == pytest.approx(0.1)
    assert card.total.coverage_fraction == 1.0
    assert card.mean_regret_fraction == 0.0
    assert card.memory_error_fraction == pytest.approx(0.1)
    assert score(table, [Line(None, None, None, None, "no")] * 4, "source_family", "test") is None


def test_ranks_share_ties() -> None:
    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx(1.0)
    assert rank_correlation([1, 2, 2, 4], [4, 2, 2, 1]) == pytest.approx(-1.0)
    assert rank_correlation([1, 1], [1, 2]) == 0.0


def test_a_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="no column 'supplier'"):
        validate(TABLE[:2], "supplier")


def test_a_small_group_can_be_validated() -> None:
    few = [row for row in TABLE if row["source_family"] == "MT-NLG"]
    lines = validate(few, "source_family", anchors=3)
    assert [line.step_s is None for line in lines].count(True) == 1
    assert len(columns(SHIPPED.rows.setups[:2])) == 2


def test_the_documented_constants_are_the_shipped_ones() -> None:
    page = Path(__file__).parents[2] / "docs" / "planner.md"
    assert markdown() in page.read_text(encoding="utf-8"), "paste hwbench.planner.constants.markdown() into docs/planner.md"
