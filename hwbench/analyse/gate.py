"""Whether a run keeps the rules: slowdowns against a baseline run, and smallest throughputs. Pure.

A slowdown fails where the rank interval over processes lies above 1 and the ratio above the limit (`stored`), and Welch's t over the
logarithms of the process values, adjusted by Holm over all slowdowns of the gate, is below 1 %: many cases cost no more
false alarms than one. Stored runs are not interleaved, so a baseline of another session can't tell unless a rule trusts it.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

import msgspec
import numpy as np
from scipy import special

from hwbench.core.comparability import comparison_key
from hwbench.core.comparison import CANT_TELL
from hwbench.core.errors import UserError
from hwbench.core.gate import SCHEMA, GateResult, Judgement, Metric, Rule, Rules
from hwbench.core.inventory import Inventory
from hwbench.core.record import Case, Measurement, Record, Run, fault

from .ab import ALPHA
from .comparable import Doubts, apart_s, doubts
from .permutation import holm
from .statistics import interval
from .stored import compare_process_values

UNITS: Final[dict[Metric, str]] = {
    "step_time_s": "items/s", "floor_s": "items/s", "items_per_s": "items/s", "flops_per_s": "FLOP/s", "bytes_per_s": "B/s",
}  # fmt: skip


class _Measured(NamedTuple):
    """One case of one run over its processes: the records that can be used, and why not for those that can't."""

    case: Case
    done: tuple[Measurement, ...]
    undone: tuple[str, ...]


def checked_rules(rules: Rules, source: str, *, has_baseline: bool) -> Rules:
    """The rules themselves if they can be judged; UserError says which rule of the file can't, and why."""
    if rules.schema != SCHEMA:
        raise UserError(f"{source}: key schema: expected {SCHEMA}, found {rules.schema}")
    if not rules.rules:
        raise UserError(f"{source}: no rules: a gate without any would always pass", hint="add a table [[rules]]; see docs/ci.md")
    for number, rule in enumerate(rules.rules, start=1):
        where = f"{source}: rule {number} ({rule.workload})"
        limit = slowdown_limit(rule, where)
        if limit is None and rule.smallest_throughput is None:
            raise UserError(f"{where}: neither largest_slowdown nor smallest_throughput", hint='for example largest_slowdown = "5%"')
        if rule.smallest_throughput is not None and not 0 < rule.smallest_throughput < math.inf:
            raise UserError(f"{where}: smallest_throughput: expected a positive number, found {rule.smallest_throughput:g}")
        if limit is not None and not has_baseline:
            hint = "give --baseline RUN, measured in the same session, or keep to smallest_throughput"
            raise UserError(f"{where}: largest_slowdown needs a baseline, and none is given", hint=hint)
    return rules


def slowdown_limit(rule: Rule, where: str = "rule") -> float | None:
    """The largest slowdown as a fraction; None where the rule has none. UserError for what is neither "5%" nor a fraction up to 1."""
    given = rule.largest_slowdown
    if given is None:
        return None
    text = str(given).strip()
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0.001 <= value <= (10 if text.endswith("%") else 1):
        raise UserError(f'{where}: largest_slowdown: expected "5%" or 0.05 (0.1 % to 1000 %), found {given!r}')
    return value


def gate(rules: Rules, candidate: Run, baseline: Run | None = None) -> GateResult:
    """Every case of the candidate under every rule that is about it.

    UserError where a rule is about no case of either run: a renamed workload must not pass unseen.
    """
    now, before = _measured(candidate), _measured(baseline) if baseline else {}
    doubt = _doubts(baseline, candidate) if baseline else Doubts()
    found: list[Judgement] = []
    for number, rule in enumerate(rules.rules, start=1):
        mine = [one for one in now.values() if _about(rule, one.case)]
        gone = [one for key, one in before.items() if key not in now and _about(rule, one.case)]
        if not mine and not gone:
            raise _nothing_matches(number, rule, (one.case for one in now.values()), candidate.header.id)
        found.extend(_gone(number, rule, one.case, now) for one in gone)
        for one in mine:
            found.extend(_judged(number, rule, one, before, doubt, candidate.header.inventory))
    flags = tuple(flag for flag in doubt if flag and any(one.check == "slowdown" for one in found))
    return GateResult(
        candidate=candidate.header.id,
        baseline=baseline.header.id if baseline else None,
        judgements=tuple(_adjusted(found, rules, now, before)),
        flags=flags,
    )


