"""Records of one run to rows: one row a case, over all its processes."""

import math
import re
import statistics as plain
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from hwbench.core.record import Case, Measurement, Record, fault
from hwbench.core.summary import Interval, Throughput
from hwbench.core.workload import Check, Evaluation, Workload

from .ranks import lagging, shares, split
from .statistics import interval, noise_warnings, relative_width

NOISY_WIDTH_FRACTION: Final = 0.10
"""An interval (or, with one process, the middle 90 % of the samples) wider than this share of its median is marked."""
PLOT_SAMPLES: Final = 200
KIND_ORDER: Final = ("training", "inference", "kernel", "collective", "ceiling")


def rows(records: Iterable[Record], *, run: str, workloads: Mapping[str, Workload] | None = None) -> tuple[Throughput, ...]:
    """One row a case, from usable records (outcome done, no `fault`), in reading order.

    `workloads` gives each workload's kind and defaults by name; one that it lacks is judged by its record. A
    repetition recorded twice counts once, the later one.
    """
    known = workloads or {}
    cases: dict[str, dict[int, Record]] = {}
    for record in records:
        if record.outcome == "done" and not fault(record):
            cases.setdefault(record.case.key, {})[record.case.process] = record
    grouped = [tuple(processes.values()) for processes in cases.values()]
    made = [_row(group, run, known.get(group[0].case.workload)) for group in grouped]
    return tuple(sorted(made, key=reading_order))


def reading_order(row: Throughput) -> tuple[object, ...]:
    """Sort key of rows: kinds as people ask for them, a case's layouts together, `single` first."""
    kind = KIND_ORDER.index(row.kind) if row.kind in KIND_ORDER else len(KIND_ORDER)
    return kind, row.workload, _natural(row.settings), row.dtype, row.device, row.threads, row.world_size, row.layout, row.run


def _natural(text: str) -> list[tuple[int, str]]:
    """Sort key under which 512 comes before 2048."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def settings_text(config: Mapping[str, Any], workload: Workload | None) -> str:
    """What of a configuration differs from the workload's defaults, as `key=value, …`; all of it where the defaults are unknown."""
    defaults = {field.name: _default(field) for field in msgspec.structs.fields(workload.config)} if workload else {}
    return ", ".join(f"{key}={value}" for key, value in sorted(config.items()) if key not in defaults or value != defaults[key])


def _settings(case: Case, workload: Workload | None) -> str:
    """What of a case differs from the workload's defaults, and that it was compiled."""
    return ", ".join(filter(None, (settings_text(case.config, workload), "compiled" if case.compile else "")))


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.to_builtins(field.default_factory())
    return msgspec.to_builtins(field.default) if field.default is not msgspec.NODEFAULT else msgspec.NODEFAULT


def _row(records: Sequence[Record], run: str, workload: Workload | None) -> Throughput:
    case = records[0].case
    measured = [record.measurement for record in records if record.measurement is not None]
    first, samples = measured[0], [wall for m in measured for wall in m.step_wall_s]
    medians = [plain.median(m.step_wall_s) for m in measured]
    steps, total_s = sum(_calls(m) for m in measured), sum(_total_s(m) for m in measured)
    step_interval, width = _interval(medians, samples)
    step_time_s = plain.median(medians)
    kind, work_s = workload.kind if workload else _kind(first), steps / total_s
    executed = _executed_fraction(first)
    flops, traffic = first.flops_per_step or 0.0, first.bytes_per_step or 0.0
    rate_per_s, rate_unit = _rate(kind, first, work_s)
    scores = _evaluation(measured)
    row = Throughput(
        run=run,
        workload=case.workload,
        kind=kind,
        label=case.layout,
        settings=_settings(case, workload),
        layout=case.layout,
        world_size=len(first.ranks),
        dtype=case.dtype,
        device=case.device,
        threads=case.threads,
        processes=len(measured),
        samples=len(samples),
        step_time_s=step_time_s,
        step_interval_s=step_interval,
        step_best_s=min(samples),
        items_per_s=first.items_per_step * work_s,
        item_unit=first.item_unit,
        rate_per_s=rate_per_s,
        rate_unit=rate_unit,
        flops_per_s=flops * work_s,
        bytes_per_s=traffic * work_s,
        flops_per_step=flops,
        bytes_per_step=traffic,
        parameters=first.parameters or 0,
        executed_fraction=executed,
        intensity_flops_per_byte=executed * flops / traffic if flops and traffic else None,
        roof_fraction=None,
        mfu_fraction=None,
        resident_peak_bytes=_peak(rank.resident_peak_bytes for m in measured for rank in m.ranks),
        device_peak_bytes=_peak(rank.device_peak_bytes for m in measured for rank in m.ranks),
        spread_fraction=None if width is None else width / 2,
        noisy=width is not None and width > NOISY_WIDTH_FRACTION,
        samples_s=_thinned(samples),
        processes_s=tuple(medians),
        first_loss=first.first_loss,
        last_loss=first.last_loss,
        check=_checks([m.check for m in measured]),
        energy_per_step_j=_energy(measured),
        gaps=(*_not_told(first), *_no_energy(first), *scores.reasons),
        scaling=case.scaling,
        ranks=shares(measured),
        split=split(measured, step_time_s),
        losses=first.losses,
        batches=first.batches,
        metrics=scores.metrics,
        evaluated_on=scores.data,
    )
    return msgspec.structs.replace(row, warnings=_warnings(row, records, width))


