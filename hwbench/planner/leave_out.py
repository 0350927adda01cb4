"""Predicting published measurements by constants that saw nothing of their source: what `hwbench validate` does.

Every group of rows (a source family) is left out in turn: constants are fitted to all other rows, shipped and of the table, and predict it.
Its interval comes from the errors of the other groups, each of them predicted by constants that saw neither it nor the group left out.
Anchored, up to N rows of the group, chosen without a look at what was measured, set one constant of their framework and are not predicted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hwbench.core.errors import UserError

from .conformal import doubt, interval, quantile
from .constants import from_vector
from .fit import Fit, Measured, fit, load, shipped_table, without
from .model import evaluate, step_s
from .rows import Rows, columns, take
from .table import Line, readable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]

HOLD = 0.25
"""Sure rows' worth of belief that a framework's constant is 1: it is the anchors' mean log error, each weighted by 1 / doubt², as with so
many more of no error."""
ELSEWHERE = 0.5
"""Share of the anchors' constant that a framework of the same source without an anchor takes over."""
SAME_RUN = 0.005
"""Relative difference of two published steps of the same sizes that are one run, told with other digits."""
ANCHORED = "anchor: sets the framework's constant and is not predicted"


class Guess(NamedTuple):
    """The logarithm of the predicted step of some rows, and the width of their intervals."""

    log_step: Array
    width: Array
    anchors: Mask


def validate(table: Sequence[Mapping[str, str]], group: str, *, anchors: int = 0, fits: dict[str, Fit] | None = None) -> list[Line]:
    """A line for every row of the table, each group left out in turn. UserError where the table has no such column.

    `fits` keeps what was fitted without each group, so that a second protocol on the same table need not fit again.
    """
    fits = {} if fits is None else fits
    if not table or group not in table[0]:
        raise UserError(f"the table has no column {group!r} to leave out by")
    read = readable(table)
    lines = [Line(None, None, None, None, read.reasons.get(place, "")) for place in range(len(table))]
    if not read.setups:
        return lines
    own = [table[place] for place in read.places.tolist()]
    rows = columns(read.setups)
    labels = np.array([row[group] for row in own], dtype=np.str_)
    known = _measured(own, rows, labels, group)
    for label in dict.fromkeys(labels.tolist()):
        mask = labels == label
        chosen = np.flatnonzero(mask).tolist()
        measured = np.array([_step(own[place]) for place in chosen])
        if label not in fits:
            fits[label] = fit(known, known.family != label)
        inside = columns([read.setups[place] for place in chosen])
        guess, memory = _predict(known, fits[label], label, inside, measured, anchors)
        low, high = interval(np.exp(guess.log_step), guess.width)
        for number, place in enumerate(chosen):
            line = Line(float(np.exp(guess.log_step[number])), float(low[number]), float(high[number]), float(memory[number]))
            lines[int(read.places[place])] = Line(None, None, None, None, ANCHORED) if guess.anchors[number] else line
    return lines


def pick_anchors(rows: Rows, log_step: Array, count: int) -> NDArray[np.int64]:
    """Up to `count` rows to measure: shared out over the frameworks by their rows, each the middle of its share of predicted speed."""
    frameworks = np.array(frameworks_of(rows))
    sizes = Counter(frameworks.tolist())
    picked: list[int] = []
    for name, share in _shares(sizes, count).items():
        mine = np.flatnonzero(frameworks == name)
        speed = log_step[mine] + np.log(rows.gpus[mine] / (rows.global_batch[mine] * rows.sequence[mine] * rows.parameters[mine]))
        order = mine[np.argsort(speed, kind="stable")]
        picked += [int(order[min(len(order) - 1, int((2 * i + 1) / (2 * share) * len(order)))]) for i in range(share)]
    return np.array(sorted(set(picked)), dtype=np.int64)


def frameworks_of(rows: Rows) -> list[str]:
    """Framework names without their versions: 'NeMo 24.09/24.11' and 'NeMo 25.04' are one framework."""
    return [re.sub(r"[\d.]+(/[\d.]+)*|container", "", setup.software.name.lower()).strip() for setup in rows.setups]


def _predict(known: Measured, done: Fit, label: str, rows: Rows, measured: Array, anchors: int) -> tuple[Guess, Array]:
    steps = evaluate(rows, from_vector(done.logarithms))
    log_step = np.log(steps.step_s)
    guess = _anchored(rows, log_step, measured, anchors)
    scale = _calibrate(known, done, label, anchors)
    return Guess(guess.log_step, scale * doubt(rows), guess.anchors), steps.memory.total_bytes