def _measured(run: Run) -> dict[str, _Measured]:
    """The cases of a run by their key, those of its header that have no record too."""
    records: dict[str, list[Record]] = {case.key: [] for case in run.header.cases}
    cases = {case.key: case for case in run.header.cases}
    for record in run.records:
        records.setdefault(record.case.key, []).append(record)
        cases.setdefault(record.case.key, record.case)
    return {key: _usable(cases[key], mine) for key, mine in records.items()}


def _usable(case: Case, records: Sequence[Record]) -> _Measured:
    done = [record.measurement for record in records if record.outcome == "done" and not fault(record) and record.measurement]
    undone = [record.reason or fault(record) for record in records if record.outcome != "done" or fault(record)]
    return _Measured(case, tuple(done), tuple(undone) if records else ("it was never reached",))


def _about(rule: Rule, case: Case) -> bool:
    """Whether a rule is about a case. A name is also taken as it is: those of imported tests have brackets."""
    patterns = ((rule.workload, case.workload), (rule.layout, case.layout), (rule.dtype, case.dtype), (rule.device, case.device))
    fits = all(pattern is None or pattern == text or fnmatchcase(text, pattern) for pattern, text in patterns)
    return fits and all(key in case.config and case.config[key] == value for key, value in rule.set.items())


def _nothing_matches(number: int, rule: Rule, cases: Iterable[Case], run: str) -> UserError:
    names = sorted({case.workload for case in cases})
    near = get_close_matches(rule.workload.strip("*?"), names, n=1, cutoff=0.4)
    same = [name for name in names if fnmatchcase(name, rule.workload)]
    asked = {"layout": rule.layout, "dtype": rule.dtype, "device": rule.device} | rule.set
    if same:
        what = f"{same[0]} is measured, but not with {', '.join(f'{key}={value}' for key, value in asked.items() if value is not None)}"
        return UserError(f"rule {number}: no case of run {run} fits: {what}", hint="correct the rule, or measure that case")
    hint = f"was it renamed to {near[0]}?" if near else f"measured are: {', '.join(names[:8]) or 'no cases at all'}"
    return UserError(f"rule {number}: no workload of run {run} is called {rule.workload!r}", hint=hint)


def _judged(
    number: int, rule: Rule, one: _Measured, before: Mapping[str, _Measured], doubt: Doubts, inventory: Inventory
) -> Iterable[Judgement]:
    if one.undone:
        skipped = not one.done and "skipped" in one.undone[0]
        yield _judgement(number, rule, one.case, "measured", "can't tell" if skipped else "failed", why=one.undone[0])
    if not one.done:
        return
    if rule.smallest_throughput is not None:
        yield _throughput(number, rule, one, _wrong_machine(rule, inventory))
    limit = slowdown_limit(rule)
    if limit is not None:
        wrong = _wrong_machine(rule, inventory)
        yield _slowdown(number, rule, one, before, limit, _stop(rule, doubt, wrong))


def _stop(rule: Rule, doubt: Doubts, wrong: str) -> str:
    """Why no slowdown verdict may be given, however clear; empty where one may."""
    session = doubt.session if rule.older_baseline != "trust" else ""
    return wrong or doubt.machine or session


