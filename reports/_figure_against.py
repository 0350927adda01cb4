"""Machines side by side: how much faster each run was than the first, case by case, with intervals."""

import math
from collections.abc import Sequence
from typing import Any, Final

from hwbench.core.summary import Against, Configurations
from hwbench.core.units import UNKNOWN, format_bytes, format_rate, format_usd, significant

from . import _text
from ._palette import WORKLOAD_COLOURS
from ._plot import BAR_OFFSET, Key, Plot, Row, hover, rows_figure, stroke, titled
from ._tables import Table, folded, named

MOST_ROWS: Final = 40
"""Of the cases of one pair of runs, those that differ most; the table has them all."""
TICKS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 1.0, 1.25, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
GAP: Final = 0.16
"""Least distance between two ticks, of the axis."""
DOUBTFUL: Final = "hollow: read with care, the table says why"


def plots(found: Configurations | None) -> tuple[Plot, ...]:
    """One plot for each run beside the first that shares a case with it."""
    if found is None:
        return ()
    by_run = {run: [one for one in found.against if one.run == run] for run in found.runs[1:]}
    machines = dict(zip(found.runs, found.machines, strict=True))
    return tuple(_plot(f"against-{index}", run, cases, machines) for index, (run, cases) in enumerate(by_run.items(), start=1) if cases)


def _plot(id_: str, run: str, cases: Sequence[Against], machines: dict[str, str]) -> Plot:
    shown = list(cases) if len(cases) <= MOST_ROWS else sorted(cases, key=lambda one: -abs(math.log(one.ratio)))[:MOST_ROWS]
    left = f" Of {len(cases)} cases the {MOST_ROWS} that differ most are shown." if len(shown) < len(cases) else ""
    rows = [Row(label(one), f"{ratio(one)}{' ⚠' if one.doubts else ''}") for one in shown]
    base = cases[0].base
    faster, slower = sum(one.ratio > 1 for one in cases), sum(one.ratio < 1 for one in cases)
    return Plot(
        id=id_,
        title=f"{_machine(run, machines)} against {_machine(base, machines)}",
        caption=f"Rate of run {run} over that of run {base}: right of the dotted stroke it is faster. The line is the 95 % interval; none "
        f"where one side ran in one process.{left}",
        alt=f"{faster} of {len(cases)} cases are faster, {slower} slower: " + "; ".join(f"{row.label} {row.value}" for row in rows) + ".",
        figure=rows_figure(
            [_marks(shown)], rows, _axis(shown), shapes=[stroke(1, index, width_px=2, dash="dot") for index in range(len(rows))]
        ),
        keys=(Key(DOUBTFUL, sign="◇"),) if any(one.doubts for one in shown) else (),
    )


def _machine(run: str, machines: dict[str, str]) -> str:
    """The machine, or the run where several were made on machines of one name."""
    name = machines.get(run, "")
    return f"run {run}" if not name or list(machines.values()).count(name) > 1 else name


def label(one: Against) -> str:
    """What was compared: 'gpt · dp=2 · layers=4 · fp32'."""
    strong = "strong" if one.scaling == "strong" else ""
    return " · ".join(part for part in (one.workload, one.layout, one.settings, one.dtype, strong) if part)


def ratio(one: Against) -> str:
    """The ratio with its interval: '1.32 × (1.25 to 1.40)'."""
    text = f"{significant(one.ratio)} ×"
    if one.interval is None:
        return text
    return f"{text} ({significant(one.interval.low)} to {significant(one.interval.high)})"


def _marks(shown: Sequence[Against]) -> Any:
    import plotly.graph_objects as go

    low = [0.0 if one.interval is None else max(0.0, one.ratio - one.interval.low) for one in shown]
    high = [0.0 if one.interval is None else max(0.0, one.interval.high - one.ratio) for one in shown]
    return go.Scatter(
        x=[one.ratio for one in shown],
        y=[index + BAR_OFFSET for index in range(len(shown))],
        mode="markers",
        marker={
            "color": WORKLOAD_COLOURS[0], "size": 9, "line": {"width": 1.5, "color": WORKLOAD_COLOURS[0]},
            "symbol": ["diamond-open" if one.doubts else "diamond" for one in shown],
        },
        error_x={"type": "data", "symmetric": False, "array": high, "arrayminus": low, "thickness": 2, "width": 5},
        hovertext=[hover(label(one), ratio(one), _rates(one), *one.doubts) for one in shown],
        hoverinfo="text",
    )  # fmt: skip


