"""What the figures say, in plain sentences: the part of a report that is read aloud."""

from collections.abc import Sequence

from hwbench.core.prediction import Sizing, SizingAnswer
from hwbench.core.summary import Roof, Scaling, Throughput, Verified
from hwbench.core.units import format_count, format_fraction, format_rate, format_seconds, format_usd, significant


def findings(
    rows: Sequence[Throughput],
    roofs: Sequence[Roof],
    scaled: Sequence[Scaling],
    sizing: SizingAnswer | None,
    verified: Sequence[Verified] = (),
) -> tuple[str, ...]:
    """Sentences about ceilings, the best training step, scaling, the error of predictions and the sizing; what is missing is left out."""
    return (*_ceilings(roofs), *_training(rows), *_scaling(scaled), *_verified(verified), *_sizing(sizing))


def _ceilings(roofs: Sequence[Roof]) -> list[str]:
    alone = [roof for roof in roofs if roof.layout == "single"] or list(roofs)
    if not alone:
        return []
    first = alone[0]
    place = _place(first)
    mine = sorted((roof for roof in alone if _place(roof) == place), key=lambda roof: (roof.dtype is not None, roof.dtype or ""))
    rates = _and([_rate(roof) for roof in mine])
    return [f"{_ranks(first.world_size)} on {first.device} reaches {rates}: measured here, and the roofs for all other cases."]


def _place(roof: Roof) -> tuple[object, ...]:
    return roof.run, roof.layout, roof.device, roof.threads


def _rate(roof: Roof) -> str:
    if roof.dtype is None:
        return f"{format_rate(roof.rate, 'B/s')} from memory"
    return f"{format_rate(roof.rate, 'FLOP/s')} in {roof.dtype} matrix products"


def _training(rows: Sequence[Throughput]) -> list[str]:
    steps = [row for row in rows if row.kind == "training"]
    if not steps:
        return []
    biggest = max(steps, key=lambda row: (row.parameters, row.items_per_s))
    mfu = f", {format_fraction(biggest.mfu_fraction)} of the measured matrix-product rate (MFU)" if biggest.mfu_fraction is not None else ""
    model = f"{biggest.workload} with {format_count(biggest.parameters)} parameters"
    return [
        f"The largest training step measured, {model}, runs at {significant(biggest.items_per_s)} {biggest.item_unit}s a second "
        f"under {biggest.layout} in {biggest.dtype}{mfu}."
    ]


def _scaling(scaled: Sequence[Scaling]) -> list[str]:
    steps = [value for value in scaled if value.kind in ("training", "inference", "kernel")]
    if not steps:
        return []
    best = max(steps, key=lambda value: value.efficiency_fraction)
    worst = min(steps, key=lambda value: value.efficiency_fraction)
    if best == worst:
        return [f"Scaling: {_scaled(best)}."]
    return [f"Scaling, from best to worst: {_scaled(best)}; {_scaled(worst)}."]


def _verified(verified: Sequence[Verified]) -> list[str]:
    proven = [row for row in verified if not row.fitted]
    if not proven:
        return []
    worst = max(proven, key=lambda row: abs(row.error_fraction))
    clock = " of CPU time, since others disturbed the clock" if worst.clock == "cpu" else ""
    of_all = f", the largest of {len(proven)} steps" if len(proven) > 1 else ""
    return [
        f"Predicted from the ceilings alone, {worst.workload} under {worst.layout} takes {format_seconds(worst.predicted_s)}; measured "
        f"were {format_seconds(worst.measured_s)}{clock}, an error of {100 * worst.error_fraction:+.0f} %{of_all}."
    ]


def _scaled(value: Scaling) -> str:
    efficiency = format_fraction(value.efficiency_fraction)
    return f"{value.workload} under {value.layout} does {significant(value.speedup)} times the work of one rank ({efficiency} of ideal)"


def _sizing(answer: SizingAnswer | None) -> list[str]:
    if answer is None:
        return []
    refused = f" {len(answer.rejected)} of the clusters asked for can't do it." if answer.rejected else ""
    good = [sizing for sizing in answer.sizings if sizing.meets_deadline]
    if not answer.sizings:
        return [f"Sizing: no cluster asked for can train this model.{refused}"]
    if not good:
        return [f"Sizing: no cluster meets the deadline; the nearest is {_cluster(answer.sizings[0])}.{refused}"]
    return [f"Sizing: the first choice is {_cluster(good[0])}.{refused}"]


def _cluster(sizing: Sizing) -> str:
    price = f" for {format_usd(sizing.cost_usd)}" if sizing.cost_usd is not None else ", at a price that is not known"
    size = f"{sizing.nodes:,} node{'s' if sizing.nodes != 1 else ''} of {sizing.cluster}"
    split = f"{sizing.accelerators:,} accelerators, {sizing.layout.text}"
    work = f"{sizing.model} on {format_count(sizing.tokens)} tokens"
    return f"{size} ({split}), which trains {work} in {format_seconds(sizing.train_time_s)}{price}"


def _ranks(count: int) -> str:
    return "One rank" if count == 1 else f"A group of {count} ranks"


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