def _slowdown(number: int, rule: Rule, one: _Measured, before: Mapping[str, _Measured], limit: float, stop: str) -> Judgement:
    """The verdict of the two runs' process values; "can't tell" where the machine or the session forbids one."""
    base = before.get(one.case.key)
    if base is None or not base.done:
        why = f"the baseline has no figures of it: {base.undone[0]}" if base else f"not in the baseline{_nearest(one.case, before)}"
        return _judgement(number, rule, one.case, "slowdown", "can't tell", limit=1 + limit, unit="x", why=why)
    times = _times(rule, base, one)
    if not times[0] or not times[1]:
        return _judgement(number, rule, one.case, "slowdown", "can't tell", why=_uncounted(rule.metric))
    found = compare_process_values(one.case.key, *times, threshold_fraction=limit)
    verdict = "can't tell" if stop or found.verdict == CANT_TELL else "failed" if found.verdict == "slower" else "passed"
    return _judgement(
        number, rule, one.case, "slowdown", verdict,
        value=found.ratio, low=found.ratio_low, high=found.ratio_high, limit=1 + limit, unit="x",
        why=stop or (_undecided(found.note, found.minimum_detectable_effect) if verdict == "can't tell" else found.verdict),
    )  # fmt: skip


def _undecided(note: str, detectable: float | None) -> str:
    seen = f"a slowdown below {100 * detectable:.1f} % would not be seen" if detectable is not None else ""
    return seen or note


def _times(rule: Rule, base: _Measured, one: _Measured) -> tuple[list[float], list[float]]:
    """One time per process of both sides: for a rate its reciprocal, so that more is slower. Empty where the work isn't counted.

    For times the CPU time of the rank's thread where `rule.clock` asks for it and every process of both sides has it.
    """
    if rule.metric not in ("step_time_s", "floor_s"):
        first, second = ([1 / rate for of in side.done if (rate := _rate(of, rule.metric))] for side in (base, one))
        return first, second
    middle = statistics.median if rule.metric == "step_time_s" else min
    sides = [[_cpu_s(side.case, of) for of in side.done] for side in (base, one)]
    if rule.clock == "wall" or not all(times for side in sides for times in side):
        sides = [[of.step_wall_s for of in side.done] for side in (base, one)]
    return [middle(times) for times in sides[0]], [middle(times) for times in sides[1]]


def _cpu_s(case: Case, of: Measurement) -> tuple[float, ...]:
    """CPU times of single calls of a lone single-threaded rank on a CPU; empty where they are not known, or their clock stood still."""
    if len(of.ranks) != 1 or case.threads != 1 or case.device.partition(":")[0] != "cpu":
        return ()
    times = tuple(cpu_s / of.ranks[0].calls_per_sample for cpu_s in of.ranks[0].cpu_s)
    return times if all(0 < time < math.inf for time in times) else ()


def _rate(of: Measurement, metric: Metric) -> float | None:
    """Work of one process over its whole time, in the unit of the metric (items/s for the times); None where it isn't counted."""
    work = {"flops_per_s": of.flops_per_step, "bytes_per_s": of.bytes_per_step}.get(metric, float(of.items_per_step))
    return work * len(of.step_wall_s) / sum(of.step_wall_s) if work else None


def _throughput(number: int, rule: Rule, one: _Measured, wrong: str) -> Judgement:
    """Rates over processes against the floor. One process has no interval: it fails only where its fastest sample does too."""
    limit, unit = rule.smallest_throughput or 0.0, UNITS[rule.metric]
    rates = [rate for of in one.done if (rate := _rate(of, rule.metric))]
    if not rates or wrong:
        return _judgement(number, rule, one.case, "throughput", "can't tell", limit=limit, unit=unit, why=wrong or _uncounted(rule.metric))
    over = interval(rates)
    low, high = (over.low, over.high) if over.low is not None and over.high is not None else (over.median, _fastest(one.done[0], rates[0]))
    status, why = _against_floor(low, high, limit)
    alone = "one process: no interval; its fastest sample is the upper end" if len(rates) == 1 else ""
    return _judgement(
        number, rule, one.case, "throughput", status,
        value=over.median, low=low, high=high, limit=limit, unit=unit, why="; ".join(part for part in (why, alone) if part),
    )  # fmt: skip


def _against_floor(low: float, high: float, limit: float) -> tuple[str, str]:
    if high < limit:
        return "failed", "even the upper end is below the limit"
    return ("passed", "") if low >= limit else ("can't tell", "the limit lies within the interval")


