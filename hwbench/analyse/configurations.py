"""Machines or clusters side by side: every run of a report against the first, case by case, and what can't be compared and why."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from hwbench.core.comparability import machine_name
from hwbench.core.profile import ClusterProfile
from hwbench.core.record import Run
from hwbench.core.summary import Against, CantCompare, Configurations, FactByRun, NotMeasured, Price, Scaling, Throughput

from .scaling import curves, ratio_interval

PRICED_KINDS = ("training", "inference")
_SAME_WORK_FRACTION = 1e-6
"""Counts of FLOPs and parameters are exact up to rounding: a larger difference is another workload under the same name."""
_Key = tuple[object, ...]


def configurations(
    runs: Sequence[Run],
    rows: Sequence[Throughput],
    not_measured: Sequence[NotMeasured],
    differences: Sequence[FactByRun],
    scaled: Sequence[Scaling],
    profiles: Mapping[str, ClusterProfile] | None = None,
) -> Configurations:
    """The comparison of two runs or more; `rows`, `not_measured`, `differences` and `scaled` are those of the report.

    `profiles` gives a run's cluster profile by the run's id: prices and full-load power come from there, and from nowhere else.
    """
    base, others = runs[0], runs[1:]
    known = profiles or {}
    compared = [_pair(base, other, rows) for other in others]
    priced = tuple(prices(rows, known))
    return Configurations(
        runs=tuple(run.header.id for run in runs),
        machines=tuple(_machine(run) for run in runs),
        differences=(*_program(runs), *differences),
        against=tuple(one for found, _ in compared for one in found),
        curves=curves(scaled),
        prices=priced,
        cant=(*(one for _, cant in compared for one in cant), *_lost(base, others, not_measured)),
        notes=tuple(_notes(runs, rows, priced, known)),
    )


def prices(rows: Iterable[Throughput], profiles: Mapping[str, ClusterProfile]) -> Iterator[Price]:
    """What a million items of each training or inference row cost, where the run's profile has a price of its nodes.

    A layout of W ranks fills W over the node's accelerators of a node; energy is that of the node at full load.
    """
    for row in rows:
        profile = profiles.get(row.run)
        if profile is None or profile.node.price_usd_per_hour is None or row.kind not in PRICED_KINDS:
            continue
        nodes = row.world_size / profile.node.accelerators
        usd_per_hour, power_w = nodes * profile.node.price_usd_per_hour, profile.node.power_w
        yield Price(
            run=row.run,
            profile=profile.name,
            workload=row.workload,
            settings=row.settings,
            layout=row.layout,
            dtype=row.dtype,
            item_unit=row.item_unit,
            usd_per_million_items=usd_per_hour / 3600 / row.items_per_s * 1e6,
            usd_per_hour=usd_per_hour,
            energy_j_per_item=None if power_w is None else nodes * power_w / row.items_per_s,
        )


def _machine(run: Run) -> str:
    nodes = len(run.nodes)
    name = machine_name(run.header.inventory)
    return f"{nodes} nodes of {name}" if nodes > 1 else name


def _program(runs: Sequence[Run]) -> tuple[FactByRun, ...]:
    """What hwbench itself was, where that differs."""
    versions = tuple(run.header.hwbench_version for run in runs)
    commits = tuple((run.header.commit or "")[:12] for run in runs)
    facts = (FactByRun(fact="hwbench", values=versions), FactByRun(fact="commit", values=commits))
    return tuple(fact for fact in facts if len(set(fact.values)) > 1)


def _pair(base: Run, other: Run, rows: Sequence[Throughput]) -> tuple[list[Against], list[CantCompare]]:
    """What two runs both measured, and what only one of them did."""
    ours, theirs = _by_key(rows, base), _by_key(rows, other)
    found: list[Against] = []
    cant: list[CantCompare] = []
    for key in dict.fromkeys((*ours, *theirs)):
        mine, its = ours.get(key, []), theirs.get(key, [])
        pairs = _matched(mine, its)
        for first, second in pairs:
            why = _other_work(first, second)
            if why:
                cant.append(_cant(base, other, first, why))
            else:
                found.append(_against(first, second))
        if not pairs:
            row, missing, there = (mine[0], other, theirs) if mine else (its[0], base, ours)
            cant.append(_cant(base, other, row, _why_missing(row, missing, there, both=bool(mine and its))))
    return found, cant


def _by_key(rows: Sequence[Throughput], run: Run) -> dict[_Key, list[Throughput]]:
    keyed: dict[_Key, list[Throughput]] = {}
    for row in rows:
        if row.run == run.header.id:
            keyed.setdefault((row.workload, row.settings, row.layout, row.dtype, row.threads, row.scaling), []).append(row)
    return keyed


def _matched(mine: Sequence[Throughput], its: Sequence[Throughput]) -> list[tuple[Throughput, Throughput]]:
    """Rows of one device kind together; where each side has only one device, these, whatever they are."""
    same = [(first, second) for first in mine for second in its if first.device == second.device]
    return same or ([(mine[0], its[0])] if len(mine) == len(its) == 1 else [])


def _other_work(first: Throughput, second: Throughput) -> str:
    """Why rows of one name are not of one step: hwbench's own count of it has changed."""
    for name in ("flops_per_step", "parameters"):
        before, after = getattr(first, name), getattr(second, name)
        if abs(before - after) > _SAME_WORK_FRACTION * max(before, after):
            return f"{name} is {before:.6g} in one and {after:.6g} in the other: the workload is not the same in both versions of hwbench"
    return ""


