"""Suppliers' quotes: a CSV with the columns supplier, cluster, nodes, price, delivery.

`price` is dollars for all nodes together; `delivery` is a time from today (45d) or a day (2027-03-31).
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from hwbench.core.errors import UserError
from hwbench.core.prediction import Offer
from hwbench.core.profile import ClusterProfile
from hwbench.core.units import format_seconds, parse_duration_s

COLUMNS = ("supplier", "cluster", "nodes", "price", "delivery")


class Line(NamedTuple):
    """One line of the file: the cluster by its name or path still."""

    cluster: str
    nodes: int
    offer: Offer


class Quoted(NamedTuple):
    """A quote with its cluster."""

    profile: ClusterProfile
    nodes: int
    offer: Offer

    @property
    def name(self) -> str:
        """Supplier and cluster, as lists call it."""
        return f"{self.offer.supplier}: {self.nodes} × {self.profile.name}"

    def late(self, by_s: float) -> str:
        """That it comes after the deadline."""
        return f"delivered in {format_seconds(self.offer.delivery_s)}, {format_seconds(by_s)} after the deadline"


def read_quotes(text: str, *, source: str, now: datetime) -> list[Line]:
    """The quotes of a CSV. UserError names the file, the line, the column, what was expected and what was found."""
    reader = csv.DictReader(text.splitlines())
    lacking = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if lacking:
        raise UserError(f"{source}: column {', '.join(lacking)} is missing", hint=f"the first line is: {','.join(COLUMNS)}")
    lines = [_line(row, f"{source}, line {number}", now) for number, row in enumerate(reader, start=2)]
    if not lines:
        raise UserError(f"{source}: no quotes", hint=f"each line under the first is: {','.join(COLUMNS)}")
    return lines


def day_s(text: str, now: datetime, *, where: str) -> float:
    """Seconds of a duration, or until the end of a day. UserError for a day that is past or is none."""
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return parse_duration_s(text)
    try:
        end = datetime.fromisoformat(f"{text}T23:59:59+00:00")
    except ValueError:
        raise UserError(f"{where} {text}: no such day", hint="write it like 2027-03-31, or as a duration such as 30d") from None
    left = (end - now).total_seconds()
    if left <= 0:
        raise UserError(f"{where} {text} is in the past: today is {now:%Y-%m-%d}", hint="give a later day, or a duration such as 30d")
    return left


def _line(row: Mapping[str, str | None], where: str, now: datetime) -> Line:
    values = {name: (row.get(name) or "").strip() for name in COLUMNS}
    for name, value in values.items():
        if not value:
            raise UserError(f"{where}: {name} is empty")
    nodes = _positive(values["nodes"], f"{where}: nodes")
    if nodes != int(nodes):
        raise UserError(f"{where}: nodes: expected a whole number, found {values['nodes']!r}")
    offer = Offer(
        supplier=values["supplier"],
        price_usd=_positive(values["price"], f"{where}: price"),
        delivery_s=_delivery_s(values["delivery"], now, f"{where}: delivery"),
    )
    return Line(values["cluster"], int(nodes), offer)


def _delivery_s(text: str, now: datetime, where: str) -> float:
    if text in ("0", "0d", "now", "stock"):
        return 0.0
    try:
        return day_s(text, now, where=where)
    except UserError as error:
        message = error.message if error.message.startswith(where) else f"{where}: {error.message}"
        raise UserError(message, hint=error.hint) from error


def _positive(text: str, where: str) -> float:
    try:
        value = float(text.replace("_", ""))
    except ValueError:
        raise UserError(f"{where}: expected a number, found {text!r}") from None
    if not 0 < value < math.inf:
        raise UserError(f"{where}: expected more than zero and finite, found {text!r}")
    return value