def _fastest(of: Measurement, rate: float) -> float:
    return rate * statistics.fmean(of.step_wall_s) / min(of.step_wall_s)


def _uncounted(metric: Metric) -> str:
    return f"{metric} is not known: the workload counts no such work"


def _gone(number: int, rule: Rule, case: Case, now: Mapping[str, _Measured]) -> Judgement:
    why = f"in the baseline, but not in the candidate{_nearest(case, now)}"
    return _judgement(number, rule, case, "measured", "can't tell", why=why)


def _nearest(case: Case, among: Mapping[str, _Measured]) -> str:
    near = get_close_matches(case.key, among, n=1, cutoff=0.6)
    return f"; the nearest there is {near[0]}" if near else ""


def _judgement(number: int, rule: Rule, case: Case, check: str, status: str, **figures: float | str | None) -> Judgement:
    fails = status == "failed" or (status == "can't tell" and rule.cant_tell == "fail")
    told = {"rule": number, "case": _name(case), "check": check, "status": status, "fails": fails} | figures
    return msgspec.convert(told, Judgement)


def _name(case: Case) -> str:
    settings = ",".join(f"{key}={case.config[key]}" for key in sorted(case.config))
    threads = f" threads={case.threads}" if case.threads != 1 else ""
    return f"{case.workload}{f'({settings})' if settings else ''} {case.layout} {case.dtype} {case.device}{threads}"


def _doubts(baseline: Run, candidate: Run) -> Doubts:
    return doubts(baseline.header.inventory, candidate.header.inventory, apart_s(baseline, candidate))


def _wrong_machine(rule: Rule, inventory: Inventory) -> str:
    """Why the candidate's machine is none that the rule requires; empty where it is, or the rule requires none."""
    devices = inventory.accelerators.devices if inventory.accelerators else ()
    names = [comparison_key(inventory), inventory.cpu.model or "", *(device.name or "" for device in devices)]
    if not rule.machines or any(fnmatchcase(name.lower(), wanted.lower()) for name in names if name for wanted in rule.machines):
        return ""
    here = f"{inventory.cpu.model or 'an unknown CPU'} (key {names[0]})"
    return f"measured on {here}; the rule is for {', '.join(rule.machines)}"


def _adjusted(found: Sequence[Judgement], rules: Rules, now: Mapping[str, _Measured], before: Mapping[str, _Measured]) -> list[Judgement]:
    """The judgements, with failed slowdowns kept only where Holm's adjustment over all slowdowns that were judged keeps them."""
    keys = {_name(one.case): key for key, one in now.items()}
    judged = [i for i, one in enumerate(found) if one.check == "slowdown" and one.low is not None]
    sides = [_times(rules.rules[found[i].rule - 1], before[keys[found[i].case]], now[keys[found[i].case]]) for i in judged]
    p_values = holm([welch_p(first, second) for first, second in sides])
    kept = list(found)
    for i, p_value in zip(judged, p_values, strict=True):
        if found[i].status == "failed" and p_value > ALPHA:
            rule = rules.rules[found[i].rule - 1]
            why = f"slower, but among {len(judged)} comparisons such a difference is not rare enough (Holm, p = {p_value:.2g})"
            kept[i] = msgspec.structs.replace(found[i], status="can't tell", fails=rule.cant_tell == "fail", why=why)
    return kept


def welch_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p of Welch's t-test on the logarithms of positive values, one a process; 1 with fewer than two on a side.

    Freedom after Welch and Satterthwaite (Welch, Biometrika 34, 1947). Values that are all the same on both sides give 0 or 1.
    """
    logs = [np.log(np.asarray(values, dtype=np.float64)) for values in (first, second)]
    if min(len(values) for values in logs) < 2:
        return 1.0
    apart = float(logs[1].mean() - logs[0].mean())
    parts = [float(values.var(ddof=1)) / len(values) for values in logs]
    if sum(parts) <= 0:
        return 0.0 if apart else 1.0
    freedom = sum(parts) ** 2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, logs, strict=True))
    return 2 * float(special.stdtr(freedom, -abs(apart) / math.sqrt(sum(parts))))
