"""HTML: one self-contained page with interactive plots, for a colleague or a boss; opens offline."""

from typing import Any, Final

from hwbench.core.summary import Report, Summary

from . import (
    _ceilings_tables,
    _figure_against,
    _figure_ceilings,
    _figure_layouts,
    _figure_learning,
    _figure_roofline,
    _figure_samples,
    _figure_scaling,
    _figure_scaling_curves,
    _figure_sizing,
    _figure_sweeps,
    _figure_throughput,
    _fleet,
    _machine,
    _sizing_words,
    _tables,
)
from ._page import page
from ._terms import terms
from ._tiles import tiles


def render(summary: Summary) -> str:
    """The page: everything in it, no request leaves it."""
    return page(
        "report.html.j2",
        title=summary.title,
        made_at=summary.made_at,
        hwbench_version=summary.hwbench_version,
        summary=summary,
        machine=_machine.name(summary.inventory) if summary.inventory else "",
        tiles=tiles(summary),
        tables=_table_sections(summary),
        plots=_plots(summary),
        question=_tables.question(summary.sizing) if summary.sizing else "",
        ceilings=_ceilings_tables.tables(summary.ceilings),
        ceiling_gaps=_ceilings_tables.gaps(summary.ceilings),
        recommendation=list(_sizing_words.sentences(summary.sizing)) if summary.sizing else [],
        sweep_tables=_figure_sweeps.tables(summary),
        lagging=_figure_layouts.lagging(summary),
        fleet=_fleet.tables(summary),
        fleet_notes=_fleet.notes(summary),
        terms=terms(),
    )


def _table_sections(summary: Summary) -> dict[str, _tables.Table]:
    made = {
        "throughput": _tables.throughput(summary),
        "by_run": _tables.by_run(summary),
        "layouts": _figure_layouts.table(summary),
        "learning": _figure_learning.table(summary),
        "row_notes": _tables.row_notes(summary),
        "roofs": _tables.roofs(summary),
        "scaling": _tables.scaling(summary),
        "verified": _tables.verified(summary),
        "not_measured": _tables.not_measured(summary),
        "runs": _tables.runs(summary),
        "versions": _tables.versions(summary),
    }
    if summary.inventory is not None:
        made |= {name: make(summary.inventory) for name, make in _OF_MACHINE.items()}
    if summary.configurations is not None:
        made |= {name: make(summary.configurations) for name, make in _OF_CONFIGURATIONS.items()}
    if summary.sizing is not None:
        made |= {name: make(summary.sizing) for name, make in _OF_SIZING.items()}
    return made


_OF_MACHINE: Final = {"limits": _machine.limits, "facts": _machine.facts, "gaps": _machine.gaps}
_OF_CONFIGURATIONS: Final = {
    "machines": _figure_against.machines,
    "against": _figure_against.against,
    "prices": _figure_against.prices,
    "cant": _figure_against.cant,
    "differences": _figure_against.differences,
}
_OF_SIZING: Final = {
    "sizing": _tables.sizing,
    "sizing_reasons": _tables.sizing_reasons,
    "step_parts": _tables.step_parts,
    "memory_parts": _tables.memory_parts,
    "rejected": _tables.rejected,
    "options": _tables.options,
    "costs": _tables.costs,
    "sensitivities": _tables.sensitivities,
}


def _plots(summary: Summary) -> dict[str, Any]:
    ceilings = _figure_ceilings.plots(summary.ceilings)
    return {
        "throughput": _figure_throughput.plots(summary, _figure_ceilings.shown(ceilings)),
        "roofline": _figure_roofline.plot(summary),
        "off_roofline": _figure_roofline.unplaced(summary),
        "sweeps": _figure_sweeps.plots(summary),
        "against": _figure_against.plots(summary.configurations),
        "splits": _figure_layouts.splits(summary),
        "memory": _figure_layouts.memory(summary),
        "learning": _figure_learning.plot(summary),
        "curves": _figure_scaling_curves.plots(summary),
        "scaling": _figure_scaling.plot(summary),
        "ceilings": ceilings,
        "samples": _figure_samples.plot(summary),
        "sizing": _figure_sizing.plots(summary.sizing),
    }


REPORT: Final = Report(suffix=".html", render=render)
