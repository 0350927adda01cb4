"""The accuracy card: how far predictions are from what was measured, overall, by family, by layout, and how honest the intervals are."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence

from hwbench.core.value import Value

from .table import Line

DEGREES = ("tp", "pp", "vpp", "dp", "cp", "ep", "micro_batch")
SAME = ("source", "hardware", "gpus", "model", "seq_len", "global_batch", "dtype", "framework", "layers", "hidden")
"""Rows alike in these and in their group differ only in the layout."""


class Score(Value):
    """Errors of one group of rows, as fractions of the measured step time; coverage of the 90 % intervals."""

    group: str
    rows: int
    mape_fraction: float
    median_fraction: float
    p90_fraction: float
    coverage_fraction: float | None
    width_fraction: float | None
    """Median width of the intervals over the prediction."""


class Card(Value):
    """What `hwbench validate` prints."""

    protocol: str
    rows: int
    predicted: int
    total: Score
    groups: tuple[Score, ...]
    mean_over_groups_fraction: float
    layout_groups: int
    mean_regret_fraction: float | None
    """How much slower than the best the layout with the best prediction really is, over groups of four or more layouts."""
    mean_rank_correlation: float | None
    memory_error_fraction: float | None
    """Mean absolute error of peak memory, where it was reported."""


class _Pair(Value):
    group: str
    measured_s: float
    predicted_s: float
    low_s: float
    high_s: float
    layout: tuple[str, ...]
    same: tuple[str, ...]
    memory_ratio: float | None

    @property
    def error(self) -> float:
        return abs(self.predicted_s - self.measured_s) / self.measured_s


def score(table: Sequence[Mapping[str, str]], lines: Sequence[Line], group: str, protocol: str) -> Card | None:
    """The card of predictions for rows whose measured_step_time_s is known; None where there is none."""
    pairs = [pair for row, line in zip(table, lines, strict=True) if (pair := _pair(row, line, group)) is not None]
    if not pairs:
        return None
    groups: dict[str, list[_Pair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.group].append(pair)
    scores = tuple(_score(name, members) for name, members in sorted(groups.items()))
    regrets, ranks = _layouts(pairs)
    memory = [abs(pair.memory_ratio - 1) for pair in pairs if pair.memory_ratio is not None]
    return Card(
        protocol=protocol,
        rows=sum(1 for row in table if _number(row.get("measured_step_time_s"))),
        predicted=len(pairs),
        total=_score("all", pairs),
        groups=scores,
        mean_over_groups_fraction=statistics.mean(one.mape_fraction for one in scores),
        layout_groups=len(regrets),
        mean_regret_fraction=statistics.mean(regrets) if regrets else None,
        mean_rank_correlation=statistics.mean(ranks) if ranks else None,
        memory_error_fraction=statistics.mean(memory) if memory else None,
    )


def memory_ratios(table: Sequence[Mapping[str, str]], lines: Sequence[Line]) -> tuple[float, ...]:
    """Predicted over reported peak memory of the rows that report one and could be expressed."""
    ratios = (_memory_ratio(row, line) for row, line in zip(table, lines, strict=True))
    return tuple(ratio for ratio in ratios if ratio is not None)


def rank_correlation(left: Sequence[float], right: Sequence[float]) -> float:
    """Spearman's correlation of two samples, ties sharing their rank; 0 where one of them is constant."""
    a, b = _ranks(left), _ranks(right)
    if len(set(a)) < 2 or len(set(b)) < 2:
        return 0.0
    return statistics.correlation(a, b)


def _layouts(pairs: Sequence[_Pair]) -> tuple[list[float], list[float]]:
    """Regret and rank correlation of every set of four or more rows that differ only in the layout."""
    sets: dict[tuple[str, ...], list[_Pair]] = defaultdict(list)
    for pair in pairs:
        sets[(pair.group, *pair.same)].append(pair)
    chosen = [members for members in sets.values() if len(members) >= 4 and len({one.layout for one in members}) >= 4]
    regrets, ranks = [], []
    for members in chosen:
        picked = min(members, key=lambda one: one.predicted_s)
        regrets.append(picked.measured_s / min(one.measured_s for one in members) - 1)
        ranks.append(rank_correlation([one.predicted_s for one in members], [one.measured_s for one in members]))
    return regrets, ranks


def _score(name: str, pairs: Sequence[_Pair]) -> Score:
    errors = sorted(pair.error for pair in pairs)
    return Score(
        group=name,
        rows=len(pairs),
        mape_fraction=statistics.mean(errors),
        median_fraction=statistics.median(errors),
        p90_fraction=errors[min(len(errors) - 1, int(0.9 * len(errors)))],
        coverage_fraction=statistics.mean(pair.low_s <= pair.measured_s <= pair.high_s for pair in pairs),
        width_fraction=statistics.median((pair.high_s - pair.low_s) / pair.predicted_s for pair in pairs),
    )


def _pair(row: Mapping[str, str], line: Line, group: str) -> _Pair | None:
    measured = _number(row.get("measured_step_time_s"))
    if not measured or line.step_s is None or line.low_s is None or line.high_s is None:
        return None
    return _Pair(
        group=row.get(group, ""),
        measured_s=measured,
        predicted_s=line.step_s,
        low_s=line.low_s,
        high_s=line.high_s,
        layout=tuple(row.get(name, "") for name in DEGREES),
        same=tuple(row.get(name, "") for name in SAME),
        memory_ratio=_memory_ratio(row, line),
    )


def _memory_ratio(row: Mapping[str, str], line: Line) -> float | None:
    peak = _number(row.get("mem_gib_reported"))
    return line.memory_bytes / (peak * 2**30) if peak and line.memory_bytes else None


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(values)
    first: dict[float, int] = {}
    last: dict[float, int] = {}
    for place, value in enumerate(order):
        first.setdefault(value, place)
        last[value] = place
    return [(first[value] + last[value]) / 2 for value in values]