def _against(base: Throughput, row: Throughput) -> Against:
    ratio = row.items_per_s / base.items_per_s
    return Against(
        base=base.run,
        run=row.run,
        workload=row.workload,
        kind=row.kind,
        settings=row.settings,
        layout=row.layout,
        world_size=row.world_size,
        dtype=row.dtype,
        scaling=row.scaling,
        base_device=base.device,
        device=row.device,
        base_items_per_s=base.items_per_s,
        items_per_s=row.items_per_s,
        item_unit=row.item_unit,
        ratio=ratio,
        interval=ratio_interval(ratio, row, base),
        base_memory_bytes=_memory(base),
        memory_bytes=_memory(row),
        base_energy_per_step_j=base.energy_per_step_j,
        energy_per_step_j=row.energy_per_step_j,
        doubts=tuple(_doubts(base, row)),
    )


def _memory(row: Throughput) -> int | None:
    return row.device_peak_bytes if row.device_peak_bytes is not None else row.resident_peak_bytes


def _doubts(base: Throughput, row: Throughput) -> Iterator[str]:
    for side in (base, row):
        if side.noisy:
            yield f"run {side.run} is noisy here"
        if side.processes == 1:
            yield f"run {side.run} measured it in one process: no interval"
        if side.check.startswith("failed"):
            yield f"run {side.run}: the correctness check {side.check}"
        if side.roof_fraction is not None and side.roof_fraction > 1:
            yield f"run {side.run} is above its measured roof, which can't be"


def _cant(base: Run, other: Run, row: Throughput, why: str) -> CantCompare:
    settings = f" ({row.settings})" if row.settings else ""
    return CantCompare(base=base.header.id, run=other.header.id, what=f"{row.workload}{settings} {row.layout} {row.dtype}", why=why)


def _why_missing(row: Throughput, missing: Run, there: Mapping[_Key, Sequence[Throughput]], *, both: bool) -> str:
    """What the other run has instead, as far as that tells why the rows don't meet."""
    name = missing.header.id
    if both:
        return "several devices on one side: which to compare is not known"
    similar = [rows[0] for rows in there.values() if rows[0].workload == row.workload]
    if not similar:
        return f"run {name} did not measure {row.workload}"
    sizes = [one for one in similar if (one.layout, one.dtype) == (row.layout, row.dtype)]
    if sizes:
        return f"run {name} measured it at other sizes: {sizes[0].settings or 'the defaults'}"
    layouts = dict.fromkeys(f"{one.layout} {one.dtype}" for one in similar)
    return f"run {name} measured {row.workload} only under {', '.join(layouts)}"


def _lost(base: Run, others: Sequence[Run], not_measured: Sequence[NotMeasured]) -> Iterator[CantCompare]:
    """Cases that failed or were left out somewhere."""
    for one in not_measured:
        for other in others:
            if one.run in (base.header.id, other.header.id):
                why = f"run {one.run}: {one.outcome}: {one.reason}"
                yield CantCompare(base=base.header.id, run=other.header.id, what=one.case, why=why)


def _notes(
    runs: Sequence[Run], rows: Sequence[Throughput], priced: Sequence[Price], profiles: Mapping[str, ClusterProfile]
) -> Iterator[str]:
    """What holds for the whole comparison."""
    yield "the runs were not interleaved: what else ran on a machine at the time is in its figures"
    for run in runs:
        mine = [row for row in rows if row.run == run.header.id]
        noisy = sum(row.noisy for row in mine)
        if mine and noisy > len(mine) / 2:
            yield f"run {run.header.id} is noisy in {noisy} of its {len(mine)} cases: small ratios against it mean nothing"
    if not priced:
        yield "no prices: no run has a cluster profile with a price of its nodes"
    unpriced = [run.header.id for run in runs if run.header.id not in {price.run for price in priced}]
    if priced and unpriced:
        yield f"no price for run {', '.join(unpriced)}: its profile has none"
    measured = any(row.energy_per_step_j is not None for row in rows)
    if not measured and not any(profile.node.power_w for profile in profiles.values()):
        yield "no energy: it was not measured, and no run has a cluster profile with the power of its nodes"