def _calibrate(known: Measured, done: Fit, label: str, anchors: int) -> float:
    """The quantile of the other groups' scores, each group predicted without itself and without `label`."""
    scores: list[Array] = []
    for other in dict.fromkeys(known.family.tolist()):
        if other == label:
            continue
        mask = known.family == other
        inside = _subset(known, mask)
        log_step = np.log(step_s(inside.rows, from_vector(without(done, mask))))
        guess = _anchored(inside.rows, log_step, inside.step_s, anchors)
        error = np.abs(np.log(inside.step_s) - guess.log_step) / doubt(inside.rows)
        scores.append(error[~guess.anchors])
    return quantile(np.concatenate(scores)) if scores else float("inf")


def _anchored(rows: Rows, log_step: Array, measured: Array, anchors: int) -> Guess:
    """Shift each framework by the mean error of its anchors, held to no shift; never more than half of the rows anchor."""
    mask = np.zeros(len(rows), dtype=bool)
    anchors = min(anchors, len(rows) // 2)
    if anchors == 0:
        return Guess(log_step, np.zeros(len(rows)), mask)
    picked = pick_anchors(rows, log_step, anchors)
    picked = picked[np.isfinite(measured[picked])]
    mask[picked] = True
    errors = np.log(measured[picked]) - log_step[picked]
    weights = doubt(rows)[picked] ** -2.0
    frameworks = np.array(frameworks_of(rows))
    shift = np.full(len(rows), ELSEWHERE * _held_mean(errors, weights))
    for name in dict.fromkeys(frameworks[picked].tolist()):
        mine = frameworks[picked] == name
        shift[frameworks == name] = _held_mean(errors[mine], weights[mine])
    return Guess(log_step + shift, np.zeros(len(rows)), mask)


def _held_mean(errors: Array, weights: Array) -> float:
    return float((errors * weights).sum() / (weights.sum() + HOLD)) if len(errors) else 0.0


def _shares(sizes: Counter[str], count: int) -> dict[str, int]:
    """`count` anchors over frameworks: one each from the largest on, the rest to whichever has most rows per anchor."""
    shares = {name: 1 for name, _ in sizes.most_common(count)}
    while sum(shares.values()) < min(count, sizes.total()):
        best = max(shares, key=lambda name: sizes[name] / (shares[name] + 1))
        shares[best] += 1
    return shares


def _measured(own: Sequence[Mapping[str, str]], rows: Rows, labels: NDArray[np.str_], group: str) -> Measured:
    """All rows with a measured step: the shipped ones that the table does not repeat, and the table's own, grouped by `group`.

    A shipped source of which the table has a row under another name is left out together with the group of that row.
    """
    shipped = load(shipped_table())
    mine = {row.get("id", "") for row in own}
    other = [place for place, row in enumerate(shipped.table) if row["id"] not in mine]
    step = np.array([_step(row) for row in own])
    usable = np.flatnonzero(np.isfinite(step)).tolist()
    setups = [rows.setups[place] for place in usable] + [shipped.rows.setups[place] for place in other]
    table = tuple(dict(own[place]) for place in usable) + tuple(shipped.table[place] for place in other)
    same = _renamed(rows, step, labels, shipped, other)
    family = [str(labels[place]) for place in usable]
    family += [same.get(shipped.table[place]["source_family"], shipped.table[place].get(group, "")) for place in other]
    return Measured(columns(setups), np.concatenate([step[usable], shipped.step_s[other]]), np.array(family, dtype=np.str_), table)


def _renamed(rows: Rows, step: Array, labels: NDArray[np.str_], shipped: Measured, other: Sequence[int]) -> dict[str, str]:
    """Shipped sources that the table holds under other ids, by a row of the same run: its sizes and its step to one part in 200."""
    keys = ("gpus", "layers", "hidden", "sequence", "global_batch")
    runs: dict[tuple[float, ...], list[tuple[float, str]]] = {}
    for place, setup in enumerate(rows.setups):
        runs.setdefault(tuple(setup.numbers[key] for key in keys), []).append((float(step[place]), str(labels[place])))
    found: dict[str, str] = {}
    for place in other:
        run = tuple(shipped.rows.setups[place].numbers[key] for key in keys)
        for seconds, label in runs.get(run, ()):
            if abs(seconds / shipped.step_s[place] - 1) < SAME_RUN:
                found[shipped.table[place]["source_family"]] = label
    return found


def _subset(known: Measured, mask: Mask) -> Measured:
    table = tuple(known.table[place] for place in np.flatnonzero(mask).tolist())
    return Measured(take(known.rows, mask), known.step_s[mask], known.family[mask], table)


def _step(row: Mapping[str, str]) -> float:
    try:
        value = float(row.get("measured_step_time_s") or "nan")
    except ValueError:
        return float("nan")
    return value if value > 0 else float("nan")
