"""Markdown: the same figures as tables, for a pull request or a wiki."""

import re
from collections.abc import Iterator
from typing import Final

from hwbench.core.summary import Report, Summary

from . import _ceilings_tables, _figure_against, _figure_layouts, _figure_learning, _figure_sweeps, _fleet, _machine, _tables
from ._tables import Table

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>#|~$@!&])")


def render(summary: Summary) -> str:
    """Sections of text and pipe tables; every text from outside is escaped, so that no markup, link or mention comes of it."""
    return "\n\n".join(_blocks(summary)) + "\n"


def _blocks(summary: Summary) -> Iterator[str]:
    yield f"# hwbench: {escaped(summary.title)}"
    if summary.inventory is not None:
        yield escaped(_machine.name(summary.inventory))
    yield "\n".join(f"- {escaped(sentence)}" for sentence in summary.findings) or _without_findings(summary)
    if summary.warnings:
        yield "**Before you rely on it**"
        yield "\n".join(f"- {escaped(warning)}" for warning in summary.warnings)
    for heading, tables in _sections(summary):
        filled = [table for table in tables if table.rows]
        if filled:
            yield f"## {heading}"
            yield from (block for table in filled for block in _table(table))
    yield f"Made by hwbench {escaped(summary.hwbench_version)}, {escaped(summary.made_at)}."


def _without_findings(summary: Summary) -> str:
    if not summary.throughput:
        return "No figure could be made from these runs."
    return f"{len(summary.throughput)} cases were measured; their figures stand below."


def _sections(summary: Summary) -> Iterator[tuple[str, list[Table]]]:
    if summary.configurations is not None:
        beside = (
            _figure_against.machines, _figure_against.against, _figure_against.prices, _figure_against.cant, _figure_against.differences,
        )  # fmt: skip
        yield "Side by side", [make(summary.configurations) for make in beside]
    yield "Nodes", list(_fleet.tables(summary))
    yield "Throughput", [_tables.throughput(summary), _tables.by_run(summary), _tables.row_notes(summary)]
    yield "Layouts", [_figure_layouts.table(summary)]
    yield "Learning", [_figure_learning.table(summary)]
    yield "Sweeps", list(_figure_sweeps.tables(summary))
    yield "Measured ceilings", [_tables.roofs(summary), *_ceilings_tables.tables(summary.ceilings)]
    yield "Scaling", [_tables.scaling(summary)]
    yield "Prediction against measurement", [_tables.verified(summary)]
    if summary.sizing is not None:
        makers = (
            _tables.sizing, _tables.sizing_reasons, _tables.rejected, _tables.options, _tables.step_parts, _tables.memory_parts,
            _tables.costs, _tables.sensitivities,
        )  # fmt: skip
        yield f"Sizing ({escaped(_tables.question(summary.sizing))}; predicted, not measured)", [make(summary.sizing) for make in makers]
    yield "Not measured", [_tables.not_measured(summary)]
    if summary.inventory is not None:
        yield "Machine", [make(summary.inventory) for make in (_machine.limits, _machine.facts, _machine.gaps)]
    yield "How it was made", [_tables.runs(summary), _tables.versions(summary)]


def _table(table: Table) -> Iterator[str]:
    note = f" ({escaped(table.for_all)})" if table.for_all else ""
    yield f"**{escaped(table.caption)}**{note}"
    rule = ["---:" if index in table.numeric else ":---" for index in range(len(table.columns))]
    yield "\n".join("| " + " | ".join(cells) + " |" for cells in (_cells(table.columns), rule, *map(_cells, table.rows)))


def _cells(texts: tuple[str, ...]) -> list[str]:
    return [escaped(text) or " " for text in texts]


def escaped(text: str) -> str:
    """Text on one line without meaning to Markdown: special letters get a backslash, web addresses lose their automatic link."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split())).replace("://", ":&#8203;//")


REPORT: Final = Report(suffix=".md", render=render)
