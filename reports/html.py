"""HTML: one self-contained page with interactive plots, for a colleague or a boss; opens offline."""

import base64
import gzip
import hashlib
import json
from functools import cache
from importlib import resources
from typing import Any, Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from hwbench.core.summary import Report, Summary

from . import _figure_roofline, _figure_samples, _figure_scaling, _figure_sizing, _figure_throughput, _machine, _tables
from ._terms import terms
from ._tiles import tiles


def render(summary: Summary) -> str:
    """The page: everything in it, no request leaves it.

    Every text is escaped (jinja2 autoescape; JSON with `<` written as an escape), and the content security policy runs no script but the
    two that are in here by their hashes. plotly travels compressed: the page unpacks it (DecompressionStream: Chromium 80, Firefox 113,
    Safari 16.4 and later), and an older browser still shows every table.
    """
    library, script = _library(), _file("report.js")
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            summary=summary,
            machine=_machine.name(summary.inventory) if summary.inventory else "",
            tiles=tiles(summary),
            tables=_table_sections(summary),
            plots=_plots(summary),
            question=_tables.question(summary.sizing) if summary.sizing else "",
            terms=terms(),
            style=_file("report.css"),
            script=script,
            library=library.packed,
            script_hashes=f"'{_hash(script)}' '{library.hash}'",
        )
    )


def _table_sections(summary: Summary) -> dict[str, _tables.Table]:
    made = {
        "throughput": _tables.throughput(summary),
        "by_run": _tables.by_run(summary),
        "differences": _tables.differences(summary),
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
    if summary.sizing is not None:
        made |= {name: make(summary.sizing) for name, make in _OF_SIZING.items()}
    return made


_OF_MACHINE: Final = {"limits": _machine.limits, "facts": _machine.facts, "gaps": _machine.gaps}
_OF_SIZING: Final = {
    "sizing": _tables.sizing,
    "sizing_reasons": _tables.sizing_reasons,
    "step_parts": _tables.step_parts,
    "memory_parts": _tables.memory_parts,
    "rejected": _tables.rejected,
}


def _plots(summary: Summary) -> dict[str, Any]:
    return {
        "throughput": _figure_throughput.plots(summary),
        "roofline": _figure_roofline.plot(summary),
        "off_roofline": _figure_roofline.unplaced(summary),
        "scaling": _figure_scaling.plot(summary),
        "samples": _figure_samples.plot(summary),
        "sizing": _figure_sizing.plots(summary.sizing),
    }


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("hwbench.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["script_json"] = _script_json
    return environment


def _script_json(value: Any) -> str:
    """JSON that can stand inside a script element; jinja2 leaves it alone, so it must hold no markup at all."""
    from markupsafe import Markup

    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))  # noqa: S704  # no < > & is left in it


class _Library(NamedTuple):
    """plotly's script: gzip in base64, and the hash of the script itself."""

    packed: str
    hash: str


@cache
def _library() -> _Library:
    from plotly.offline import get_plotlyjs

    script = get_plotlyjs()
    return _Library(base64.b64encode(gzip.compress(script.encode(), compresslevel=9, mtime=0)).decode(), _hash(script))


def _file(name: str) -> str:
    return (resources.files("hwbench.reports") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """A script's hash as a content security policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


REPORT: Final = Report(suffix=".html", render=render)