def _rates(one: Against) -> str:
    return f"{_text.big(one.base_items_per_s)} → {_text.big(one.items_per_s)} {one.item_unit}/s"


def _energies(one: Against) -> str:
    """What the step took on both, where the machines' counters told."""
    both = (one.base_energy_per_step_j, one.energy_per_step_j)
    return UNKNOWN if both == (None, None) else " → ".join(UNKNOWN if value is None else format_rate(value, "J") for value in both)


def _axis(shown: Sequence[Against]) -> dict[str, Any]:
    """A logarithmic axis around 1: twice as fast and half as fast are equally far from it."""
    ends = [
        value for one in shown for value in ((one.ratio,) if one.interval is None else (one.interval.low, one.interval.high, one.ratio))
    ]
    usable = [value for value in ends if value > 0]
    low, high = math.log10(min(*usable, 0.9)) - 0.03, math.log10(max(*usable, 1.1)) + 0.03
    chosen: list[float] = []
    for tick in sorted(TICKS, key=lambda tick: abs(math.log(tick))):
        if low <= math.log10(tick) <= high and all(abs(math.log10(tick / other)) >= GAP * (high - low) for other in chosen):
            chosen.append(tick)
    ticks = {"tickvals": sorted(chosen), "ticktext": [f"{tick:g} ×" for tick in sorted(chosen)]}
    return ticks | {"type": "log", "range": [low, high], "title": titled("rate over that of the first run")}


def against(found: Configurations) -> Table:
    """Every case that two runs share."""
    rows = tuple(
        (
            one.workload, one.layout, one.settings or "defaults", one.dtype, one.run, _rates(one), ratio(one),
            f"{format_bytes(one.base_memory_bytes)} → {format_bytes(one.memory_bytes)}", _energies(one), "; ".join(one.doubts),
        )
        for one in found.against
    )  # fmt: skip
    marked = frozenset(index for index, one in enumerate(found.against) if one.doubts)
    columns = ("Workload", "Layout", "Settings", "Type", "Run", "Rate", "Ratio (interval)", "Memory of a rank", "Energy a step", "Doubts")
    base = found.runs[0] if found.runs else ""
    return folded(
        Table(f"Against run {base}", columns, rows, frozenset({5, 6, 7, 8}), marked), "Settings", "Type", "Run", "Energy", "Doubts"
    )


def prices(found: Configurations) -> Table:
    """What a million items cost, where a profile has a price."""
    rows = tuple(
        (
            one.workload, one.layout, one.settings or "defaults", one.dtype, one.run, one.profile,
            f"${significant(one.usd_per_million_items)} a million {_text.many(one.item_unit)}", f"{format_usd(one.usd_per_hour)} an hour",
            UNKNOWN if one.energy_j_per_item is None else f"{format_rate(one.energy_j_per_item, 'J')} a {one.item_unit}",
        )
        for one in found.prices
    )  # fmt: skip
    columns = ("Workload", "Layout", "Settings", "Type", "Run", "Profile", "Price", "Nodes", "Energy at full load")
    return folded(Table("What it costs", columns, rows, frozenset({6, 7, 8})), "Settings", "Type", "Profile")


def cant(found: Configurations) -> Table:
    """What can't be compared, and why; cases with one reason in one row."""
    cases: dict[tuple[str, str], list[str]] = {}
    for one in found.cant:
        cases.setdefault((one.why, one.run), []).append(one.what)
    rows = tuple((named(list(dict.fromkeys(names))), run, why) for (why, run), names in cases.items())
    return Table("What can't be compared, and why", ("Cases", "Run", "Why"), rows)


def machines(found: Configurations) -> Table:
    """What each run was measured on."""
    return Table("The machines", ("Run", "Measured on"), tuple(zip(found.runs, found.machines, strict=True)))


def differences(found: Configurations) -> Table:
    """Facts of hardware, software and hwbench in which the runs differ."""
    rows = tuple((fact.fact, *(value or UNKNOWN for value in fact.values)) for fact in found.differences)
    return Table("What differs between the runs' machines and software", ("Fact", *found.runs), rows)
