"""Many nodes: in what those of one run differ, and which hosts stand out in the same kernels."""

from collections.abc import Iterator

from hwbench.core.summary import Fleet, Summary
from hwbench.core.units import UNKNOWN

from ._tables import Table


def tables(summary: Summary) -> tuple[Table, ...]:
    """Differing nodes and outliers; one without rows is left out."""
    made = [*_nodes(summary), *([_outliers(summary.fleet)] if summary.fleet else [])]
    return tuple(table for table in made if table.rows)


def notes(summary: Summary) -> tuple[str, ...]:
    """How hosts were judged, and what of it could not be."""
    if summary.fleet is None:
        return ()
    judged = f"{len(summary.fleet.hosts)} hosts, {summary.fleet.cases} cases judged: {summary.fleet.threshold}."
    clear = ("No host stands out.",) if not summary.fleet.outliers and summary.fleet.cases else ()
    return (judged, *clear, *summary.fleet.notes)


def _nodes(summary: Summary) -> Iterator[Table]:
    """A table for each run whose nodes are not alike."""
    for run in dict.fromkeys(fact.run for fact in summary.nodes):
        facts = [fact for fact in summary.nodes if fact.run == run]
        rows = tuple((fact.fact, *(value or UNKNOWN for value in fact.values)) for fact in facts)
        yield Table(f"In what the nodes of run {run} differ", ("Fact", *facts[0].nodes), rows)


def _outliers(fleet: Fleet) -> Table:
    rows = tuple(
        (one.host, UNKNOWN if one.rank is None else str(one.rank), one.case, f"{100 * one.slower_fraction:+.1f} %", f"{one.score:.1f}")
        for one in fleet.outliers
    )
    return Table("Hosts that stand out", ("Host", "Rank", "Case", "Time against the median", "Robust z"), rows, frozenset({3, 4}))