def _not_told(measured: Measurement) -> tuple[str, ...]:
    """What the record doesn't know of the work of a step, as imported ones; those figures of the row are 0."""
    unknown = [name for name in ("flops_per_step", "bytes_per_step", "parameters") if getattr(measured, name) is None]
    return (f"not told by the imported file: {', '.join(unknown)}",) if unknown else ()


def _energy(measured: Sequence[Measurement]) -> float | None:
    known = [joules for m in measured if (joules := m.energy_per_step_j) is not None]
    return plain.median(known) if known else None


def _no_energy(measured: Measurement) -> tuple[str, ...]:
    """Why a machine that was asked told no energy."""
    asked = [rank.energy for rank in measured.ranks if rank.energy]
    if not asked or measured.energy_per_step_j is not None:
        return ()
    return (f"no energy: {'; '.join(asked[0].reasons)}",)


def _evaluation(measured: Sequence[Measurement]) -> Evaluation:
    """That of the process that was evaluated; without one, the first's reason why not."""
    made = [m.evaluation for m in measured if m.evaluation]
    return next((one for one in made if one.metrics), made[0] if made else Evaluation(metrics={}))


def _interval(medians: Sequence[float], samples: Sequence[float]) -> tuple[Interval | None, float | None]:
    """The interval over processes and its width over the median; with one process none, and the width of the samples' middle 90 %."""
    over = interval(medians)
    width = relative_width(over)
    if over.low is not None and over.high is not None:
        return Interval(low=over.low, high=over.high, method=over.method), width
    if len(samples) < 2:
        return None, None
    cuts = plain.quantiles(samples, n=20, method="inclusive")
    return None, (cuts[-1] - cuts[0]) / over.median


def _warnings(row: Throughput, records: Sequence[Record], width: float | None) -> tuple[str, ...]:
    """Everything that speaks against this row: its size, its checks, what the records say, what disturbed each process."""
    said: list[str] = []
    if row.noisy and width is not None:
        what = "interval over processes" if row.step_interval_s else "middle 90 % of the samples"
        said.append(f"noisy: the {what} is {100 * width:.0f} % of the median wide")
    if row.check.startswith("failed"):
        said.append(f"the correctness check {row.check}")
    said.extend(lagging(row.ranks))
    said.extend(warning for record in records for warning in record.warnings)
    said.extend(_disturbances(records, row))
    return tuple(dict.fromkeys(said))


def _disturbances(records: Sequence[Record], row: Throughput) -> tuple[str, ...]:
    """What others did to this case, as its own samples show it; the records' warnings tell of load and steal."""
    ranks = [rank for record in records if record.measurement for rank in record.measurement.ranks]
    minima = [min(record.measurement.step_wall_s) for record in records if record.measurement]
    # Ranks wait for each other, and hosts for accelerators, off the CPU: only a lone rank on a CPU shows who else was running.
    alone = row.world_size == 1 and row.device.partition(":")[0] == "cpu"
    switches = [count for rank in ranks for count in rank.involuntary_switches]
    calls = sum(len(rank.involuntary_switches) * rank.calls_per_sample for rank in ranks)
    found = noise_warnings(
        minima if len(minima) > 1 else minima * 2,  # that there is one process only is said once, for the whole report
        wall_s=sum(sum(rank.wall_s) for rank in ranks) if alone else None,
        cpu_s=sum(sum(rank.cpu_s) for rank in ranks) or None,
        involuntary_switches_per_call=sum(switches) / calls if calls else None,
    )
    throttled = dict.fromkeys(reason for record in records for reason in record.state.throttle_reasons or ())
    return (*found, *(f"the accelerator was throttled: {reason}" for reason in throttled))


def labelled(measured: Sequence[Throughput]) -> tuple[Throughput, ...]:
    """The rows, each with a label that tells it from the others of its workload."""
    return tuple(msgspec.structs.replace(row, label=_label(row, measured)) for row in measured)


def _label(row: Throughput, among: Sequence[Throughput]) -> str:
    same = [other for other in among if other.workload == row.workload]
    everywhere = set.intersection(*(set(other.settings.split(", ")) for other in same))
    settings = ", ".join(item for item in row.settings.split(", ") if item not in everywhere)
    differing = [getattr(row, key) for key in ("dtype", "device", "run") if len({getattr(other, key) for other in same}) > 1]
    strong = "strong scaling" if row.scaling == "strong" else ""
    return " · ".join(part for part in (row.layout, strong, settings, *differing) if part)


def _rate(kind: str, measured: Measurement, steps_per_s: float) -> tuple[float, str]:
    """Items a second; for what measures the machine itself (ceilings, collectives) its FLOP/s or bytes/s."""
    if kind in ("ceiling", "collective") and measured.item_unit == "product" and measured.flops_per_step is not None:
        return measured.flops_per_step * steps_per_s, "FLOP/s"
    if kind in ("ceiling", "collective") and measured.item_unit in ("element", "byte") and measured.bytes_per_step is not None:
        return measured.bytes_per_step * steps_per_s, "B/s"
    return measured.items_per_step * steps_per_s, f"{measured.item_unit}/s"


def _kind(measured: Measurement) -> str:
    """The kind of a workload that isn't installed here: what its record says, else what it shows."""
    if measured.kind is not None:
        return measured.kind
    return "training" if measured.first_loss is not None and measured.parameters else "kernel"


def _executed_fraction(measured: Measurement) -> float:
    """Executed FLOPs over counted ones; 1 where a record doesn't tell."""
    counted, executed = measured.flops_per_step, measured.executed_flops_per_step
    return executed / counted if counted and executed is not None else 1.0


def _calls(measured: Measurement) -> int:
    return len(measured.ranks[0].wall_s) * measured.ranks[0].calls_per_sample


def _total_s(measured: Measurement) -> float:
    return sum(measured.step_wall_s) * measured.ranks[0].calls_per_sample


def _peak(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _thinned(samples: Sequence[float]) -> tuple[float, ...]:
    """At most PLOT_SAMPLES of them, evenly taken in the order they were measured."""
    step = max(1, math.ceil(len(samples) / PLOT_SAMPLES))
    return tuple(samples[::step])


def _checks(checks: Sequence[Check | None]) -> str:
    """'passed' only where every process that checked passed; the worst failure otherwise."""
    made = [check for check in checks if check is not None]
    if not made:
        return "none"
    failed = [check for check in made if not check.passed]
    if not failed:
        return "passed"
    worst = max(failed, key=lambda check: math.inf if math.isnan(check.error) else check.error)
    return f"failed: {worst.name}, error {worst.error:.3g} where {worst.tolerance:.3g} is allowed (against {worst.reference})"


def case_name(case: Case, workload: Workload | None = None) -> str:
    """A case in words with what sets it apart: 'gpt (layers=2) dp=2 fp32 cpu'."""
    settings = _settings(case, workload) if workload else ""
    return f"{case.workload}{f' ({settings})' if settings else ''} {case.layout} {case.dtype} {case.device}"
